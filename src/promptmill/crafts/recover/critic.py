"""What prompt a text before and a text after speak of: ridge regression to the prompt's vector.

It makes no text. It says in which direction of the space the prompt should lie, so candidates can be compared with it
and prompts of a bank found by it. It is worth having only where it beats, on prompt clusters that it has not seen, the
mean vector of all prompts: `Critic.kept`.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from promptmill.crafts.recover.rank.folds import cluster_folds, even_weights
from promptmill.crafts.recover.rank.ridge import PENALTIES, Columns, Data, Ridge, Solver, axes_of, reduced, unit
from promptmill.crafts.recover.space import Space, sharpened
from promptmill.crafts.recover.traces import Group, Trace
from promptmill.errors import InputError
from promptmill.measure.statistics import paired_bootstrap
from promptmill.store.files import write_json, write_whole
from promptmill.store.stage import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALGORITHM = "critic-1"  # change it when the same files would expect something else
ARRAYS, TOLD = "critic.npz", "critic.json"
FEWEST = 10
"""Prompt clusters below which nothing is believed."""
FOLDS = 5
MOST = 8000
"""Traces that it is fitted on at most, as even over the clusters as can be."""


@dataclass(frozen=True, slots=True)
class Report:
    """What it is worth on prompt clusters that were held out, in means over traces; None where there are too few.

    cosine, scs: of the expected vector with the prompt's. constant_cosine, constant_scs: of the mean vector of the
    prompts that were not held out. nearest_scs: of a text, the one of those prompts that is nearest to the expected
    vector. lift: by how many standard deviations the true prompt is nearer to the expected vector than those prompts
    are. over_constant: how much higher scs is than constant_scs, [mean, lo, hi], by bootstrap over clusters.
    """

    space: str
    rows: int
    clusters: int
    penalty: float
    kept: bool
    reason: str
    cosine: float | None = None
    scs: float | None = None
    constant_cosine: float | None = None
    constant_scs: float | None = None
    nearest_scs: float | None = None
    lift: float | None = None
    over_constant: list[float] | None = None


@dataclass(frozen=True)
class Critic:
    """A fitted critic, and the space in which it was fitted. axes_dk: principal components of texts, [0, 0] where their
    vectors are short enough."""

    space: Space
    axes_dk: Floats
    model: Ridge
    report: Report

    @property
    def kept(self) -> bool:
        """Whether it has shown that it is better than the mean vector; else it should not be used."""
        return self.report.kept

    @property
    def digest(self) -> str:
        """Changes whenever it could expect something else."""
        arrays = ((name, value.tobytes()) for name, value in sorted(_arrays(self).items()))
        marks = [[name, hashlib.sha256(held).hexdigest()] for name, held in arrays]
        return digest(ALGORITHM, self.space.fingerprint, marks)

    def expected(self, originals: Sequence[str | None], rewritten: Sequence[str]) -> Floats:
        """[n, d]: the unit vector where the prompt of each trace should lie. Texts without an original are told by the
        text after alone. InputError where the two are not as many."""
        if len(originals) != len(rewritten):
            raise InputError(f"{len(originals)} originals for {len(rewritten)} rewritten texts")
        if not rewritten:
            return np.empty((0, len(self.model.mean_d)))
        before, after, absent = _texts(originals, rewritten, self.space)
        return self.model.expected(reduced(after, self.axes_dk), reduced(before, self.axes_dk), absent)

    def of_group(self, group: Group) -> Floats:
        """[d]: the mean of what its traces say, as a unit vector."""
        traces = group.traces
        said = self.expected([one.original for one in traces], [one.rewritten for one in traces])
        return unit(said.mean(axis=0))

    def likeness(self, group: Group, candidates: Sequence[str]) -> Floats:
        """[n]: the cosine of each candidate with what is expected of the group."""
        if not candidates:
            return np.empty(0)
        vectors = np.asarray(self.space.vectors(candidates), dtype=np.float64)
        return np.clip(vectors @ self.of_group(group), -1.0, 1.0)

    def save(self, folder: Path) -> None:
        """Write it: arrays as .npz, all else as JSON, which is written last."""
        arrays = {name: value.astype(np.float32) for name, value in _arrays(self).items()}
        write_whole(folder / ARRAYS, lambda part: _write_arrays(part, arrays))
        told = {"algorithm": ALGORITHM, "space": self.space.name, "fingerprint": self.space.fingerprint,
                "arrays": _digest(folder / ARRAYS), "report": asdict(self.report)}  # fmt: skip
        write_json(folder / TOLD, told)


def fit_critic(traces: Sequence[Trace], space: Space, folds: int = FOLDS, seed: int = 0) -> Critic:
    """Fit on all traces, each prompt cluster counting alike; penalty and worth come from held-out clusters.

    InputError where there are no traces, or one has no prompt or no cluster.
    """
    _check(traces)
    chosen = _drawn(traces, MOST)
    clusters = [str(one.cluster) for one in chosen]
    data, axes = _data(chosen, clusters, space)
    fold_n = cluster_folds(clusters, folds, seed)
    if len(set(clusters)) < FEWEST or len(set(fold_n)) < 2:
        reason = f"only {len(set(clusters))} prompt clusters; below {FEWEST} nothing can be told"
        penalty = float(PENALTIES[-1])
        report = Report(space.name, len(chosen), len(set(clusters)), penalty, False, reason)
        return _rounded(Critic(space, axes, Solver(data).model(penalty), report))
    solvers = {int(fold): Solver(data.at(fold_n != fold)) for fold in np.unique(fold_n)}
    cosines_ln = np.empty((len(PENALTIES), len(chosen)))
    for fold, solver in solvers.items():
        held = data.at(fold_n == fold)
        for at, said in enumerate(solver.expected(held, PENALTIES.tolist())):
            cosines_ln[at, fold_n == fold] = np.einsum("nd,nd->n", said, held.prompts_nd)
    penalty = _best(cosines_ln, data.weights_n)
    report = _report(data, clusters, fold_n, solvers, cosines_ln, penalty, space, seed)
    return _rounded(Critic(space, axes, Solver(data).model(penalty), report))


def load_critic(folder: Path, space: Space) -> Critic:
    """What `Critic.save` wrote. InputError where it is not whole, or was fitted in another space."""
    try:
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no critic can be read there ({_line(error)}): fit one first") from None
    if not isinstance(told, dict) or told.get("algorithm") != ALGORITHM or "fingerprint" not in told:
        raise InputError(f"{folder / TOLD}: not a critic of this version ({ALGORITHM}): fit it anew")
    if told["fingerprint"] != space.fingerprint:
        raise InputError(
            f"{folder}: this critic was fitted in the space of {told.get('space')} ({told['fingerprint']}), but the "
            f"one in use is {space.name} ({space.fingerprint}): take the same embedder, or fit the critic anew"
        )
    try:
        if told["arrays"] != _digest(folder / ARRAYS):
            raise InputError(f"{folder}: {ARRAYS} and {TOLD} do not belong together: fit the critic anew")
        with np.load(folder / ARRAYS, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], dtype=np.float64) for name in file.files}
        return _critic(space, arrays, Report(**told["report"]))
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: no critic can be read there ({_line(error)}): fit it anew") from None


def _check(traces: Sequence[Trace]) -> None:
    if not traces:
        raise InputError("there are no traces with known prompts for a critic to learn from")
    for one in traces:
        if one.prompt is None or one.cluster is None:
            missing = "prompt" if one.prompt is None else "cluster"
            raise InputError(f"trace {one.id!r} has no {missing}, without which a critic cannot learn from it; "
                             "leave it out, or cut the traces into clusters first")  # fmt: skip


def _drawn(traces: Sequence[Trace], most: int) -> list[Trace]:
    """At most so many: the first of each cluster, then the second of each, and so on, in an order that follows from
    the ids; as they stood."""
    if len(traces) <= most:
        return list(traces)
    marks = [hashlib.sha256(one.id.encode()).hexdigest() for one in traces]
    seen: dict[str, int] = {}
    turns = []
    for at in sorted(range(len(traces)), key=lambda at: marks[at]):
        cluster = str(traces[at].cluster)
        seen[cluster] = seen.get(cluster, 0) + 1
        turns.append((seen[cluster], marks[at], at))
    return [traces[at] for at in sorted(at for _, _, at in sorted(turns)[:most])]


def _texts(
    originals: Sequence[str | None], rewritten: Sequence[str], space: Space
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """[n, d] of the originals (zeros where there is none) and of the rewritten texts; whether there is none, [n]."""
    after = space.vectors(rewritten)
    before = np.zeros_like(after)
    absent = np.array([text is None for text in originals], dtype=bool)
    there = [text for text in originals if text is not None]
    if there:
        before[~absent] = space.vectors(there)
    return before, after, absent


def _data(traces: Sequence[Trace], clusters: Sequence[str], space: Space) -> tuple[Data, Floats]:
    """The data, and the axes to which its texts were reduced."""
    before, after, absent = _texts([one.original for one in traces], [one.rewritten for one in traces], space)
    axes = axes_of(np.concatenate([after, before[~absent]]))
    prompts = np.asarray(space.vectors([str(one.prompt) for one in traces]), dtype=np.float64)
    return Data(reduced(after, axes), reduced(before, axes), absent, prompts, even_weights(clusters)), axes


def _best(cosines_ln: Floats, weights_n: Floats) -> float:
    """The penalty of the highest mean cosine; of equals, the largest."""
    means_l = cosines_ln @ weights_n
    return float(PENALTIES[::-1][int(means_l[::-1].argmax())])


def _report(
    data: Data, clusters: Sequence[str], fold_n: NDArray[np.int64], solvers: dict[int, Solver], cosines_ln: Floats,
    penalty: float, space: Space, seed: int,
) -> Report:  # fmt: skip
    """Each fold is measured with the penalty that the other folds choose."""
    rows = len(fold_n)
    cosines, constants, nearest, lifts = (np.empty(rows) for _ in range(4))
    for fold, solver in solvers.items():
        here = fold_n == fold
        held, others = data.at(here), data.at(~here)
        (said,) = solver.expected(held, [_best(cosines_ln[:, ~here], data.weights_n[~here])])
        cosines[here] = np.einsum("nd,nd->n", said, held.prompts_nd)
        constants[here] = held.prompts_nd @ unit(solver.mean_d)
        near = said @ others.prompts_nd.T
        nearest[here] = np.einsum("nd,nd->n", others.prompts_nd[near.argmax(axis=1)], held.prompts_nd)
        lifts[here] = (cosines[here] - near.mean(axis=1)) / np.maximum(near.std(axis=1), 1e-9)
    scs, constant = sharpened(cosines), sharpened(constants)
    gain, lo, hi, _ = paired_bootstrap(constant, scs, lambda sums, n: sums[..., -1] / n, seed, groups=clusters)
    kept = lo > 0
    reason = f"{'' if kept else 'not clearly '}better than the mean vector on held-out prompt clusters"
    return Report(
        space.name, rows, len(set(clusters)), penalty, kept, reason, float(cosines.mean()), float(scs.mean()),
        float(constants.mean()), float(constant.mean()), float(sharpened(nearest).mean()),
        float(lifts.mean()), [gain, lo, hi],
    )  # fmt: skip


def _arrays(critic: Critic) -> dict[str, Floats]:
    columns = {f"columns.{name}": value for name, value in vars(critic.model.columns).items()}
    own = {name: value for name, value in vars(critic.model).items() if name != "columns"}
    return {"axes_dk": critic.axes_dk, **columns, **{f"model.{name}": value for name, value in own.items()}}


def _critic(space: Space, arrays: dict[str, Floats], report: Report) -> Critic:
    columns = Columns(*(arrays[f"columns.{name}"] for name in Columns.__dataclass_fields__))
    own = (arrays[f"model.{name}"] for name in Ridge.__dataclass_fields__ if name != "columns")
    return Critic(space, arrays["axes_dk"], Ridge(columns, *own), report)


def _rounded(critic: Critic) -> Critic:
    """As it is when it has been saved and loaded."""
    arrays = {name: value.astype(np.float32).astype(np.float64) for name, value in _arrays(critic).items()}
    return _critic(critic.space, arrays, critic.report)


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:  # given a name, numpy would end it in .npz
        np.savez(file, **arrays)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
