"""The page of a report: all that was found is on it, nothing is drawn from elsewhere, and texts stay texts."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import promptmill as pm
from promptmill.crafts.breed.page import breed_page
from promptmill.measure.page import eval_page
from promptmill.report.blocks import (
    BarPlot,
    Block,
    Examples,
    Facts,
    LinePlot,
    Page,
    Series,
    Shown,
    Step,
    Table,
    Text,
    Tree,
    Verdict,
    WordDiff,
)
from promptmill.report.diff import word_diff
from promptmill.report.html import MOST, render
from promptmill.report.plot import axes, nice_ticks, ruler
from promptmill.store.run import Run
from tests.test_breed import scripted, task

NASTY = "</p><script>alert(1)</script><img src=https://x.org/y onerror='a()'>{{ 7 * 7 }}{% raw %}&amp;\"'"


class Reader(HTMLParser):
    """What a browser would see: tags with their attributes, and the text of the body."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.said += data


def read(*blocks: Block, **more: str) -> Reader:
    page = Page(**{"title": "a title", "subtitle": "a subtitle", **more}, blocks=blocks)
    reader = Reader(render(page))
    assert reader.open == []
    return reader


def classes(reader: Reader, name: str) -> int:
    return sum(name in (attrs.get("class") or "").split() for _, attrs in reader.tags)


def everywhere(text: str) -> list[Block]:
    """Every kind of block with `text` wherever a text can be."""
    more = {"title": text, "note": text}
    return [
        Facts([(text, text), ("n", 3), ("x", 0.5), ("none", None)], **more),
        Verdict(text, "good", 0.1, 0.05, 0.2, **more),
        Table([text, "n"], [[text, 1], [None, 2]], [1], **more),
        LinePlot([Series(text, [(0, 0.1), (10, 0.5)]), Series(text, [(5, 0.2)], "dots")], text, text, **more),
        BarPlot([(text, 3), ("b", 1)], text, **more),
        WordDiff("before", text, (text, text), **more),
        Tree(Step(text, text, [(text, text)], children=[Step("a", text), Step("b", text, strong=True)]), **more),
        Examples({text: [Shown(text, text, text, text), Shown(text, text, None)]}, (text, text), **more),
        Text(text, verbatim=True, name=text, **more),
    ]


def test_what_a_prompt_says_is_shown_and_never_acted_upon():
    reader = read(*everywhere(NASTY), title=NASTY, subtitle=NASTY, craft=NASTY)
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "img", "link", "iframe", "object", "form", "a", "base"}
    assert not any(name.startswith("on") or name in ("src", "href") for _, attrs in reader.tags for name in attrs)
    assert reader.said.count(NASTY) > 30


@given(st.text(min_size=1))
def test_no_text_breaks_the_page_or_brings_a_tag(text):
    plain, reader = read(*everywhere("x")), read(*everywhere(text))
    marks = ("ins", "del", "i")  # these depend on the words
    counted = [[tag for tag, _ in one.tags if tag not in marks] for one in (plain, reader)]
    assert counted[0] == counted[1]
    render(Page("t", "s", everywhere(text))).encode("utf-8")


def test_the_page_needs_nothing_from_elsewhere():
    html = render(Page("title", "sub", everywhere("words")))
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<script|<link|\bsrc=|\bhref=", html)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_a_table_of_many_columns_is_set_closer():
    for count, wide in ((6, 0), (7, 1)):
        reader = read(Table([f"c{at}" for at in range(count)], [["name", *[0.5] * (count - 1)]]))
        assert classes(reader, "wide") == wide


def test_control_codes_and_turned_writing_are_shown_as_signs():
    said = read(Text("\x1b[31m\x00 \u202egnirts \ud800 a\tb\nc", verbatim=True)).said
    assert "\u241b[31m\u2400 \ufffdgnirts \ufffd a\tb\nc" in said


def test_numbers_are_set_alike_and_flush_right():
    reader = read(Table(["what", "score", "n"], [["a", 0.12345, 12345], ["b", -0.5, None], ["c", math.nan, 3]]))
    assert all(text in reader.said for text in ("0.123", "12,345", "\u22120.500"))
    assert reader.said.count("\u2013") == 2
    assert classes(reader, "n") == 2 + 6


def test_a_verdict_without_an_interval_is_a_sentence():
    reader = read(Verdict("Not proved."))
    assert "Not proved." in reader.said
    assert "svg" not in {tag for tag, _ in reader.tags}


