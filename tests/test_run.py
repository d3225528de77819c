"""The run folder: whole files, one holder, and no other run in its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.store.files import write_whole
from promptmill.store.run import Run, difference, read_run
from promptmill.store.stage import Stage, digest

SCHEMA = pa.schema([("id", pa.string()), ("score", pa.float64())])


def test_a_run_is_made_continued_and_closed(tmp_path: Path):
    for session in range(2):
        with Run(tmp_path / "r", "eval", {"task": "t", "seed": 0}) as run:
            assert run.continued == (session == 1)
            run.metric(step=session)
            run.finish({"score": session})
    assert read_run(tmp_path / "r")["identity"] == {"task": "t", "seed": 0}
    assert json.loads((tmp_path / "r" / "report.json").read_text()) == {"score": 1}
    events = [json.loads(line)["event"] for line in (tmp_path / "r" / "events.jsonl").open()]
    assert events == ["session", "finished"] * 2
    assert (tmp_path / "r" / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_another_configuration_is_refused_and_the_difference_named(tmp_path: Path):
    Run(tmp_path / "r", "eval", {"sampling": {"top_p": 1.0}, "seed": 0}).close()
    with pytest.raises(InputError, match=r"sampling\.top_p=1\.0, now 0\.9"):
        Run(tmp_path / "r", "eval", {"sampling": {"top_p": 0.9}, "seed": 0})
    with pytest.raises(InputError, match="holds a run of 'eval'"):
        Run(tmp_path / "r", "breed", {})


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="something that is no run"):
        Run(tmp_path, "eval", {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_at_work_is_not_entered_twice(tmp_path: Path):
    code = f"""
import sys
from pathlib import Path
from promptmill.store.run import Run
run = Run(Path({str(tmp_path / "r")!r}), "eval", {{}})
print("held", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {holder.pid} is at work"):
        Run(tmp_path / "r", "eval", {})
    holder.stdin.close()
    holder.wait(10)
    holder.stdout.close()
    Run(tmp_path / "r", "eval", {}).close()


def test_a_run_whose_first_write_was_cut_off_begins_anew(tmp_path: Path):
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / ".run.json.123.part").write_text('{"cra')
    with Run(folder, "eval", {}) as run:
        assert not run.continued


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path: Path):
    path = tmp_path / "f"
    path.write_text("old")

    def broken(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, broken)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"f": "old"}


def test_a_shard_written_twice_is_the_same_bytes(tmp_path: Path):
    stage = Stage(tmp_path / "s", SCHEMA)
    rows = [{"id": str(i), "score": i / 7} for i in range(50)]
    assert not stage.done(3)
    stage.write(3, rows)
    first = stage.path(3).read_bytes()
    stage.write(3, rows)
    assert stage.done(3)
    assert stage.path(3).read_bytes() == first
    assert list(stage.rows()) == rows


def test_a_damaged_shard_is_named(tmp_path: Path):
    stage = Stage(tmp_path, SCHEMA)
    stage.path(0).write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match=r"part-00000\.parquet: cannot be read"):
        list(stage.rows())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_a_difference_is_told_exactly_where_there_is_one(a: object, b: object):
    same = {"x": a} == {"x": b}
    # A missing key and a key of None are one setting: nothing said.
    if same:
        assert difference({"x": a}, {"x": b}) == ""
    if difference({"x": a}, {"x": b}):
        assert not same
        assert digest({"x": a}) != digest({"x": b})


def test_what_a_killed_session_was_writing_is_gone_when_the_run_goes_on(tmp_path: Path):
    with Run(tmp_path / "r", "eval", {"task": "t"}) as run:
        left = run.folder / "stages" / "answers" / ".part-00002.parquet.7806.part"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
    with Run(tmp_path / "r", "eval", {"task": "t"}):
        assert not left.exists()
