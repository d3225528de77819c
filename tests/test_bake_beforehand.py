"""What is refused before a bake's run is begun, and so before anything is sampled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptmill.cli.config import BakeRunConfig
from promptmill.crafts.bake.beforehand import check_trainable
from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.questions import Question
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend
from promptmill.model.local.load import quiet
from promptmill.prompt import Prompt
from promptmill.settings import checked
from tests.bakes import PROMPT, files, settings
from tests.test_local_load import lora


@pytest.fixture
def command(tiny_folder: Path, tmp_path: Path) -> list[str]:
    return ["bake", "run", "--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path), *settings()]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--set", "bake.lora.targets=[foo]"], ["lora.targets", "foo"]),
        (["--set", "bake.train.batch_tokens=10"], ["batch_tokens to"]),
        (["--validation", "asked.jsonl"], ["held out", "none is left to learn from"]),
        (["--set", "bake.train.rate=inf"], ["bake.train.rate", "finite"]),
        (["--set", "bake.rehearsal=.nan"], ["bake.rehearsal", "finite"]),
        (["--rehearse", "long.yaml"], ["the rehearsed prompt 'cat cat", "256"]),
        (["--rehearse", "same.yaml"], ["another than the one to bake", "--rehearse"]),
    ],
)
def test_what_training_would_refuse_leaves_nothing(
    mistake, command: list[str], tmp_path: Path, more: list[str], words: list[str]
):
    (tmp_path / "long.yaml").write_text(json.dumps(["cat " * 300]))
    (tmp_path / "same.yaml").write_text(json.dumps([PROMPT]))
    mistake([*command, *more], words)


def test_an_adapter_beside_weights_in_half_precision_is_refused_at_once(
    mistake, command: list[str], tiny_folder: Path, tmp_path: Path
):
    with quiet():
        adapter = lora(tmp_path / "below", tiny_folder, 1)
    mistake([*command, "--adapter", str(adapter), "--dtype", "bfloat16"], ["below", "float32"])


def test_a_batch_must_hold_the_longest_of_the_answers_that_are_there(cli, command: list[str], tmp_path: Path):
    sampled = ["bake", "sample", *command[2:6], "--inputs", str(tmp_path / "asked.jsonl"), *settings(), "--out", "s"]
    assert cli(*sampled).code == 0
    given = ["bake", "run", *command[4:6], "--rehearse", str(tmp_path / "others.yaml"), "--trajectories", "s",
             "--set", "bake.train.batch_tokens=12", "--set", "bake.rehearsal_answers=4"]  # fmt: skip
    cli(*given, "--out", "new").is_one_error_line("batch_tokens to")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["folder", "file/below.jsonl"])
def test_answers_cannot_be_written_over_a_folder_or_below_a_file(mistake, command: list[str], tmp_path: Path,
                                                                 place: str):  # fmt: skip
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    given = ["bake", "sample", *command[2:6], "--inputs", str(tmp_path / "asked.jsonl"), "--original", place]
    mistake(given, ["--original", place.partition("/")[0]])


def test_a_teacher_that_is_asked_while_training_counts_what_it_sees(tiny_backend: LocalBackend):
    prompt, others = Prompt(user="{input} cat cat cat cat cat cat"), ("be brief",)
    asked = [Question("1", "dog", "train"), Question("2", "fox ?", "validation")]

    def check(tokens: int, teacher: str) -> None:
        config = checked(BakeConfig, {
            "sample": {"teacher": teacher, "max_new_tokens": 8}, "train": {"batch_tokens": tokens},
        })  # fmt: skip
        check_trainable(tiny_backend, prompt, others, asked, config, 0)

    def least(teacher: str) -> int:
        with pytest.raises(InputError) as refused:
            check(1, teacher)
        needed = int(str(refused.value).partition("set bake.train.batch_tokens to ")[2].split()[0])
        check(needed, teacher)
        return needed

    assert least("online") > least("topk")


def test_the_settings_of_a_bake_pass(tiny_backend: LocalBackend):
    asked = [Question("1", "a dog", "train")]
    check_trainable(tiny_backend, Prompt(PROMPT), ("be brief",), asked, BakeRunConfig().bake, 0)
