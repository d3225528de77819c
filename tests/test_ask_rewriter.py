from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.guard import guard
from promptmill.crafts.rewrite.roles import Roles
from promptmill.model.embedded import embedded_path
from promptmill.train.settings import LoraSettings
from promptmill.train.targets import attach_adapter, save_trained
from promptmill.vary.wording import load_wording
from tests.conftest import SCRIPTED
from tests.crash import server_process

ASK = ("ask", "Reverse the words of the text.", "--rewriter", "run")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that changes nothing: the rewriter is then the embedded model itself."""
    from promptmill.model.local import load

    folder = tmp_path_factory.mktemp("run") / "adapter"
    model = load.load_model(embedded_path("embedded-small"), (), "float32", "cpu", False)
    save_trained(attach_adapter(model, LoraSettings(rank=1), 0), folder, "embedded-small")
    return folder


def finished(folder: Path, adapter: Path, **settings: Any) -> None:
    """The folder of a rewrite that is trained."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"craft": "rewrite", "identity": {}}))
    config = RewriteConfig.model_validate({"test": {"candidates": 2, "proof": 0}, **settings})
    base = {"name": "embedded-small", "folder": str(embedded_path("embedded-small")), "dtype": "float32",
            "load_in_4bit": False, "adapters": []}  # fmt: skip
    (folder / "report.json").write_text(json.dumps({
        "craft": "rewrite", "settings": config.model_dump(mode="json"), "base": base, "adapters": [str(adapter)],
        "predictor": {"kept": False},
    }))  # fmt: skip
    (folder / "roles.json").write_text(json.dumps(Roles.of(load_wording()).to_dict()))


@pytest.fixture
def run(tmp_path: Path, adapter: Path, sums: str) -> Path:
    finished(tmp_path / "run", adapter)
    return tmp_path / "run"


@pytest.fixture
def alone(tmp_path: Path, adapter: Path, sums: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewriter of whose rewrites none is like the prompt."""

    class Unlike:
        def similarity(self, a: str, b: str) -> float:
            return 0.0

    monkeypatch.setattr(guard, "Embedder", Unlike)
    finished(tmp_path / "run", adapter, pairs={"similar": 0.9})


def test_both_answers_are_shown_with_the_refined_prompt(run: Path, cli: Any) -> None:
    said = cli(*ASK, *SCRIPTED)
    assert said.code == 0, said.err
    first, better, second = (part.split("\n", 1) for part in said.out.strip().split("\n\n"))
    assert first == ["as it is", "I do not know."]
    assert better[0] == "refined prompt"
    assert better[1] != ASK[1]
    assert second == ["refined", "I do not know."]


def test_json_has_both_and_what_each_cost(run: Path, cli: Any) -> None:
    told = json.loads(cli(*ASK, *SCRIPTED, "--json").out)
    assert told["baseline"] == {"prompt": ASK[1], "answer": "I do not know."}
    assert told["refined"]["answer"] == told["answer"]
    assert told["refined"]["prompt"] == json.loads(cli("rewrite", "apply", ASK[1], *ASK[2:], "--json").out)["rewrite"]
    assert told["calls"] == {"task": 2, "rewriter": 2}


def test_with_a_prompt_it_is_the_prompt_that_is_refined(run: Path, cli: Any) -> None:
    told = json.loads(cli("ask", "4 plus 1", *ASK[2:], *SCRIPTED, "--json", "--prompt", "Go step by step.").out)
    assert told["baseline"] == {"prompt": "Go step by step.", "answer": "so it is 4 + 1"}
    assert told["refined"]["prompt"] != "Go step by step."
    assert told["refined"]["answer"] in ("so it is 4 + 1", "0")  # the text is still asked about


def test_a_prompt_that_is_left_alone_has_one_answer_and_the_reason(alone: None, cli: Any) -> None:
    assert cli(*ASK, *SCRIPTED).out.strip() == "left alone: every rewrite breaks a rule\nI do not know."
    told = json.loads(cli(*ASK, *SCRIPTED, "--json").out)
    assert told["refined"] is None
    assert (told["answer"], told["reason"]) == ("I do not know.", "every rewrite breaks a rule")
    assert told["calls"]["task"] == 1


def test_a_main_model_on_a_server_and_one_on_this_machine_do(run: Path, cli: Any) -> None:
    with server_process() as url:
        told = json.loads(cli(*ASK, "--model", "mock", "--base-url", url, "--json").out)
    assert told["calls"] == {"task": 2, "rewriter": 2}
    assert json.loads(cli(*ASK, "--model", "embedded-small", "--json").out)["refined"]["answer"]


def test_a_forecast_asks_nothing(run: Path, cli: Any) -> None:
    said = cli(*ASK, *SCRIPTED, "--forecast", "--json")
    assert json.loads(said.out)["calls"] == 2
    assert "2 of the rewriter" in said.err


def test_the_rewriters_calls_count_in_the_budget(run: Path, cli: Any) -> None:
    assert cli(*ASK, *SCRIPTED, "--budget-calls", "1").code == 3


@pytest.mark.parametrize(("name", "words"), [
    ("nowhere", ["nowhere", "run.json"]),
    ("other", ["other", "no run of rewrite"]),
    ("early", ["early", "has not come to its end"]),
    ("untrained", ["untrained", "no rewriter is trained yet"]),
])  # fmt: skip
def test_a_run_without_a_rewriter_is_refused_before_anything_is_asked(
    name: str, words: list[str], sums: str, cli: Any, tmp_path: Path
) -> None:
    for made, craft in (("other", "breed"), ("early", "rewrite"), ("untrained", "rewrite")):
        (tmp_path / made).mkdir()
        (tmp_path / made / "run.json").write_text(json.dumps({"craft": craft, "identity": {}}))
    (tmp_path / "untrained" / "report.json").write_text(json.dumps({"settings": {}}))
    cli("ask", "Say it.", "--rewriter", name, *SCRIPTED).is_one_error_line(*words)


def test_an_empty_text_is_refused(run: Path, cli: Any) -> None:
    cli("ask", " ", *ASK[2:], *SCRIPTED).is_one_error_line("empty")
