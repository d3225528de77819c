import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.tasks.draft import golds_of, text_of
from promptmill.tasks.formats import read_table, sniff_delimiter
from promptmill.tasks.load import load_task


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def lines(path, rows):
    return write(path, "\n".join(json.dumps(row) for row in rows) + "\n")


def only(task):
    """The examples in the order of their first field, as (fields, gold)."""
    return sorted((tuple(example.fields.items()), example.gold) for example in task.split("all"))


def gold_as_answer(task):
    return {task.scorer.score(gold, e.gold, e.fields).value for e in task.split("all") for gold in e.gold}


def test_gsm8k_golds_follow_the_marker_without_commas(tmp_path):
    rows = [{"question": f"How many in {i}?", "answer": f"Think {i}=<<{i}={i}>>{i}.\n#### 1,2{i}0"} for i in range(3)]
    task = load_task(lines(tmp_path / "test.jsonl", rows))
    assert only(task)[1] == ((("question", "How many in 1?"),), ("1210",))
    assert (task.scorer.name, task.name, task.prompt.user) == ("number", tmp_path.name, "{question}")
    assert gold_as_answer(task) == {1.0}


def test_svamp_joins_body_and_question_and_keeps_its_ids(tmp_path):
    rows = [{"ID": "chal-1", "Body": "A pen costs 2 dollars", "Question": "And 2 pens?", "Answer": 4.0, "Type": "x"}]
    (example,) = load_task(write(tmp_path / "svamp.json", rows)).split("all")
    assert (example.id, example.gold) == ("chal-1", ("4",))
    assert example.fields == {"question": "A pen costs 2 dollars. And 2 pens?"}


def test_multiarith_solutions_of_either_kind(tmp_path):
    rows = [
        {"iIndex": 0, "lSolutions": [39.0], "sQuestion": " One? "},
        {"iIndex": 1, "lSolutions": ["9.43"], "sQuestion": "Two?"},
    ]
    assert only(load_task(write(tmp_path / "m.json", rows))) == [
        ((("question", "One?"),), ("39",)),
        ((("question", "Two?"),), ("9.43",)),
    ]


def test_aqua_is_read_though_its_json_lines_are_called_json(tmp_path):
    rows = [
        {"question": f"{i}?", "options": ["A)24 min", "B)(3,4)"], "rationale": "…", "correct": "B"} for i in range(2)
    ]
    task = load_task(lines(tmp_path / "test.json", rows))
    assert only(task)[0][0] == (("question", "0?\nOptions:\n(A) 24 min\n(B) (3,4)"),)
    assert (task.scorer.name, task.choices) == ("choice", ("A", "B"))
    example = task.split("all")[0]
    assert task.scorer.score("The answer is (3,4).", example.gold, example.fields).value == 1


@pytest.mark.parametrize("hub", [False, True])
def test_commonsenseqa_in_its_own_and_in_the_hubs_shape(tmp_path, hub):
    labelled = [{"label": "A", "text": "bank"}, {"label": "B", "text": "mall"}]
    row = {"answerKey": "A", "id": "q1"}
    if hub:
        row |= {"question": "Where?", "choices": {"label": ["A", "B"], "text": ["bank", "mall"]}}
    else:
        row |= {"question": {"stem": "Where?", "choices": labelled, "question_concept": "x"}}
    (example,) = load_task(lines(tmp_path / "dev.jsonl", [row])).split("all")
    assert (example.id, example.gold) == ("q1", ("A",))
    assert example.fields["question"] == "Where?\nOptions:\n(A) bank\n(B) mall"


def test_ethos_calls_half_of_the_annotators_hate(tmp_path):
    path = tmp_path / "ethos.csv"
    write(path, 'comment;isHate\n"a; quoted ""one"""; 1.0\nnice, really;0.49\nhalf;0.5\n')
    task = load_task(str(path))
    golds = {example.fields["comment"]: example.gold[0] for example in task.split("all")}
    assert golds == {'a; quoted "one"': "yes", "nice, really": "no", "half": "yes"}
    assert task.choices == ("yes", "no")
    assert load_task(str(path), scorer="f_beta:beta=0.5,positive=yes").scorer.name == "f_beta"


