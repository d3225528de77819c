from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from promptmill.crafts.rewrite.config import LearnConfig, RewriteConfig
from promptmill.crafts.rewrite.init import configs_of, init_folder
from promptmill.crafts.rewrite.roles import FILES, Roles, roles_of
from promptmill.errors import InputError
from promptmill.settings import checked
from promptmill.vary.wording import Wording, load_wording


@pytest.fixture(scope="module")
def wording() -> Wording:
    return load_wording()


@pytest.fixture
def folder(tmp_path: Path, wording: Wording) -> Path:
    init_folder(tmp_path / "mine", wording)
    return tmp_path / "mine"


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_what_init_writes_reads_as_the_defaults(folder: Path, wording: Wording) -> None:
    assert checked(RewriteConfig, configs_of(folder)) == RewriteConfig()
    roles = roles_of(folder, wording)
    assert roles == Roles.of(wording)
    assert roles.digest == Roles.of(wording).digest
    assert (roles.main_model, roles.fine_tuning) == ("", "{prompt}")
    assert {path.name for path in (folder / "model_input").iterdir()} == FILES
    assert {"synthesize.yaml", "answer.yaml", "pairs.yaml", "learn.yaml"} <= {
        path.name for path in (folder / "configs").iterdir()
    }


def test_other_settings_than_the_defaults_come_back_as_well(tmp_path: Path, wording: Wording) -> None:
    config = RewriteConfig(rounds=5, learn=LearnConfig(beta=1e-5, loss="sft"))
    init_folder(tmp_path / "mine", wording, config)
    assert checked(RewriteConfig, configs_of(tmp_path / "mine")) == config


def test_every_setting_stands_in_its_file_with_its_description(folder: Path) -> None:
    for name in ("synthesize", "answer", "pairs", "learn"):
        section = type(getattr(RewriteConfig(), name))
        text = (folder / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
        assert set(yaml.safe_load(text)) == set(section.model_fields)
        for field in section.model_fields.values():
            assert field.description is None or f"# {field.description[:60]}" in text


def test_a_setting_that_is_left_out_keeps_the_sections_own_default(folder: Path) -> None:
    (folder / "configs" / "learn.yaml").write_text("train: {epochs: 9}\n", encoding="utf-8")
    (folder / "configs" / "pairs.yaml").write_text("# nothing\n", encoding="utf-8")
    (folder / "configs" / "answer.yaml").unlink()
    found = checked(RewriteConfig, configs_of(folder))
    assert found.learn.train.epochs == 9
    assert found.learn.train.rate == RewriteConfig().learn.train.rate
    assert (found.pairs, found.answer) == (RewriteConfig().pairs, RewriteConfig().answer)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("learn.yaml", "beat: 1", r"learn.yaml: unknown key 'beat' \(known: loss, beta"),
        ("learn.yaml", "beta: -1", r"learn.yaml: beta: input should be greater than 0, not -1"),
        ("learn.yaml", "- 1", r"learn.yaml: must be a mapping of keys, in YAML"),
        ("learn.yaml", "beta: [", r"learn.yaml, line 1: not YAML"),
        ("learning.yaml", "", r"learning.yaml: belongs to no stage or role \(known: answer.yaml, "),
        ("rewrite.yaml", "learn: {}", r"rewrite.yaml: learn has a file of its own, learn.yaml"),
        ("rewrite.yaml", "round: 3", r"rewrite.yaml: unknown key 'round'"),
    ],
)
def test_what_is_wrong_with_the_settings_is_one_line_with_the_file(
    name: str, text: str, said: str, folder: Path
) -> None:
    (folder / "configs" / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        configs_of(folder)


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_edited_text_changes_the_digest(name: str, folder: Path, wording: Wording) -> None:
    path, before = folder / "model_input" / name, roles_of(folder, wording)
    if name == "rubric.yaml":
        edit(path, "nothing is missing", "all is there")
    else:
        path.write_text("Please. " + path.read_text(encoding="utf-8"), encoding="utf-8")
    after = roles_of(folder, wording)
    assert after.digest != before.digest
    assert (after.wording == before.wording) == (name in ("main_model.txt", "fine_tuning.txt"))


def test_edited_texts_stand_in_the_roles(folder: Path, wording: Wording) -> None:
    place = folder / "model_input"
    edit(place / "topic.txt", "Name one topic", "Find a topic")
    (place / "variation.txt").write_text("Make it short.\n\n  Make it long.\n", encoding="utf-8")
    (place / "main_model.txt").write_text("You write guides.\n\n", encoding="utf-8")
    edit(place / "rubric.yaml", "weight: 1.0", "weight: 2.0")
    roles = roles_of(folder, wording)
    assert roles.wording.topic.startswith("Find a topic")
    assert roles.wording.all_mutation_prompts == ("Make it short.", "Make it long.")
    assert roles.main_model == "You write guides."
    assert set(roles.rubric.weights.values()) == {2.0}
    assert roles.wording.criteria == wording.criteria


def test_what_an_editor_does_to_the_end_of_a_file_changes_nothing(folder: Path, wording: Wording) -> None:
    for path in (folder / "model_input").glob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert roles_of(folder, wording).digest == Roles.of(wording).digest


def test_a_text_that_is_not_there_is_the_wordings_own(folder: Path, wording: Wording) -> None:
    for path in (folder / "model_input").iterdir():
        path.unlink()
    assert roles_of(folder, wording).digest == Roles.of(wording).digest


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("topic.txt", "Name a topic.", r"topic.txt: has lost the hole \{intent\}; it must have exactly \{intent\}"),
        ("topic.txt", "{intent} {more}", r"topic.txt: has a hole \{more\} that nothing fills"),
        ("validator.txt", "Rate.", r"validator.txt: has lost the hole \{criterion\}"),
        ("validator_yes_no.txt", "Yes?", r"validator_yes_no.txt: has lost the hole \{input\}"),
        ("compare.txt", "{a} or {b}?", r"compare.txt: has lost the hole \{input\}"),
        ("fine_tuning.txt", "", r"fine_tuning.txt: has lost the hole \{prompt\}"),
        ("variation.txt", " \n", r"variation.txt: has no mutation prompt"),
        ("rubric.yaml", "form: {1: bad}", r"rubric.yaml: .*level 2 has no text"),
        ("rubric.yaml", "form:", r"rubric.yaml: form has no anchors"),
        ("writer.txt", "x", r"writer.txt: belongs to no stage or role \(known: base_prompt.txt"),
    ],
)
def test_what_is_wrong_with_a_role_is_one_line_with_the_file(
    name: str, text: str, said: str, folder: Path, wording: Wording
) -> None:
    (folder / "model_input" / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        roles_of(folder, wording)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_of_inits_says_how_to_make_one(tmp_path: Path, wording: Wording) -> None:
    for read in (configs_of, lambda place: roles_of(place, wording)):
        with pytest.raises(InputError, match="there is no such folder; promptmill rewrite init"):
            read(tmp_path)


def test_init_never_writes_over_something(folder: Path, wording: Wording) -> None:
    edit(folder / "model_input" / "topic.txt", "Name", "Find")
    with pytest.raises(InputError, match="there is something already"):
        init_folder(folder, wording)
    assert "Find" in (folder / "model_input" / "topic.txt").read_text(encoding="utf-8")
