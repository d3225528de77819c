"""A breed that ends before its calls are spent, for whatever reason, keeps what it has and can be gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.crash import PROMPTMILL, server_process, server_stats
from tests.test_cli_breed import BREED, report_of, write_words

UNPROVED = "not proved: stopped by hand before dev and test examples were answered"


@pytest.fixture
def words(tmp_path: Path) -> None:
    write_words(tmp_path)


def found(run: str) -> tuple[Any, ...]:
    """What a search has come to, and how: the same for an unbroken and a continued run."""
    report, metrics = report_of(run), Path(run, "metrics.jsonl").read_text()
    return report["best_prompt"], report["verdict"], report["lineage"], report["calls"], report["ended"], metrics


def test_a_time_limit_ends_the_search_and_the_proof_follows(cli, words):
    said = cli(*BREED, "--minutes", "0.00001", "--out", "r")
    report = report_of("r")
    assert said.code == 0
    assert report["ended"] == "time: 1e-05 minutes"
    assert report["ended"] in said.out
    assert not report["verdict"].startswith("not proved")
    assert report["asked"] < 20
    assert cli("--continue", "r", "--minutes", "9").code == 0
    cli(*BREED, "--out", "unbroken")
    assert found("r") == found("unbroken")


def test_a_file_named_stop_ends_the_search_and_without_it_the_search_goes_on(cli, tmp_path: Path):
    write_words(tmp_path, latency=0.01)
    stop = tmp_path / "r" / "stop"

    def lay_down() -> None:
        until = time.monotonic() + 30
        while not (tmp_path / "r" / "metrics.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.005)
        stop.touch()

    helper = Thread(target=lay_down)
    helper.start()
    said = cli(*BREED, "--out", "r")
    helper.join()
    report = report_of("r")
    assert said.code == 0
    assert report["ended"] == "stop file: r/stop (remove it to go on)"
    assert "stop file: r/stop" in said.out
    assert 0 < report["asked"] < 150
    assert not report["verdict"].startswith("not proved")
    stop.unlink()
    cli(*BREED, "--out", "r")
    assert report_of("r")["ended"] is None
    assert report_of("r")["asked"] > report["asked"]


@pytest.mark.parametrize(
    "named", [("--continue", "r"), ("breed", "--continue=r"), ("breed", "words.jsonl", "--continue", "r")]
)
def test_continue_goes_on_with_more_where_the_budget_ended(named: tuple[str, ...], cli, words):
    assert cli(*BREED, "--out", "r", "--budget-calls", "380").code == 3
    broken = report_of("r")
    assert broken["stopped"].startswith("the budget leaves room for the proof only")
    assert cli(*named, "--budget-calls", "2000").code == 0
    cli(*BREED, "--out", "unbroken")
    assert found("r") == found("unbroken")
    assert report_of("r")["asked"] > broken["asked"]
    assert {path.name for path in Path().iterdir() if path.is_dir()} == {"r", "unbroken"}


def test_continue_keeps_what_decides_the_result(cli, words):
    cli(*BREED, "--out", "r")
    before = report_of("r")
    cli("--continue", "r", "--seed", "5").is_one_error_line("--out r", "seed=0, now 5")
    cli("eval", "words.jsonl", "--continue", "r").is_one_error_line("begun by promptmill breed")
    cli("breed", "sums.jsonl", "--continue", "r").is_one_error_line("without sums.jsonl")
    cli("eval", "words.jsonl", "--model", "scripted:words.yaml", "--out", "e")
    cli("breed", "--continue", "e").is_one_error_line("begun by promptmill eval, not by promptmill breed")
    assert report_of("r") == before


def test_ctrl_c_saves_the_best_so_far_and_the_same_command_goes_on(cli, tmp_path: Path):
    """Once in the search and once in the proof, in a process of its own."""
    rows = [{"question": f"Add {i} and 7.", "answer": str(i + 7)} for i in range(120)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with server_process("--latency", "0.01") as url:
        command = ["breed", "t.jsonl", "--scorer", "number", "--model", "mock", "--base-url", url, "--prompt", "Add.",
                   "--search-calls", "100", "--limit", "30", "--concurrency", "4"]  # fmt: skip
        for calls in (30, 130):
            report = interrupted([*command, "--out", "r"], url, calls, tmp_path)
            assert report["verdict"] == UNPROVED
            assert report["best_prompt"]["system"]
            assert report["asked"] > 0
        done = cli(*command, "--out", "r")
        assert done.code == 0, done.err
        assert server_stats(url)["repeated"] <= 8, "only what was in flight"
        assert cli(*command, "--out", "unbroken").code == 0
    for name in ("report.json", "metrics.jsonl"):
        assert (tmp_path / "r" / name).read_text() == (tmp_path / "unbroken" / name).read_text()


def interrupted(command: list[str], url: str, calls: int, folder: Path) -> dict[str, Any]:
    """The report of a command that gets SIGINT once the server has been asked that often."""
    running = subprocess.Popen([*PROMPTMILL, *command], stderr=subprocess.PIPE, text=True, cwd=folder)
    while running.poll() is None and server_stats(url)["calls"] < calls:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("stopped; what was answered is kept")
    return json.loads((folder / "r" / "report.json").read_text())
