"""`promptmill recover synthesize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from promptmill.cli.config import RecoverSynthesizeConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.recover_train import TRACES
from promptmill.cli.screen import bars, err, out, show_rows, show_warnings
from promptmill.cli.session import in_all, session
from promptmill.crafts.recover.page import recover_page
from promptmill.crafts.recover.space import space_of
from promptmill.crafts.recover.synthesize.originals import read_originals
from promptmill.crafts.recover.synthesize.prompts import read_prompts
from promptmill.crafts.recover.synthesize.synthesize import synthesize
from promptmill.crafts.recover.traces import check_place, check_writable, write_traces
from promptmill.errors import InputError
from promptmill.model.gate import run_blocking
from promptmill.report.html import render
from promptmill.store.stage import digest
from promptmill.vary.splits import Shares
from promptmill.vary.wording import load_wording


def synthesize_command(given: Given, to: Path | None = None) -> None:
    config = resolve(RecoverSynthesizeConfig, given)
    if to:
        check_writable(to)
        check_place(to, [config.prompts, config.originals])
    prompts = read_prompts(config.prompts) if config.prompts else []
    originals = read_originals(config.originals) if config.originals else []
    if not config.intents and not prompts:
        raise InputError("say what the prompts are for: --intent TEXT (may be repeated), or --prompts FILE")
    settings = config.recover.synthesize
    Shares(settings.dev, settings.test)
    space, wording = space_of(config.recover.rank.embedder), load_wording()
    identity = {
        "step": "synthesize", "intents": config.intents, "prompts": digest(repr(one) for one in prompts),
        "originals": digest(originals), "space": space.fingerprint, "wording": wording.digest,
        "recover": config.recover.model_dump(mode="json", include={"synthesize": True, "split": True,
                                                                   "rank": {"layout"}}),
    }  # fmt: skip
    name = config.intents[0] if config.intents else (config.prompts or Path("prompts")).stem
    if _forecast(config, len(prompts), len(originals), given):
        return
    with session("recover", name, identity, config, given, config.writer) as work, bars() as watch:
        made = run_blocking(synthesize(
            work.run, work.writer, work.model, wording, config.recover, space, config.seed, config.intents, prompts,
            originals, watch, settings.about,
        ))  # fmt: skip
        pairs = work.run.folder / TRACES
        write_traces(pairs, made.traces)
        if to:
            write_traces(to, made.traces)
        result = {"craft": "recover", "step": "synthesize", "name": name, "model": config.model.name,
                  "settings": config.recover.model_dump(mode="json"), "space": space.name, "made": made.report,
                  "warnings": made.report["warnings"], **in_all(work.store)}  # fmt: skip
        path = work.run.finish(result, lambda data: render(recover_page(data)))
    show_warnings(made.report["warnings"])
    if given["json_"]:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _show(made.report, path)


def _forecast(config: RecoverSynthesizeConfig, prompts: int, originals: int, given: Given) -> bool:
    """Say what is to come; True where no more was asked for."""
    most = forecast(config, prompts, originals)
    err.print("forecast: at most " + ", ".join(f"{count:,} {what}" for what, count in most.items()), soft_wrap=True)
    if given["forecast"] and given["json_"]:
        print(json.dumps(most))
    return bool(given["forecast"])


def forecast(config: RecoverSynthesizeConfig, prompts: int, originals: int) -> dict[str, int]:
    """What is made at most, by what it is."""
    one, intents = config.recover.synthesize, len(config.intents)
    bases = prompts + intents * one.topics * one.prompts
    every = bases * (1 + one.variations)
    texts = originals or one.originals
    return {"texts": 0 if originals else texts, "prompts": every, "rewritten texts": every * min(one.texts, texts)}


def _show(report: dict[str, Any], path: Path) -> None:
    traces, prompts = report["traces"], report["prompts"]
    dropped = ", ".join(f"{count:,} {kind}" for kind, count in traces["dropped"].items()) or "none"
    show_rows([
        ("prompts", f"{prompts['count']:,} ({prompts['variations']:,} variations)"),
        ("texts", f"{report['originals']['count']:,}"),
        ("pairs", f"{traces['kept']:,} of {traces['asked']:,} rewritten texts; left out: {dropped}"),
        ("pairs file", path.with_name(TRACES)), ("report", path), ("page", path.with_suffix(".html")),
    ])  # fmt: skip
    out.print(f"next: promptmill recover train {path.parent}", markup=False, soft_wrap=True)
