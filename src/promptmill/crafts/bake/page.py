"""The page of a bake, from its report: the one place that knows which entry is shown how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from promptmill.crafts.bake.compare_page import FEW_NOTE, NAMES, by_place, comparison_blocks
from promptmill.crafts.bake.strengths import strength_blocks
from promptmill.crafts.bake.words import change, score, share, unrelated_line
from promptmill.crafts.bake.worth import WAYS
from promptmill.report.blocks import Block, Cell, Facts, LinePlot, Page, Series, Table, Text, Tone, Verdict
from promptmill.report.spend import spend

Report = Mapping[str, Any]
CURVES: tuple[tuple[str, str, Literal["line", "steps"]], ...] = (
    ("each step", "loss", "line"), ("held-out questions", "validation", "steps"),
    ("rehearsed prompts", "rehearsal", "line"),
)  # fmt: skip
"""What is plotted of the training's rows: name, key, style."""
SAMPLE = ("sequences", "max_new_tokens", "temperature", "top_p", "top_k", "unprompted", "teacher")
TRAIN = ("epochs", "rate", "schedule", "batch_items", "patience")


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
        _settings,
        _comparison,
    )
    blocks = chain.from_iterable(part(report) for part in (*parts, spend, _warnings))
    return Page(str(report.get("name", "a prompt")), f"model {report.get('model', '')}", list(blocks), craft="bake")


def sample_page(report: Report) -> Page:
    """Of trajectories without training."""
    parts = (_prompt, _sampling, _settings, _positions, spend, _warnings)
    blocks = chain.from_iterable(part(report) for part in parts)
    return Page(str(report.get("name", "a prompt")), f"model {report.get('model', '')}", list(blocks),
                craft="bake sample")  # fmt: skip


def pursuit_page(report: Report) -> Page:
    """Of several rounds, one baked on top of the other."""
    parts = (_gain, _prompt, _rounds, _courses, _settings, spend, _warnings)
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
    heads = ["round", "KL before", "after", "to the model as it was", "on unrelated texts", *ways]
    rows: list[list[Cell]] = []
    for one in (report["start"], *report["rounds"]):
        scores: list[Cell] = [met[way] for met in one["behaviour"] for way in ("bare", "prompted")]
        plain = (one.get("unrelated") or {}).get("kl")
        rows.append([one["number"], one["first"], one["best"], one["kl_to_start"], plain, *scores])
    note = (
        "KL per token on held-out questions: before and after a round to the prompted model that it began with, then "
        "to the prompted model as it was. On unrelated texts: to the model that the round began with, without the "
        "prompt. Round 0 is the model as it was."
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
        ("ended by", report["training"]["ended"]), *_times(report),
    ]  # fmt: skip
    return [Facts([(name, value) for name, value in rows if value is not None])]


def _times(report: Report) -> list[tuple[str, Cell]]:
    """Of all sessions together."""
    return [(f"seconds of {phase}", f"{seconds:,.1f}") for phase, seconds in (report.get("times") or {}).items()]


def _prompt(report: Report) -> list[Block]:
    prompt = report["prompt"]
    said = {name: text for name in ("system", "user", "prefix") if (text := prompt.get(name))}
    parts = [name for name, text in said.items() if len(said) == 1 or (name, text) != ("user", "{input}")]
    return [Text(prompt[name], verbatim=True, name=name, title="The prompt" * (name == parts[0])) for name in parts]


def _behaviour(report: Report) -> list[Block]:
    found = report.get("behaviour") or []
    if not found:
        return []
    rows = [[one["task"], *(score(one[way]) for way in WAYS), one["baked"]["n"]] for one in found]
    paired = [[one["task"], share(one), change(one["gain"]), change(one["against_prompted"])] for one in found]
    heads = ["task", *(NAMES[way] for way in WAYS), "examples"]
    note = "Scores with 95 % intervals. Unprompted and prompted are the model as it was. " + _seen(found)
    return [
        Table(heads, rows, title="Behaviour", note=note),
        Table(["task", "share of prompted", "baked over unprompted", "baked over prompted"], paired,
              note="On the same examples, with 95 % intervals."),
    ]  # fmt: skip


