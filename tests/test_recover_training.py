"""`promptmill recover train`: what is learned from what, and that a trained recoverer is used as it was trained."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from promptmill.cli.recover_forecast import calls_to_train
from promptmill.crafts.recover.bench import Bench
from promptmill.crafts.recover.config import OFFLINE
from promptmill.crafts.recover.finished import finished_recoverer, placed
from promptmill.crafts.recover.learn import Learned
from promptmill.crafts.recover.sets import GROUPED, KNOWN, TEST, sets_of
from promptmill.crafts.recover.space import scs
from promptmill.crafts.recover.traces import Trace, read_traces
from promptmill.crafts.recover.training import Training
from promptmill.model.chat import CallError, Request
from promptmill.model.load import ModelConfig
from promptmill.store.run import Run
from tests.conftest import Said
from tests.recovering import (
    EMBEDDED,
    FIRST,
    GRAMS,
    REVERSE,
    TEXTS,
    TRAIN,
    TWICE,
    UPPER,
    WORDING,
    Guesser,
    finished_training,
    lesson,
    lesson_rows,
    lines,
    model,
    row_of,
    settings,
    trace,
    write_jsonl,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_training(tmp_path_factory)


@pytest.fixture
def report(trained: Path) -> dict[str, Any]:
    return json.loads((trained / "report.json").read_text())


@pytest.fixture
def own(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to be changed, beside its lesson and pairs to predict."""
    shutil.copytree(trained, tmp_path / "recoverer")
    shutil.copy(trained.parent / "lesson.jsonl", tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", [row_of(trace(f"p{at}", TWICE, text)) for at, text in enumerate(TEXTS[:2])])
    return tmp_path / "recoverer"


def predict(cli, *more: str, out: str = "found") -> Said:
    return cli("recover", "predict", "pairs.jsonl", "--recoverer", "recoverer", "--out", out, *more)


# The run


def test_a_training_ends_with_all_that_a_recoverer_needs(trained: Path, report: dict[str, Any]) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names >= {"sft", "dpo", "bank.jsonl", "ranker.json", "critic.json", "critic.npz", "report.html"}
    assert [one["stage"] for one in report["learned"]] == ["base", "sft", "dpo"]
    assert report["kept"] in report["dev"]
    assert set(report["dev"]) == {"base", "sft", "dpo"}
    assert report["learned"][2]["pairs"] > 0
    assert all(not Path(path).is_absolute() and (trained / path).is_dir() for path in report["adapters"])
    assert [one["name"] for one in report["tests"]] == [TEST, KNOWN, f"{TEST}{GROUPED}"]
    assert all(one["missing"]["asked"] > 0 for one in report["tests"])
    assert [one["name"] for one in report["stages"]] == [TEST, KNOWN]
    assert {one.prompt for one in read_traces(trained / "bank.jsonl")} == {UPPER, REVERSE}
    assert "What each stage of learning brought" in (trained / "report.html").read_text()


def test_the_stages_are_held_against_each_other_on_texts_that_nothing_has_seen(report: dict[str, Any]) -> None:
    for test in report["stages"]:
        assert [row["arm"] for row in test["arms"]] == ["base", "sft", "dpo"]
    ids = {str(row["id"]) for row in lesson_rows() if row["split"] == "test"}
    assert {one["id"] for one in report["tests"][0]["examples"]} <= ids


def test_a_second_run_asks_nothing_and_changes_nothing(cli, own: Path, report: dict[str, Any]) -> None:
    said = cli(*TRAIN, "--out", "recoverer")
    assert said.code == 0, said.err
    assert json.loads((own / "report.json").read_text()) == report
    assert "kept" in said.out


def test_training_without_a_model_fits_what_finds_and_weighs(cli, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "lesson.jsonl", lesson_rows())
    said = cli("recover", "train", "lesson.jsonl", *EMBEDDED, "--offline", "--out", "recoverer")
    assert said.code == 0, said.err
    told = json.loads((tmp_path / "recoverer" / "report.json").read_text())
    assert (told["calls"], told["adapters"], told["dev"]) == ({}, [], {})
    write_jsonl(tmp_path / "pairs.jsonl", [row_of(trace("a", UPPER))])
    assert predict(cli).code == 0
    assert {each["prompt"] for each in lines(tmp_path / "found" / "predictions.jsonl")[0]["candidates"]} == {
        UPPER, REVERSE,
    }  # fmt: skip
    assert OFFLINE["rank"] == {"likelihood": False, "posterior": False}, "a command must not change it"


def test_settings_of_a_file_are_over_those_of_offline(cli, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "lesson.jsonl", lesson_rows())
    (tmp_path / "more.yaml").write_text("recover: {candidates: {bank: 1}, rank: {embedder: none}}")
    said = cli("recover", "train", "lesson.jsonl", "--model", "embedded-small", "--offline", "--config", "more.yaml",
               "--out", "run", "--json")  # fmt: skip
    assert said.code == 0, said.err
    told = json.loads(said.out)["settings"]
    assert (told["candidates"]["bank"], told["candidates"]["draws"], told["rank"]["embedder"]) == (1, 0, "none")


def test_a_forecast_of_a_training_leaves_nothing_behind_and_is_not_exceeded(
    cli, tmp_path: Path, report: dict[str, Any]
) -> None:
    write_jsonl(tmp_path / "lesson.jsonl", lesson_rows())
    said = cli(*TRAIN, "--forecast", "--json")
    assert said.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["lesson.jsonl"]
    assert sum(report["calls"].values()) <= sum(json.loads(said.out).values())


def test_a_forecast_of_a_training_that_asks_nothing_is_empty() -> None:
    config, traces = settings(**OFFLINE), lesson()
    assert calls_to_train(config, sets_of(traces, {}, config, GRAMS, 0)) == {}


def made(said: Any, traces: list[Trace], folder: Path) -> tuple[float | None, Training]:
    """The dev score of a recoverer that answers so."""
    with Run(folder, "recover", {}) as run:
        one = Training(Bench(run, settings(), WORDING, GRAMS), ModelConfig(), lambda kind: model(Guesser(said)))
        return asyncio.run(one._greedy_scs(Learned("base", (), {}), "dev", traces)), one


def test_an_answer_that_is_no_prompt_counts_as_nothing_and_a_call_that_failed_not_at_all(tmp_path: Path) -> None:
    some = [trace("a", UPPER, TEXTS[0]), trace("b", UPPER, TEXTS[1]), trace("c", UPPER, TEXTS[2])]

    def say(request: Request) -> str:
        asked = request.messages[0][1]
        if TEXTS[2] in asked:
            raise CallError("refused", "too long")
        return "lucrarea" if TEXTS[1] in asked else FIRST

    near = float(scs(GRAMS, [FIRST], [UPPER])[0])
    assert made(say, some, tmp_path / "a")[0] == pytest.approx(near / 2)
    assert made(say, some[2:], tmp_path / "b")[0] is None


# Using it


def test_a_trained_recoverer_predicts_with_all_that_it_has_learned(cli, own: Path, tmp_path: Path) -> None:
    said = predict(cli)
    assert said.code == 0, said.err
    found = lines(tmp_path / "found" / "predictions.jsonl")
    assert [one["id"] for one in found] == ["p0", "p1"]
    assert any(each["parts"]["retrieved"] is not None for one in found for each in one["candidates"])
    told = json.loads((tmp_path / "found" / "report.json").read_text())["settings"]
    assert told["candidates"]["draws"] == 2, "as it was trained"
    assert (tmp_path / "found" / "predictions.jsonl").read_bytes()


def test_it_may_be_moved_and_a_run_with_it_goes_on(cli, own: Path, tmp_path: Path) -> None:
    assert predict(cli).code == 0
    made = (tmp_path / "found" / "predictions.jsonl").read_bytes()
    own.rename(tmp_path / "elsewhere")
    assert cli("recover", "predict", "pairs.jsonl", "--recoverer", "elsewhere", "--out", "found").code == 0
    assert cli("recover", "predict", "pairs.jsonl", "--recoverer", "elsewhere", "--out", "new").code == 0
    assert (tmp_path / "new" / "predictions.jsonl").read_bytes() == made


def test_one_that_was_changed_in_place_is_another(cli, own: Path) -> None:
    assert predict(cli).code == 0
    ranker = json.loads((own / "ranker.json").read_text())
    ranker["weights"]["values"][0] += 1
    (own / "ranker.json").write_text(json.dumps(ranker))
    predict(cli).is_one_error_line("was begun with recoverer=")


def test_what_is_said_here_is_over_what_it_was_trained_with(cli, own: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"recover": {"rank": {"kept": 1}}, "model": {"batch_size": 2}}))
    said = predict(cli, "--config", "mine.yaml", "--draws", "1")
    assert said.code == 0, said.err
    told = json.loads((tmp_path / "found" / "report.json").read_text())["settings"]
    assert (told["rank"]["kept"], told["candidates"]["draws"], told["candidates"]["max_tokens"]) == (1, 1, 16)
    assert {len(one["candidates"]) for one in lines(tmp_path / "found" / "predictions.jsonl")} == {1}