def bbh(tmp_path, name, pairs):
    return load_task(
        write(tmp_path / f"{name}.json", {"canary": "c", "examples": [{"input": i, "target": t} for i, t in pairs]})
    )


def test_bbh_choices_come_from_the_listed_options(tmp_path):
    lettered = bbh(
        tmp_path, "dates", [(f"{i}?\nOptions:\n(A) one (B) trap\n(B) two\n(C) three", "(B)") for i in range(3)]
    )
    assert (lettered.choices, lettered.scorer.name) == (("(A)", "(B)", "(C)"), "choice")
    dashed = bbh(tmp_path, "navigate", [(f"{i}?\nOptions:\n- Yes\n- No", "Yes") for i in range(3)])
    assert dashed.choices == ("No", "Yes")
    assert "No, Yes" in dashed.prompt.system


def test_bbh_without_options_is_inferred_from_its_golds(tmp_path):
    assert bbh(tmp_path, "lies", [(str(i), ("Yes", "No")[i % 2]) for i in range(20)]).choices == ("No", "Yes")
    assert bbh(tmp_path, "count", [(f"n{i}", str(i)) for i in range(20)]).scorer.name == "number"
    brackets = bbh(tmp_path, "dyck", [(f"n{i}", ") ]"[: 1 + 2 * (i % 2)]) for i in range(20)])
    assert (brackets.scorer.name, brackets.choices) == ("exact", None)
    assert gold_as_answer(brackets) == {1.0}


def test_a_bbh_option_that_the_data_cut_apart_is_still_a_gold(tmp_path):
    rows = [("Which?\nOptions:\n(A) Monsters\n(B) Inc", "Monsters, Inc"), ("Which?\nOptions:\n(A) x\n(B) y", "(A)")]
    assert gold_as_answer(bbh(tmp_path, "movies", rows)) == {1.0}


def test_bigbench_targets_may_be_several(tmp_path):
    head = {
        "name": "capitals",
        "description": "Name the capital.",
        "task_prefix": "Name it.",
        "preferred_score": "exact_str_match",
    }
    rows = [{"input": "Bolivia", "target": ["Sucre", "La Paz"]}, {"input": "Peru", "target": "Lima"}]
    task = load_task(write(tmp_path / "task.json", head | {"examples": rows}))
    assert dict(only(task))[("input", "Bolivia"),] == ("Sucre", "La Paz")
    assert (task.description, task.prompt.system, task.scorer.name) == ("Name the capital.", "Name it.", "exact")


def test_bigbench_target_scores_shared_by_all_are_the_choices(tmp_path):
    rows = [{"input": str(i), "target_scores": {"yes": i % 2, "no": 1 - i % 2}} for i in range(4)]
    task = load_task(write(tmp_path / "task.json", {"preferred_score": "multiple_choice_grade", "examples": rows}))
    assert (task.choices, task.scorer.name) == (("no", "yes"), "choice")
    assert {gold for _, gold in only(task)} == {("yes",), ("no",)}


def test_bigbench_target_scores_of_their_own_are_lettered_and_ties_are_all_gold(tmp_path):
    rows = [
        {"input": "Big?", "target_scores": {"cat": 0, "whale": 1, "blue whale": 1}},
        {"input": "Red?", "target_scores": {"rose": 1, "sky": 0}},
    ]
    task = load_task(write(tmp_path / "task.json", {"keywords": [], "examples": rows}))
    golds = {dict(fields)["input"]: gold for fields, gold in only(task)}
    assert golds["Big?\nOptions:\n(A) cat\n(B) whale\n(C) blue whale"] == ("(B)", "(C)")
    assert task.choices == ("(A)", "(B)", "(C)")


def test_a_bigbench_task_of_subtasks_says_so(tmp_path):
    with pytest.raises(InputError, match="subtasks"):
        load_task(write(tmp_path / "task.json", {"keywords": [], "description": "d"}))