def test_the_interval_stands_where_it_belongs():
    around = ruler(Verdict("", value=0.05, lo=-0.05, hi=0.1))
    assert around is not None
    assert (around.lo, around.zero, around.value, around.hi) == pytest.approx((25, 50, 75, 100))
    assert [tick.label for tick in around.ticks] == ["\u22120.10", "\u22120.05", "0.00", "+0.05", "+0.10"]
    whole = ruler(Verdict("", value=0.25, lo=0.0, hi=0.5, whole=True))
    assert whole is not None
    assert (whole.value, whole.lo, whole.hi, whole.zero) == (25, 0, 50, None)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_no_interval_leaves_its_scale(a, b, c):
    lo, value, hi = sorted((a, b, c))
    drawn = ruler(Verdict("", value=value, lo=lo, hi=hi))
    assert drawn is not None
    assert -1e-6 <= drawn.lo <= drawn.value <= drawn.hi <= 100 + 1e-6


def test_an_axis_of_rounds_has_no_halves():
    drawn = axes(LinePlot([Series("value", [(0, 0.25), (1, 0.5), (2, 0.75)])], "round", "value", title="Rounds"))
    assert drawn is not None
    assert [tick.label for tick in drawn.x] == ["0", "1", "2"]
    halves = axes(LinePlot([Series("value", [(0.5, 0.25), (2, 0.75)])], "strength", "value", title="Strengths"))
    assert halves is not None
    assert halves.x[1].label == "1.0"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_are_few_round_and_span_the_values(a, b):
    lo, hi = sorted((a, b))
    ticks = nice_ticks(lo, hi)
    assert 2 <= len(ticks) <= 8
    slack = 1e-6 * max(1.0, abs(lo), abs(hi))
    assert ticks[0] <= lo + slack
    assert ticks[-1] >= hi - slack


def test_a_plot_keeps_to_its_bounds_and_draws_what_is_there():
    plot = LinePlot([Series("s", [(100, 1.0), (200, 1.0)], "steps"), Series("none", [])], "calls", "score", (0, 1))
    drawn = axes(plot)
    assert drawn is not None
    assert [tick.label for tick in drawn.y][-1] == "1.00"
    assert [one.path for one in drawn.drawn] == ["M0.00 0.00H100.00V0.00"]
    assert axes(LinePlot([Series("s", [(1, math.nan)])], "x", "y")) is None
    assert "svg" not in {tag for tag, _ in read(LinePlot([], "x", "y")).tags}


def test_bars_are_as_long_as_their_values():
    reader = read(BarPlot([("right", 30), ("wrong", 10), ("none", 0)], "answers"))
    widths = [float(attrs["width"] or "") for tag, attrs in reader.tags if tag == "rect"]
    assert widths == pytest.approx([100, 100 / 3, 0])


def test_words_lost_and_gained_are_marked():
    left, right = word_diff("Add the numbers.", "Add up all the numbers, step by step.")
    assert [text for changed, text in left if changed] == []
    assert [text for changed, text in right if changed] == ["up all", ", step by step"]
    assert [text for changed, text in word_diff("我喜欢茶", "我喜欢喝茶")[1] if changed] == ["喝"]
    reader = read(WordDiff("be brief", "be exact"))
    assert [tag for tag, _ in reader.tags if tag in ("ins", "del")] == ["del", "ins"]


@given(st.text(), st.text())
def test_a_diff_loses_nothing(before, after):
    left, right = word_diff(before, after)
    assert "".join(text for _, text in left) == before
    assert "".join(text for _, text in right) == after
    if before == after:
        assert not any(changed for changed, _ in left + right)


def test_a_tree_is_set_in_only_where_it_forks():
    leaves = [Step("left", "x"), Step("right", "y", strong=True)]
    line = Step("fork", "c", [("score", 0.5)], children=leaves)
    for name in "ba":
        line = Step("step", name, children=[line])
    reader = read(Tree(line))
    assert sum(tag == "ol" for tag, _ in reader.tags) == 3
    assert classes(reader, "label") == 5
    assert classes(reader, "strong") == 1
    deep = Step("end", "z")
    for _ in range(2000):
        deep = Step("step", "z", children=[deep])
    assert classes(read(Tree(deep)), "label") == 2001


def test_long_answers_are_cut_and_missing_ones_named():
    shown = [Shown("q" * (MOST + 1234), "g", None, " ")]
    said = read(Examples({"gained": shown}, ("seed", "best"))).said
    assert "1,234 more characters" in said
    assert "no answer" in said
    assert "empty" in said


@pytest.fixture(scope="module")
def bred() -> dict:
    return pm.breed(task(), scripted(), strategy="paper", generations=6)


