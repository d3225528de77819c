"""Traces and their files: what is written is read again, and what cannot be used is told with file and row."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptmill.crafts.recover.traces import COLUMNS, Trace, groups_of, read_traces, write_traces
from promptmill.errors import InputError
from promptmill.tasks.task import SPLITS

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip)
awkward = st.sampled_from(
    ['"', '""', "a\nb", "a\r\nb", "a\rb", "a,b;c\td", "a\u2028b", "NULL", "nan", "1", "'", "{x}", "é東👩‍👩‍👧"]
)
some = st.one_of(texts, awkward)
maybe = st.one_of(st.none(), some)
traces = st.lists(
    st.builds(
        Trace, id=some, original=maybe, rewritten=some, prompt=maybe, group=maybe,
        split=st.sampled_from([None, *SPLITS]), cluster=maybe, generator=maybe,
    ),
    min_size=1, max_size=6, unique_by=lambda one: one.id,
)  # fmt: skip
files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@files
@given(several=traces)
def test_what_is_written_is_read_again(tmp_path: Path, ending: str, several: list[Trace]):
    write_traces(tmp_path / f"t{ending}", several)
    assert read_traces(tmp_path / f"t{ending}") == several


def test_a_csv_has_the_columns_of_the_competition_first(tmp_path: Path):
    write_traces(tmp_path / "t.csv", [Trace("7", "a", "b, c", 'say "b"')])
    header, line = (tmp_path / "t.csv").read_text().splitlines()
    assert header.split(",")[:4] == list(COLUMNS)
    assert line.startswith('7,a,"b, c","say ""b"""')


def test_a_name_of_another_kind_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"t\.txt: must end in \.csv, \.jsonl or \.parquet"):
        write_traces(tmp_path / "t.txt", [])


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_without_an_id_are_numbered(tmp_path: Path):
    path = lines(tmp_path / "t.jsonl", {"rewritten_text": "a"}, {"rewritten_text": "b", "id": 17, "more": [1]})
    assert [one.id for one in read_traces(path)] == ["0", "17"]


def test_a_parquet_file_of_another_hand_is_read(tmp_path: Path):
    table = {"id": [3, 4], "rewritten_text": ["a", "b"], "original_text": [None, "o"], "cluster": [1.0, float("nan")]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    assert read_traces(tmp_path / "t.parquet") == [
        Trace("3", None, "a", cluster="1.0"), Trace("4", "o", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"original_text": "a", "id": "1"}, "no column 'rewritten_text' (columns: original_text, id)"),
        ({"rewritten_text": " \n"}, "the rewritten_text is empty; there is nothing to recover"),
        ({"rewritten_text": None}, "the rewritten_text is empty"),
        ({"rewritten_text": ["a"]}, "rewritten_text must be text, not list"),
        ({"rewritten_text": "a", "original_text": True}, "original_text must be text, not bool"),
        ({"rewritten_text": "a", "split": "Test"}, "split must be train, dev or test, not 'Test'"),
        ({"rewritten_text": "a\ud800"}, "rewritten_text holds half a surrogate pair"),
        ({"rewritten_text": "b", "id": "0"}, "the id '0' stands in line 1 too; ids must differ"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, object], words: str):
    path = lines(tmp_path / "t.jsonl", {"rewritten_text": "fine"}, row)
    with pytest.raises(InputError) as said:
        read_traces(path)
    assert str(said.value).startswith(f"{path}, line 2: ")
    assert words in str(said.value)
    assert "\n" not in str(said.value)


def test_an_empty_text_can_be_let_through_and_a_prompt_asked_for(tmp_path: Path):
    path = lines(tmp_path / "t.jsonl", {"rewritten_text": "", "rewrite_prompt": "p"}, {"rewritten_text": "x"})
    assert [one.rewritten for one in read_traces(path, allow_empty=True)] == ["", "x"]
    with pytest.raises(InputError, match="line 2: there is no rewrite_prompt"):
        read_traces(path, allow_empty=True, need_prompt=True)


def test_an_empty_or_missing_file_is_told(tmp_path: Path):
    (tmp_path / "t.csv").write_text("id,rewritten_text\n")
    with pytest.raises(InputError, match="holds no examples"):
        read_traces(tmp_path / "t.csv")
    with pytest.raises(InputError, match="there is no file"):
        read_traces(tmp_path / "u.csv")


# Groups


def test_traces_of_one_group_stand_together_and_others_alone():
    several = [Trace("a", None, "1", "p", "g"), Trace("b", None, "2"), Trace("c", None, "3", "p", "g", cluster="k")]
    groups = groups_of(several)
    assert [(one.id, [trace.id for trace in one.traces]) for one in groups] == [("g", ["a", "c"]), ("b", ["b"])]
    assert (groups[0].prompt, groups[1].prompt, groups[0].cluster) == ("p", None, None)


@given(traces)
def test_every_trace_is_in_one_group(several: list[Trace]):
    plain = [Trace(one.id, None, one.rewritten, "p", f"g{one.group}" if one.group else None) for one in several]
    if {one.id for one in plain if one.group is None} & {one.group for one in plain}:
        return
    groups = groups_of(plain)
    assert sorted(trace.id for group in groups for trace in group.traces) == sorted(one.id for one in plain)
    assert len({group.id for group in groups}) == len(groups)


def test_a_group_of_two_prompts_is_refused():
    with pytest.raises(InputError, match=r"group 'g': its traces have different prompts \('p', 'q'\)"):
        groups_of([Trace("a", None, "1", "p", "g"), Trace("b", None, "2", "q", "g")])
    with pytest.raises(InputError, match="group 'g': its traces have different prompts"):
        groups_of([Trace("a", None, "1", "p", "g"), Trace("b", None, "2", None, "g")])


def test_a_group_with_the_name_of_a_trace_outside_it_is_refused():
    with pytest.raises(InputError, match="'b' is the name of a group and the id of a trace outside it"):
        groups_of([Trace("a", None, "1", "p", "b"), Trace("b", None, "2")])