def induction(tmp_path, name, *examples):
    data = {"metadata": {"num_examples": len(examples)}, "examples": {str(i): e for i, e in enumerate(examples, 1)}}
    task = load_task(write(tmp_path / f"{name}.json", data))
    assert gold_as_answer(task) == {1.0}
    return task, dict(only(task))


def test_rhymes_take_any_of_the_group_but_not_the_word_itself(tmp_path):
    task, golds = induction(
        tmp_path, "rhymes", {"input": "ice", "output": "rice", "other_rhymes": ["rice", "ice", "spice"]}
    )
    assert golds == {(("input", "ice"),): ("rice", "spice")}
    assert task.scorer.name == "exact"


def test_translations_take_all_and_the_word_behind_a_remark(tmp_path):
    row = {
        "input": "place",
        "output": "Platz",
        "possible_translations": ["Ort", "Platz", "for vehicles: Stand", "a ; b"],
    }
    _, golds = induction(tmp_path, "translation_en-de", row)
    assert golds[("input", "place"),] == ("Platz", "Ort", "for vehicles: Stand", "Stand", "a ; b", "a", "b")


def test_cause_and_effect_gold_is_the_cause_wherever_it_stands(tmp_path):
    rows = [{"cause": f"Rain {i}.", "effect": f"Wet {i}."} for i in range(20)]
    _, golds = induction(tmp_path, "cause_and_effect", *rows)
    first = ["Sentence 1: Rain" in text for ((_, text),) in golds]
    assert 0 < sum(first) < 20
    assert all(gold[0].startswith("Rain") for gold in golds.values())


def test_concepts_sets_and_words_in_context(tmp_path):
    concept = {"concept": "go up.", "items": ["lifts", "planes"], "all_common_concepts": ["rise.", "go up."]}
    task, golds = induction(tmp_path, "common_concept", concept)
    assert (golds, task.scorer.name) == ({(("input", "lifts, planes"),): ("go up.", "rise.")}, "token_f1")
    animals = {"input": "cat, bike, cow", "output": "cow, cat", "category_items": ["cow", "cat"], "words": []}
    task, golds = induction(tmp_path, "taxonomy_animal", animals)
    assert task.scorer.score("cat, cow", ("cow, cat",), {}).value == 1
    starts = {
        "input": "Mary may. [m]",
        "output": "mary may",
        "sentence": "Mary may.",
        "letter": "m",
        "words": ["Mary", "may"],
    }
    assert induction(tmp_path, "orthography_starts_with", starts)[0].scorer.name == "word_set"
    same = {"input": "s", "output": "same", "possible_outputs": ["same", "yes", "true"]}
    other = {"input": "t", "output": "not the same", "possible_outputs": ["not the same", "no", "false"]}
    task, golds = induction(tmp_path, "word_in_context", same, other)
    assert task.scorer.score("No.", golds[("input", "t"),], {}).value == 1
    assert task.scorer.score("not the same", golds[("input", "s"),], {}).value == 0


def test_papers_metrics_of_the_two_tasks_that_columns_do_not_tell(tmp_path):
    row = {"input": "drag", "output": "trail"}
    assert induction(tmp_path, "synonyms", row)[0].scorer.name == "contains"
    assert induction(tmp_path, "informal_to_formal", row)[0].scorer.name == "token_f1"


def test_outputs_may_be_lists(tmp_path):
    assert induction(tmp_path, "x", {"input": "a", "output": ["b", "c"]})[1] == {(("input", "a"),): ("b", "c")}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiters_are_sniffed(tmp_path, delimiter):
    text = delimiter.join(["question", "label"]) + "\n" + delimiter.join(['"two, or; three\tnow"', "b"]) + "\n"
    assert only(load_task(write(tmp_path / "d.csv", text))) == [((("question", "two, or; three\tnow"),), ("b",))]


