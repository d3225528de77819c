"""Base prompts of one's own, from files; what cannot be used is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from promptmill.crafts.rewrite.synthesize.prompts_file import read_prompts
from promptmill.errors import InputError
from promptmill.tasks.load import load_task


def test_prompts_come_from_files_of_several_kinds(tmp_path: Path):
    (tmp_path / "p.jsonl").write_text(
        '{"prompt": "Add the numbers.", "domain": "sums", "intent": "adding", "inputs": ["1 2", 3], '
        '"golds": ["3", ["3", "three"]]}\n'
        '{"text": "Sing."}\n{"prompt": "Shout it.", "task": "uppercase", "split": "test"}\n'
    )
    (tmp_path / "p.csv").write_text(
        'prompt,inputs,golds,split\nAdd.,"[""1 2"", ""2 3""]","[""3"", null]",dev\nSing.,,,\nHum.,a tune,,\n'
    )
    columns = {"prompt": ["Add."], "inputs": [["1 2"]], "golds": [[["3", "three"]]], "split": [None]}
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    add, sing, shout = read_prompts(tmp_path / "p.jsonl")
    assert (add.domain, add.intent) == ("sums", "adding")
    assert [(one.input, one.gold) for one in add.inputs] == [("1 2", ("3",)), ("3", ("3", "three"))]
    assert (sing.text, sing.domain, sing.intent, sing.inputs, sing.split) == ("Sing.", "given", "Sing.", (), None)
    task = load_task("uppercase")
    assert (shout.domain, shout.intent, shout.task) == (task.name, task.description, "uppercase")
    add, sing, hum = read_prompts(tmp_path / "p.csv")
    assert [(one.input, one.gold) for one in add.inputs] == [("1 2", ("3",)), ("2 3", None)]
    assert (add.split, sing.inputs, [one.input for one in hum.inputs]) == ("dev", (), ["a tune"])
    assert [one.inputs[0].gold for one in read_prompts(tmp_path / "p.parquet")] == [("3", "three")]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"promt": "x"}, "there is no column 'prompt' (columns: promt)"),
        ({"prompt": " "}, "the prompt is empty"),
        ({"text": None}, "the text is empty"),
        ({"prompt": 3}, "prompt must be text, not int"),
        ({"prompt": "x", "task": "nonesuch"}, "task nonesuch: there is no built-in task"),
        ({"prompt": "x", "split": "Test"}, "split must be train, dev or test, not 'Test'"),
        ({"prompt": "x", "inputs": {"a": 1}}, "inputs must be a list of texts, not dict"),
        ({"prompt": "x", "inputs": [[1]]}, "inputs must be a list of texts, but it holds list"),
        ({"prompt": "x", "inputs": ["a", " "]}, "one of the inputs is empty"),
        ({"prompt": "x", "inputs": ["a"], "golds": ["b", "c"]}, "2 golds for 1 inputs"),
        ({"prompt": "x", "inputs": ["a"], "golds": [[]]}, "one of the golds is empty"),
        ({"prompt": "x\ud800"}, "prompt holds half a surrogate pair"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], said: str):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "fine"}\n' + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=f"p.jsonl, line 2: {re.escape(said)}") as caught:
        read_prompts(path)
    assert "\n" not in str(caught.value)


def test_a_file_of_prompts_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="there is no file"):
        read_prompts(tmp_path / "none.jsonl")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(InputError, match=r"p\.parquet: cannot be read as parquet"):
        read_prompts(tmp_path / "p.parquet")
