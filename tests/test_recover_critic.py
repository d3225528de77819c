"""The critic: a linear world is recovered, noise is not believed, and it belongs to its space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from promptmill.crafts.recover import critic as module
from promptmill.crafts.recover.critic import ARRAYS, FEWEST, TOLD, Critic, fit_critic, load_critic
from promptmill.crafts.recover.rank.ridge import Columns, Data, Ridge, Solver, axes_of, unit
from promptmill.crafts.recover.space import Grams
from promptmill.crafts.recover.traces import Group, Trace
from promptmill.errors import InputError

SIZE = 8


class World:
    """Texts "r<number>" and "o<number>" after and before prompt "p<number>" of cluster number // 3: the text after is
    the one before and a linear map of the prompt; without `linear` it has nothing to do with it."""

    name = "world"

    def __init__(self, linear: bool = True, size: int = SIZE):
        self.linear, self.size = linear, size
        self.fingerprint = f"world-{linear}-{size}"
        self.map = np.random.default_rng(7).standard_normal((SIZE, SIZE))
        self.wide = np.linalg.qr(np.random.default_rng(8).standard_normal((size, SIZE)))[0].T

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = [self._vector(text) for text in texts]
        return (np.array(found).reshape(-1, SIZE) @ self.wide).astype(np.float32)

    def _vector(self, text: str) -> NDArray[np.float64]:
        kind, number = text[0], int(text[1:])
        drawn = np.random.default_rng([ord(kind), number]).standard_normal(SIZE)
        if kind == "p":
            centre = np.random.default_rng([1, number // 3]).standard_normal(SIZE)
            return unit(centre + 0.2 * drawn + 0.5)
        if kind == "r" and self.linear:
            return self._vector(f"o{number}") + self._vector(f"p{number}") @ self.map
        return drawn


def traces_of(count: int, begin: int = 0) -> list[Trace]:
    return [
        Trace(f"t{at}", f"o{at}", f"r{at}", f"p{at}", cluster=f"c{at // 3}") for at in range(begin, begin + count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Critic:
    return fit_critic(traces_of(120), World())


def test_a_linear_world_is_recovered_on_prompts_never_seen(found: Critic):
    report = found.report
    assert found.kept
    assert report.reason == "better than the mean vector on held-out prompt clusters"
    assert (report.rows, report.clusters, report.space) == (120, 40, "world")
    assert report.cosine is not None
    assert report.cosine > 0.98
    assert report.constant_cosine is not None
    assert report.constant_cosine < 0.6
    assert report.over_constant is not None
    assert report.over_constant[1] > 0.3
    assert report.lift is not None
    assert report.lift > 1.5
    numbers = range(3000, 3030)
    said = found.expected([f"o{at}" for at in numbers], [f"r{at}" for at in numbers])
    truth = World().vectors([f"p{at}" for at in numbers])
    assert np.einsum("nd,nd->n", said, truth).min() > 0.95
    np.testing.assert_allclose(np.linalg.norm(said, axis=1), 1)


def test_noise_is_not_kept():
    told = fit_critic(traces_of(120), World(linear=False))
    assert not told.kept
    assert told.report.reason == "not clearly better than the mean vector on held-out prompt clusters"
    assert told.report.scs == pytest.approx(told.report.constant_scs, abs=0.02)


def test_what_only_its_own_cluster_tells_is_not_kept():
    """The text after names the cluster and nothing else: known for prompts of seen clusters, for no others."""

    class Named(World):
        def _vector(self, text: str) -> NDArray[np.float64]:
            if text[0] == "r":
                return np.random.default_rng([5, int(text[1:]) // 3]).standard_normal(SIZE)
            return super()._vector(text)

    told = fit_critic([replace(one, original=None) for one in traces_of(120)], Named())
    assert not told.kept


def test_a_group_is_told_by_the_mean_of_its_traces(found: Critic):
    group = Group("g", tuple(traces_of(3, 600)))
    each = found.expected(["o600", "o601", "o602"], ["r600", "r601", "r602"])
    np.testing.assert_allclose(found.of_group(group), unit(each.mean(axis=0)))
    cosines = found.likeness(group, ["p600", "p900", "p950"])
    assert cosines.argmax() == 0
    np.testing.assert_allclose(cosines, World().vectors(["p600", "p900", "p950"]) @ found.of_group(group), atol=1e-6)
    assert found.likeness(group, []).shape == (0,)


def test_without_an_original_nothing_is_assumed_of_it():
    """Half of the traces have none: those that have are told as well as ever, the others better than by the mean."""
    some = [replace(one, original=None) if at % 2 else one for at, one in enumerate(traces_of(240))]
    told = fit_critic(some, World())
    numbers = range(3000, 3060)
    truth = World().vectors([f"p{at}" for at in numbers])
    rewritten = [f"r{at}" for at in numbers]
    with_text = np.einsum("nd,nd->n", told.expected([f"o{at}" for at in numbers], rewritten), truth)
    without = np.einsum("nd,nd->n", told.expected([None] * 60, rewritten), truth)
    mean = truth @ unit(told.model.mean_d)
    assert with_text.mean() > 0.9
    assert with_text.mean() > without.mean() > mean.mean() + 0.05


def test_originals_that_all_are_absent_or_all_there_are_no_error(found: Critic):
    alone = fit_critic([replace(one, original=None) for one in traces_of(60)], World())
    assert np.isfinite(alone.expected([None, "o1"], ["r1", "r1"])).all()
    assert np.isfinite(found.expected([None], ["r1"])).all()
    assert found.expected([], []).shape == (0, SIZE)


def test_every_cluster_counts_alike():
    """A cluster of hundreds of traces of one prompt moves the mean no more than any other does."""
    few = traces_of(60)
    many = [*few, *(replace(few[0], id=f"again {at}") for at in range(500))]
    np.testing.assert_allclose(
        fit_critic(many, World(linear=False)).model.mean_d,
        fit_critic([*few, *(replace(few[0], id=f"again {at}") for at in range(5))], World(linear=False)).model.mean_d,
        atol=0.02,
    )


def test_ridge_is_the_textbook_solution_on_either_side_of_the_decomposition():
    draw = np.random.default_rng(0)
    for rows in (10, 60):
        data = Data(
            draw.standard_normal((rows, 4)), draw.standard_normal((rows, 4)), draw.random(rows) < 0.3,
            draw.standard_normal((rows, 4)), draw.random(rows) + 0.1,
        )  # fmt: skip
        solver = Solver(data)
        made = solver.columns.make(data.rewritten_nk, data.originals_nk, data.absent_n)
        weight = np.diag(data.weights_n / data.weights_n.sum())
        free = made - np.diag(weight) @ made
        wanted = data.prompts_nd - np.diag(weight) @ data.prompts_nd
        penalty = 0.7 * solver.scale * np.eye(made.shape[1])
        expected = np.linalg.solve(free.T @ weight @ free + penalty, free.T @ weight @ wanted)
        model = solver.model(0.7)
        np.testing.assert_allclose(model.weights_pk, expected, atol=1e-9)
        said = model.expected(data.rewritten_nk, data.originals_nk, data.absent_n)
        np.testing.assert_allclose(next(solver.expected(data, [0.7])), said, atol=1e-9)
        np.testing.assert_allclose(said, unit(np.diag(weight) @ data.prompts_nd + free @ expected), atol=1e-9)


def test_columns_of_absent_originals_say_nothing():
    data = Data(np.eye(3), np.full((3, 3), 0.5), np.array([False, False, True]), np.eye(3), np.ones(3))
    made = Columns.of(data).make(data.rewritten_nk, data.originals_nk, data.absent_n)
    np.testing.assert_allclose(made[2, 3:6], 0.5)
    np.testing.assert_allclose(made[2, 6:9], (np.eye(3)[:2] - 0.5).mean(axis=0))
    assert made[:, 9].tolist() == [0, 0, 1]


def test_nothing_of_a_held_out_cluster_is_seen(monkeypatch: pytest.MonkeyPatch):
    """Whatever a fold's prompts are, the models that it is measured with stay the same."""
    kept: list[tuple[Data, NDArray[np.int64], dict[int, Solver]]] = []
    report = module._report

    def spied(data, clusters, fold_n, solvers, *rest):
        kept.append((data, fold_n, solvers))
        return report(data, clusters, fold_n, solvers, *rest)

    monkeypatch.setattr(module, "_report", spied)
    fit_critic(traces_of(60), World())
    ((data, fold_n, solvers),) = kept
    for fold, solver in solvers.items():
        here = fold_n == fold
        other = replace(data, prompts_nd=np.where(here[:, None], 1e3, data.prompts_nd))
        np.testing.assert_array_equal(Solver(other.at(~here)).right, solver.right)