def test_parquet_with_numbers_lists_and_missing_values(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"input": ["a", "b"], "note": ["x", None], "gold": [["1", "2"], ["3"]], "n": [1.5, 2.0]})
    pq.write_table(table, tmp_path / "rows.bin")
    assert only(load_task(str(tmp_path / "rows.bin"))) == [
        ((("input", "a"), ("note", "x"), ("n", "1.5")), ("1", "2")),
        ((("input", "b"), ("note", ""), ("n", "2")), ("3",)),
    ]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        load_task(str(tmp_path / "bad.parquet"))
    (tmp_path / "text.parquet").write_text('{"input": "a", "gold": "b"}')
    with pytest.raises(InputError, match=r"text\.parquet is no parquet file"):
        load_task(str(tmp_path / "text.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"input": "x", "gold": "y"}\n\n{"input": \n', r"a.jsonl, line 3: not JSON"),
        ("a.jsonl", '{"input": "x", "gold": "y"}\n[1]\n', r"line 2: an object"),
        ("a.json", '[\n{"input": "x",\n}]', r"a.json, line 3: not JSON"),
        ("a.json", "[]", "holds no examples"),
        ("a.json", "3", "list of rows"),
        ("a.json", '{"examples": {}}', "holds no examples"),
        ("a.json", '{"examples": 3}', "examples must be"),
        ("a.csv", "", "holds no examples"),
        ("a.csv", "input,gold\n", "holds no examples"),
        ("a.csv", "input,gold\nx,y\na,b,c\n", "line 3: 3 columns where the header has 2"),
        ("a.csv", "input,input\nx,y\n", "stands twice"),
        ("a.csv", 'input,gold\n"x,y\n', "not CSV"),
        ("a.csv", "input,gold\nx,y\nz,\n", "line 3: the gold is empty"),
        ("a.csv", "sentence,class\nx,y\n", r"columns: sentence, class\).*fields: \{input: COLUMN\}, gold: COLUMN"),
        ("a.jsonl", '{"input": "x", "gold": "y"}\n{"input": "x"}\n', "line 2: there is no column 'gold'"),
        ("a.csv", "comment;isHate\nx;often\n", "isHate must be a number"),
        ("a.jsonl", '{"question": "x", "answer": "#### 3"}\n{"question": "x", "answer": "3"}', "line 2: .* ####"),
    ],
)
def test_a_broken_file_gets_one_line_that_says_where(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        load_task(write(tmp_path / name, content))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_told(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*none\.csv"):
        load_task(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="is a folder"):
        load_task(str(tmp_path))
    (tmp_path / "latin.csv").write_bytes("input,gold\nx,y\nä,z\n".encode("latin-1"))
    with pytest.raises(InputError, match="line 3: not UTF-8"):
        load_task(str(tmp_path / "latin.csv"))


def test_values_become_plain_text():
    assert [text_of(v) for v in (39.0, 0.5, True, None, float("nan"), 7, ["a"])] == [
        "39",
        "0.5",
        "true",
        "",
        "",
        "7",
        '["a"]',
    ]
    assert golds_of(["a", "a", " b ", ""]) == ("a", "b")
    assert golds_of("39.0") == ("39",)
    assert golds_of("1.2.0") == ("1.2.0",)


@given(st.lists(st.tuples(st.text("ab;,\t\"' \n", min_size=1), st.text("xyz", min_size=1)), min_size=1, max_size=5))
def test_what_pythons_csv_writes_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("input", "gold"), *rows])
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    read = [tuple(row.values.values()) for row in read_table(path).rows]
    assert read == rows


@given(st.lists(st.dictionaries(st.sampled_from(["input", "gold"]), st.text(), min_size=1), min_size=2, max_size=5))
def test_json_lines_are_read_back_whatever_their_name_and_their_text(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("json") / "rows.json"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8", newline="")
    assert [row.values for row in read_table(path).rows] == rows


@given(st.sampled_from(",;\t"), st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), min_size=2, max_size=4))
def test_the_delimiter_of_a_plain_header_is_found(delimiter, names):
    assert sniff_delimiter(delimiter.join(names)) == delimiter
