"""What a finished training leaves: known by all that decides it, and only as long as it is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.train.course import Outcome
from promptmill.train.finished import OUTCOME, keep_outcome, kept_outcome

IDENTITY: dict[str, Any] = {"lesson": "abc", "seed": 3, "train": {"epochs": 2, "betas": (0.9, 0.999)}}


def finished(folder: Path, **more: Any) -> Outcome:
    """As a trainer leaves it, with weights that are no weights."""
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    rows = ({"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "validation": 1e-17})
    outcome = Outcome(folder / "adapter", "patience", 2, 31.0, 0.7, 0.1, 1, rows)
    keep_outcome(folder, IDENTITY, outcome, **more)
    return outcome


def test_an_outcome_is_found_again_to_the_last_bit_with_what_else_came_of_it(tmp_path: Path) -> None:
    outcome = finished(tmp_path / "round", kl_old=0.25)
    assert kept_outcome(tmp_path / "round", IDENTITY) == (outcome, {"kl_old": 0.25})


def test_a_folder_that_was_moved_has_its_outcome_where_it_lies_now(tmp_path: Path) -> None:
    finished(tmp_path / "round")
    shutil.move(tmp_path / "round", tmp_path / "elsewhere")
    found = kept_outcome(tmp_path / "elsewhere", IDENTITY)
    assert found is not None
    assert found[0].folder == tmp_path / "elsewhere" / "adapter"
    assert str(tmp_path) not in (tmp_path / "elsewhere" / OUTCOME).read_text()


@pytest.mark.parametrize("change", [
    {"lesson": "abd"}, {"seed": 4}, {"train": {"epochs": 3, "betas": (0.9, 0.999)}}, {"rewriter": "another"},
], ids=lambda change: next(iter(change)))  # fmt: skip
def test_whatever_decides_it_and_differs_makes_it_another_training(tmp_path: Path, change: dict[str, Any]) -> None:
    finished(tmp_path / "round")
    assert kept_outcome(tmp_path / "round", IDENTITY | change) is None


def test_a_folder_without_an_outcome_has_none_whatever_weights_lie_there(tmp_path: Path) -> None:
    finished(tmp_path / "round")
    (tmp_path / "round" / OUTCOME).unlink()
    assert kept_outcome(tmp_path / "round", IDENTITY) is None
    assert kept_outcome(tmp_path / "nowhere", IDENTITY) is None


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"other")])
def test_an_outcome_whose_files_are_not_as_they_were_is_none(tmp_path: Path, name: str, damage: Any) -> None:
    finished(tmp_path / "round")
    damage(tmp_path / "round" / "adapter" / name)
    assert kept_outcome(tmp_path / "round", IDENTITY) is None
    shutil.rmtree(tmp_path / "round" / "adapter")
    assert kept_outcome(tmp_path / "round", IDENTITY) is None


def test_what_others_put_beside_the_weights_is_of_no_matter(tmp_path: Path) -> None:
    finished(tmp_path / "round")
    (tmp_path / "round" / "adapter" / "README.md").write_text("mine")
    assert kept_outcome(tmp_path / "round", IDENTITY) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"outcome": {"folder": "adapter", "rows": []}}'])
def test_an_outcome_that_cannot_be_read_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    finished(tmp_path / "round")
    (tmp_path / "round" / OUTCOME).write_text(text)
    with pytest.raises(InputError, match=r"outcome\.json: cannot be read .*remove it") as said:
        kept_outcome(tmp_path / "round", IDENTITY)
    assert "\n" not in str(said.value)


@given(st.dictionaries(st.text(max_size=4), st.none() | st.integers() | st.floats(allow_nan=False) | st.text()))
def test_what_json_holds_can_be_an_identity(tmp_path_factory: pytest.TempPathFactory, told: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("round")
    (folder / "adapter").mkdir()
    keep_outcome(folder, told, Outcome(folder / "adapter", "epochs", 1, 1.0, None, None, 0, ()))
    assert kept_outcome(folder, told) is not None
    assert kept_outcome(folder, told | {"more than before": 1}) is None
    assert json.loads((folder / OUTCOME).read_text())["identity"] == told
