import json
import subprocess
import sys
import tracemalloc

import pytest

from promptmill.errors import InputError
from promptmill.prompt import Prompt
from promptmill.tasks.load import builtin_tasks, load_task


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def rows(path, count=40, start=0):
    lines = (
        json.dumps({"n": i, "text": f"text {i}", "label": i % 2, "note": "x"}) for i in range(start, start + count)
    )
    return write(path, "\n".join(lines))


def task_file(folder, text, count=40):
    rows(folder / "data.jsonl", count)
    return write(folder / "task.yaml", text)


FULL = """
name: parity
description: Is the number even or odd?
data: data.jsonl
format: jsonl
fields: {sentence: text, remark: note}
id: n
gold: label
gold_map: {0: yes, 1: no}
scorer: {type: f_beta, beta: 0.5, positive: yes}
choices: [yes, no]
prompt: {system: "Even? {remark}", user: "{sentence}", prefix: "Well,", 
  demos: [{fields: {sentence: text 2, remark: y}, answer: yes}]}
split: {train: 0.5, dev: 0.25, test: 0.25, seed: 3}
"""


def test_a_task_file_decides_everything(tmp_path):
    task = load_task(task_file(tmp_path, FULL))
    example = next(e for e in task.split("all") if e.id == "4")
    assert (example.fields, example.gold) == ({"sentence": "text 4", "remark": "x"}, ("yes",))
    assert (task.name, task.description, task.choices) == ("parity", "Is the number even or odd?", ("yes", "no"))
    assert task.scorer.name == "f_beta"
    assert (task.prompt.prefix, task.prompt.demos[0].answer) == ("Well,", "yes")
    assert len(task.train) > len(task.test)


def test_a_task_file_needs_only_data(tmp_path):
    task = load_task(task_file(tmp_path, "data: data.jsonl"))
    assert (task.name, task.scorer.name, task.choices) == (tmp_path.name, "choice", ("0", "1"))
    assert task.prompt == Prompt("Answer with one of: 0, 1.", "{text}")


def test_parts_of_the_prompt_may_be_left_to_the_format(tmp_path):
    task = load_task(task_file(tmp_path, "data: data.jsonl\nprompt: {user: 'Text: {text}'}"))
    assert task.prompt == Prompt("Answer with one of: 0, 1.", "Text: {text}")


def test_gold_pattern_cuts_the_gold_out(tmp_path):
    write(tmp_path / "d.csv", "input,answer\na,so <b>12</b> then\nb,<b>7</b>\n")
    path = write(tmp_path / "t.yml", "data: d.csv\ngold_pattern: '<b>(\\d+)</b>'")
    assert sorted(e.gold[0] for e in load_task(path).split("all")) == ["12", "7"]


