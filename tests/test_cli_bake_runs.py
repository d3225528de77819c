"""What is done with finished bakes: `bake report`, `combine`, `export`, and their model cards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from promptmill.crafts.bake.compare_page import SCATTERS
from promptmill.crafts.bake.finished import Base
from promptmill.crafts.bake.summary import base_of
from promptmill.model.local import LocalBackend
from promptmill.model.local.load import load_model
from tests.bakes import PROMPT, another_model, bake


@pytest.fixture(scope="module")
def baked(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small bake. Only to be read, but for what `report` writes."""
    return bake(tmp_path_factory.mktemp("baked"), tiny_folder, "run")


@pytest.fixture(scope="module")
def on_top(baked: Path, tiny_folder: Path) -> Path:
    """A second prompt, baked on top of the first."""
    return bake(baked.parent, tiny_folder, "second", "--adapter", str(baked / "adapter"), prompt="no , thanks")


@pytest.fixture(scope="module")
def beside(baked: Path, tiny_folder: Path) -> Path:
    """A second prompt, baked into the same model."""
    return bake(baked.parent, tiny_folder, "beside", prompt="my cat")


def logits(model: Path, *adapters: Path) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = load_model(model, list(adapters), "float32", "cpu", False)(
            torch.arange(9, 30)[None]
        ).logits
    return found


def test_the_card_says_what_was_baked_and_how_it_is_loaded(baked: Path, on_top: Path):
    card = (baked / "adapter" / "README.md").read_text()
    for word in (PROMPT, "file asked.jsonl", "rank", "PeftModel", "--enable-lora", "--lora-modules", "promptmill ask"):
        assert word in card
    stacked = (on_top / "adapter" / "README.md").read_text()
    assert f"--adapter {baked / 'adapter'} --adapter" in stacked
    assert "does not work alone" in stacked
    assert "lora-modules" not in stacked


