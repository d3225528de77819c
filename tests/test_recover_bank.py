"""The bank: what is near is found, by whatever is known, and what must not be told is not."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from promptmill.crafts.recover.bank import Bank, make_bank
from promptmill.crafts.recover.critic import Critic, fit_critic
from promptmill.crafts.recover.rank.known import Known, read_bank, solved
from promptmill.crafts.recover.space import Grams
from promptmill.crafts.recover.traces import Group, Trace
from promptmill.errors import InputError

TASKS = {
    "Turn it into a poem.": "in verses that rhyme, roses and violets, {}",
    "Write it in capital letters.": "{} IN CAPITALS, SHOUTED OUT LOUD",
    "Say it in French.": "en francais, s'il vous plait, {}",
    "Make it a question.": "is it not so that {}?",
    "List the main points.": "- first: {}\n- second: the same",
}
SUBJECTS = ["the sea", "a garden", "old trains", "winter", "bread", "the moon"]


def trace(prompt: str, subject: str, cluster: str | None = None) -> Trace:
    result = TASKS[prompt].format(subject)
    return Trace(f"{prompt}/{subject}", f"Something about {subject}.", result, prompt, cluster=cluster or prompt)


SOLVED = [trace(prompt, subject) for prompt in TASKS for subject in SUBJECTS[:4]]


def group(*traces: Trace) -> Group:
    return Group("g", tuple(Trace(one.id, one.original, one.rewritten) for one in traces))


@pytest.fixture(scope="module")
def bank() -> Bank:
    return make_bank(solved(SOLVED), Grams())


def test_each_prompt_is_given_once_the_nearest_first(bank: Bank):
    for prompt in TASKS:
        found = bank.nearest(group(trace(prompt, "bread"), trace(prompt, "the moon")), 3)
        assert found[0][0] == prompt
        assert len({text for text, _ in found}) == 3
        assert [near for _, near in found] == sorted((near for _, near in found), reverse=True)
    assert len(bank) == len(TASKS)
    assert len(bank.nearest(group(SOLVED[0]), 99)) == len(TASKS)
    assert bank.nearest(group(SOLVED[0]), 0) == []


def test_a_text_without_its_original_finds_its_prompt_too(bank: Bank):
    alone = Trace("x", None, TASKS["Say it in French."].format("winter"))
    assert bank.nearest(Group("x", (alone,)), 1)[0][0] == "Say it in French."


def test_plain_prompts_are_found_by_the_text_itself():
    plain = make_bank([Known("Sing of roses and violets."), Known("Draw a map."), Known("Count to ten.")], Grams())
    assert plain.nearest(group(trace("Turn it into a poem.", "bread")), 1)[0][0] == "Sing of roses and violets."


def test_solved_and_plain_prompts_stand_in_one_list():
    mixed = make_bank([Known("Draw a map."), *solved(SOLVED), Known("Sing of roses and violets.")], Grams())
    found = [text for text, _ in mixed.nearest(group(trace("Turn it into a poem.", "bread")), 3)]
    assert {"Turn it into a poem.", "Sing of roses and violets."} <= set(found)
    assert "Draw a map." not in found


def test_equals_stand_as_they_came():
    """Texts that differ in case only have one vector by n-grams, but here also spellings that n-grams cannot tell."""

    class Flat:
        name = fingerprint = "flat"

        def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.ones((len(texts), 2), dtype=np.float32) / np.float32(np.sqrt(2))

    flat = make_bank([Known(text) for text in ("one thing", "another", "third")], Flat())
    found = flat.nearest(group(SOLVED[0]), 3)
    assert found == [("one thing", 0.0), ("another", 0.0), ("third", 0.0)]


class World:
    """The prompt "p<n>" has led from "o<n>" to "r<n>", which lies elsewhere by a fixed map of the prompt: the text
    alone is not near its prompt."""

    name = fingerprint = "bank world"
    map = np.random.default_rng(3).standard_normal((6, 6))

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([self._vector(text) for text in texts], dtype=np.float32).reshape(-1, 6)

    def _vector(self, text: str) -> NDArray[np.float64]:
        kind, _, number = text.partition(" ")
        if kind == "rewritten":
            return self._vector(f"original {number}") + self._vector(f"prompt {number}") @ self.map
        drawn = np.random.default_rng([len(kind), int(number)]).standard_normal(6)
        return drawn / np.linalg.norm(drawn)


def worldly(at: int) -> Trace:
    return Trace(f"t{at}", f"original {at}", f"rewritten {at}", f"prompt {at}", cluster=f"c{at}")


@pytest.fixture(scope="module")
def critic() -> Critic:
    return fit_critic([worldly(at) for at in range(80)], World())


def test_the_critic_finds_what_texts_do_not(critic: Critic):
    assert critic.kept
    plain = [Known(f"prompt {at}") for at in range(1000, 1200)]
    with_it, without = make_bank(plain, World(), critic), make_bank(plain, World())
    hits = [
        [one.nearest(Group("g", (worldly(at),)), 1)[0][0] == f"prompt {at}" for at in range(1000, 1040)]
        for one in (with_it, without)
    ]
    assert np.mean(hits[0]) > 0.6
    assert np.mean(hits[1]) < 0.2
    assert with_it.digest != without.digest


def test_a_critic_that_is_not_believed_is_not_asked():
    weak = fit_critic([worldly(at) for at in range(5)], World())
    assert not weak.kept
    assert make_bank([Known("prompt 1")], World(), weak).critic is None


def test_a_critic_of_another_space_is_refused(critic: Critic):
    with pytest.raises(InputError, match="the critic is of the space bank world, the bank of n-grams"):
        make_bank([Known("a b c")], Grams(), critic)


def test_examples_are_near_solved_of_different_clusters_and_the_nearest_stands_last(bank: Bank):
    asked = group(trace("Make it a question.", "bread"))
    shown = bank.shown(asked, 3, seed=0)
    assert len(shown) == 3
    assert len({one.cluster for one in shown}) == 3
    assert all(one in SOLVED for one in shown)
    near = [dict(bank.nearest(asked, 9))[one.prompt or ""] for one in shown]
    assert near == sorted(near)
    assert bank.shown(asked, 3, seed=0) == shown
    assert any(bank.shown(asked, 2, seed=seed) != bank.shown(asked, 2, seed=0) for seed in range(1, 9))


def test_prompts_of_one_cluster_are_shown_once():
    doubled = [*SOLVED, *(Trace(f"again {one.id}", one.original, one.rewritten, f"{one.prompt} Please, do so now.",
                                cluster=one.cluster) for one in SOLVED)]  # fmt: skip
    shown = make_bank(solved(doubled), Grams()).shown(group(SOLVED[0]), 10, seed=1)
    assert len({one.cluster for one in shown}) == len(shown) <= len(TASKS)


class Plane:
    """Texts that end in the angle at which they lie."""

    name = fingerprint = "plane"

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        angles = np.radians([float(text.split()[-1]) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_examples_are_unlike_each_other():
    """Of two that say the same the second is shown only after one that is less near and says something else."""
    prompts = ["say the like of 0", "say the like of 2", "say the like of 80", "say the like of 90"]
    known = [Trace(prompt, None, "a text at 0", prompt, cluster=prompt) for prompt in prompts]
    plane = make_bank(solved(known), Plane())
    asked = Group("g", (Trace("x", None, "text at 0"),))
    assert [text for text, _ in plane.nearest(asked, 4)] == prompts
    near = np.array([1.0, 0.99, 0.8, 0.0], dtype=np.float32)
    assert [prompts[at] for at in plane._unlike(range(4), near, 3)] == [prompts[0], prompts[2], prompts[1]]


def test_of_a_prompt_the_nearest_trace_is_shown(bank: Bank):
    (shown,) = bank.without(set(TASKS) - {"Say it in French."}).shown(
        group(trace("Say it in French.", "the sea")), 1, 0
    )
    assert shown.id == "Say it in French./the sea"


def test_plain_prompts_cannot_be_shown():
    assert make_bank([Known("Draw a map.")], Grams()).shown(group(SOLVED[0]), 2, 0) == []


def test_an_empty_bank_gives_nothing():
    empty = make_bank([], Grams())
    assert (len(empty), empty.nearest(group(SOLVED[0]), 3), empty.shown(group(SOLVED[0]), 3, 0)) == (0, [], [])
    assert empty.leaks(["Make it a poem."]) == []
    assert len(empty.without(["a"], ["b"])) == 0


def test_what_is_left_out_is_neither_near_nor_shown(bank: Bank):
    asked = group(trace("Turn it into a poem.", "bread"))
    less = bank.without(["Turn it into a poem."], ["say it  in FRENCH."])
    assert set(less.prompts) == set(TASKS) - {"Turn it into a poem.", "Say it in French."}
    assert {text for text, _ in less.nearest(asked, 9)} == set(less.prompts)
    assert {one.prompt for one in less.shown(asked, 9, 0)} <= set(less.prompts)
    assert len(bank) == len(TASKS)  # the bank itself keeps them
    assert less.digest != bank.digest == bank.without().digest


def test_a_group_with_a_known_prompt_is_kept_apart_from_it_and_its_like():
    near = [
        Known("Turn it into a poem!"),
        Known("Do turn it into a poem."),
        Known("Count to ten.", "Turn it into a poem."),
    ]
    known = make_bank([*solved(SOLVED), *near, Known("Draw a map.")], Grams())
    apart = known.apart_from(Group("g", (trace("Turn it into a poem.", "bread"),)))
    assert set(known.prompts) - set(apart.prompts) == {"Turn it into a poem.", "Count to ten.",
                                                       *(one.prompt for one in near)}  # fmt: skip
    assert known.apart_from(Group("g", (Trace("x", None, "y"),))).prompts == known.prompts


def test_a_neighbour_of_a_held_out_prompt_is_named_until_it_is_taken_out():
    planted = make_bank([*solved(SOLVED), Known("Turn it into a nice poem.")], Grams())
    held = ["Turn it into a nice poem", "Bake bread."]
    (leak,) = planted.leaks(held)
    assert (leak.held, leak.other) == (held[0], "Turn it into a nice poem.")
    assert leak.likeness > 0.8
    assert planted.without(prompts=held).leaks(held) == []


SENTENCES = st.lists(st.text("abcde ", min_size=3, max_size=14).filter(str.strip), min_size=1, max_size=8)


@given(SENTENCES, SENTENCES)
def test_whatever_is_held_out_has_no_neighbour_left(prompts: list[str], held: list[str]):
    plain = make_bank([Known(text) for text in prompts], Grams())
    assert plain.without(prompts=held).leaks(held) == []


@given(st.permutations(range(len(SOLVED))))
def test_what_is_near_does_not_hang_on_the_order_of_the_bank(order: list[int]):
    asked = group(trace("Make it a question.", "bread"))
    shuffled = make_bank(solved([SOLVED[at] for at in order]), Grams())
    assert shuffled.nearest(asked, 1)[0][0] == "Make it a question."
    found, expected = dict(shuffled.nearest(asked, 9)), dict(make_bank(solved(SOLVED), Grams()).nearest(asked, 9))
    assert found == pytest.approx(expected, abs=1e-4)


def test_attack_strings_and_gibberish_do_not_come_in():
    clean = make_bank([Known("Improve it lucrarealucrarea"), Known("Improve it."), Known("!!! ### 123")], Grams())
    assert (clean.prompts, clean.refused) == (["Improve it."], 2)


def test_spellings_of_one_prompt_are_one_entry_with_all_its_traces():
    one, two = trace("Say it in French.", "bread"), trace("Say it in French.", "winter", "other")
    doubled = make_bank([Known("say it in  french."), *solved([one, two])], Grams())
    (entry,) = doubled.entries
    assert (entry.prompt, entry.traces, entry.clusters) == ("say it in  french.", (one, two),
                                                            {"Say it in French.", "other"})  # fmt: skip


ROWS = [
    {"prompt": "Draw a map, \"now\".", "rewritten_text": "", "original_text": "", "cluster": "", "split": ""},
    {"prompt": "Sing.", "rewritten_text": "La, la\nla", "original_text": "x", "cluster": "7", "split": "train"},
    {"prompt": "Hide.", "rewritten_text": "…", "original_text": "y", "cluster": "8", "split": "test"},
]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["prompt", "rewrite_prompt"])
def test_a_bank_is_read_from_any_table(tmp_path: Path, kind: str, column: str):
    rows = [{column: row["prompt"], **{name: row[name] for name in row if name != "prompt"}} for row in ROWS]
    path = tmp_path / f"bank.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([{name: cell or None for name, cell in row.items()} for row in rows]), path)
    plain, song = read_bank(path)
    assert plain == Known('Draw a map, "now".')
    assert (song.prompt, song.cluster) == ("Sing.", "7")
    assert song.trace == Trace("bank-1", "x", "La, la\nla", "Sing.", cluster="7")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "x"}, "no column 'prompt'"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": 7}, "prompt must be text"),
        ({"prompt": "x", "split": "exam"}, "split must be train, dev or test"),
        ({"prompt": "x", "rewritten_text": ["y"]}, "rewritten_text must be text"),
        ({"prompt": "x", "split": "test"}, "no row is for a bank"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(tmp_path: Path, row: dict[str, object], words: str):
    path = tmp_path / "bank.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=words) as raised:
        read_bank(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