def test_columns_may_lie_in_objects(tmp_path):
    write(tmp_path / "d.jsonl", '{"q": {"stem": "2+2", "n": 1}, "a": {"text": ["4", "four"]}}\n')
    path = write(tmp_path / "t.yaml", "data: d.jsonl\nfields: {input: q.stem}\ngold: a.text")
    (example,) = load_task(path).split("all")
    assert (example.fields, example.gold) == ({"input": "2+2"}, ("4", "four"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: data.jsonl\nfield: {a: b}", r"task.yaml: unknown key 'field' \(known: name, description, data"),
        ("data: {trian: a}", r"unknown key 'data.trian' \(known: train, dev, test, file\)"),
        ("data: data.jsonl\nsplit: {valid: 1}", r"unknown key 'split.valid' \(known: train, dev, test, seed\)"),
        ("name: x", "the key 'data' is missing"),
        ("data: {}", "task.yaml: data: name a file"),
        ("data: data.jsonl\nname: [", "task.yaml, line 2: not YAML"),
        ("- a\n- b", "mapping of keys"),
        ("data: none.jsonl", r"there is no file .*none\.jsonl"),
        ("data: data.jsonl\nformat: xml", "task.yaml: format: input should be"),
        ("data: data.jsonl\ngold: klass", r"line 1: there is no column 'klass' \(columns: n, text, label, note\)"),
        ("data: data.jsonl\nfields: {input: body}", r"no column 'body' \(columns"),
        ("data: data.jsonl\nid: key", r"no column 'key' \(columns"),
        ("data: data.jsonl\nid: note", "data.jsonl: the id 'x' stands twice, at line 1 and line 2"),
        ("data: data.jsonl\ngold_map: {0: even}", r"data.jsonl, line 2: the gold '1' is not in gold_map \(it has: 0\)"),
        ("data: data.jsonl\ngold_pattern: '('", "gold_pattern is no regular expression"),
        ("data: data.jsonl\ngold_pattern: 'z'", "line 1: gold_pattern finds nothing in the gold '0'"),
        ("data: data.jsonl\nscorer: exakt", "task.yaml: unknown scorer 'exakt'"),
        (
            "data: data.jsonl\nprompt: {demos: [{fields: {a: b}, answer: c}]}",
            r"task.yaml: the prompt has a hole \{text\}",
        ),
        ("data: data.jsonl\nprompt: {user: '{body}'}", r"task.yaml: the prompt has a hole \{body\}"),
        ("data: data.jsonl\nprompt: {usr: 'x'}", "prompt: unknown key 'usr'"),
        ("data: data.jsonl\nsplit: {train: 0, dev: 0, test: 0}", "shares must be 0 or more"),
    ],
)
def test_a_wrong_task_file_gets_one_line_that_says_where(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_task(task_file(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_files_of_their_own_for_each_split_and_a_dev_split_cut_from_train(tmp_path):
    rows(tmp_path / "train.jsonl", 60)
    rows(tmp_path / "test.jsonl", 20, start=100)
    task = load_task(write(tmp_path / "t.yaml", "data: {train: train.jsonl, test: test.jsonl}"))
    assert len(task.test) == 20
    assert len(task.train) + len(task.dev) == 60
    assert len(task.dev) in range(8, 35)
    assert len({example.id for example in task.split("all")}) == 80


def test_an_example_in_two_split_files_is_refused(tmp_path):
    rows(tmp_path / "train.jsonl", 60)
    rows(tmp_path / "test.jsonl", 20, start=50)
    with pytest.raises(InputError, match=r"test.jsonl, line 1: this example is also in the train file"):
        load_task(
            write(
                tmp_path / "t.yaml", "data: {train: train.jsonl, test: test.jsonl}\nfields: {input: text}\ngold: label"
            )
        )


def test_a_limit_takes_the_first_rows_and_changes_neither_scorer_nor_choices(tmp_path):
    path = rows(tmp_path / "d.jsonl", 40)
    task, few = load_task(path), load_task(path, limit_rows=3)
    assert len(few.split("all")) == 3
    assert (few.choices, few.scorer) == (task.choices, task.scorer)
    assert {e.fields["text"] for e in few.split("all")} == {"text 0", "text 1", "text 2"}
    with pytest.raises(InputError, match="1 or more"):
        load_task(path, limit_rows=0)


def test_added_shuffled_and_doubled_rows_move_nobody(tmp_path):
    lines = [json.dumps({"input": f"q{i}", "gold": f"a{i}"}) for i in range(60)]
    before = load_task(write(tmp_path / "a.jsonl", "\n".join(lines)))
    after = load_task(
        write(tmp_path / "b.jsonl", "\n".join([*reversed(lines), *lines[:5], '{"input": "new", "gold": "n"}']))
    )
    for part in ("train", "dev", "test"):
        old, new = ({e.id for e in task.split(part)} for task in (before, after))
        assert old <= new
        assert {e.fields["input"] for e in after.split(part)} - {e.fields["input"] for e in before.split(part)} <= {
            "new"
        }
    doubled = [e.id for e in after.split("all") if e.id.endswith("-2")]
    assert len(doubled) == 5


def test_the_fingerprint_follows_content_and_not_the_name(tmp_path):
    path = task_file(tmp_path, "data: data.jsonl")
    first = load_task(path).fingerprint
    assert len(first) == 64
    assert load_task(path).fingerprint == first
    assert load_task(write(tmp_path / "t2.yaml", "data: data.jsonl\nname: other")).fingerprint == first
    for change in (
        "prompt: {prefix: So}",
        "scorer: exact",
        "split: {seed: 1}",
        "description: other",
        "gold_map: {0: a, 1: b}",
    ):
        assert load_task(write(tmp_path / "t3.yaml", f"data: data.jsonl\n{change}")).fingerprint != first


def test_an_unknown_or_empty_split_names_the_sizes(tmp_path):
    task = load_task(task_file(tmp_path, "data: data.jsonl\nsplit: {dev: 0}"))
    with pytest.raises(InputError, match=r"no split 'valid' \(it has: train \d+, dev 0, test \d+, and all\)"):
        task.split("valid")
    with pytest.raises(InputError, match=r"the dev split of task .* is empty"):
        task.split("dev")
    assert len(task.split("all")) == 40


def test_a_scorer_given_goes_before_the_tasks_own(tmp_path):
    assert load_task(task_file(tmp_path, FULL), scorer="choice").scorer.name == "choice"


def test_where_only_case_changes_case_is_scored(tmp_path):
    lines = "\n".join(json.dumps({"input": f"word{c}", "output": f"WORD{c.upper()}"}) for c in "abcdef")
    task = load_task(write(tmp_path / "upper.jsonl", lines))
    example = task.split("all")[0]
    assert task.scorer.score(example.fields["input"], example.gold, {}).value == 0
    assert task.scorer.score(example.gold[0], example.gold, {}).value == 1


def test_an_unknown_name_lists_the_built_in_tasks():
    with pytest.raises(InputError, match=r"no built-in task and no file 'nosuchtask'.*built in:"):
        load_task("nosuchtask")


def test_every_built_in_task_loads_and_its_gold_is_right():
    for name, description in builtin_tasks().items():
        task = load_task(name)
        assert task.name
        assert description == task.description
        for part in ("train", "dev", "test"):
            assert task.split(part)
        assert all(task.scorer.score(e.gold[0], e.gold, e.fields).value == 1 for e in task.split("all"))


def test_twenty_thousand_examples_cost_little_memory(tmp_path):
    lines = (json.dumps({"input": f"question {i}", "gold": ("yes", "no")[i % 2]}) for i in range(20_000))
    path = write(tmp_path / "big.jsonl", "\n".join(lines))
    tracemalloc.start()
    task = load_task(path)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(task.split("all")) == 20_000
    assert kept < 20e6


def test_importing_a_task_draws_no_heavy_library():
    heavy = {"torch", "numpy", "pyarrow", "scipy", "pydantic", "yaml"}
    code = f"import promptmill.tasks.task, promptmill.score.scorer, sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_scorer_of_labels_takes_the_golds_for_choices_where_none_are_named(tmp_path):
    path = write(tmp_path / "d.csv", "input,gold\na,ja\nb,nein\n")
    task = load_task(path, scorer="f_beta:positive=ja")
    assert task.choices == ("ja", "nein")
    with pytest.raises(InputError, match=r"^unknown scorer 'chioce'"):
        load_task(path, scorer="chioce")
