"""The page of a bake, from its report: the one place that knows which entry is shown how."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from promptmill.crafts.bake.compare_page import comparison_blocks
from promptmill.crafts.bake.strengths import strength_blocks
from promptmill.report.blocks import Block, Cell, Facts, LinePlot, Page, Series, Table, Text, Tone, Verdict
from promptmill.report.spend import spend

Report = Mapping[str, Any]


def bake_page(report: Report) -> Page:
    parts = (
        _verdict,
        _facts,
        _prompt,
        _behaviour,
        _forgetting,
        _training,
        _positions,
        _strengths,
        _sampling,
        _comparison,
    )
    blocks = chain.from_iterable(part(report) for part in (*parts, spend, _warnings))
    return Page(str(report.get("name", "a prompt")), f"model {report.get('model', '')}", list(blocks), craft="bake")


def sample_page(report: Report) -> Page:
    """Of trajectories without training."""
    parts = (_prompt, _sampling, _positions, spend, _warnings)
    blocks = chain.from_iterable(part(report) for part in parts)
    return Page(str(report.get("name", "a prompt")), f"model {report.get('model', '')}", list(blocks),
                craft="bake sample")  # fmt: skip


def pursuit_page(report: Report) -> Page:
    """Of several rounds, one baked on top of the other."""
    parts = (_gain, _prompt, _rounds, _courses, spend, _warnings)
    blocks = chain.from_iterable(part(report) for part in parts)
    return Page(str(report.get("name", "a prompt")), f"model {report.get('model', '')}", list(blocks),
                craft="bake pursue")  # fmt: skip


def _gain(report: Report) -> list[Block]:
    sentence = str(report["verdict"])
    shown = next((one for one in report["gained"] if one["n"]), None)
    tones: dict[str, Tone] = {"better": "good", "worse": "bad"}
    drawn = {} if shown is None else {"value": shown["gain"], "lo": shown["lo"], "hi": shown["hi"]}
    return [Verdict(sentence[:1].upper() + sentence[1:], tones.get(shown["verdict"], "open") if shown else "open",
                    **drawn)]  # fmt: skip


def _rounds(report: Report) -> list[Block]:
    tasks = [one["task"] for one in report["start"]["behaviour"]]
    ways = [head for task in tasks for head in (task, f"{task}, prompted")]
    heads = ["round", "KL before", "after", "to the model as it was", *ways]
    rows: list[list[Cell]] = []
    for one in (report["start"], *report["rounds"]):
        scores: list[Cell] = [met[way] for met in one["behaviour"] for way in ("bare", "prompted")]
        rows.append([one["number"], one["first"], one["best"], one["kl_to_start"], *scores])
    note = (
        "KL per token on held-out questions: before and after a round to the prompted model that it began with, then "
        "to the prompted model as it was. Round 0 is the model as it was."
    )
    return [Table(heads, rows, title="Rounds", note=note)]


def _courses(report: Report) -> list[Block]:
    steps = [report["start"], *report["rounds"]]
    kl = [
        Series(name, [(float(one["number"]), one[key]) for one in steps if one[key] is not None])
        for name, key in (
            ("before the round", "first"),
            ("after it", "best"),
            ("to the model as it was", "kl_to_start"),
        )
    ]
    blocks: list[Block] = [LinePlot([one for one in kl if one.points], "round", "nats per token", title="By round")]
    scores = [
        Series(f"{met['task']}{said}", [(float(one["number"]), one["behaviour"][at][way]) for one in steps
                                        if one["behaviour"][at][way] is not None])
        for at, met in enumerate(report["start"]["behaviour"])
        for way, said in (("bare", ""), ("prompted", ", prompted"))
    ]  # fmt: skip
    return [*blocks, LinePlot(scores, "round", "score")] if scores else blocks


def _strengths(report: Report) -> list[Block]:
    return strength_blocks(report["strengths"]) if report.get("strengths") else []


def _comparison(report: Report) -> list[Block]:
    """What `bake report` has found, if it was asked."""
    return comparison_blocks(report["comparison"]) if report.get("comparison") else []


def _verdict(report: Report) -> list[Block]:
    sentence = str(report.get("verdict", ""))
    tone: Tone = "good" if sentence.startswith("baked:") else "open"
    return [Verdict(sentence[:1].upper() + sentence[1:], tone)] if sentence else []


def _facts(report: Report) -> list[Block]:
    kl = report["kl"]
    rows: list[tuple[str, Cell]] = [
        ("KL per token before", kl["first"]), ("after", kl["best"]),
        ("gone", None if kl["drop"] is None else f"{kl['drop']:.1%}"),
        ("steps", report["training"]["steps"]), ("tokens learned", round(report["training"]["tokens"])),
        ("ended by", report["training"]["ended"]),
    ]  # fmt: skip
    return [Facts([(name, value) for name, value in rows if value is not None])]


def _prompt(report: Report) -> list[Block]:
    prompt = report["prompt"]
    said = {name: text for name in ("system", "user", "prefix") if (text := prompt.get(name))}
    parts = [name for name, text in said.items() if len(said) == 1 or (name, text) != ("user", "{input}")]
    return [Text(prompt[name], verbatim=True, name=name, title="The prompt" * (name == parts[0])) for name in parts]


def _behaviour(report: Report) -> list[Block]:
    rows: list[list[Cell]] = []
    for one in report.get("behaviour") or []:
        scores: list[Cell] = [one[way]["score"] for way in ("unprompted", "prompted", "baked", "baked_prompted")]
        rows.append([one["task"], *scores, one["baked"]["n"]])
    if not rows:
        return []
    heads = ["task", "unprompted", "prompted", "baked", "baked, prompted", "examples"]
    return [Table(heads, rows, title="Behaviour", note="Scores on examples that were not sampled from. "
                  "Unprompted and prompted are the model as it was.")]  # fmt: skip


def _forgetting(report: Report) -> list[Block]:
    rows: list[list[Cell]] = []
    for one in report.get("forgetting") or []:
        change = one["change"]
        rows.append([one["task"], one["base"]["score"], one["baked"]["score"],
                     f"{change['gain']:+.3f} [{change['lo']:+.3f}, {change['hi']:+.3f}]", change["n"]])  # fmt: skip
    heads = ["task", "before", "baked", "change, 95 % interval", "examples"]
    return [Table(heads, rows, title="What else it could do")] if rows else []


def _training(report: Report) -> list[Block]:
    rows = report["training"]["rows"]
    loss = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    held = [(row["step"], row["validation"]) for row in rows if "validation" in row]
    series = [Series("each step", loss), Series("held-out questions", held, "steps")]
    shown = [one for one in series if len(one.points) > 1]
    note = "What a step learns from has the rehearsal in it; held-out questions have the KL alone."
    return [LinePlot(shown, "steps", "nats per token", title="Training", note=note)] if shown else []


def _positions(report: Report) -> list[Block]:
    before = report["difficulty"]["by_position"]
    points = [(float(at), value) for at, value in enumerate(before, 1)]
    if len(points) < 2:
        return []
    return [LinePlot([Series("before", points)], "token of the answer", "nats", title="Where the prompt matters",
                     note="KL of the model with the prompt to the one without, by place in the answer.")]  # fmt: skip


def _sampling(report: Report) -> list[Block]:
    sampling = report["sampling"]
    captured = sampling.get("captured")
    rows: list[tuple[str, Cell]] = [
        ("questions", sampling["questions"]["train"]), ("held out", sampling["questions"]["validation"]),
        ("answers", sampling["answers"]["train"]), ("tokens", sampling["tokens"]["train"]),
        ("bytes per token", round(sampling["bytes_per_token"])),
    ]  # fmt: skip
    if captured:
        rows.append((f"probability in the {captured['k']} scores kept", f"{captured['mean']:.1%}"))
    return [Facts(rows)]


def _warnings(report: Report) -> list[Block]:
    said = report.get("warnings") or []
    return [Text("\n".join(said), verbatim=True, title="To be known")] if said else []
