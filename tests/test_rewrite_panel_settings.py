"""Which judges teach, and what they must show, where only a part of that is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from promptmill.cli.rewrite import _config, identity_of
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.errors import InputError
from promptmill.judge.panel import EMBEDDED_PANEL, PanelConfig
from promptmill.judge.verdict import Gate
from promptmill.settings import checked

OWN = {"judges": [{"name": name, "ask": "yes_no"} for name in "abc"]}
SERVER = "model={name: gpt, base_url: 'http://localhost:9/v1'}"


def judge_of(*settings: str, panel: Any = None, config: Any = None) -> PanelConfig:
    """The panel of `rewrite run` with these --set; panel, config: what stands in files of these names."""
    given: dict[str, Any] = {"judges": None, "test_judges": None, "setup": None, "set_": list(settings)}
    for name, flag, data in (("panel.yaml", "judges", panel), ("config.yaml", "config", config)):
        given[flag] = Path(name) if data is not None else None
        if data is not None:
            Path(name).write_text(yaml.safe_dump(data))
    return _config(given).rewrite.judge


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_nothing_said_is_the_embedded_panel_with_its_gate():
    found = judge_of()
    assert (found.judges, found.gate, found.seed) == (EMBEDDED_PANEL.judges, EMBEDDED_PANEL.gate, EMBEDDED_PANEL.seed)


@pytest.mark.parametrize("how", ["set", "file"])
def test_one_limit_alone_needs_no_panel_and_the_others_stay_the_embedded_panels(how: str):
    judge = {"judge": {"gate": {"min_alpha": 0.1}, "seed": 7}}
    found = (
        judge_of(config={"rewrite": judge}) if how == "file"
        else judge_of("rewrite.judge.gate.min_alpha=0.1", "rewrite.judge.seed=7")
    )  # fmt: skip
    assert found.judges == EMBEDDED_PANEL.judges
    assert found.gate == EMBEDDED_PANEL.gate.model_copy(update={"min_alpha": 0.1})
    assert found.seed == 7


def test_a_limit_that_is_said_counts_even_where_it_is_the_usual_one():
    assert judge_of("rewrite.judge.gate.min_planted_auc=0.7").gate == Gate()


def test_judges_of_ones_own_take_the_place_of_all_and_have_the_usual_gate():
    found = judge_of(config={"rewrite": {"judge": OWN}})
    assert [one.name for one in found.judges] == list("abc")
    assert found.gate == Gate()
    with_more = judge_of("rewrite.judge.gate.min_bases=5", panel=OWN | {"gate": {"min_alpha": 0.2}})
    assert with_more.gate == Gate(min_alpha=0.2, min_bases=5)


def test_another_main_model_judges_itself_by_the_usual_gate_and_what_is_said_of_it():
    names = ["self-yes-no", "self-correctness", "self-completeness"]
    for settings, gate in (((), Gate()), (("rewrite.judge.gate.min_alpha=0.1",), Gate(min_alpha=0.1))):
        found = judge_of(SERVER, *settings)
        assert [one.name for one in found.judges] == names
        assert {one.model.name for one in found.judges} == {"gpt"}
        assert found.gate == gate
    assert judge_of(SERVER, panel=OWN).judges[0].name == "a"


def test_a_limit_that_cannot_be_is_told_in_one_line():
    with pytest.raises(InputError, match=r"rewrite\.judge\.gate\.min_alpha: .* not 2") as caught:
        judge_of("rewrite.judge.gate.min_alpha=2")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"unknown key 'rewrite\.judge\.gates' \(known: judges, gate, seed\)"):
        judge_of("rewrite.judge.gates=1")


def test_settings_come_back_from_a_report_as_they_were():
    for judge in ({}, {"gate": {"min_alpha": 0.1}}, OWN):
        config = checked(RewriteConfig, {"judge": judge})
        again = checked(RewriteConfig, json.loads(json.dumps(config.model_dump(mode="json"))))
        assert again == config
        assert identity_of(again) == identity_of(config)
