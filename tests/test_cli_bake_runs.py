"""What is done with finished bakes: `bake report`, `combine`, `export`, and their model cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from promptmill.crafts.bake.compare_page import SCATTERS
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


def test_strengths_that_are_no_numbers_are_one_line(baked: Path, cli):
    said = cli("bake", "strengths", str(baked), "--at", "half")
    assert said.code == 2
    assert said.err.strip() == "error: --at half: must be numbers with commas between, such as 0,0.5,1"
