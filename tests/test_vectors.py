"""Vectors in a file: found again, by embedder and text, and nothing else taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from promptmill.errors import InputError
from promptmill.model.embedder import Embedder, installed
from promptmill.model.vectors import VectorFile


def test_vectors_are_found_again_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    made = {"a": np.array([0.1, -2e-8], dtype=np.float32), "half \ud800": np.array([1, 2], dtype=np.float32)}
    first = VectorFile(path, "one")
    first.put(made)
    first.close()
    again = VectorFile(path, "one").get(["a", "half \ud800", "b"])
    assert again.keys() == made.keys()
    assert all(np.array_equal(again[text], made[text]) for text in made)
    assert VectorFile(path, "another").get(["a"]) == {}


def test_a_file_of_another_run_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    VectorFile(path, "one").put({"a": np.zeros(2, dtype=np.float32)})
    other = VectorFile(path, "one", read_only=True)
    assert list(other.get(["a"])) == ["a"]


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    path.write_bytes(b"no database at all, but long enough to look at" * 50)
    with pytest.raises(InputError, match=r"vectors\.sqlite: holds no vectors; remove it"):
        VectorFile(path, "one")


@pytest.mark.skipif(not installed(), reason="the extra `embed` is not installed")
def test_a_text_is_embedded_once_for_all_sessions(tmp_path: Path) -> None:
    own, theirs = tmp_path / "own.sqlite", tmp_path / "theirs.sqlite"
    first = Embedder(device="cpu", batch_size=1)
    first.keep_in(theirs)
    wanted = first.vectors(["the dog ran", "the cat sat"])
    second = Embedder(device="cpu", batch_size=1)
    second.keep_in(own, [theirs, tmp_path / "absent.sqlite"])
    second._embed = None  # type: ignore[assignment, method-assign]  # nothing may be embedded
    assert np.array_equal(second.vectors(["the cat sat", "the dog ran"]), wanted[::-1])
