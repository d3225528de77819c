"""What is a trace and what is none: failures, repeats and long texts; how the model is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.recover.config import RankConfig, RecoverConfig
from promptmill.crafts.recover.layout import messages
from promptmill.crafts.recover.synthesize.prompts import GivenPrompt
from promptmill.crafts.recover.synthesize.synthesize import Synthesized
from promptmill.model.chat import CallError, Completion, Request
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend
from tests.synthesizing_traces import OWN, SMALL, Say, made, table, words_of


class Cuts(ScriptedBackend):
    """Answers that begin with "…" were cut at the limit."""

    async def complete(self, request: Request) -> Completion:
        came = await super().complete(request)
        if not came.text.startswith("…"):
            return came
        return replace(came, answers=tuple(replace(one, finish="length") for one in came.answers))


def one_prompt(tmp_path: Path, say: Say, **more: Any) -> Synthesized:
    """Of one prompt and six texts, by default without variations."""
    config = SMALL.model_copy(update={"texts": 6, "variations": 0} | more)
    main = Model(Cuts(say, name="main", fingerprint="main"), attempts=1)
    return made(tmp_path, main=main, config=config, intents=[], prompts=[GivenPrompt("Turn {it} round.")],
                originals=OWN)  # fmt: skip


def test_what_fails_is_a_row_with_the_reason(tmp_path: Path):
    def moody(request: Request) -> str:
        text = request.messages[-1][1]
        number = OWN.index(text)
        if number == 0:
            raise CallError("refused", "I would\nrather not")
        said = ["", " ", "… and so on", f"Sure, here is the rewritten text:\n\n{text}", "a b", text[::-1]]
        return said[number]

    out = one_prompt(tmp_path, moody)
    assert [one.rewritten for one in out.traces] in ([OWN[5][::-1], "a b"], ["a b", OWN[5][::-1]])
    assert {row["original_id"]: row["reason"] for row in table(tmp_path, "dropped")} == {
        0: "refused: I would rather not",
        1: "empty: there is no text in the answer",
        2: "cut_off: not at its end after 64 tokens",
        3: "unchanged: nearly the same as the original",
    }
    assert out.report["traces"]["dropped"] == {"refused": 1, "empty": 1, "cut_off": 1, "unchanged": 1}
    assert out.report["traces"]["shares"]["empty"] == pytest.approx(1 / 6)
    assert out.report["warnings"][0] == "of 6 rewritten texts 2 are traces (1 unchanged, 1 cut_off, 1 empty, 1 refused)"
    assert out.report["failures"]["rewritten"] == {"refused": 1, "empty": 1, "cut_off": 1, "unchanged": 1}


def test_a_text_that_comes_of_several_originals_counts_once(tmp_path: Path):
    out = one_prompt(
        tmp_path, lambda request: f"What should I do with this text{'?' * (len(request.messages[-1][1]) % 2)}"
    )
    assert len(out.traces) == 1
    assert out.report["traces"]["dropped"] == {"repeats": 5}
    rows = table(tmp_path, "dropped")
    assert {row["like"] for row in rows} == {out.traces[0].id}
    assert all(row["likeness"] >= 0.9 for row in rows)
    assert any("of 6 rewritten texts 1 are traces (5 repeats)" in line for line in out.report["warnings"])


def test_a_short_answer_may_come_of_several_originals(tmp_path: Path):
    assert len(one_prompt(tmp_path, lambda request: "seven").traces) == 6


def test_what_two_prompts_make_of_one_original_may_be_the_same_and_is_told(tmp_path: Path):
    def turns(request: Request) -> str:
        return " ".join(reversed(request.messages[-1][1].split()))

    out = made(tmp_path, main=turns, intents=[], prompts=[GivenPrompt("Turn it round.")], originals=OWN)
    assert len(out.traces) == 9
    assert out.report["traces"]["ambiguous"] == 1.0
    assert any("100% of the traces have a text that another prompt made" in line for line in out.report["warnings"])


def test_a_long_text_is_cut_in_the_middle_before_and_after(tmp_path: Path):
    seen: list[str] = []

    def twice(request: Request) -> str:
        seen.append(request.messages[-1][1])
        return " ".join(f"{word} so {word}" for word in seen[-1].split())

    out = made(tmp_path, main=twice, config=SMALL.model_copy(update={"longest": 8, "texts": 1}), intents=[],
               prompts=[GivenPrompt("Twice.")], originals=[" ".join(map(str, range(20)))])  # fmt: skip
    assert set(seen) == {"0 1 2 3 … 17 18 19"}
    assert out.traces[0].original == seen[0]
    assert out.traces[0].rewritten == "0 so 0 1 … 19 so 19"


@pytest.mark.parametrize("layout", ["system", "user", "text_first"])
def test_the_model_is_asked_in_the_layout_word_for_word(tmp_path: Path, layout: Any):
    seen = []

    def notes(request: Request) -> str:
        seen.append(request.messages)
        return f"{words_of(len(seen))} {words_of(len(seen) + 50)} and more"

    config = SMALL.model_copy(update={"texts": 1, "variations": 0})
    made(tmp_path, main=notes, config=config, intents=[], prompts=[GivenPrompt('Say {it} as {"json": 1}.')],
         originals=OWN[:1], whole=RecoverConfig(rank=RankConfig(layout=layout)))  # fmt: skip
    assert seen == [messages(layout, 'Say {it} as {"json": 1}.', OWN[0])]


def test_layouts():
    assert messages("system", "p", "o") == (("system", "p"), ("user", "o"))
    assert messages("user", "p", "o") == (("user", "p\n\no"),)
    assert messages("text_first", "p", "o") == (("user", "o\n\np"),)
    assert {messages(layout, "p", None) for layout in ("system", "user", "text_first")} == {(("user", "p"),)}
