"""The `bake` command: a prompt goes into the weights."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from promptmill.crafts.bake.original import KEYS
from tests.bakes import PROMPT, another_model, bake, files, settings
from tests.crash import PROMPTMILL
from tests.tiny import TEMPLATE

NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE[32:]
)


# Running


def test_a_bake_from_prompt_to_answers_on_the_embedded_model(cli, tmp_path: Path):
    command = ["bake", "run", "--prompt", "Write the text in uppercase.", "--task", "uppercase",
               "--behaviour", "uppercase", "--model", "embedded-small", "--limit", "16", "--out", "run", "--json",
               *settings(sample__max_new_tokens=16, train__rate=0.003)]  # fmt: skip
    said = cli(*command)
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert report == json.loads((tmp_path / "run" / "report.json").read_text())
    assert 0.1 < report["kl"]["drop"] <= 1
    tried = report["behaviour"][0]
    assert tried["prompted"]["score"] > tried["unprompted"]["score"]
    assert report["questions"] == {"from": "task uppercase"}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "of the KL to the prompted model is gone" in page
    assert load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    asked = cli("ask", "the old dog ran", "--model", "embedded-small", "--adapter", "run/adapter")
    assert asked.code == 0
    again = cli(*command)
    assert json.loads(again.out) == report


def test_a_forecast_leaves_nothing_behind(cli, tiny_folder: Path, tmp_path: Path):
    given = ["--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path), *settings()]
    said = cli("bake", "run", *given, "--forecast", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out) == {"questions": 12, "most_tokens": 12 * 2 * 8, "epochs": 2}
    assert "at most 192 tokens sampled, then 2 epochs" in said.err
    assert not (tmp_path / "runs").exists()


def test_a_bake_goes_on_with_more_epochs(cli, tiny_folder: Path, tmp_path: Path):
    given = ["bake", "run", "--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path), "--out", "more"]
    steps = []
    for epochs in (1, 3):
        said = cli(*given, *settings(train__epochs=epochs), "--json")
        assert said.code == 0, said.err
        steps.append(json.loads(said.out)["training"]["steps"])
    assert steps[1] == 3 * steps[0]
    longer = cli("bake", "run", "--continue", "more", "--set", "bake.train.epochs=4", "--set", "bake.train.patience=0")
    assert longer.code == 0, longer.err
    assert json.loads((tmp_path / "more" / "report.json").read_text())["training"]["steps"] == 4 * steps[0]
    cli(*given, *settings(train__rate=0.5)).is_one_error_line("bake.train.rate", "name another folder")


def test_the_model_writes_its_own_questions_and_is_not_asked_again(cli, tmp_path: Path):
    command = ["bake", "sample", "--prompt", "Write the text in uppercase.", "--about", "Write the text in uppercase.",
               "--set", "about_kind=inputs", "--count", "6", "--model", "embedded-small", "--out", "run", "--json",
               *settings()]  # fmt: skip
    first, again = cli(*command), cli(*command)
    assert first.code == 0, first.err
    report = json.loads(first.out)
    assert 2 <= sum(report["sampling"]["questions"].values()) <= 6
    assert report["questions"]["from"].startswith("written by the model")
    assert report["paid"]["calls"] >= 6
    assert json.loads(again.out)["paid"] == report["paid"]
    assert "6 questions to be written" in first.err


def test_sampling_alone_writes_the_original_form_too(cli, tiny_folder: Path, tmp_path: Path):
    given = ["--prompt", PROMPT, "--model", str(tiny_folder), "--inputs", files(tmp_path)[1], *settings()]
    said = cli("bake", "sample", *given, "--original", "old.jsonl", "--out", "run")
    assert said.code == 0, said.err
    texts = [(tmp_path / name).read_text() for name in ("old.jsonl", "old.validation.jsonl")]
    rows = [json.loads(line) for text in texts for line in text.splitlines()]
    assert len(rows) == 24
    assert set(KEYS) <= set(rows[0])
    assert all(row["text"].startswith(row["prompt_text"]) for row in rows)
    assert "Where the prompt matters" in (tmp_path / "run" / "report.html").read_text()
    as_original = cli("bake", "sample", *given, "--as-original", "--forecast")
    assert f"at most {12 * 2 * 8} tokens" in as_original.err, "what is set by --set counts"


def test_questions_held_out_come_from_a_file_of_their_own(cli, tiny_folder: Path, tmp_path: Path):
    given = ["--prompt", PROMPT, "--model", str(tiny_folder), "--inputs", files(tmp_path)[1], *settings()]
    (tmp_path / "held.jsonl").write_text('{"question": "the lazy fox"}\n')
    said = cli("bake", "sample", *given, "--validation", "held.jsonl", "--json")
    assert json.loads(said.out)["sampling"]["questions"] == {"train": 12, "validation": 1}


def progress(run: Path) -> float:
    """How far a bake is: its shards of trajectories, and its steps (a shard is worth ten)."""
    newest = max((int(path.name[5:]) for path in run.glob("checkpoints/step-*")), default=0)
    return 10 * len(list(run.glob("stages/*/part-*"))) + newest


def test_a_killed_bake_ends_in_the_same_adapter(cli, tiny_folder: Path, tmp_path: Path, kills: int):
    changes = {"sample__sequences": 8, "train__checkpoint_seconds": 0, "train__epochs": 1, "sample__k": 16}
    command = ["bake", "run", "--prompt", PROMPT, "--model", str(tiny_folder), *files(tmp_path, 70),
               *settings(**changes), "--out"]  # fmt: skip
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert cli(*command, str(unbroken)).code == 0
    rng, done = random.Random(kills), 0
    for target in sorted(rng.uniform(0, 0.95) * progress(unbroken) for _ in range(kills)):
        process = subprocess.Popen([*PROMPTMILL, *command, str(broken)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        while process.poll() is None and progress(broken) < target:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            done += 1
        process.wait(60)
    assert done >= kills - 1, "the last instant may fall after the end"
    assert cli(*command, str(broken)).code == 0
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "report.json", "metrics.jsonl"):
        assert (broken / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert sorted(path.name for path in broken.rglob(".*.part")) == []


def test_a_sweep_is_shared_out_and_put_together(cli, tiny_folder: Path, tmp_path: Path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.md").write_text("answer yes")
    (tmp_path / "prompts" / "b.yaml").write_text("system: reverse")
    command = ["bake", "sweep", "--prompts", "prompts", "--rank", "2", "--rank", "4", "--model", str(tiny_folder),
               *files(tmp_path), *settings(train__epochs=1), "--out", "sweep"]  # fmt: skip
    first = cli(*command, "--worker", "0/2")
    assert first.code == 0, first.err
    assert "2 of 4" in first.out
    second = cli(*command, "--worker", "1/2", "--json")
    found = json.loads(second.out)
    assert [row["name"] for row in found["bakes"]] == ["a-r2", "a-r4", "b-r2", "b-r4"]
    assert [row["rank"] for row in found["bakes"]] == [2, 4, 2, 4]
    assert -1 <= found["initial_to_final_kl"] <= 1
    assert found == json.loads((tmp_path / "sweep" / "sweep.json").read_text())


def test_a_bake_that_fails_does_not_end_a_sweep(cli, tiny_folder: Path, tmp_path: Path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.md").write_text("cat " * 300)
    (tmp_path / "prompts" / "b.md").write_text("answer yes")
    command = ["bake", "sweep", "--prompts", "prompts", "--model", str(tiny_folder), *files(tmp_path),
               *settings(train__epochs=1)]  # fmt: skip
    (tmp_path / "empty").mkdir()
    said = cli(*command, "--out", "sweep")
    assert said.code == 2
    assert said.err.splitlines()[-1] == "error: 1 of the bakes failed, as said above: a"
    assert (tmp_path / "sweep" / "b" / "report.json").exists()
    changed = cli(*command, "--out", "sweep", "--set", "bake.train.rate=0.5")
    assert "failed: --out sweep/b: was begun with bake.train.rate=0.01, now 0.5" in changed.err
    for more, words in (
        ([], ["--out"]),
        (["--out", "sweep/b"], ["single bake"]),
        (["--out", "new", "--worker", "2/2"], ["--worker 2/2", "i/n"]),
        (["--out", "new", "--prompts", "empty"], ["holds no prompt"]),
    ):
        cli(*command, *more).is_one_error_line(*words)


# What goes wrong


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--prompt", "cat " * 300, "--inputs", "q"], ["context", "256", "shorten the prompt"]),
        (["--prompt", PROMPT, "--inputs", "empty"], ["empty"]),
        (["--prompt", PROMPT, "--inputs", "q", "--task", "uppercase"], ["--inputs and --task"]),
        (["--prompt", PROMPT, "--inputs", "q", "--about", "cats"], ["--inputs and --about"]),
        (["--prompt", PROMPT], ["--inputs FILE", "--task TASK", "--about TEXT"]),
        (["--prompt", PROMPT, "--task", "uppercase", "--validation", "q"], ["--validation goes with --inputs"]),
        (["--inputs", "q"], ["which prompt"]),
        (["--prompt", PROMPT, "--inputs", "q", "--base-url", "http://localhost:1/v1"], ["weights are not here"]),
        (["--prompt", PROMPT, "--inputs", "q", "--model", "scripted:s"], ["weights are not here"]),
        (["--prompt", "{input} {other}", "--inputs", "q"], ["{other}"]),
        (["--prompt", PROMPT, "--inputs", "q", "--set", "bake.sample.temperature=0"], ["sequences=1"]),
    ],
)
@pytest.mark.parametrize("command", ["run", "sample"])
def test_a_mistake_is_one_line_and_leaves_nothing(
    mistake, tiny_folder: Path, tmp_path: Path, command: str, given: list[str], words: list[str]
):
    (tmp_path / "q").write_text('{"question": "the dog"}\n')
    (tmp_path / "s").write_text("rules: []\ndefault: no\n")
    (tmp_path / "empty").write_text("")
    mistake(["bake", command, "--model", str(tiny_folder), *given], words)


def test_a_template_without_a_system_role_is_named_with_the_way_out(mistake, cli, tmp_path: Path):
    model = another_model(tmp_path / "model", template=NO_SYSTEM)
    given = ["--model", str(model), *files(tmp_path), *settings()]
    mistake(["bake", "run", "--prompt", PROMPT, *given], ["no system role", "{input}"])
    assert cli("bake", "sample", "--prompt", PROMPT + " {input}", *given[:4], *settings()).code == 0


def test_an_adapter_of_another_base_is_refused(mistake, tiny_folder: Path, tmp_path: Path,
                                                tmp_path_factory: pytest.TempPathFactory):  # fmt: skip
    baked = bake(tmp_path_factory.mktemp("baked"), tiny_folder, "run")
    other = another_model(tmp_path / "other", hidden_size=32, head_dim=8)
    given = ["--model", str(other), "--adapter", str(baked / "adapter"), *files(tmp_path), *settings()]
    mistake(["bake", "run", "--prompt", PROMPT, *given], ["made for another model"])
    mistake(["bake", "run", "--prompt", PROMPT, *given, "--adapter", "none"], ["no adapter at none"])


def test_a_loss_that_is_no_number_ends_it_and_keeps_what_was_good(cli, tiny_folder: Path, tmp_path: Path):
    given = ["--model", str(tiny_folder), *files(tmp_path), "--out", "run"]
    wild = settings(train__rate=1e30, train__checkpoint_seconds=0, train__clip=1e9, train__batch_items=2)
    cli("bake", "run", "--prompt", PROMPT, *given, *wild).is_one_error_line(
        "lower rate", "the checkpoint step-", "is kept"
    )
    kept = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert not (tmp_path / "run" / "report.json").exists()
