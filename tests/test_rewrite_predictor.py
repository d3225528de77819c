"""The predictor of gains: what is there to be learned is found, what is not is not believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from promptmill.crafts.rewrite.predictor import predictor
from promptmill.crafts.rewrite.predictor.heldout import FEWEST, held_out
from promptmill.crafts.rewrite.predictor.predictor import Encoder, Fitted, GainRow, PredictorConfig, fit, fit_once, load
from promptmill.crafts.rewrite.predictor.ridge import Data, fit_ridge, group_folds, lengths_of
from promptmill.errors import InputError

SIZE = 6
Gain = Callable[[NDArray[np.float64], NDArray[np.float64], str, str, np.random.Generator], float]


def vector(text: str) -> NDArray[np.float64]:
    """A random vector that follows from the text."""
    return np.random.default_rng(list(text.encode())).standard_normal(SIZE)


ENCODER = Encoder("planted", lambda texts: np.stack([vector(text) for text in texts]))
QUICK = PredictorConfig(folds=4)


def rows_of(gain: Gain, bases: int = 40, candidates: int = 6, seed: int = 0) -> list[GainRow]:
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(bases):
        base = f"base {number} " + "x" * int(draw.integers(0, 30))
        for _ in range(candidates):
            candidate = f"rewrite {draw.integers(10**6)} " + "y" * int(draw.integers(0, 200))
            rows.append(
                GainRow(f"b{number}", base, candidate, gain(vector(base), vector(candidate), base, candidate, draw))
            )
    return rows


TRUTH = np.array([0.3, -0.2, 0.0, 0.1, 0.0, 0.2])


def planted(base: Any, candidate: Any, base_text: str, text: str, draw: np.random.Generator) -> float:
    return float((candidate - base) @ TRUTH + 0.1 * draw.standard_normal())


def noise(base: Any, candidate: Any, base_text: str, text: str, draw: np.random.Generator) -> float:
    return float(draw.standard_normal())


def by_length(base: Any, candidate: Any, base_text: str, text: str, draw: np.random.Generator) -> float:
    return float(np.log1p(len(text)) - 0.5 * np.log1p(len(base_text)) + 0.1 * draw.standard_normal())


def offset(base: Any, candidate: Any, base_text: str, text: str, draw: np.random.Generator) -> float:
    """A value for each base prompt that nothing tells: it can be known only by having seen that base prompt."""
    return float(np.random.default_rng([*base_text.encode(), 1]).standard_normal())


@pytest.fixture(scope="module")
def found() -> Fitted:
    return fit(rows_of(planted), ENCODER, QUICK)


def test_a_planted_linear_truth_is_found_and_kept(found: Fitted):
    report = found.report
    assert found.kept
    assert report.r2 is not None
    assert report.r2 > 0.9
    assert report.spearman is not None
    assert report.spearman > 0.8
    assert report.rmse is not None
    assert report.rmse == pytest.approx(0.1, abs=0.03)
    assert report.over_length is not None
    assert report.over_length[1] > 0
    assert (report.rows, report.bases) == (240, 40)
    gains, errors = found.predict("a prompt", [f"candidate {number}" for number in range(30)])
    truth = [float((vector(f"candidate {number}") - vector("a prompt")) @ TRUTH) for number in range(30)]
    assert np.corrcoef(gains, truth)[0, 1] > 0.98
    assert gains.tolist() == found.gains("a prompt", [f"candidate {number}" for number in range(30)])
    assert ((errors > 0.05) & (errors < 0.3)).all()


def test_the_standard_error_is_that_of_a_measured_gain(found: Fitted):
    rows = rows_of(planted, bases=60, seed=9)
    off = []
    for row in rows:
        gains, errors = found.predict(row.base, [row.candidate])
        off.append((gains[0] - row.gain) / errors[0])
    assert np.std(off) == pytest.approx(1, abs=0.2)


def test_pure_noise_is_not_kept_and_the_reason_is_told():
    told = fit(rows_of(noise), ENCODER, QUICK)
    assert not told.kept
    assert told.report.reason.startswith("not clearly better than the constant nor than length alone")
    assert told.report.r2 is not None
    assert told.report.r2 < 0.1


def test_what_length_tells_is_not_kept_beyond_length():
    told = fit(rows_of(by_length), ENCODER, QUICK)
    assert not told.kept
    assert told.report.reason == "not clearly better than length alone on held-out base prompts"
    assert told.report.over_constant is not None
    assert told.report.over_constant[1] > 0
    assert told.report.r2 is not None
    assert told.report.r2 > 0.8


def test_what_only_a_seen_base_prompt_tells_is_worth_nothing():
    told = fit(rows_of(offset, candidates=8), ENCODER, QUICK)
    assert not told.kept
    assert told.report.r2 is not None
    assert told.report.r2 < 0.1


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(2, 6), st.integers(0, 5))
def test_a_base_prompt_lies_in_one_fold_and_folds_are_even(groups: list[int], folds: int, seed: int):
    groups_n = np.array(groups)
    fold_n = group_folds(groups_n, folds, seed)
    homes = {group: set(fold_n[groups_n == group]) for group in set(groups)}
    assert all(len(home) == 1 for home in homes.values())
    sizes = [sum(home == {fold} for home in homes.values()) for fold in range(folds)]
    assert max(sizes) - min(sizes) <= 1


def test_nothing_of_a_held_out_base_prompt_is_seen(monkeypatch: pytest.MonkeyPatch):
    """Whatever a fold's gains are, what is expected of its rows stays the same."""
    rows = rows_of(planted, bases=12, candidates=3)
    seen: list[Data] = []
    monkeypatch.setattr(predictor, "held_out", lambda data, *rest: seen.append(data) or held_out(data, *rest))
    fit(rows, ENCODER, QUICK)
    (data,) = seen
    one = held_out(data, 3, 0, 128, True)
    for fold in range(3):
        here = one.folds_n == fold
        other = held_out(replace(data, gains_n=np.where(here, 1e3, data.gains_n)), 3, 0, 128, True)
        np.testing.assert_array_equal(other.gains_n[here], one.gains_n[here])
        np.testing.assert_array_equal(other.length_n[here], one.length_n[here])
        assert not np.array_equal(other.gains_n[~here], one.gains_n[~here])