def test_the_page_of_a_breed_shows_all_of_it(bred: dict):
    html = render(breed_page(bred))
    reader = Reader(html)
    for title in ("The prompt", "Finalists", "The search", "How the best prompt came about", "Operators", "Spend",
                  "Mutation prompts that paid", "Test examples gained and lost"):  # fmt: skip
        assert title in reader.said
    assert bred["verdict"][1:] in reader.said
    assert bred["best_prompt"]["system"] in reader.said
    assert f"Gained: 5 of {bred['test']['wins']:,}" in reader.said
    assert classes(reader, "example") == len(bred["examples"]["gained"]) + len(bred["examples"]["lost"])
    assert classes(reader, "label") == len(bred["lineage"])
    assert {"ins", "svg", "table"} <= {tag for tag, _ in reader.tags}


@pytest.mark.parametrize("search", [{"calls": 300}, {"strategy": "paper", "generations": 3}])
def test_what_was_gained_and_lost_is_read_from_the_record(search: dict):
    model = scripted()
    result = pm.breed(task(), model, **search)
    paid = model.ledger.paid.calls
    golds = {example.id: example.gold[0] for example in task().test}
    rows = result["examples"]["gained"]
    assert rows
    for row in rows:
        assert row["after"] == row["gold"] == golds[row["id"]]
        assert row["before"] == "-1"
    assert paid == result["paid"]["calls"]


def test_a_report_has_a_page_whatever_is_missing_from_it(bred: dict):
    assert render(breed_page({}))
    for key in bred:
        Reader(render(breed_page({name: value for name, value in bred.items() if name != key})))
        Reader(render(breed_page(bred | {key: None})))
    same = bred | {"best_prompt": bred["seed_prompt"], "examples": None}
    assert "The prompt, as it was" in Reader(render(breed_page(same))).said


def test_a_breed_without_any_answer_has_a_page(bred: dict):
    empty = {"seed": None, "best": None, "gain": None, "lo": None, "hi": None, "p": None, "n": 0}
    verdict = "not proved: the seed prompt got no answer on dev"
    reader = Reader(render(breed_page(bred | {"verdict": verdict, "test": empty, "dev": empty, "stopped": "why"})))
    assert verdict[1:] in reader.said
    assert "why" in reader.said


def test_the_page_of_an_evaluation_counts_what_came_back():
    base = {"input": "2 + 2", "gold": "4", "answer": "4", "parsed": "4", "score": 1.0, "failure": None, "detail": None}
    rows = [base, base | {"score": 0.0, "answer": "5"}, base | {"score": 0.5, "answer": "4 or 5"},
            base | {"score": 0.0, "parsed": None, "answer": "hm"},
            base | {"score": None, "parsed": None, "answer": None, "failure": "timeout", "detail": "60 s"}]  # fmt: skip
    report = {"task": "sums", "split": "test", "scorer": "number", "model": "m", "score": 0.375, "lo": 0.1, "hi": 0.7,
              "examples": 5, "asked": 5, "answered": 4, "unparsed": 1, "failures": {"timeout": 1}, "stopped": None,
              "prompt": {"system": "Add.", "user": "{input}", "prefix": "", "demos": []}, "warnings": ["odd words"],
              "calls": {"task": 5}, "tokens": {"prompt": 1, "completion": 2}, "cost": 0.25,
              "paid": {"calls": 9, "tokens": 3, "cost": 0.5}}  # fmt: skip
    reader = Reader(render(eval_page(report, iter(rows))))
    for text in ("right", "in part", "wrong", "unparsed", "failed: timeout", "[failed: timeout: 60 s]", "4 or 5",
                 "Score 0.375 (number)", "odd words", "$0.2500", "calls paid in all", "Add."):  # fmt: skip
        assert text in reader.said
    assert classes(reader, "example") == 4
    none = report | {"score": None, "lo": None, "hi": None}
    assert "No answer came" in Reader(render(eval_page(none, []))).said


def test_a_run_keeps_its_report_where_the_page_fails_and_leaves_no_half_page(tmp_path: Path):
    def broken(report: dict) -> str:
        raise RuntimeError("no page")

    with Run(tmp_path / "r", "eval", {"a": 1}) as run:
        with pytest.raises(RuntimeError):
            run.finish({"x": 1}, broken)
        assert (run.folder / "report.json").exists()
        run.finish({"x": 2}, lambda report: f"<p>{report['x']}</p>")
        assert (run.folder / "report.html").read_text() == "<p>2</p>"
        assert not list(run.folder.glob(".*.part"))