def test_wide_vectors_are_reduced_to_principal_components():
    wide = World(size=1500)
    told = fit_critic(traces_of(60), wide)
    assert told.axes_dk.shape[0] == 1500
    assert told.model.weights_pk.shape[0] == 3 * told.axes_dk.shape[1] + 1
    assert told.kept
    cosines = np.einsum("nd,nd->n", told.expected(["o900", "o901"], ["r900", "r901"]), wide.vectors(["p900", "p901"]))
    assert cosines.min() > 0.9


def test_principal_components_span_what_varies():
    draw = np.random.default_rng(0)
    low = draw.standard_normal((50, 5)) @ draw.standard_normal((5, 40))
    axes = axes_of(low, widest=10, most=5)
    np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(low @ axes @ axes.T, low, atol=1e-4)
    assert axes_of(low, widest=40).size == 0


def test_it_reads_texts_by_n_grams_too():
    """What is told in the text after itself is found: here it names its prompt's words."""
    words = [f"{a}{b}" for a in "bdfgklmnprstvz" for b in ("abu", "ero", "ixy")]
    traces = [
        Trace(str(at), None, f"this is {word} {word}", f"do {word}", cluster=word) for at, word in enumerate(words)
    ]
    told = fit_critic(traces, Grams())
    assert np.isfinite(told.expected([None], [""])).all()
    seen = told.expected([None], [traces[4].rewritten])[0]
    assert (Grams().vectors([one.prompt or "" for one in traces]) @ seen).argmax() == 4


