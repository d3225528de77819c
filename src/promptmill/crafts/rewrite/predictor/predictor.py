"""How much better than its base prompt a rewrite will be, told from the two texts: ridge regression on hidden states.

It is for choosing the best of several rewrites, and for leaving a prompt alone. It is worth having only where it beats,
on base prompts that it has not seen, both the mean of all gains and the length of the rewrites: `Report.kept`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from promptmill.crafts.rewrite.predictor.heldout import Margin, Report, Takes, choose_margin, held_out, report_on
from promptmill.crafts.rewrite.predictor.ridge import Columns, Data, Ridge, best_penalty, fit_ridge, lengths_of
from promptmill.errors import InputError, ModelError
from promptmill.settings import Strict
from promptmill.store.files import write_json, write_whole
from promptmill.store.stage import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from promptmill.model.local import LocalBackend
    from promptmill.model.local.loaded import Loaded

ALGORITHM = "predictor-1"  # change it when the same file would predict something else
TENSORS, TOLD = "predictor.safetensors", "predictor.json"


class PredictorConfig(Strict, frozen=True):
    """How a predictor is fitted and held to account."""

    folds: int = Field(5, ge=2, description="parts into which the base prompts are cut, each held out once")
    components: int = Field(128, ge=1, description="principal components to which hidden states are reduced")
    product: bool = Field(True, description="also use the products of both texts' components")
    wrong: float = Field(0.1, ge=0, lt=1, description="share of the prompts that nothing improves that may be changed")
    improves: float = Field(0.1, ge=0, description="a prompt is one that nothing improves where no gain is above this")
    seed: int = Field(0, description="of the folds and of the bootstrap")


DEFAULT = PredictorConfig()


@dataclass(frozen=True, slots=True)
class GainRow:
    """A candidate for a base prompt, and the gain of the panel's value that it brought. place: among the answers of the
    rewriter that is offered, 0 for its first; None for a candidate that came otherwise."""

    base_id: str
    base: str
    candidate: str
    gain: float
    place: int | None = None


@dataclass(frozen=True)
class Encoder:
    """vectors: texts to vectors, [n, d]. fingerprint: of the model that makes them."""

    fingerprint: str
    vectors: Callable[[Sequence[str]], NDArray[Any]]


def encoder_of(backend: LocalBackend, batch_size: int = 32) -> Encoder:
    """The hidden states of a local model, its adapters as they are. It is loaded when there is a text to read."""
    return Encoder(backend.fingerprint, lambda texts: features(backend.loaded(), texts, batch_size))


def features(loaded: Loaded, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
    """The last hidden states of each text, averaged over its tokens: [n, d] float32, without a gradient.

    What is in a batch with a text changes its vector in the last bits at most. What a text has beyond the model's
    context is not seen. InputError for an empty text, ModelError where a state is not finite.
    """
    ids = {text: loaded.chat.encode(text, special=True)[: loaded.context] for text in dict.fromkeys(texts)}
    if empty := [text for text, tokens in ids.items() if not tokens]:
        raise InputError(f"a text has no tokens, so it cannot be rated: {empty[0]!r}")
    order = sorted(ids, key=lambda text: len(ids[text]))
    found: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        found.update(zip(part, _means(loaded.model, [ids[text] for text in part]), strict=True))
    if not all(np.isfinite(vector).all() for vector in found.values()):
        raise ModelError(f"{loaded.name}: hidden states are not finite, so nothing can be told from them")
    return np.stack([found[text] for text in texts]) if texts else np.empty((0, 0), dtype=np.float32)


def _means(model: Any, rows: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
    """The mean last hidden state of each row of tokens, by the decoding loop's own forward pass: a loaded model's
    attention is made for it, so it cannot be called in the plain way."""
    import torch

    from promptmill.model.local.folded import new_state
    from promptmill.train.head import inner_model

    parts = []

    def keep(body: Any, given: Any, out: Any) -> None:
        parts.append(out.last_hidden_state)

    hook = inner_model(model).base_model.register_forward_hook(keep)
    try:
        with torch.inference_mode():
            new_state(model, None).start(rows)
    finally:
        hook.remove()
    states_B_S_D = torch.cat(parts, dim=1).float()  # long rows come in slices of columns, padded on the left
    return [
        states_S_D[-len(row) :].mean(dim=0).cpu().numpy() for row, states_S_D in zip(rows, states_B_S_D, strict=True)
    ]


@dataclass(frozen=True)
class Fitted:
    """A fitted predictor. noise: the standard error of a gain whose leverage is 0, as measured on held-out rows.
    lesson: of the rows that it was fitted on."""

    encoder: Encoder
    settings: PredictorConfig
    model: Ridge
    noise: float
    report: Report
    lesson: str = ""

    @property
    def kept(self) -> bool:
        """Whether it beats both the constant and length on held-out base prompts; the reason is `report.reason`."""
        return self.report.kept

    @property
    def margin(self) -> float:
        """The expected gain below which a prompt is better left alone."""
        return self.report.margin.margin

    @property
    def digest(self) -> str:
        """Of all that decides what it predicts."""
        parts = {name: value.tobytes().hex() for name, value in sorted(_tensors(self.model).items())}
        return digest(ALGORITHM, self.encoder.fingerprint, parts, self.margin, self.takes)

    @property
    def takes(self) -> Takes:
        """Which of a rewriter's answers is the one to be offered."""
        return self.report.margin.takes

    def predict(self, base: str, candidates: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The expected gain of each candidate over the base prompt, and the standard error of a measured gain around
        it: [n] each."""
        if not candidates:
            return np.empty(0), np.empty(0)
        vectors = np.asarray(self.encoder.vectors([base, *candidates]), dtype=np.float64)
        bases = np.repeat(vectors[:1], len(candidates), axis=0)
        lengths = lengths_of([base] * len(candidates), candidates)
        gains, leverages = self.model.predict(vectors[1:], bases, lengths)
        return gains, self.noise * np.sqrt(1 + leverages)

    def gains(self, prompt: str, candidates: Sequence[str]) -> list[float]:
        return [float(gain) for gain in self.predict(prompt, candidates)[0]]

    def save(self, folder: Path) -> None:
        """Write it: tensors in safetensors, all else in JSON, which is written last."""
        from safetensors.numpy import save_file

        tensors = {name: np.ascontiguousarray(value) for name, value in _tensors(self.model).items()}
        write_whole(folder / TENSORS, lambda part: save_file(tensors, part))
        told = {
            "algorithm": ALGORITHM, "fingerprint": self.encoder.fingerprint, "tensors": _digest(folder / TENSORS),
            "settings": self.settings.model_dump(), "noise": self.noise, "report": asdict(self.report),
            "lesson": self.lesson,
        }  # fmt: skip
        write_json(folder / TOLD, told)


def fit(rows: Sequence[GainRow], encoder: Encoder, settings: PredictorConfig = DEFAULT) -> Fitted:
    """Fit on all rows; what it is worth, and the margin, come from base prompts that were held out.

    InputError where there are no rows, or a gain is no finite number.
    """
    if not rows:
        raise InputError("there are no measured gains to learn from: no rewrite of a base prompt has a value")
    if bad := [row for row in rows if not np.isfinite(row.gain)]:
        raise InputError(f"the gain of a rewrite of base prompt {bad[0].base_id} is {bad[0].gain}: leave such rows out")
    data = _data(rows, encoder)
    held = held_out(data, settings.folds, settings.seed, settings.components, settings.product)
    places = None
    if any(row.place is not None for row in rows):
        places = np.array([-1 if row.place is None else row.place for row in rows], dtype=np.int64)
    margin = choose_margin(data, held, settings.wrong, settings.improves, places)
    penalty = best_penalty(data, settings.folds, settings.seed, settings.components, settings.product)
    model = fit_ridge(data, penalty, settings.components, settings.product)
    report = report_on(data, held, penalty, margin, settings.seed)
    return Fitted(encoder, settings, model, held.noise, report, lesson_of(rows, encoder, settings))


def fit_once(folder: Path, rows: Sequence[GainRow], encoder: Encoder, settings: PredictorConfig = DEFAULT) -> Fitted:
    """The predictor that lies in the folder, where it was fitted on just these rows; else it is fitted and written."""
    if (folder / TOLD).exists():
        try:
            found = load(folder, encoder)
        except InputError:  # of another model or version, or half of one: it is made anew
            found = None
        if found is not None and found.lesson == lesson_of(rows, encoder, settings):
            return found
    fitted = fit(rows, encoder, settings)
    fitted.save(folder)
    return fitted


def lesson_of(rows: Sequence[GainRow], encoder: Encoder, settings: PredictorConfig) -> str:
    told = ([row.base_id, row.base, row.candidate, row.gain, row.place] for row in rows)
    return digest(ALGORITHM, encoder.fingerprint, settings.model_dump(), told)


def load(folder: Path, encoder: Encoder) -> Fitted:
    """What `Fitted.save` wrote. InputError where it is not whole, or was fitted on another model's hidden states."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    told = _told(folder)
    if told["fingerprint"] != encoder.fingerprint:
        raise InputError(
            f"{folder}: this predictor reads the hidden states of {told['fingerprint']}, but the model is "
            f"{encoder.fingerprint}: load the model that it was fitted with, or fit it anew"
        )
    try:
        if told["tensors"] != _digest(folder / TENSORS):
            raise InputError(f"{folder}: {TENSORS} and {TOLD} do not belong together: fit the predictor anew")
        model = _ridge(load_file(folder / TENSORS), bool(told["settings"]["product"]))
        report = told["report"]
        report = Report(**{**report, "margin": Margin(**report["margin"])})
        settings, lesson = PredictorConfig(**told["settings"]), str(told.get("lesson", ""))
        return Fitted(encoder, settings, model, float(told["noise"]), report, lesson)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: no predictor can be read there ({_line(error)}): fit it anew") from None


def _data(rows: Sequence[GainRow], encoder: Encoder) -> Data:
    texts = list(dict.fromkeys(text for row in rows for text in (row.base, row.candidate)))
    vectors = np.asarray(encoder.vectors(texts), dtype=np.float64)
    at = {text: index for index, text in enumerate(texts)}
    numbers = {base_id: number for number, base_id in enumerate(dict.fromkeys(row.base_id for row in rows))}
    bases, candidates = [row.base for row in rows], [row.candidate for row in rows]
    return Data(
        vectors[[at[text] for text in candidates]], vectors[[at[text] for text in bases]],
        lengths_of(bases, candidates), np.array([row.gain for row in rows], dtype=np.float64),
        np.array([numbers[row.base_id] for row in rows], dtype=np.int64),
    )  # fmt: skip


def _tensors(model: Ridge) -> dict[str, NDArray[np.float64]]:
    parts = {**vars(model), **vars(model.columns)}
    return {name: value for name, value in parts.items() if isinstance(value, np.ndarray)}


def _ridge(tensors: dict[str, NDArray[np.float64]], product: bool) -> Ridge:
    own = {name: tensors[name] for name in ("mean_d", "scale_d", "mean_p", "scale_p")}
    columns = Columns(product=product, axes_dc=tensors.get("axes_dc"), **own)
    names = Ridge.__dataclass_fields__.keys() - {"columns"}
    return Ridge(columns=columns, **{name: tensors[name] for name in names})


def _told(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no predictor can be read there ({_line(error)}): fit one first") from None
    if not isinstance(told, dict) or told.get("algorithm") != ALGORITHM or "fingerprint" not in told:
        raise InputError(f"{folder / TOLD}: not a predictor of this version ({ALGORITHM}): fit it anew")
    return told


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