@pytest.mark.parametrize(("more", "words"), [
    (["--model", "embedded"], ["--recoverer brings the model", "model.name"]),
    (["--adapter", "x"], ["--recoverer brings the model", "model.adapters"]),
    (["--base-url", "http://127.0.0.1:1/v1"], ["--recoverer brings the model", "model.base_url"]),
    (["--embedder", "minilm"], ["this critic was fitted in the space of n-grams"]),
])  # fmt: skip
def test_what_does_not_go_with_it_is_said_before_a_run_is_begun(
    mistake, own: Path, more: list[str], words: list[str]
) -> None:  # fmt: skip
    if "minilm" in more:
        pytest.importorskip("sentence_transformers")
    mistake_in(mistake, own, ["recover", "predict", "pairs.jsonl", "--recoverer", "recoverer", *more], words)


def mistake_in(mistake, own: Path, arguments: list[str], words: list[str]) -> None:
    """`mistake` looks for reports that were made: the recoverer's own is hidden from it meanwhile."""
    hidden = own.parent.with_name(f"{own.parent.name}-hidden")
    own.rename(hidden)
    try:
        mistake([str(hidden) if word == "recoverer" else word for word in arguments], words)
    finally:
        shutil.rmtree(hidden)


@pytest.mark.parametrize(("change", "words"), [
    (lambda run: (run / "report.json").unlink(), ["the training has not come to its end"]),
    (lambda run: (run / "report.json").write_text("{}"), ["report.json", "cannot be read"]),
    (lambda run: (run / "report.json").write_text("[]"), ["report.json", "cannot be read"]),
    (lambda run: (run / "ranker.json").unlink(), ["ranker.json", "there is none"]),
    (lambda run: (run / "critic.npz").write_bytes(b""), ["do not belong together"]),
    (lambda run: (run / "bank.jsonl").unlink(), ["there is no file", "bank.jsonl"]),
    (lambda run: changed(run / "report.json", recoverer={"name": 3}), ["report.json", "name"]),
    (lambda run: changed(run / "report.json", generator={"nme": "x"}), ["report.json", "nme"]),
    (lambda run: changed(run / "report.json", settings={"candidats": {}}), ["report.json", "candidats"]),
    (lambda run: changed(run / "run.json", craft="rewrite"), ["is no run of recover train"]),
])  # fmt: skip
def test_a_recoverer_that_is_not_whole_is_told_in_one_line(mistake, own: Path, change: Any, words: list[str]) -> None:
    change(own)
    mistake_in(mistake, own, ["recover", "predict", "pairs.jsonl", "--recoverer", "recoverer"], words)


