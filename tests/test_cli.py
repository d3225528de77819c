"""The command line as a user meets it: results, continued runs, and one clear line for each mistake."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import SCRIPTED, SHIPPED, Said
from tests.crash import PROMPTMILL, promptmill, server_process, server_stats


def test_help_is_quick_and_draws_no_torch():
    code = (
        "import sys, io, contextlib\nsys.argv = ['promptmill', 'breed', '--help']\n"
        "from promptmill.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'scipy', 'numpy', 'aiohttp'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import promptmill\nassert promptmill.Prompt and promptmill.evaluate\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Example: promptmill breed" in done.stdout


@pytest.mark.parametrize("command", ["ask", "eval", "compare", "breed", "serve", "tasks"])
def test_every_command_has_an_example_in_its_help(command: str, cli):
    said = cli(command, "--help")
    assert said.code == 0
    assert f"Example: promptmill {command}" in said.out


def test_ask_answers_with_and_without_a_prompt(cli, sums):
    assert cli("ask", "what?", *SCRIPTED).out == "I do not know.\n"
    assert cli("ask", "4 plus 1", *SCRIPTED, "--prompt", "step by step").out == "so it is 4 + 1\n"
    assert cli("ask", "4", *SCRIPTED, "--prompt", "{n} plus 1").out == "0\n"
    assert json.loads(cli("ask", "what?", *SCRIPTED, "--json").out)["calls"] == {"task": 1}


def test_eval_reports_and_keeps_every_answer(cli, sums):
    said = cli(
        "eval", sums, *SCRIPTED, "--scorer", "number", "--split", "all", "--prompt", "step by step", "--out", "r"
    )
    assert said.code == 0, said.err
    assert "forecast: at most 100 calls" in said.err
    report = json.loads(Path("r/report.json").read_text())
    assert (report["answered"], report["score"], report["unparsed"]) == (100, 0.01, 0), (
        "the last number is the 1 of '+ 1'"
    )
    assert report["calls"] == {"task": 100}
    assert "0.010" in said.out
    assert "page: r/report.html" in said.out
    assert "Score 0.010 (number)" in Path("r/report.html").read_text()


def test_eval_again_is_answered_from_the_run(cli, sums):
    first = cli("eval", sums, *SCRIPTED, "--json")
    (folder,) = Path("runs").iterdir()
    again = cli("eval", sums, *SCRIPTED, "--json")
    assert json.loads(first.out) == json.loads(again.out)
    assert [path.name for path in Path("runs").iterdir()] == [folder.name]
    assert "are answered already" in again.err


@pytest.fixture
def strange(tmp_path: Path) -> str:
    """A task in words that no embedded model has ever read."""
    sentences = [f"Zygmunt appraised {i} Byzantine chandeliers amid unprecedented turbulence." for i in range(60)]
    rows = [{"input": sentence, "gold": "Zygmunt"} for sentence in sentences]
    (tmp_path / "strange.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "strange.jsonl"


def _warned(said: Said) -> list[str]:
    return [line for line in said.err.splitlines() if line.startswith("warning: ")]


@pytest.mark.parametrize("model", SHIPPED)
def test_eval_warns_once_and_in_its_report_of_words_the_embedded_model_does_not_know(model, cli, strange):
    said = cli("eval", strange, "--model", model, "--limit", "4", "--max-tokens", "4", "--out", "r", "--json")
    (line,) = _warned(said)
    assert f"unknown to the {model} model" in line
    assert json.loads(said.out)["warnings"] == [line.removeprefix("warning: ")]
    assert json.loads(said.out) == json.loads(Path("r/report.json").read_text())


@pytest.mark.parametrize("command", ["ask", "breed"])
def test_ask_and_breed_warn_before_anything_is_asked(command: str, cli, strange):
    asked = "Describe chandeliers." if command == "ask" else strange
    said = cli(command, asked, "--forecast", "--json")
    assert len(_warned(said)) == 1
    assert said.err.index("warning: ") < said.err.index("forecast: ")
    assert json.loads(said.out)["calls"] > 0


def test_a_task_of_the_embedded_models_world_and_other_models_get_no_warning(cli, sums, strange):
    assert _warned(cli("eval", "uppercase", "--forecast")) == []
    said = cli("eval", strange, *SCRIPTED, "--json")
    assert (_warned(said), json.loads(said.out)["warnings"]) == ([], [])


def test_compare_two_runs(cli, sums):
    cli("eval", sums, *SCRIPTED, "--scorer", "contains", "--out", "a")
    cli("eval", sums, *SCRIPTED, "--scorer", "contains", "--prompt", "step by step", "--out", "b")
    said = cli("compare", "a", "b", "--json")
    result = json.loads(said.out)
    assert result["gain"] == pytest.approx(result["score_b"] - result["score_a"])
    assert "verdict" in cli("compare", "a", "b").out
    cli("eval", sums, *SCRIPTED, "--scorer", "exact", "--out", "c")
    cli("compare", "a", "c").is_one_error_line("scored differently")
    cli("compare", "a", "nowhere").is_one_error_line("nowhere", "no run.json")


def test_a_forecast_costs_nothing(cli, sums, tmp_path: Path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("script.yaml: {input: 1.0, output: 2.0}")
    said = cli(
        "eval", sums, *SCRIPTED, "--forecast", "--prices", str(prices), "--budget-cost", "0.000001", "--out", "r"
    )
    assert said.code == 0
    assert "at most $" in said.err
    assert "the budget may end it at $" in said.err
    assert not Path("r").exists()


def test_a_budget_ends_with_code_3_and_more_continues(cli, sums):
    arguments = ("eval", sums, *SCRIPTED, "--split", "all", "--out", "r")
    stopped = cli(*arguments, "--budget-calls", "30")
    assert stopped.code == 3
    assert "30 of 30 calls" in stopped.err
    assert json.loads(Path("r/report.json").read_text())["answered"] == 30
    assert cli(*arguments, "--budget-calls", "100").code == 0
    assert json.loads(Path("r/report.json").read_text())["answered"] == 100


def test_an_empty_prompt_is_no_instruction(cli, sums):
    cli("eval", sums, *SCRIPTED, "--prompt", "", "--out", "r")
    assert json.loads(Path("r/report.json").read_text())["prompt"]["system"] == ""


def test_what_a_model_says_does_not_steer_the_terminal(cli, sums, tmp_path: Path):
    (tmp_path / "rude.yaml").write_text('default: "\\e[2J[bold]gone[/bold]\\a"')
    said = cli("eval", sums, "--model", "scripted:rude.yaml")
    assert "\x1b" not in said.out
    assert "[bold]gone[/bold]" in said.out


def test_a_shared_cache_answers_other_runs_and_is_not_counted_as_paid(cli, sums):
    shared = ("eval", sums, *SCRIPTED, "--prompt", "Add.", "--cache", "shared.sqlite")
    cli(*shared, "--out", "a")
    cli(*shared, "--out", "b", "--scorer", "contains")
    assert json.loads(Path("b/report.json").read_text())["calls"] == {}


def test_settings_come_from_file_flags_and_set_in_that_order(cli, sums, tmp_path: Path):
    (tmp_path / "c.yaml").write_text(
        "sampling: {max_tokens: 10, top_p: 0.5}\nlimit: 5\nmodel: {name: 'scripted:script.yaml'}\n"
    )
    cli("eval", sums, "--config", "c.yaml", "--max-tokens", "20", "--set", "sampling.top_p=0.7", "--out", "r")
    identity = json.loads(Path("r/run.json").read_text())["identity"]
    assert identity["sampling"] == {"temperature": 0.0, "top_p": 0.7, "max_tokens": 20, "stop": []}
    assert identity["limit"] == 5


def test_tasks_lists_and_shows(cli, sums):
    assert cli("tasks").code == 0
    shown = cli("tasks", sums)
    assert "0 plus 1" in shown.out or "plus 1" in shown.out


MISTAKES = {
    "missing file": (["eval", "nowhere.jsonl"], ["nowhere.jsonl"]),
    "unknown task": (["eval", "arithmatic"], ["arithmatic"]),
    "empty task": (["eval", "empty.jsonl"], ["empty.jsonl"]),
    "wrong column": (["eval", "columns.jsonl"], ["columns.jsonl", "foo"]),
    "broken line": (["eval", "broken.jsonl"], ["broken.jsonl", "2"]),
    "bad yaml key": (["eval", "task.yaml"], ["task.yaml", "scorrer"]),
    "bad config key": (["eval", "sums.jsonl", "--config", "bad.yaml"], ["samplign", "sampling"]),
    "config that is no yaml": (["eval", "sums.jsonl", "--config", "sums.jsonl"], ["sums.jsonl"]),
    "unknown scorer": (["eval", "sums.jsonl", "--scorer", "best"], ["best", "exact"]),
    "unknown split": (["eval", "sums.jsonl", "--split", "validation"], ["validation", "dev"]),
    "unknown model": (["eval", "sums.jsonl", "--model", "no/such-model"], ["no/such-model"]),
    "missing script": (["eval", "sums.jsonl", "--model", "scripted:no.yaml"], ["no.yaml"]),
    "broken script": (["eval", "sums.jsonl", "--model", "scripted:task.yaml"], ["task.yaml", "rules"]),
    "no address": (["eval", "sums.jsonl", "--model", "m", "--base-url", "localhost:1"], ["localhost:1", "http"]),
    "unreachable server": (["ask", "x", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"], ["nobody answers"]),
    "budget 0": (["eval", "sums.jsonl", "--budget-calls", "0"], ["--budget-calls", "more than 0"]),
    "cost without price": (["eval", "sums.jsonl", *SCRIPTED, "--budget-cost", "1"], ["--prices"]),
    "hole without field": (["eval", "sums.jsonl", *SCRIPTED, "--prompt", "{text}?"], ["{text}", "input"]),
    "two prompts": (["eval", "sums.jsonl", "--prompt", "a", "--prompt-file", "b"], ["not both"]),
    "missing prompt file": (["eval", "sums.jsonl", "--prompt-file", "b.yaml"], ["b.yaml"]),
    "bad prompt file": (["eval", "sums.jsonl", "--prompt-file", "task.yaml"], ["task.yaml", "data"]),
    "folder with other things": (["eval", "sums.jsonl", *SCRIPTED, "--out", "."], ["no run"]),
    "ask with a run": (["ask", "x", *SCRIPTED, "--out", "r"], ["keeps no run"]),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_clear_line_and_leaves_nothing_behind(case: str, mistake, sums, tmp_path: Path):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "columns.jsonl").write_text('{"foo": 1, "bar": 2}\n')
    (tmp_path / "broken.jsonl").write_text('{"input": "a", "gold": "b"}\n{"input": \n')
    (tmp_path / "task.yaml").write_text("data: sums.jsonl\nscorrer: exact\n")
    (tmp_path / "bad.yaml").write_text("samplign: {top_p: 1}\n")
    mistake(*MISTAKES[case], begun=case == "unreachable server")


def test_an_endpoint_over_http_with_faults_loses_nothing(tmp_path: Path):
    rows = [{"question": f"Add {i} and 7.", "answer": str(i + 7)} for i in range(100)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with server_process("--faults", "0.2", "--latency", "0.002") as url:
        done = promptmill("eval", "t.jsonl", "--scorer", "number", "--split", "all", "--model", "mock",
                          "--base-url", url,
                          "--prompt", "step", "--set", "model.timeout=0.3", "--set", "model.base_wait=0.01",
                          "--set", "model.attempts=12", "--json", cwd=tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert server_stats(url)["calls"] > 100
    report = json.loads(done.stdout)
    assert (report["answered"], report["score"], report["failures"]) == (100, 1.0, {})


def test_ctrl_c_ends_with_a_word_and_code_130_and_the_same_command_goes_on(tmp_path: Path):
    rows = [{"question": f"Add {i % 60} and 7.", "answer": str(i % 60 + 7)} for i in range(120)]  # each question twice
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with server_process("--latency", "0.1") as url:
        command = ["eval", "t.jsonl", "--scorer", "number", "--split", "all", "--model", "mock", "--base-url", url,
                   "--prompt", "step", "--concurrency", "4", "--json"]  # fmt: skip
        running = subprocess.Popen([*PROMPTMILL, *command], stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        while server_stats(url)["calls"] < 8:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
        assert running.returncode == 130
        assert err.splitlines()[-1].startswith("stopped; what was answered is kept")
        assert "Traceback" not in err
        assert server_stats(url)["calls"] < 40
        done = promptmill(*command, cwd=tmp_path)
        assert json.loads(done.stdout)["score"] == 1.0
        assert server_stats(url)["repeated"] <= 4, "only what was in flight"