def test_ridge_is_the_textbook_solution_with_lengths_unshrunk():
    draw = np.random.default_rng(0)
    data = Data(draw.standard_normal((30, 3)), draw.standard_normal((30, 3)), draw.standard_normal((30, 2)),
                draw.standard_normal(30), np.arange(30))  # fmt: skip
    model = fit_ridge(data, 0.5, 8, False)
    made = model.columns.make(data.candidates_nd, data.bases_nd)
    free = np.column_stack([np.ones(30), data.lengths_nk])
    alone = made - free @ np.linalg.lstsq(free, made, rcond=None)[0]
    penalty = 0.5 * np.linalg.eigvalsh(alone.T @ alone).sum() / made.shape[1]
    whole = np.column_stack([free, made])
    shrunk = np.diag([0.0] * 3 + [penalty] * made.shape[1])
    weights = np.linalg.solve(whole.T @ whole + shrunk, whole.T @ data.gains_n)
    gains, leverages = model.predict(data.candidates_nd, data.bases_nd, data.lengths_nk)
    np.testing.assert_allclose(gains, whole @ weights, atol=1e-9)
    spread = np.linalg.inv(whole.T @ whole + shrunk)
    np.testing.assert_allclose(leverages, np.einsum("np,pq,nq->n", whole, spread, whole), atol=1e-9)


def test_many_dimensions_are_reduced_to_components():
    wide = np.random.default_rng(3).standard_normal((SIZE, 40))
    encoder = Encoder("wide", lambda texts: np.stack([vector(text) for text in texts]) @ wide)
    told = fit(rows_of(planted), encoder, PredictorConfig(folds=3, components=SIZE))
    assert told.model.columns.axes_dc is not None
    assert told.model.columns.axes_dc.shape == (40, SIZE)
    assert told.kept


def test_constant_vectors_and_equal_gains_are_no_error():
    told = fit(rows_of(lambda *_: 0.25), Encoder("flat", lambda texts: np.ones((len(texts), 3))), QUICK)
    assert not told.kept
    np.testing.assert_allclose(told.gains("a", ["b", "cc"]), 0.25)