def changed(path: Path, **more: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_models_in_files_are_named_so_that_they_are_found_from_anywhere(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_folder.parent)
    here = str(tiny_folder.resolve())
    assert placed(ModelConfig(name=f"./{tiny_folder.name}", adapters=["a"])).name == here
    assert placed(ModelConfig(name="x", adapters=["a"])).adapters == [str(tiny_folder.resolve().parent / "a")]
    assert placed(ModelConfig(name="scripted:s.yaml")).name == f"scripted:{tiny_folder.resolve().parent / 's.yaml'}"
    for kind in (
        ModelConfig(),
        ModelConfig(name="org/model"),
        ModelConfig(name=tiny_folder.name, base_url="http://x/v1"),
    ):
        assert placed(kind) == kind


def test_a_finished_recoverer_knows_its_models(own: Path) -> None:
    done = finished_recoverer(own)
    assert done.model.name == done.generator.name == "embedded-small"
    assert all(Path(path).is_relative_to(own) for path in done.model.adapters)
    assert done.generator.adapters == []


# What cannot be learned from is said before a run is begun


@pytest.mark.parametrize(("arguments", "words"), [
    (["--model", "scripted:script.yaml"], ["recover train", "cannot be trained"]),
    (["--test-also", "lesson.jsonl", "--test-also", "more/lesson.jsonl"], ["two files have one name"]),
    (["--test-also", "other prompts.jsonl"], ["cannot be called 'other prompts'"]),
    (["--test-also", "unlabelled.jsonl"], ["unlabelled.jsonl", "there is no rewrite_prompt"]),
    (["--test-also", "torn.jsonl"], ["group 'g'", "different prompts"]),
    (["--set", "recover.synthesize.dev=0.9"], ["dev", "test"]),
    (["--generator", "scripted:nowhere.yaml"], ["nowhere.yaml"]),
])  # fmt: skip
def test_what_cannot_be_trained_on_is_told_in_one_line(
    mistake, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:  # fmt: skip
    (tmp_path / "more").mkdir()
    (tmp_path / "script.yaml").write_text("default: x")
    for name in ("lesson.jsonl", "more/lesson.jsonl", "other prompts.jsonl"):
        write_jsonl(tmp_path / name, lesson_rows())
    write_jsonl(tmp_path / "unlabelled.jsonl", [row_of(trace("a", UPPER, known=False))])
    torn = [replace(trace("a", UPPER), group="g"), replace(trace("b", REVERSE), group="g")]
    write_jsonl(tmp_path / "torn.jsonl", [row_of(one) for one in torn])
    given = ["--model", "embedded-small", *arguments] if "--model" not in arguments else arguments
    mistake(["recover", "train", "lesson.jsonl", "--embedder", "none", *given], words)


def test_one_pair_is_too_little_and_that_is_said(mistake, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "lesson.jsonl", [row_of(trace("a", UPPER))])
    mistake(["recover", "train", "lesson.jsonl", *EMBEDDED], ["no trace is of the split", "more prompts"])
