"""Prompts in clusters and clusters in splits: no held-out prompt has a neighbour elsewhere, and a
planted one is found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from promptmill.crafts.recover.space import Grams, space_of
from promptmill.crafts.recover.synthesize import parts as parting
from promptmill.crafts.recover.synthesize.parts import Leak, components, neighbours, parted, parts_of, prompt_id_of
from promptmill.crafts.recover.traces import Trace
from promptmill.errors import InputError
from promptmill.model.embedder import installed
from promptmill.vary.splits import Shares

NAMES = "amber birch cedar daisy ember fjord grape hazel ivory jolly koala lemon mango noble ocean piano quilt".split()
SHARES = Shares(0.2, 0.3, 1)


class Round:
    """Texts on a circle, at known angles (degrees): an angle of 36.87 is a cosine of 0.8."""

    name = fingerprint = "round"

    def __init__(self, angles: Mapping[str, float]):
        self.angles = angles

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        turns = np.radians([self.angles[text] for text in texts])
        return np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)


def prompt(number: int) -> str:
    """Other numbers, quite other letters."""
    return f"{NAMES[number % 17]} {NAMES[number * 7 % 13]}{chr(97 + number // 17)}"


def at(*angles: float) -> tuple[list[str], Round]:
    prompts = [prompt(number) for number in range(len(angles))]
    return prompts, Round(dict(zip(prompts, angles, strict=True)))


def trace(prompt: str | None, number: int = 0, **more: str) -> Trace:
    return Trace(f"{prompt}-{number}", "o", "r", prompt, **more)


def splits(traces: Sequence[Trace]) -> dict[str | None, str | None]:
    return {one.prompt: one.split for one in traces}


# Neighbours


def test_a_held_out_prompt_with_a_neighbour_is_named_with_it():
    prompts, space = at(0, 90, 30, 125, 200)
    assert neighbours(space, prompts[:2], prompts[2:]) == [
        Leak(prompts[0], prompts[2], pytest.approx(math.cos(math.radians(30)))),
        Leak(prompts[1], prompts[3], pytest.approx(math.cos(math.radians(35)))),
    ]
    assert [one.held for one in neighbours(space, prompts[:2], prompts[2:], 0.84)] == [prompts[0]]
    assert neighbours(space, prompts[:1], prompts[3:]) == []
    assert neighbours(space, [], prompts) == neighbours(space, prompts, []) == []


def test_of_several_neighbours_the_nearest_is_named_once():
    prompts, space = at(0, 30, 10, 20)
    assert [one.other for one in neighbours(space, [prompts[0]] * 2, prompts[1:])] == [prompts[2]]


def test_the_same_words_are_neighbours_in_any_space():
    for text in ("Improve it.", "x", "改善"):
        assert [one.likeness for one in neighbours(Grams(), [text], ["Tell a tale", text])] == [pytest.approx(1.0)]


@pytest.mark.skipif(not installed(), reason="the extra embed is not installed")
def test_a_paraphrase_is_a_neighbour_by_meaning():
    held, others = ["Turn this into a fairy tale."], ["Transform this into a fairy tale.", "Translate it into Dutch."]
    assert [one.other for one in neighbours(space_of("minilm"), held, others)] == others[:1]


# Clusters


@given(st.lists(st.integers(0, 359), min_size=1, max_size=40), st.sampled_from([0.7, 0.8, 0.95]))
def test_clusters_are_what_comparing_all_with_all_gives(angles: list[int], bound: float):
    prompts, space = at(*angles)
    unit = space.vectors(prompts)
    near = unit @ unit.T >= bound - 1e-6
    for _ in prompts:
        near = near @ near
    assert components(prompts, space, bound).tolist() == [int(np.flatnonzero(row)[0]) for row in near]


def test_clusters_reach_over_blocks(monkeypatch: pytest.MonkeyPatch):
    prompts, space = at(*[(number * 77) % 360 for number in range(60)])
    whole = components(prompts, space, 0.9)
    monkeypatch.setattr(parting, "BLOCK", 7)
    assert components(prompts, space, 0.9).tolist() == whole.tolist()


def test_letters_and_pairs_join_too():
    space = Round({"Make it a poem.": 0, "make it a poem": 90, "Sing": 180, "Zoom": 270})
    prompts = list(space.angles)
    assert components(prompts, space, 0.8).tolist() == [0, 0, 2, 3]
    assert components(prompts, space, 0.8, [(0, 3)]).tolist() == [0, 0, 2, 0]
    assert components([], space, 0.8).tolist() == []


# Splits


@given(
    st.lists(st.tuples(st.integers(0, 359), st.sampled_from([None, None, "train", "dev", "test"])), min_size=1,
             max_size=30)
)  # fmt: skip
def test_no_held_out_prompt_has_a_neighbour_but_where_the_file_tears_it(rows: list[tuple[int, str | None]]):
    prompts, space = at(*[angle for angle, _ in rows])
    given = [replace(trace(one), split=split) for one, (_, split) in zip(prompts, rows, strict=True)]
    done = parted(given, space, 0.8, SHARES)
    split, torn = splits(done.traces), {row.prompt for row in done.parts if row.torn}
    assert all(split[one.prompt] == one.split for one in given if one.split)
    for held, others in (("test", ("train", "dev")), ("dev", ("train",))):
        ours = [one for one in prompts if split[one] == held]
        theirs = [one for one in prompts if split[one] in others]
        assert all(leak.held in torn for leak in neighbours(space, ours, theirs, 0.8 + 1e-5))
    assert bool(done.report["leaks"]) == any("since the file says so" in line for line in done.warnings)


def test_a_planted_neighbour_ends_it(monkeypatch: pytest.MonkeyPatch):
    prompts, space = at(0, 10, 90, 180)
    keys = list(map(prompt_id_of, prompts))
    shares = next(
        one for one in (Shares(0.1, 0.5, seed) for seed in range(999))
        if [one.place(key) for key in keys] == ["test", "train", "train", "dev"]
    )  # fmt: skip
    traces = [trace(one) for one in prompts]
    assert parted(traces, space, 0.8, shares).report["leaks"] == 0
    monkeypatch.setattr(parting, "components", lambda prompts, *rest: np.arange(len(prompts)))  # all apart
    words = (
        rf"the test prompt {prompts[0]!r} is like {prompts[1]!r} \(cosine 0.98\) of train: they must lie in one split"
    )
    with pytest.raises(InputError, match=words):
        parted(traces, space, 0.8, shares)


def test_a_split_of_the_file_is_kept_and_what_it_tears_is_warned_of():
    prompts, space = at(0, 10, 20, 180)
    done = parted(
        [trace(prompts[0], split="test"), trace(prompts[1], split="train"), trace(prompts[2]), trace(prompts[3])],
        space, 0.8, SHARES,
    )  # fmt: skip
    # The third goes where it can do no harm to the test.
    assert [one.split for one in done.traces[:3]] == ["test", "train", "test"]
    assert len({one.cluster for one in done.traces}) == 2
    assert done.report["leaks"] == 2
    assert any(f"2 held-out prompts have a neighbour in another split, since the file says so: {prompts[0]!r}" in line
               for line in done.warnings)  # fmt: skip


def test_a_prompt_in_two_splits_of_a_file_is_warned_of():
    prompts, space = at(0, 180)
    several = [trace(prompts[0], 0, split="train"), trace(prompts[0], 1, split="test"), trace(prompts[0], 2)]
    done = parted([*several, trace(prompts[1])], space, 0.8, SHARES)
    assert [one.split for one in done.traces[:3]] == ["train", "test", "test"]
    assert done.report["leaks"] == 1


def test_a_cluster_of_the_file_is_kept_and_lies_in_one_split_with_its_neighbours():
    prompts, space = at(0, 90, 180, 200)
    given = [trace(prompts[0], cluster="a"), trace(prompts[1], cluster="b"), trace(prompts[2], cluster="a")]
    for seed in range(9):
        done = parted([*given, trace(prompts[3])], space, 0.8, Shares(0.2, 0.3, seed))
        assert [one.cluster for one in done.traces] == ["a", "b", "a", "a"]
        assert len({one.split for one in done.traces if one.cluster == "a"}) == 1


def test_a_variation_lies_with_its_prompt_however_unlike_they_are():
    prompts, space = at(0, 90, 180, 270)
    same = {prompts[2]: prompts[0], prompts[0]: prompts[0]}
    for seed in range(9):
        rows = parts_of([trace(one) for one in prompts], space, 0.8, Shares(0.2, 0.3, seed), same)
        assert rows[0].cluster == rows[2].cluster != rows[1].cluster
        assert rows[0].split == rows[2].split


def test_traces_without_a_prompt_stay_as_they_are():
    prompts, space = at(0)
    unknown = [trace(None), replace(trace(None, 1), split="test", cluster="k")]
    done = parted([*unknown, trace(prompts[0])], space, 0.8, SHARES)
    assert done.traces[:2] == unknown
    assert parted(unknown, space, 0.8, SHARES).traces == unknown


def test_the_split_hangs_on_the_prompts_and_not_on_their_order():
    prompts, space = at(*[(number * 77) % 360 for number in range(8)])
    forth = parted([trace(one) for one in prompts], space, 0.95, SHARES)
    back = parted([trace(one) for one in reversed(prompts)], space, 0.95, SHARES)
    assert splits(forth.traces) == splits(back.traces)
    assert {one.cluster for one in forth.traces} == {one.cluster for one in back.traces}


def test_too_few_clusters_and_a_large_one_are_told():
    prompts, space = at(*range(9))
    done = parted([trace(one) for one in prompts], space, 0.8, SHARES)
    assert done.report["splits"]["train"] == {"prompts": 9, "clusters": 1, "traces": 9}
    assert done.warnings[0].startswith("there is no prompt for dev and test, since those alike must not be parted")
    assert done.warnings[1].startswith("one cluster holds 9 of 9 prompts")


def test_a_looser_bound_says_how_many_neighbours_it_leaves():
    prompts, space = at(*[number * 30 for number in range(12)])
    done = parted([trace(one) for one in prompts], space, 0.9, Shares(0.3, 0.4, 2))
    assert done.report["leaks"] == 0
    assert done.report["nearest"] == pytest.approx(math.cos(math.radians(30)), abs=1e-4)
    assert "split.together is 0.9: " in done.warnings[-1]
