"""Half-baking and pursuit on tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.pursuit import Pursuit, stacked
from promptmill.crafts.bake.questions import questions_of
from promptmill.crafts.bake.sweep import Trial, greedy, is_monotone, kl_per_token, swept
from promptmill.errors import InputError
from promptmill.measure.answer import Ask
from promptmill.measure.evaluate import evaluate_async
from promptmill.model.chat import Sampling
from promptmill.model.embedded import embedded_backend
from promptmill.model.gate import Model, run_blocking
from promptmill.model.local import LocalBackend, load
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Prompt
from promptmill.score.exact import Exact
from promptmill.settings import checked
from promptmill.tasks.task import Example, Task
from promptmill.train.batches import Item, Seen
from promptmill.train.settings import LoraSettings
from promptmill.train.targets import attach_adapter
from tests.bakes import another_model, files, settings
from tests.training import awake

SHOUT = Prompt(system="Write the text in uppercase. Give only the result.")
TEXTS = ["the dog ran", "a red boat", "my uncle found a small key", "the old bee", "a cat and a duck"]


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return embedded_backend()


@pytest.fixture(scope="module")
def loaded(backend: LocalBackend) -> Loaded:
    return backend.loaded()


@pytest.fixture(scope="module")
def changed(backend: LocalBackend) -> Any:
    """The embedded model with an adapter that does something."""
    model = load.load_model(backend.folder, [], "float32", "cpu", False)
    return awake(attach_adapter(model, LoraSettings(rank=4), seed=1))


def shouting() -> Task:
    examples = tuple(Example(str(at), {"input": text}, (text.upper(),)) for at, text in enumerate(TEXTS))
    return Task("shout", "Capitals.", SHOUT, Exact(case_sensitive=True), None, (), (), examples)


def items(loaded: Loaded) -> list[Item]:
    """Answers with the prompted model as their teacher."""
    found = []
    for text in TEXTS:
        fields = {"input": text}
        prompted, bare = (loaded.chat.encode_chat(one.render(fields), "") for one in (SHOUT, Prompt()))
        answer = (*loaded.chat.encode(" " + text.upper()), *loaded.eos)
        found.append(Item(bare, answer, teacher=Seen((), prompted)))
    return found


def test_strength_zero_is_the_model_as_it_was_and_the_sweep_leaves_no_trace(changed: Any, loaded: Loaded) -> None:
    task = shouting()
    trial = Trial(task, task.prompt, task.test, 16)
    before = kl_per_token(changed, items(loaded))
    none, half, whole, far = swept(changed, loaded, items(loaded), [trial], (0.0, 0.5, 1.0, 20.0))
    assert kl_per_token(changed, items(loaded)) == before == whole.kl
    assert none.scores([task.scorer]) == [1.0]
    assert far.scores([task.scorer])[0] < 1
    assert len({none.kl, half.kl, whole.kl}) == 3
    with changed.disable_adapter():
        assert kl_per_token(changed, items(loaded)) == pytest.approx(none.kl)


def test_a_model_that_has_the_prompt_is_at_no_distance(changed: Any, loaded: Loaded) -> None:
    own = [Item(one.teacher.context, one.answer, teacher=one.teacher) for one in items(loaded) if
           isinstance(one.teacher, Seen)]  # fmt: skip
    with changed.disable_adapter():
        assert kl_per_token(changed, own) == pytest.approx(0, abs=1e-5)


def test_greedy_answers_are_those_of_the_backend(backend: LocalBackend, loaded: Loaded) -> None:
    task = shouting()
    model = load.load_model(backend.folder, [], "float32", "cpu", False)
    asked = [(task.prompt.render(one.fields), "") for one in task.test]
    said: dict[str, str] = {}

    async def ask() -> None:
        async with Model(backend) as gate:
            await evaluate_async(
                gate, task, task.prompt, task.test, Ask(Sampling(max_tokens=16)),
                on_answer=lambda example, reply, score: said.update({example.id: reply.said}),
            )  # fmt: skip

    run_blocking(ask())
    # Rows of two: padding on the left must change nothing.
    assert greedy(model, loaded, asked, 16, rows=2) == [said[one.id].strip() for one in task.test]


def test_monotone_allows_for_slack() -> None:
    assert is_monotone([0.0, 0.5, 0.5, 1.0])
    assert not is_monotone([0.0, 0.5, 0.49])
    assert is_monotone([0.0, 0.5, 0.49], slack=0.02)


def quick() -> BakeConfig:
    return checked(BakeConfig, {
        "sample": {"sequences": 2, "max_new_tokens": 8}, "rehearsal_answers": 4, "lora": {"rank": 4},
        "train": {"epochs": 1, "rate": 0.01, "warmup_steps": 0},
    })  # fmt: skip


def test_each_round_is_baked_into_the_model_that_the_round_before_has_left(
    tmp_path: Path, backend: LocalBackend
) -> None:
    pursuit = Pursuit(backend, SHOUT, questions_of(TEXTS, 0.2), ("Write the text in lowercase.",), quick(), tmp_path)
    first, second = pursuit.rounds(2)
    assert (first.number, first.adapters) == (1, (first.baked.adapter,))
    assert second.adapters == (first.baked.adapter, second.baked.adapter)
    assert (tmp_path / "round-2" / "report.json").exists()
    over = stacked(backend, second.adapters)
    assert over.name == backend.name
    assert over.fingerprint != stacked(backend, first.adapters).fingerprint
    again = list(pursuit.rounds(2))
    assert [one.adapters for one in again] == [first.adapters, second.adapters]
    assert again[1].baked.outcome.best == second.baked.outcome.best


def test_a_model_whose_adapters_cannot_be_merged_is_refused(tmp_path: Path, backend: LocalBackend) -> None:
    half = LocalBackend(str(backend.folder), dtype="bfloat16", device="cpu")
    pursuit = Pursuit(half, SHOUT, questions_of(TEXTS), ("Be brief.",), quick(), tmp_path)
    with pytest.raises(InputError, match="load it in float32"):
        next(pursuit.rounds(1))


def test_the_finished_bakes_of_another_model_are_no_part_of_a_sweep(cli, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "prompts" / f"{name}.md").write_text(f"answer {name}")
    other = another_model(tmp_path / "other", seed=3)
    command = ["bake", "sweep", "--prompts", "prompts", *files(tmp_path), *settings(train__epochs=1), "--out", "sweep"]
    first = cli(*command, "--model", str(other), "--worker", "0/2", "--json")
    assert first.code == 0, first.err
    found = json.loads(first.out)
    assert (found["model"], found["questions"], found["seed"]) == ("other", "file asked.jsonl", 0)
    second = cli(*command, "--model", str(tiny_folder), "--worker", "1/2", "--json")
    assert "sweep/a: is of another sweep (model=" in second.err
    assert [row["name"] for row in json.loads(second.out)["bakes"]] == ["b"]
    refused = cli(*command, "--model", str(tiny_folder))
    assert "failed: --out sweep/a: was begun with model=" in refused.err
    assert refused.err.splitlines()[-1] == "error: 1 of the bakes failed, as said above: a"
    for change in (["--seed", "1"], ["--limit", "5"], ["--behaviour", "uppercase"]):
        assert "failed: --out sweep/b: was begun with" in cli(*command, "--model", str(tiny_folder), *change).err


def test_a_sweep_that_is_given_again_makes_nothing_anew_but_may_go_on(cli, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.md").write_text("answer yes")
    command = ["bake", "sweep", "--prompts", "prompts", "--model", str(tiny_folder), *files(tmp_path),
               *settings(train__epochs=1), "--out", "sweep"]  # fmt: skip
    run = tmp_path / "sweep" / "a"
    assert cli(*command).code == 0
    made = (run / "report.json").stat().st_mtime_ns
    again = cli(*command)
    assert (again.code, again.err.splitlines()) == (0, ["bake a"])
    assert (run / "report.json").stat().st_mtime_ns == made
    steps = json.loads((run / "report.json").read_text())["training"]["steps"]
    assert cli(*command, "--set", "bake.train.epochs=2").code == 0
    assert json.loads((run / "report.json").read_text())["training"]["steps"] == 2 * steps


@pytest.mark.parametrize(("more", "word"), [(["--temperature", "nan"], "temperature"), (["--rank", "0"], "rank")])
def test_a_grid_with_a_value_that_no_bake_can_have_is_one_line(
    cli, tiny_folder: Path, tmp_path: Path, more: list[str], word: str
) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.md").write_text("answer yes")
    command = ["bake", "sweep", "--prompts", "prompts", "--model", str(tiny_folder), *files(tmp_path), "--out", "sweep"]
    cli(*command, *more).is_one_error_line(word)
    assert not (tmp_path / "sweep").exists()
