"""Day cares: the folder, its files, and what is told of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.crafts.breed.daycare.breeder_file import read_breeder_file
from promptmill.crafts.breed.daycare.folder import read_day_care
from promptmill.crafts.breed.daycare.suite import read_suite
from promptmill.errors import InputError
from promptmill.model.chat import GREEDY, Sampling
from promptmill.model.world import unknown_share
from promptmill.prompt import Prompt
from promptmill.score.overlap import FBeta
from promptmill.vary.operators import PAPER
from tests.conftest import WEIGHTS
from tests.daycare import BREEDER, ROWS, describe, line_of, make_day_care, read, write

EXAMPLE = Path(__file__).parents[1] / "examples" / "day-care"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_day_care(tmp_path)


# The folder.


def test_a_folder_is_a_task_a_first_prompt_and_the_words_of_a_breed(folder: Path):
    made = read(folder)
    assert made.prompt == Prompt("", "Is the question good?")
    assert made.task.name == "good"
    assert made.task.description == "Is the question good?"
    assert made.task.scorer == FBeta("Yes", 0.5, ("Yes", "No"))
    assert made.wording.all_mutation_prompts == ("Shorten this.", "Say it {again}.")
    assert made.wording.thinking_styles == ["Think.", "Look."]
    assert (made.sampling, made.repeat, made.writer_sampling) == (Sampling(0.7), 2, Sampling(0.9))
    assert made.parts == ("system", "user", "prefix")
    assert made.warnings == ()
    assert set(made.operators or ()) == set(PAPER)


def test_examples_are_split_by_their_fields_and_other_golds_are_not_among_these(folder: Path):
    task = read(folder).task
    assert len(task.split("all")) == 40
    assert all(set(example.fields) == {"text", "question"} for example in task.split("all"))
    assert {example.gold for example in task.split("all")} == {("Yes",), ("No",)}
    write(folder / "suite.json", ROWS[::-1])
    again = read(folder).task
    assert {example.id for example in again.test} == {example.id for example in task.test}


def test_the_seed_goes_to_what_is_drawn(folder: Path):
    describe(folder, decoder_options="argmax")
    made = read(folder, seed=7)
    assert (made.sampling.seed, made.writer_sampling.seed) == (7, None)


def test_an_override_goes_before_both_decoders(folder: Path):
    made = read(folder, decoder_override="sample(temperature=0.2)")
    assert (made.sampling, made.writer_sampling, made.repeat) == (Sampling(0.2), Sampling(0.2), 1)


@pytest.mark.parametrize(
    ("writer", "fitness", "want"),
    [("argmax", None, (GREEDY, GREEDY)), ("sample(n=3)", None, (Sampling(1.0), Sampling(1.0))),
     (None, None, (Sampling(1.0), GREEDY)), (None, "sample", (Sampling(1.0), Sampling(1.0)))],
)  # fmt: skip
def test_decoders_that_are_missing_have_a_plain_default(
    folder: Path, writer: str | None, fitness: str | None, want: tuple[Sampling, Sampling]
):
    describe(folder, decoder_options=writer, fitness_decoder_options=fitness)
    made = read(folder)
    assert (made.writer_sampling, made.sampling) == want


def test_a_fixed_system_prompt_is_not_bred(folder: Path):
    describe(folder, fixed_system_prompt="You judge.")
    made = read(folder)
    assert (made.prompt.system, made.parts) == ("You judge.", ("user", "prefix"))
    assert made.form.script(made.prompt).prompt.system == "You judge."


@pytest.mark.parametrize(
    ("spec", "name"),
    [({"type": "choice"}, "choice"), ({"type": "f_beta", "positive": "No"}, "f_beta"), ("exact", "exact"),
     ({"type": "BinaryfBeta", "beta": 2, "positive": "No"}, "f_beta"), ("BinaryfBeta", "f_beta")],
)  # fmt: skip
def test_our_own_scorers_are_taken_too(folder: Path, spec: Any, name: str):
    describe(folder, fitness_scorer=spec)
    assert read(folder).task.scorer.name == name


def test_the_digest_changes_with_what_is_asked(folder: Path):
    digests = [read(folder).digest]
    for name, text in [("breeder.lmql", BREEDER.replace("It was", "It is")), ("thinking_styles.json", '["Look."]')]:
        write(folder / name, text)
        digests.append(read(folder).digest)
    describe(folder, decoder_options="argmax")
    digests.append(read(folder).digest)
    form = read(folder).form.digest
    write(folder / "breeder.lmql", BREEDER.replace("So: ", "Then: "))
    assert len({*digests, read(folder).digest}) == 5
    assert read(folder).form.digest != form


# What is told but no error.


def test_golds_that_are_all_alike_are_told(folder: Path):
    write(folder / "suite.json", [row | {"gold_good": True} for row in ROWS])
    (told,) = read(folder).warnings
    assert "gold_good is 'Yes' in all 40 examples" in told
    assert "cannot tell a good prompt" in told
    assert read(folder).task.choices == ("Yes", "No")


def warned(changes: dict[str, Any], breeder: str = BREEDER) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        describe(folder, **changes)
        write(folder / "breeder.lmql", breeder)

    return make


NEW_QUERY = '"mutation_wild": "argmax",\n    "mutation_direct_args"'
WARNINGS = [
    (warned({"decoder_options": "beam(n=2)"}), "task_description.json: decoder_options: there is no beam search here"),
    (warned({"note": "by me"}), "task_description.json: note is not used (known: task_description, "),
    (warned({}, BREEDER.replace('"mutation_direct_args"', NEW_QUERY)), "the query mutation_wild is not used (used"),
    (warned({}, BREEDER.replace("{model_name_or_path}", '"gpt-2"')), "the model gpt-2 that is named there is not used"),
    (warned({}, BREEDER.replace('"mutation_direct"', '"x"')), "hypermutation_zero_order_direct is not used without"),
    (warned({}, BREEDER.replace("STOPS_AT(R", "STOPS_AT(Q")), 
     f"line {line_of('STOPS_AT')}: query mutation_direct: a constraint of [QEASONING"),
    (warned({"fixed_system_prompt": "S"}, BREEDER.replace("{system_prompt}", "S")), "fixed_system_prompt is not shown"),
    (warned({}, BREEDER.replace('" No"', '" Nay"')), "the gold 'No' is none of the answers that [ANSWER] may be"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), WARNINGS, ids=[message[:30] for _, message in WARNINGS])
def test_what_does_nothing_is_told(folder: Path, make: Callable[[Path], None], message: str):
    make(folder)
    assert [told for told in read(folder).warnings if message in told]
    assert not any("\n" in told for told in read(folder).warnings)


# Errors.


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).rename(folder / "elsewhere")


def written(name: str, data: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder / name, data)


def described(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: describe(folder, **changes)


def bred(before: str, after: str) -> Callable[[Path], None]:
    assert before in BREEDER
    return lambda folder: write(folder / "breeder.lmql", BREEDER.replace(before, after))


TOLD = "good/task_description.json"
ERRORS = [
    (removed("mutation_prompts.json"), "there is no file {}/mutation_prompts.json"),
    (removed("thinking_styles.json"), "there is no file {}/thinking_styles.json"),
    (removed("good"), "{}: there is no task 'good' (tasks there: elsewhere)"),
    (removed(TOLD), "there is no file {}/good/task_description.json"),
    (removed("suite.json"), "there is no fitness suite {}/suite.json"),
    (written("mutation_prompts.json", '{"1": "a",\n}'), "{}/mutation_prompts.json, line 2: not JSON: "),
    (written("thinking_styles.json", "[\n\n"), "{}/thinking_styles.json, line 3: not JSON: "),
    (written(TOLD, '{"a"}'), "{}/good/task_description.json, line 1: not JSON: "),
    (written("suite.json", '[\n{"a": 1},\n{]'), "{}/suite.json, line 3: not JSON: "),
    (written("mutation_prompts.json", {}), "{}/mutation_prompts.json: must be an object of texts"),
    (written("mutation_prompts.json", "3"), "{}/mutation_prompts.json: must be an object of texts"),
    (written("thinking_styles.json", {"1": "a", "2": 7}), "{}/thinking_styles.json: 2 must be a text, not 7"),
    (written("thinking_styles.json", ["a", " "]), '{}/thinking_styles.json: 2 must be a text, not " "'),
    (written(TOLD, []), "{}/good/task_description.json: must be an object with task_description"),
    (described(task_description=""), "{}/good/task_description.json: task_description must be a text"),
    (described(fitness_scorer=None), "{}/good/task_description.json: fitness_scorer must be an object"),
    (described(fitness_scorer={"beta": 1}), "fitness_scorer: unknown type None (known: BinaryfBeta, exact, "),
    (described(fitness_scorer={"type": "Bert"}), "fitness_scorer: unknown type 'Bert' (known: BinaryfBeta, exact, "),
    (described(fitness_scorer={"type": "BinaryfBeta", "x": 1}), "fitness_scorer: scorer f_beta: unknown argument 'x'"),
    (described(fitness_scorer={"type": "BinaryfBeta", "beta": "a"}), "fitness_scorer: scorer f_beta: beta must be"),
    (described(fixed_system_prompt=3), "fixed_system_prompt must be a text or null, not '3'"),
    (described(decoder_options="sample("), "{}/good/task_description.json: decoder_options: the decoder 'sample('"),
    (described(fitness_decoder_options="best"), "fitness_decoder_options: unknown decoder 'best' (known: argmax, "),
    (written("suite.json", ""), "{}/suite.json: is empty; it must be a list of examples"),
    (written("suite.json", []), "{}/suite.json holds no examples"),
    (written("suite.json", {"text": "a"}), "{}/suite.json: must be a list of examples, or JSON lines, not one object"),
    (written("suite.json", "7"), "{}/suite.json: a JSON data file is a list of rows"),
    (written("suite.json", [7]), "{}/suite.json, row 1: an object with named values is needed"),
    (written("suite.json", [*ROWS[:2], {"text": "a", "question": "b"}]), "{}/suite.json, row 3: there is no gold_good"),
    (written("suite.json", [ROWS[0], {"text": "a", "gold_good": True}]), "{}/suite.json, row 2: there is no question"),
    (written("suite.json", [ROWS[0], ROWS[1] | {"gold_good": ""}]), "{}/suite.json, row 2: gold_good is empty"),
    (written("suite.json", [{"a b": "c", "gold_good": True}]), "{}/suite.json: the field 'a b' cannot stand in"),
    (written("suite.json", [{"gold_good": True}]), "{}/suite.json: the examples have nothing but golds"),
    (written("suite.json", ROWS[:2]), "{}/suite.json: 2 examples are too few: none falls to the "),
    (written("breeder.lmql", '{\n  "a": [1,\n'), "{}/breeder.lmql, line 3: not hjson: "),
    (written("breeder.lmql", "{a: '''"), "{}/breeder.lmql: not hjson: it ends too early"),
    (written("breeder.lmql", "{a: 'b"), "{}/breeder.lmql, line 1: not hjson: "),
    (written("breeder.lmql", "[1]"), "{}/breeder.lmql: must be an hjson object of queries by name"),
    (written("breeder.lmql", "{a: b\na: c\n}"), "{}/breeder.lmql: a stands there twice"),
    (written("breeder.lmql", "{mutation_direct: b\n}"), "the query fitness_test_template is missing (there is: mut"),
    (written("breeder.lmql", "{fitness_test_template: 3}"), "the query fitness_test_template must be a text, in "),
    (bred('_args": ["mutation_prompt"', '_args": [3'), "{}/breeder.lmql: mutation_direct_args must be a list of names"),
    (bred("Q: {question}", "Q: {answer}"),
     f"line {line_of('Q: {')}: query fitness_test_template: there is nothing called answer here"),
    (bred('"{task_description}"', "task_description()"),
     f"line {line_of('task_description}')}: query mutation_direct: task_description() cannot be read; a statement is"),
    (bred("r + ", "r * "), f"line {line_of('r + ')}: query mutation_lamarckian: r * '\\n' cannot be read; a statement"),
    (bred("BETTER", "1"), "query hypermutation_first_order_direct: '[1]' is no [NAME]; write [[ for the sign [ itself"),
    (bred("[[/INST]][ANSWER]", "[[/INST]]"),
     "query fitness_test_template: there is no gap for the model to fill (with CoT = False)"),
    (bred('"{task_prompt}[[/', '"[[/'), "shows no {{task_prompt}}, so there is nothing to breed"),
    (bred('"[TASK_PROMPT]"', '"[OTHER]"'), "query mutation_eda_based: has none of the gaps [SYSTEM_PROMPT], [TASK_"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), ERRORS, ids=[f"{at}" for at in range(len(ERRORS))])
def test_what_cannot_be_used_is_told_in_one_line(folder: Path, spoil: Callable[[Path], None], message: str):
    spoil(folder)
    with pytest.raises(InputError) as error:
        read(folder)
    assert message.format(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_there_is_not_is_told(tmp_path: Path):
    with pytest.raises(InputError, match="there is no day care folder"):
        read_day_care(tmp_path / "none", "good", tmp_path / "suite.json")


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="{}[]:,'\"#/*\\ \n\tabfitness_test_template0129eE-.", max_size=60))
def test_any_breeder_file_is_read_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, text: str):
    path = tmp_path_factory.getbasetemp() / "any.lmql"
    write(path, text)
    with pytest.raises(InputError) as error:
        read_breeder_file(path)
    assert "\n" not in str(error.value)


# The suite.


def test_json_lines_are_a_suite_too(tmp_path: Path):
    write(tmp_path / "suite.jsonl", "\n".join(json.dumps(row) for row in ROWS))
    assert read_suite(tmp_path / "suite.jsonl", "good").fields == ("text", "question")


@pytest.mark.parametrize(
    ("golds", "choices"),
    [([True, False], ("Yes", "No")), ([True], ("Yes", "No")), (["b", "a"], ("a", "b")), (["a"], None),
     ([1, 2, 3], ("1", "2", "3")), ([["a", "b"], "c"], ("a", "b", "c")), ([str(at) for at in range(11)], None)],
)  # fmt: skip
def test_few_golds_are_choices(tmp_path: Path, golds: list[Any], choices: tuple[str, ...] | None):
    write(tmp_path / "suite.json", [{"t": f"{at}", "gold_x": golds[at % len(golds)]} for at in range(60)])
    assert read_suite(tmp_path / "suite.json", "x").choices == choices


def test_examples_that_stand_twice_have_ids_of_their_own_and_share_a_split(tmp_path: Path):
    write(tmp_path / "suite.json", ROWS + ROWS)
    splits = read_suite(tmp_path / "suite.json", "good").splits
    ids = [example.id for split in splits for example in split]
    assert len(set(ids)) == 80
    for split in splits:
        assert all(f"{one.id}-2" in {example.id for example in split} for one in split if "-" not in one.id)


# The example.


def test_the_example_is_a_whole_day_care():
    made = read_day_care(EXAMPLE, "animal", EXAMPLE / "suite.json")
    assert made.warnings == ()
    assert set(made.operators or ()) == set(PAPER)
    golds = [example.gold[0] for example in made.task.split("all")]
    assert golds.count("yes") == golds.count("no") == 60
    assert made.task.choices == ("no", "yes")
    assert (made.repeat, made.sampling.temperature, made.writer_sampling.temperature) == (1, 0.0, 1.0)


@pytest.mark.skipif(not (WEIGHTS / "embedded").is_dir(), reason="the embedded model has no weights yet")
def test_the_embedded_model_knows_the_words_of_the_example():
    made = read_day_care(EXAMPLE, "animal", EXAMPLE / "suite.json")
    prompt = made.form.script(made.prompt).prompt
    texts = [text for example in made.task.split("all") for _, text in prompt.render(example.fields)]
    assert unknown_share("embedded", texts) < 0.1