def test_a_report_compares_four_ways_and_another_prompt(cli, baked: Path, tmp_path: Path):
    (tmp_path / "other.md").write_text("reverse the words")
    said = cli("bake", "report", str(baked), "--against", "other.md", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    report = json.loads((baked / "report.json").read_text())
    assert found == json.loads((baked / "compare.json").read_text())
    assert found["answers"] == report["sampling"]["answers"]["validation"]
    best, after = report["kl"]["best"], found["kl"]["prompted"]["baked"]["per_token"]
    assert after == pytest.approx(best, rel=0.01), "what training has validated"
    assert after < found["kl"]["prompted"]["unprompted"]["per_token"]
    other = found["against"]
    assert other["prompt"]["system"] == "reverse the words"
    for way in ("unprompted_logits_peft_losses", "unprompted_logits_base_losses"):
        assert other[way] == pytest.approx(found[way]), "only the prompted sides change"
    assert other["prompted_logits_base_losses"] != pytest.approx(found["prompted_logits_base_losses"])
    page = (baked / "report.html").read_text()
    assert all(f"{one}_vs_{two}" in page for one, two in SCATTERS)
    assert "Against another prompt" in page


def test_a_report_on_other_questions_samples_them_first(cli, baked: Path, tmp_path: Path):
    (tmp_path / "new.jsonl").write_text('{"question": "the lazy fox"}\n{"question": "a dog ?"}\n')
    said = cli("bake", "report", str(baked), "--questions", "new.jsonl")
    assert said.code == 0, said.err
    assert "on 2 other questions" in said.out
    assert json.loads((baked / "compare.json").read_text())["answers"] == 4


def test_an_exported_adapter_has_the_strength_that_was_asked_for(cli, baked: Path, tiny_folder: Path, tmp_path: Path):
    assert cli("bake", "export", str(baked), "--to", "none", "--strength", "0").code == 0
    assert torch.equal(logits(tiny_folder, tmp_path / "none"), logits(tiny_folder))
    assert cli("bake", "export", str(baked), "--to", "whole").code == 0
    assert torch.equal(logits(tiny_folder, tmp_path / "whole"), logits(tiny_folder, baked / "adapter"))
    assert "half-baked" in (tmp_path / "none" / "README.md").read_text()


def test_a_merged_model_tells_how_far_it_is_from_the_adapter(cli, on_top: Path, baked: Path, tiny_folder: Path,
                                                             tmp_path: Path):  # fmt: skip
    said = cli("bake", "export", str(on_top), "--merge", "--to", "merged")
    assert said.code == 0, said.err
    assert "largest difference of a logit" in said.out
    assert "KL per token to the adapter" in said.out
    both = logits(tiny_folder, baked / "adapter", on_top / "adapter")
    assert torch.allclose(logits(tmp_path / "merged"), both, atol=1e-4), "what it was trained on is merged with it"
    assert PROMPT not in (tmp_path / "merged" / "README.md").read_text().split("## The prompt")[1]
    assert cli("ask", "the dog", "--model", "merged", "--max-tokens", "4").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_bakes_are_added_up_exactly(cli, baked: Path, beside: Path, tiny_folder: Path, tmp_path: Path):
    said = cli("bake", "combine", str(baked), str(beside), "--to", "both")
    assert said.code == 0, said.err
    one, other, none = (logits(tiny_folder, *x) for x in ([baked / "adapter"], [beside / "adapter"], []))
    both = logits(tiny_folder, tmp_path / "both")
    assert torch.allclose(both, logits(tiny_folder, baked / "adapter", beside / "adapter"), atol=1e-4)
    assert min((both - single).abs().max() for single in (one, other, none)) > 1e-3
    card = (tmp_path / "both" / "README.md").read_text()
    assert PROMPT in card
    assert "my cat" in card
    assert str(tiny_folder) not in (tmp_path / "both" / "adapter_config.json").read_text()


def test_a_bake_on_top_of_another_goes_with_it(cli, baked: Path, on_top: Path, tiny_folder: Path, tmp_path: Path):
    report = json.loads((on_top / "report.json").read_text())
    assert report["base"]["adapters"] == [str(baked / "adapter")]
    pair = ["--adapter", str(baked / "adapter"), "--adapter", str(on_top / "adapter")]
    answer = cli("ask", "the dog", "--model", str(tiny_folder), *pair, "--max-tokens", "8")
    assert answer.code == 0, answer.err
    assert cli("bake", "combine", str(baked), str(on_top), "--to", "both").code == 0
    both = logits(tiny_folder, tmp_path / "both")
    assert torch.allclose(both, logits(tiny_folder, baked / "adapter", on_top / "adapter"), atol=1e-4)
    added = cli("ask", "the dog", "--model", str(tiny_folder), "--adapter", "both", "--max-tokens", "8")
    assert added.out == answer.out


@pytest.mark.parametrize("command", [["export"], ["export", "--merge"], ["combine"], ["report"]])
def test_a_bake_that_is_not_finished_is_refused(cli, baked: Path, tmp_path: Path, command: list[str]):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text((baked / "run.json").read_text())
    more = [str(baked)] if command == ["combine"] else []
    to = [] if command == ["report"] else ["--to", "new"]
    cli("bake", *command, "run", *more, *to).is_one_error_line("run", "not come to its end")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"craft": "eval", "identity": {}}))
    cli("bake", *command, "run", *more, *to).is_one_error_line("no run of bake")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_nothing_is_written_over_and_nothing_half(cli, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for command in (
        ["export", str(baked)],
        ["export", str(baked), "--merge"],
        ["combine", str(baked), str(baked.parent / "beside")],
    ):
        cli("bake", *command, "--to", "full").is_one_error_line("full", "new folder")
    cli("bake", "export", str(baked), "--to", "x", "--merge", "--dtype", "int8").is_one_error_line("--dtype int8")
    monkeypatch.setattr("promptmill.crafts.bake.export._closeness", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli("bake", "export", str(baked), "--to", "x", "--merge")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_only_bakes_of_one_model_are_combined(cli, baked: Path, on_top: Path, beside: Path, tmp_path: Path):
    cli("bake", "combine", str(baked), str(baked), "--to", "x").is_one_error_line("two different runs")
    cli("bake", "combine", str(beside), str(on_top), "--to", "x").is_one_error_line("same adapters", str(baked))
    other = bake(tmp_path, another_model(tmp_path / "other", seed=3), "run")
    cli("bake", "combine", str(baked), str(other), "--to", "x").is_one_error_line("one model")
    assert not (tmp_path / "x").exists()


def test_a_report_against_a_prompt_that_does_not_fit_is_one_line(cli, baked: Path, tmp_path: Path):
    (tmp_path / "long.md").write_text("cat " * 300)
    cli("bake", "report", str(baked), "--against", "long.md").is_one_error_line("context", "256")


def test_the_strengths_of_a_bake_go_from_the_model_as_it_was_to_the_baked_one(baked: Path, cli):
    said = cli("bake", "strengths", str(baked), "--at", "0,0.5,1", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    report = json.loads((baked / "report.json").read_text())
    kl = [one["kl"] for one in found["points"]]
    assert kl[0] == pytest.approx(report["kl"]["first"], abs=1e-4)
    assert kl[-1] == pytest.approx(report["kl"]["best"], abs=1e-4)
    assert "Strengths" in (baked / "report.html").read_text()


@pytest.mark.parametrize("at", ["half", "nan", "0,inf"])
def test_strengths_that_are_no_numbers_are_one_line(baked: Path, cli, at: str):
    said = cli("bake", "strengths", str(baked), "--at", at)
    assert said.code == 2
    assert said.err.strip() == f"error: --at {at}: must be numbers with commas between, such as 0,0.5,1"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--strength", "nan"], ["--strength nan"]),
        (["--strength", "inf", "--merge"], ["--strength inf"]),
        (["--dtype", "bfloat16"], ["--dtype bfloat16", "--merge"]),
    ],
)
def test_an_export_that_cannot_be_is_one_line(cli, baked: Path, tmp_path: Path, more: list[str], words: list[str]):
    cli("bake", "export", str(baked), "--to", "x", *more).is_one_error_line(*words)
    assert list(tmp_path.iterdir()) == []


def test_what_was_measured_before_leaves_the_page_when_training_goes_on(cli, baked: Path, tmp_path: Path):
    shutil.copytree(baked, tmp_path / "run")
    assert cli("bake", "strengths", "run", "--at", "0,1").code == 0
    assert cli("bake", "report", "run").code == 0
    shown = ("Strengths", "In four ways")
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(title in page for title in shown)
    again = cli("bake", "run", "--continue", "run", "--set", "bake.train.epochs=4")
    assert again.code == 0, again.err
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes() != (
        baked / "adapter" / "adapter_model.safetensors"
    ).read_bytes()
    page = (tmp_path / "run" / "report.html").read_text()
    assert not any(title in page for title in shown)
    assert cli("bake", "report", "run").code == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert [title in page for title in shown] == [False, True]


def test_a_plain_report_keeps_what_was_found_under_another_prompt(cli, baked: Path, tmp_path: Path):
    shutil.copytree(baked, tmp_path / "run")
    (tmp_path / "other.md").write_text("reverse the words")
    (tmp_path / "new.jsonl").write_text('{"question": "the lazy fox"}\n')
    found = json.loads(cli("bake", "report", "run", "--against", "other.md", "--json").out)
    assert json.loads(cli("bake", "report", "run", "--json").out) == found
    on_others = json.loads(cli("bake", "report", "run", "--questions", "new.jsonl", "--json").out)
    assert on_others["against"] is None, "it was found on other answers"


def damaged(run: Path) -> None:
    file = run / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def without_config(run: Path) -> None:
    (run / "adapter" / "adapter_config.json").unlink()


@pytest.mark.parametrize(("spoil", "words"), [(damaged, "cannot be read as safetensors"), (without_config, "adapter_")])
def test_an_adapter_that_cannot_be_read_is_one_line(cli, baked: Path, beside: Path, tmp_path: Path, spoil, words: str):
    shutil.copytree(baked, tmp_path / "run")
    spoil(tmp_path / "run")
    for command in (["report"], ["strengths"], ["export", "--to", "x"], ["export", "--merge", "--to", "x"],
                    ["combine", str(beside), "--to", "x"]):  # fmt: skip
        cli("bake", *command, "run").is_one_error_line("run/adapter", words)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_exports_say_what_they_made_as_json(cli, baked: Path, beside: Path):
    whole = json.loads(cli("bake", "export", str(baked), "--merge", "--to", "whole", "--json").out)
    assert (whole["written"], whole["strength"], whole["dtype"]) == ("whole", 1.0, "float32")
    assert 0 <= whole["largest"] < 1e-2
    half = json.loads(cli("bake", "export", str(baked), "--strength", "0.5", "--to", "half", "--json").out)
    assert half == {"written": "half", "strength": 0.5}
    both = json.loads(cli("bake", "combine", str(baked), str(beside), "--to", "both", "--json").out)
    assert both["prompts"] == 2
    assert both["kl"] < 1e-4


def test_weights_can_be_read_by_whoever_may_read_the_rest(cli, baked: Path, tmp_path: Path):
    (tmp_path / "plain").write_text("")
    assert cli("bake", "export", str(baked), "--merge", "--to", "whole").code == 0
    assert cli("bake", "export", str(baked), "--to", "same").code == 0
    files = [*(baked / "adapter").iterdir(), *(tmp_path / "whole").iterdir(), *(tmp_path / "same").iterdir()]
    assert {path.name: oct(path.stat().st_mode) for path in files} == {
        path.name: oct((tmp_path / "plain").stat().st_mode) for path in files
    }


def test_a_merge_has_every_file_of_the_tokenizer(cli, baked: Path, tiny_folder: Path, tmp_path: Path):
    shutil.copytree(baked, tmp_path / "run")
    shutil.copytree(tiny_folder, tmp_path / "base")
    names = ("added_tokens.json", "spiece.model")
    for name in names:
        (tmp_path / "base" / name).write_text("{}")
    report = json.loads((baked / "report.json").read_text())
    report["base"]["folder"] = str(tmp_path / "base")
    (tmp_path / "run" / "report.json").write_text(json.dumps(report))
    said = cli("bake", "export", "run", "--merge", "--to", "whole")
    assert said.code == 0, said.err
    assert all((tmp_path / "whole" / name).is_file() for name in names)


def test_a_run_remembers_where_its_model_lies_and_where_it_ran(
    cli, baked: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tiny_folder.parent)
    told = base_of(LocalBackend(f"../{tiny_folder.parent.name}/{tiny_folder.name}", device="cpu"))
    assert told["folder"] == str(tiny_folder.resolve())
    monkeypatch.chdir(tmp_path)
    assert Base("models/llama", tiny_folder, "float32").spelled == str(tiny_folder), "a folder's name, no hub's"
    hub = Path("cache/models--org--llama/snapshots/1a2b")
    assert Base("org/llama", hub, "float32").spelled == "org/llama"
    shutil.copytree(baked, tmp_path / "run")
    run = json.loads((baked / "run.json").read_text())
    run["settings"]["model"]["device"] = "nowhere"
    (tmp_path / "run" / "run.json").write_text(json.dumps(run))
    for command in ("report", "strengths"):
        cli("bake", command, "run").is_one_error_line("nowhere")


def test_the_package_can_be_run_as_a_module():
    said = subprocess.run([sys.executable, "-m", "promptmill", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("promptmill ")
