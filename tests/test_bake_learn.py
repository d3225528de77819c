"""What a bake trains and how: its settings one by one, answers of the student's own, all weights, rehearsal."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.bake import draw as drawing
from promptmill.crafts.bake.baker import Baker
from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.questions import questions_of
from promptmill.crafts.bake.rehearse import plan_rehearsal
from promptmill.crafts.bake.worth import bare_of
from promptmill.crafts.rewrite.config import LearnConfig
from promptmill.model.local import LocalBackend, load
from promptmill.prompt import Prompt
from promptmill.settings import checked
from promptmill.store.run import Run
from promptmill.tasks.load import load_task
from tests.bakes import PROMPT, files, settings
from tests.tiny import TEXTS

QUESTIONS = [f"{text} {number}" for text in TEXTS for number in range(3)]
OTHERS = ("reverse the words", "answer no", "be a cat")


def config_of(**changes: Any) -> BakeConfig:
    given: dict[str, Any] = {
        "sample": {"sequences": 2, "max_new_tokens": 8, "validation": 0.3, "k": 64},
        "train": {"epochs": 2, "rate": 0.01, "warmup_steps": 0, "batch_items": 8}, "rehearsal_answers": 6,
    }  # fmt: skip
    return checked(BakeConfig, given | changes)


def baker(model: Path, out: Path, others: tuple[str, ...] = OTHERS, **changes: Any) -> Baker:
    run = Run(out, "bake", {"changes": str(changes)})
    return Baker(
        LocalBackend(str(model), device="cpu"), Prompt(PROMPT), questions_of(QUESTIONS, 0.3), others,
        config_of(**changes), run,
    )  # fmt: skip


# Settings


def test_whoever_sets_one_setting_keeps_the_others():
    usual, some = BakeConfig(), checked(BakeConfig, {"train": {"epochs": 6}, "lora": {"alpha": 8}})
    assert some.train == usual.train.model_copy(update={"epochs": 6})
    assert some.lora == usual.lora.model_copy(update={"alpha": 8.0})
    assert (usual.train.rate, usual.train.batch_items, usual.train.patience) == (1e-3, 32, 2)
    learn, other = LearnConfig(), checked(LearnConfig, {"train": {"rate": 1e-3}, "lora": {"rank": 4}})
    assert other.train == learn.train.model_copy(update={"rate": 1e-3})
    assert other.lora == learn.lora.model_copy(update={"rank": 4})
    assert learn.lora.targets == "all"


def test_a_bake_with_the_usual_settings_is_given_more_epochs_alone(cli, tiny_folder: Path, tmp_path: Path):
    fewer = [part for part in settings()[1::2] if not part.startswith("bake.train.")]
    given = [part for setting in fewer for part in ("--set", setting)]
    said = cli("bake", "run", "--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path), *given, "--out", "run")
    assert said.code == 0, said.err
    longer = cli("bake", "run", "--continue", "run", "--set", "bake.train.epochs=6", "--json")
    assert longer.code == 0, longer.err
    assert json.loads(longer.out)["settings"]["train"]["epochs"] == 6


# What is trained, and on what


def test_a_student_answers_a_share_of_the_batches_itself(tiny_folder: Path, tmp_path: Path):
    train = dict(config_of().train) | {"epochs": 1, "batch_items": 4}
    rows = {}
    for name, share in (("stored", 0.0), ("own", 1.0), ("again", 1.0), ("mixed", 0.2)):
        outcome = baker(tiny_folder, tmp_path / name, train=train, on_policy=share).bake().outcome
        rows[name] = [row["loss"] for row in outcome.rows if "loss" in row]
    assert rows["own"] == rows["again"], "what it draws follows from the batch"
    assert rows["own"][0] != rows["stored"][0]
    assert len({tuple(one) for one in rows.values()}) == 3


def test_all_weights_can_be_trained_and_give_a_model_of_its_own(cli, tiny_folder: Path, tmp_path: Path):
    (tmp_path / "plain.jsonl").write_text('{"text": "the quick brown fox"}\n{"text": "red apples and green pears"}\n')
    given = ["--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path), *settings(full=True, train__rate=0.003)]
    said = cli("bake", "run", *given, "--unrelated", "plain.jsonl", "--behaviour", "uppercase", "--limit", "4",
               "--out", "run")  # fmt: skip
    assert said.code == 0, said.err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["kl"]["best"] < report["kl"]["first"]
    assert report["unrelated"]["kl"] > 0
    assert report["unrelated"]["from"] == "plain.jsonl"
    assert said.out.splitlines()[-1] == "next: promptmill ask TEXT --model run/model"
    assert "all of which were trained" in (tmp_path / "run" / "model" / "README.md").read_text()
    assert cli("ask", "the dog", "--model", "run/model").code == 0
    cli("bake", "pursue", *given, "--out", "more").is_one_error_line("bake.full", "bake run")
    cli("bake", "run", *given, "--dtype", "bfloat16", "--out", "half").is_one_error_line("--dtype float32")


# Before the training


def test_what_was_drawn_or_measured_once_is_not_again(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = baker(tiny_folder, tmp_path / "run")
    before = first.bake()
    first.run.close()
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "draw", lambda *_: pytest.fail("drawn again"))
        patch.setattr("promptmill.crafts.bake.difficulty.initial_kl", lambda *_: pytest.fail("measured again"))
        again = baker(tiny_folder, tmp_path / "run").bake()
    assert again == before
    part = next((tmp_path / "run").glob("stages/rehearsal-*/part-00000.parquet"))
    content = part.read_bytes()
    part.unlink()
    baker(tiny_folder, tmp_path / "run").bake()
    assert part.read_bytes() == content, "what is missing is drawn as it was"


@pytest.mark.parametrize(("wanted", "count"), [(1, 1), (2, 2), (3, 3), (7, 6), (400, 30)])
def test_no_more_answers_are_rehearsed_than_were_asked_for(tiny_backend: LocalBackend, wanted: int, count: int):
    asked = [one for one in questions_of(QUESTIONS, 0.3) if one.split == "train"]
    assert len(asked) == 10
    config = config_of(rehearsal_answers=wanted)
    plan = plan_rehearsal(tiny_backend.loaded(), Prompt(PROMPT), OTHERS, asked, config, 0)
    assert len(plan.contexts) == count
    assert plan == plan_rehearsal(tiny_backend.loaded(), Prompt(PROMPT), OTHERS, asked, config, 0)


def test_the_model_that_samples_is_gone_when_another_is_trained(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[weakref.ref[Any]] = []
    alive: list[int] = []
    whole = load.load_model

    def noted(*given: Any) -> Any:
        alive.append(sum(one() is not None for one in made))
        model = whole(*given)
        made.append(weakref.ref(model))
        return model

    monkeypatch.setattr(load, "load_model", noted)
    kept = baker(tiny_folder, tmp_path / "run")
    kept.bake()
    assert alive == [0, 0], "one model samples, one is trained"
    gc.collect()
    assert [one() for one in made] == [None, None]


def test_what_is_tried_has_the_form_in_which_the_student_has_learned(cli, tiny_folder: Path, tmp_path: Path):
    task = load_task("uppercase")
    fields = task.split("test")[0].fields
    asked = task.prompt.user.replace("{input}", fields["input"])
    assert bare_of(task, "none").render(fields) == (("user", asked),)
    assert bare_of(task, "empty").render(fields) == (("system", ""), ("user", asked))
    assert bare_of(task, "be a cat").render(fields) == (("system", "be a cat"), ("user", asked))
    assert bare_of(task, "say: {input}").render(fields) == (("user", f"say: {asked}"),)
    given = ["bake", "run", "--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path)]
    for form, card, last in (
        ("empty", '{"role": "system", "content": ""}', "serve --model {0} --adapter baked=empty/adapter (and send an "
         "empty system turn before each question: so it was trained)"),
        ("be a cat", "With this in the prompt's place", "ask TEXT --model {0} --adapter 'be a cat/adapter' --prompt "
         "'be a cat'"),
    ):  # fmt: skip
        said = cli(*given, *settings(sample__unprompted=form, train__epochs=1), "--out", form)
        assert said.code == 0, said.err
        assert card in (tmp_path / form / "adapter" / "README.md").read_text()
        assert said.out.splitlines()[-1] == "next: promptmill " + last.format(tiny_folder)
