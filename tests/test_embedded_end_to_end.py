"""The crafts on the real small model: in this process, and over HTTP by `promptmill serve`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import promptmill as pm
from tests.crash import PROMPTMILL, promptmill


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Base URL of `promptmill serve` on a free port."""
    command = [*PROMPTMILL, "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        yield next(word for word in line.split() if word.startswith("http://"))
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


def test_eval_over_http_gives_the_same_answers_as_in_process(tmp_path: Path):
    command = ["eval", "uppercase", "--model", "embedded", "--limit", "40", "--prompt", "Write the text in uppercase."]
    inside = promptmill(*command, "--json", cwd=tmp_path)
    assert inside.returncode == 0, inside.stderr
    with serving("--model", "embedded") as url:
        over_http = promptmill(*command, "--base-url", url, "--json", cwd=tmp_path)
    assert over_http.returncode == 0, over_http.stderr
    first, second = json.loads(inside.stdout), json.loads(over_http.stdout)
    assert first["score"] == second["score"]
    assert first["score"] > 0.5
    assert first["tokens"] == second["tokens"]
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_breed_finds_a_better_prompt_on_the_embedded_model(tmp_path: Path):
    command = ["breed", "uppercase", "--model", "embedded", "--limit", "60", "--search-calls", "500"]
    done = promptmill(*command, "--out", str(tmp_path / "run"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"].startswith("improved"), report["verdict"]
    assert report["test"]["best"] > report["test"]["seed"] + 0.2
    again = promptmill(*command, "--out", str(tmp_path / "run"), "--json")
    assert json.loads(again.stdout) == report


def test_a_worked_chain_makes_the_arithmetic_right():
    model, task = pm.load_model("embedded"), pm.load_task("arithmetic")
    direct = pm.evaluate(model, task, "Solve the problem. Give only the result.", split="dev")
    steps = pm.evaluate(model, task, "Solve the problem. Think step by step.", split="dev")
    assert direct.score is not None
    assert steps.score is not None
    assert steps.score > direct.score + 0.3


def test_choices_are_weighed_alike_in_process_and_over_http():
    messages = (("system", "Is the text positive or negative?"), ("user", "the happy dog found a lovely cake"))
    request = pm.Request(messages, constraint=("positive", "negative"), logprobs=0)
    (inside,) = pm.load_model("embedded").complete([request])
    with serving("--model", "embedded") as url:
        (over_http,) = pm.load_model("embedded", url).complete([request])
    assert inside.text == over_http.text == "positive"


def test_text_completions_and_their_scores_are_those_of_the_model():
    question = (("user", "<|user|> the red cat<|end|><|assistant|>"),)
    sampling = pm.Sampling(max_tokens=12)
    with serving("--model", "embedded") as url:
        model = pm.load_model("embedded", url, api="completions")
        (answer,) = model.complete([pm.Request(question, sampling, logprobs=0)])
        (scores,) = model.score([pm.ScoreRequest(question, (answer.text, " no such answer"))])
    told = sum(token.logprob for token in answer.answers[0].logprobs)
    assert answer.text
    assert scores.logprobs[0] == pytest.approx(told, abs=0.05)
    assert scores.logprobs[0] > scores.logprobs[1]


def test_without_the_extra_the_error_names_it(tmp_path: Path):
    code = (
        "import sys\n"
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('torch', 'transformers') else real(name, *a)\n"
        "sys.argv = ['promptmill', 'ask', 'x', '--model', 'embedded']\n"
        "from promptmill.cli.main import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "pip install 'promptmill[local]'" in done.stderr