def test_it_is_the_same_when_fitted_again_and_after_saving(found: Critic, tmp_path: Path):
    again = fit_critic(traces_of(120), World())
    assert again.digest == found.digest
    assert again.report == found.report
    found.save(tmp_path / "a")
    again.save(tmp_path / "b")
    for name in (ARRAYS, TOLD):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    loaded = load_critic(tmp_path / "a", World())
    assert loaded.report == found.report
    assert loaded.digest == found.digest
    np.testing.assert_array_equal(
        loaded.expected(["o5", None], ["r5", "r6"]), found.expected(["o5", None], ["r5", "r6"])
    )
    assert fit_critic(traces_of(117), World()).digest != found.digest


def test_another_space_is_refused(found: Critic, tmp_path: Path):
    found.save(tmp_path)
    with pytest.raises(InputError, match="fitted in the space of world") as raised:
        load_critic(tmp_path, Grams())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", ["missing", "cut", "swapped", "words", "version", "report"])
def test_a_critic_that_is_not_whole_is_one_clear_line(found: Critic, tmp_path: Path, damage: str):
    found.save(tmp_path)
    told = json.loads((tmp_path / TOLD).read_text())
    if damage == "missing":
        (tmp_path / ARRAYS).unlink()
    elif damage == "cut":
        (tmp_path / ARRAYS).write_bytes((tmp_path / ARRAYS).read_bytes()[:100])
    elif damage == "swapped":
        fit_critic(traces_of(60), World()).save(tmp_path / "other")
        (tmp_path / "other" / ARRAYS).replace(tmp_path / ARRAYS)
    elif damage == "words":
        (tmp_path / TOLD).write_text("no json")
    elif damage == "version":
        (tmp_path / TOLD).write_text(json.dumps({**told, "algorithm": "critic-0"}))
    else:
        (tmp_path / TOLD).write_text(json.dumps({**told, "report": {}}))
    with pytest.raises(InputError) as raised:
        load_critic(tmp_path, World())
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_pickled_arrays_are_not_read(found: Critic, tmp_path: Path):
    found.save(tmp_path)
    with (tmp_path / ARRAYS).open("wb") as file:
        np.savez(file, axes_dk=np.array([{"a": 1}], dtype=object))
    told = json.loads((tmp_path / TOLD).read_text())
    (tmp_path / TOLD).write_text(json.dumps({**told, "arrays": module._digest(tmp_path / ARRAYS)}))
    with pytest.raises(InputError, match="no critic can be read"):
        load_critic(tmp_path, World())


@pytest.mark.parametrize("count", [1, 2, 3 * FEWEST - 3])
def test_few_clusters_are_fitted_but_not_believed(count: int):
    told = fit_critic(traces_of(count), World())
    assert not told.kept
    assert told.report.reason.startswith(f"only {-(-count // 3)} prompt clusters")
    assert told.report.scs is None
    assert np.isfinite(told.expected(["o1"], ["r1"])).all()


def test_what_cannot_be_learned_from_is_one_clear_line(found: Critic):
    with pytest.raises(InputError, match="no traces with known prompts"):
        fit_critic([], World())
    with pytest.raises(InputError, match="trace 'x' has no prompt"):
        fit_critic([Trace("x", None, "r1", cluster="c")], World())
    with pytest.raises(InputError, match="trace 'x' has no cluster"):
        fit_critic([Trace("x", None, "r1", "p1")], World())
    with pytest.raises(InputError, match="1 originals for 2"):
        found.expected([None], ["r1", "r2"])


def test_of_too_many_traces_clusters_keep_even_shares(monkeypatch: pytest.MonkeyPatch):
    traces = [
        Trace(str(at), None, f"r{at}", f"p{at}", cluster="big" if at >= 20 else str(at // 2)) for at in range(400)
    ]
    kept = module._drawn(traces, 40)
    assert len(kept) == 40
    assert sum(one.cluster == "big" for one in kept) == 20
    assert module._drawn(traces[::-1], 40) == kept[::-1]
    assert module._drawn(traces, 400) == traces


def test_a_ridge_holds_only_arrays(found: Critic):
    assert isinstance(found.model, Ridge)
    assert all(value.dtype == np.float64 for value in module._arrays(found).values())