def _seen(found: Sequence[Mapping[str, Any]]) -> str:
    """Whether what was tried had been asked before."""
    told = [one for one in found if "sampled_among" in one]  # older reports do not say
    seen = [f"{one['sampled_among']} of the {one['examples']} of {one['task']}" for one in told if one["sampled_among"]]
    if seen:
        return f"Among the questions that the bake had asked were {', '.join(seen)}."
    return "No example is among the questions that the bake had asked." if told else ""


def _forgetting(report: Report) -> list[Block]:
    rows: list[list[Cell]] = []
    for one in report.get("forgetting") or []:
        rows.append([one["task"], score(one["base"]), score(one["baked"]), change(one["change"]), one["change"]["n"]])
    heads = ["task", "before", "baked", "change, 95 % interval", "examples"]
    blocks: list[Block] = [Table(heads, rows, title="What else it could do")] if rows else []
    plain = report.get("unrelated")
    if plain:
        title = "" if rows else "What else it could do"
        note = f"Plain texts without any prompt, {plain['tokens']:,} tokens in all ({plain.get('from', 'ours')})."
        blocks.append(Facts([("on unrelated texts", unrelated_line(plain))], title=title, note=note))
    return blocks


def _training(report: Report) -> list[Block]:
    rows = report["training"]["rows"]
    series = [
        Series(name, [(row["step"], row[key]) for row in rows if key in row], style)
        for name, key, style in CURVES
    ]  # fmt: skip
    shown = [one for one in series if len(one.points) > 1]
    note = (
        "What a step learns from has the rehearsal in it, the KL to the model as it was on other prompts; held-out "
        "questions have the KL to the prompted model alone."
    )
    return [LinePlot(shown, "steps", "nats per token", title="Training", note=note)] if shown else []


def _positions(report: Report) -> list[Block]:
    far = report["difficulty"]
    if len(far["by_position"]) < 2:
        return []
    return [LinePlot(by_place([("before", far["by_position"])], far["counts"]), "token of the answer", "nats",
                     title="Where the prompt matters", note="KL of the model with the prompt to the one without, by "
                     f"place in the answer. {FEW_NOTE}")]  # fmt: skip


def _sampling(report: Report) -> list[Block]:
    sampling = report["sampling"]
    captured, first = sampling.get("captured"), [] if "training" in report else _times(report)
    rows: list[tuple[str, Cell]] = [
        ("questions", sampling["questions"]["train"]), ("held out", sampling["questions"]["validation"]),
        ("answers", sampling["answers"]["train"]), ("tokens", sampling["tokens"]["train"]),
        ("bytes per token", round(sampling["bytes_per_token"])), *first,
    ]  # fmt: skip
    if captured:
        rows.append((f"probability in the {captured['k']} scores kept", f"{captured['mean']:.1%}"))
    return [Facts(rows, title="Sampling")]


def _settings(report: Report) -> list[Block]:
    """Those that decide most; all of them are in report.json."""
    settings = report["settings"]
    rows: list[tuple[str, Cell]] = [(name, _told(settings["sample"][name])) for name in SAMPLE]
    if "train" in settings:
        rows += [(name, _told(settings["train"][name])) for name in TRAIN]
        rows += [(name, _told(settings[name])) for name in ("loss", "rehearsal", "on_policy") if name in settings]
        if settings.get("full"):
            rows.append(("trained", "all weights"))
        else:
            rows += [(f"LoRA {name}", _told(value)) for name, value in settings["lora"].items() if value is not None]
    return [Facts([*rows, ("seed", str(report["seed"]))], title="Settings")]


def _told(value: Any) -> str:
    """As it would be written (a rate of 0.001 is no 0.001000)."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _warnings(report: Report) -> list[Block]:
    said = report.get("warnings") or []
    return [Text("\n".join(said), verbatim=True, title="To be known")] if said else []
