"""`promptmill rewrite run` and its steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptmill.cli.config import RewriteRunConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.rewrite_forecast import forecast
from promptmill.cli.screen import bars, err, number, out, show_rows, show_warnings, table
from promptmill.cli.session import Session, in_all, session
from promptmill.crafts.rewrite.bench import Bench
from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.finished import ROLES
from promptmill.crafts.rewrite.guard.guard import Guard
from promptmill.crafts.rewrite.init import configs_of
from promptmill.crafts.rewrite.page import rewrite_page
from promptmill.crafts.rewrite.pipeline import STEPS, Pipeline, Step
from promptmill.crafts.rewrite.probe import Jury
from promptmill.crafts.rewrite.roles import Roles, roles_of
from promptmill.crafts.rewrite.synthesize.prompts_file import GivenPrompt, read_prompts
from promptmill.crafts.rewrite.tune import Tuner, tunable
from promptmill.errors import InputError
from promptmill.judge.panel import JudgeConfig, Panel, PanelConfig, PresetPanelConfig, open_panel
from promptmill.model.budget import price_of
from promptmill.model.gate import Model, run_blocking
from promptmill.model.load import ModelConfig, open_backend
from promptmill.model.local import LocalBackend
from promptmill.report.html import render
from promptmill.settings import read_mapping
from promptmill.store.files import write_json
from promptmill.store.stage import digest
from promptmill.train.answers import trainable
from promptmill.vary.splits import Shares
from promptmill.vary.wording import load_wording

FILES = {"judges": "--panel", "test_judges": "--test-panel"}
OTHERS = {"rounds", "keep", "test", "tune_main", "tune"}
"""Settings of which the tables of the rounds do not know: a run may go on with others."""


def rewrite_command(given: Given, step: Step, place: int) -> None:
    config = _config(given)
    roles = roles_of(given["setup"], load_wording()) if given["setup"] else Roles.of(load_wording())
    prompts = read_prompts(config.prompts) if config.prompts else []
    if not all(intent.strip() for intent in config.intents):
        raise InputError("--intent: an intent is empty; say what the prompts are for, or leave it out")
    if not config.intents and not prompts:
        raise InputError("say what the prompts are for: --intent TEXT (may be repeated), or --prompts FILE")
    rewriter = config.rewriter or config.model
    trainable(rewriter, config.rewrite.learn.lora, "--rewriter")
    panels = _panels(config, roles)
    Shares(config.rewrite.synthesize.dev, config.rewrite.synthesize.test)
    Guard.of(config.rewrite.pairs)
    if config.rewrite.tune_main:
        tunable(config.model, config.rewrite.tune)
    name = config.intents[0] if config.intents else (config.prompts or Path("prompts")).stem
    with session("rewrite", name, _identity(config, roles, prompts), config, given, config.writer) as work, \
            bars() as watch:  # fmt: skip
        if _forecast(config, prompts, panels, given):
            return
        write_json(work.run.folder / ROLES, roles.to_dict())
        pipeline = _pipeline(work, config, roles, prompts, rewriter)
        pipeline.bench.watch = watch
        if config.rewrite.tune_main:
            pipeline.tuner = _tuner(pipeline.bench, config, roles)
        found = run_blocking(pipeline.run(step, place))
        result = {"craft": "rewrite", "name": name, "model": config.model.name, "rewriter": rewriter.name,
                  "base": _base_of(rewriter), "settings": config.rewrite.model_dump(mode="json"),
                  "models": _models(config), **found, "tables": sorted(work.run.used),
                  **in_all(work.store)}  # fmt: skip
        later = _later(work.run.folder, result)
        report = later | in_all(work.store) if later else result
        path = work.run.finish(report, lambda data: render(rewrite_page(data)))
    show_warnings(found.get("warnings", []))
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _show(result, path)


def _later(run: Path, result: dict[str, Any]) -> dict[str, Any] | None:
    """The report of a later step, where the run has one that this step changes nothing of: it stays."""
    path = run / "report.json"
    if not path.exists():
        return None
    earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if STEPS.index(earlier["step"]) <= STEPS.index(result["step"]) or earlier["settings"] != result["settings"]:
        return None
    return earlier if result.get("adapters", earlier.get("adapters")) == earlier.get("adapters") else None


def _config(given: Given) -> RewriteRunConfig:
    """Files of judges are read where their names stand; a folder of settings lies under the flags and --set."""
    read = {name: read_mapping(path, f"{flag} {path}") for name, flag in FILES.items() if (path := given[name])}
    if given["setup"] and given["config"]:
        raise InputError("--setup and --config both hold the settings; give one of them")
    config = resolve(RewriteRunConfig, {"rewrite": _setup(given)} | given | dict.fromkeys(FILES), **read)
    judge = config.rewrite.judge
    if "judges" not in judge.model_fields_set and not config.model.embedded:
        own = own_panel(config.model).model_copy(update={"gate": judge.said_gate, "seed": judge.seed})
        return config.model_copy(update={"rewrite": config.rewrite.model_copy(update={"judge": own})})
    return config


def _setup(given: Given) -> dict[str, Any] | None:
    return configs_of(given["setup"]) if given["setup"] else None


def own_panel(model: ModelConfig) -> PresetPanelConfig:
    """The main model as its own judge, in three ways: better than nothing, and no panel of independent minds."""
    return PresetPanelConfig(judges=[
        JudgeConfig(name="self-yes-no", model=model, ask="yes_no"),
        JudgeConfig(name="self-correctness", model=model, criteria=["correctness"]),
        JudgeConfig(name="self-completeness", model=model, criteria=["completeness"]),
    ])  # fmt: skip


def identity_of(config: RewriteConfig) -> dict[str, Any]:
    """What of the settings decides the tables of the rounds."""
    told = config.model_dump(mode="json", exclude=OTHERS)
    told["judge"].pop("gate")  # what a panel must show may be changed without asking it again
    return told


def _models(config: RewriteRunConfig) -> dict[str, Any]:
    """What a rewriter is tried with when it is used."""
    return {
        "main": config.model.model_dump(mode="json"),
        "writer": (config.writer or config.model).model_dump(mode="json"),
    }


def _identity(config: RewriteRunConfig, roles: Roles, prompts: list[GivenPrompt]) -> dict[str, Any]:
    rewriter = open_backend(config.rewriter or config.model)
    return {
        "intents": config.intents, "prompts": digest([repr(one) for one in prompts]), "roles": roles.digest,
        "rewriter": rewriter.fingerprint, "rewrite": identity_of(config.rewrite),
    }  # fmt: skip


def _pipeline(
    work: Session, config: RewriteRunConfig, roles: Roles, prompts: list[GivenPrompt], rewriter: ModelConfig
) -> Pipeline:
    rewrite = config.rewrite

    def judges(kind: ModelConfig) -> Model:
        return work.another(kind, "judge")

    panel, name = _panel(rewrite.judge, roles, judges)
    bench = Bench(work.run, work.model, panel, name, roles.wording, roles.main_model, rewrite, rewriter, work.another,
                  config.seed)  # fmt: skip
    test = rewrite.test
    other = Jury(*_panel(test.panel, roles, judges), test.panel.gate) if test.panel else None
    target = work.another(test.target) if test.target else None
    warnings = [*rewrite.judge.warnings, *(test.panel.warnings if test.panel else ())]
    taught = [one.model_copy(update={"name": "", "weight": 1.0}) for one in rewrite.judge.judges]
    if test.panel and any(one.model_copy(update={"name": "", "weight": 1.0}) in taught for one in test.panel.judges):
        warnings.append("a judge of the test is one of those that taught, under whatever name")
    if any(one.model == config.model for one in rewrite.judge.judges) and not config.model.embedded:
        warnings.append("the main model judges itself: name other judges with --panel")
    return Pipeline(bench, work.writer, rewrite.judge.gate, config.intents, prompts, other, target,
                    config.allow_weak_panel, warnings)  # fmt: skip


def _panel(config: PanelConfig, roles: Roles, judges: Callable[[ModelConfig], Model]) -> tuple[Panel, str]:
    """The panel, and by what its scores are known: all that decides them."""
    panel = open_panel(config, judges, roles.wording, roles.rubric)
    return panel, digest(panel.identity)


def _panels(config: RewriteRunConfig, roles: Roles) -> list[Panel]:
    """The judges, and those of the test where they are others, before a run is begun. InputError or ModelError for what
    they or another model of the run are not, and for a budget in money where a price is unknown."""
    prices, budget = config.budget.price_table(), config.budget.budget()

    def opened(kind: ModelConfig) -> Model:
        backend = open_backend(kind)
        return Model(backend, price=price_of(backend.name, prices, budget))

    for other in filter(None, (config.rewriter, config.rewrite.test.target)):
        opened(other)
    return [_panel(panel, roles, opened)[0] for panel in (config.rewrite.judge, config.rewrite.test.panel) if panel]


def _tuner(bench: Bench, config: RewriteRunConfig, roles: Roles) -> Tuner:
    return Tuner(
        config.model, config.rewrite.tune, bench.run.folder, roles.fine_tuning, roles.main_model, config.seed,
        lambda row: bench.run.metric(tuning=True, **row), bench.watch,
    )  # fmt: skip


def _base_of(rewriter: ModelConfig) -> dict[str, Any]:
    backend = open_backend(rewriter)
    assert isinstance(backend, LocalBackend)
    return {"name": rewriter.name, "folder": str(backend.folder.resolve()), "dtype": backend.dtype,
            "load_in_4bit": backend.four_bit,
            "adapters": [str(path.resolve()) for path in backend.adapters]}  # fmt: skip


def _forecast(config: RewriteRunConfig, prompts: list[GivenPrompt], panels: list[Panel], given: Given) -> bool:
    """Say what is to come; True where no more was asked for."""
    most = forecast(config.rewrite, len(config.intents), prompts, *panels)
    told = ", ".join(f"{count:,} {what}" for what, count in most.items())
    err.print(f"forecast: at most {told}", soft_wrap=True)
    if given["forecast"] and given["json_"]:
        print(json.dumps(most))
    return bool(given["forecast"])


def _show(result: dict[str, Any], path: Path) -> None:
    made = result["synthesize"]
    rows: list[tuple[str, Any]] = [("base prompts", f"{made['dedup']['kept']:,}")]
    if "panel" in result:
        rows.append(("panel", result["panel"]["verdict"]))
    for one in result.get("rounds", []):
        pairs = ", ".join(f"{count} {kind}" for kind, count in one["pairs"].items())
        rows.append((f"round {one['round']}", f"{pairs}; {one['steps']} steps{_on_dev(one)}"))
    if "answers" in result:
        rows.append(("answers", ", ".join(f"{count:,} {kind}" for kind, count in result["answers"].items()) or "none"))
    if "pairs" in result:
        rows.append(("pairs", ", ".join(f"{count} {kind}" for kind, count in result["pairs"].items()) or "none"))
    if "test" in result:
        _show_test(result["test"])
        _show_tuned(result.get("tuned") or [])
        if "test_panel" in result:
            rows.append(("test panel", result["test_panel"]["verdict"]))
        rows.append(("verdict", result["verdict"]))
    show_rows([*rows, ("report", path), ("page", path.with_suffix(".html"))])
    run = path.parent
    following = {"synthesize": "answer", "answer": "judge", "judge": "pairs", "pairs": "train", "train": "test"}
    if result["step"] == "test":
        out.print(f"next: promptmill rewrite apply PROMPT --rewriter {run}", markup=False, soft_wrap=True)
    else:
        step, round = following[result["step"]], result.get("round", 1)
        which = f" --round {round}" if round > 1 and step != "train" else ""
        out.print(f"next: promptmill rewrite {step} --continue {run}{which}", markup=False, soft_wrap=True)


def _on_dev(one: dict[str, Any]) -> str:
    """What became of a later round; reports of earlier versions do not say."""
    found, kept = one.get("dev"), "kept" if one.get("kept", True) else "not kept"
    if found is None:
        return "" if kept == "kept" else f"; nothing was better on dev pairs: {kept}"
    return f"; on dev prompts {found['before']:.3f} to {found['after']:.3f}: {kept}"


def _show_test(test: dict[str, Any]) -> None:
    shown = table()
    for head in ("round", "value before", "after", "gain", "score before", "after", "left alone", "broken rules"):
        shown.add_column(head, justify="right")
    for name, one in (*((str(one["round"]), one) for one in test["rounds"]), ("offered", test["offered"])):
        value, score = one["value"], one["score"]
        gain = "-" if value["gain"] is None else f"{value['gain']:+.3f} [{value['lo']:+.3f}, {value['hi']:+.3f}]"
        shown.add_row(
            name, number(value["before"]), number(value["after"]), gain, number(score["before"]),
            number(score["after"]), _share(one["left_alone"]), _share(one["violations"]),
        )  # fmt: skip
    out.print(shown)
    out.print()


def _show_tuned(cells: list[dict[str, Any]]) -> None:
    if not cells:
        return
    shown = table()
    for head in ("rewriter", "main model", "value", "gain", "score"):
        shown.add_column(head, justify="left" if head in ("rewriter", "main model") else "right")
    for one in cells:
        value = one["value"]
        gain = "-" if value["gain"] is None else f"{value['gain']:+.3f} [{value['lo']:+.3f}, {value['hi']:+.3f}]"
        shown.add_row(one["rewriter"], one["model"], number(value["after"]), gain, number(one["score"]["after"]))
    out.print(shown)
    out.print()


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