@pytest.mark.parametrize("bases", [1, 2, FEWEST - 1])
def test_few_base_prompts_are_fitted_but_not_believed(bases: int, tmp_path: Path):
    told = fit(rows_of(planted, bases=bases), ENCODER, QUICK)
    assert not told.kept
    assert told.report.reason.startswith(f"only {bases} base prompts")
    assert told.report.r2 is None
    assert np.isfinite(told.predict("a", ["b"])).all()
    told.save(tmp_path)
    assert load(tmp_path, ENCODER).report == told.report


def test_what_cannot_be_learned_from_is_one_clear_line():
    with pytest.raises(InputError, match="no measured gains"):
        fit([], ENCODER)
    with pytest.raises(InputError, match="base prompt b7 is nan"):
        fit([GainRow("b7", "a", "b", float("nan"))], ENCODER)


def test_saved_and_loaded_it_is_the_same(found: Fitted, tmp_path: Path):
    found.save(tmp_path / "predictor")
    again = load(tmp_path / "predictor", ENCODER)
    assert sorted(path.name for path in (tmp_path / "predictor").iterdir()) == [
        "predictor.json",
        "predictor.safetensors",
    ]
    assert (again.report, again.settings, again.noise) == (found.report, found.settings, found.noise)
    assert (again.kept, again.margin) == (found.kept, found.margin)
    for one, other in zip(again.predict("a", ["b", "c"]), found.predict("a", ["b", "c"]), strict=True):
        np.testing.assert_array_equal(one, other)
    first = (tmp_path / "predictor/predictor.safetensors").read_bytes()
    found.save(tmp_path / "other")
    assert (tmp_path / "other/predictor.safetensors").read_bytes() == first


def test_what_was_fitted_on_the_same_rows_is_not_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows, asked = rows_of(planted, bases=4), []

    def vectors(texts: Sequence[str]) -> Any:
        asked.append(texts)
        return ENCODER.vectors(texts)

    counted = Encoder(ENCODER.fingerprint, vectors)
    first = fit_once(tmp_path, rows, counted, QUICK)
    before, again = len(asked), fit_once(tmp_path, rows, counted, QUICK)
    assert (again.report, again.digest, len(asked)) == (first.report, first.digest, before)
    assert fit_once(tmp_path, rows[1:], counted, QUICK).lesson != first.lesson
    assert len(asked) > before
    spoil_version(tmp_path)
    assert fit_once(tmp_path, rows, counted, QUICK).report == first.report
    assert load(tmp_path, ENCODER).lesson == first.lesson


def spoil_other_half(folder: Path) -> None:
    fit(rows_of(noise, bases=3), ENCODER, QUICK).save(folder.parent / "other")
    (folder.parent / "other/predictor.safetensors").replace(folder / "predictor.safetensors")


def spoil_version(folder: Path) -> None:
    told = json.loads((folder / "predictor.json").read_text()) | {"algorithm": "predictor-0"}
    (folder / "predictor.json").write_text(json.dumps(told))


def spoil_report(folder: Path) -> None:
    told = json.loads((folder / "predictor.json").read_text())
    del told["report"]["margin"]
    (folder / "predictor.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "predictor.json").unlink(), "no predictor can be read"),
        (lambda folder: (folder / "predictor.json").write_text("{"), "no predictor can be read"),
        (lambda folder: (folder / "predictor.json").write_text("[]"), "not a predictor of this version"),
        (lambda folder: (folder / "predictor.safetensors").unlink(), "no predictor can be read"),
        (spoil_version, "not a predictor of this version"),
        (spoil_report, "no predictor can be read"),
        (spoil_other_half, "do not belong together"),
    ],
)
def test_what_is_not_whole_is_one_clear_line(found: Fitted, tmp_path: Path, spoil: Callable[[Path], Any], words: str):
    found.save(tmp_path / "predictor")
    spoil(tmp_path / "predictor")
    with pytest.raises(InputError, match=words) as error:
        load(tmp_path / "predictor", ENCODER)
    assert "\n" not in str(error.value)


def test_another_model_than_it_was_fitted_with_is_one_clear_line(found: Fitted, tmp_path: Path):
    found.save(tmp_path)
    with pytest.raises(InputError, match="hidden states of planted, but the model is other"):
        load(tmp_path, Encoder("other", ENCODER.vectors))


def test_lengths_are_logs_of_length_and_ratio():
    (row,) = lengths_of(["abc"], ["abcdefg"])
    np.testing.assert_allclose(row, [np.log(8), np.log(2)])
