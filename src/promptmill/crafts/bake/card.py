"""The model card (README.md) of an adapter or a merged model: what was baked, how, how well, and how it is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptmill.crafts.bake.words import change, gains, score, unrelated_line
from promptmill.model.embedded import EMBEDDED_MODELS

Report = Mapping[str, Any]
HERE = "PATH/OF/THIS/FOLDER"
IMPORTS = ("from peft import PeftModel", "from transformers import AutoModelForCausalLM")
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for its --max-lora-rank."""


def adapter_card(report: Report, strength: float = 1.0) -> str:
    base = report["base"]
    below = base.get("adapters", [])
    said = [f"A LoRA adapter for `{base['name']}`: with it the model answers without a prompt as it did with this one."]
    if strength != 1:
        said.append(f"Its change is scaled by {strength:g} (half-baked below 1, beyond the training above).")
    if below:
        said.append(
            "It was trained **on top of other adapters** and holds only its own change, so it does not work alone: "
            "load it together with " + ", ".join(f"`{path}`" for path in below) + "."
        )
    rank = int(report["settings"]["lora"]["rank"])
    parts = [_front(base["name"], "peft", ["lora"]), f"# {_title(report)}", " ".join(said), *_prompt(report),
             *_instead(report), *_figures(report), *_making(report),
             *_loading(base["name"], below, rank)]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def merged_card(report: Report, strength: float, dtype: str, largest: float, kl: float) -> str:
    """largest, kl: how far it is from base and adapter (a logit's largest difference, KL per token)."""
    name = report["base"]["name"]
    below = report["base"].get("adapters", [])
    said = (
        f"`{name}` with a baked prompt in its weights: it answers, without any prompt, as it did with this one. "
        f"Strength {strength:g}, merged in float32 and cast to {dtype}. Against base and adapter on held-out answers: "
        f"largest difference of a logit {largest:.2g}, KL {kl:.2g} nats per token."
    )
    if below:
        said += " Merged with it, as it was trained on top of them: " + ", ".join(f"`{path}`" for path in below) + "."
    return _of_model(report, said)


def whole_card(report: Report) -> str:
    """Of a model all of whose weights were trained."""
    said = (
        f"`{report['base']['name']}` with a baked prompt in its weights, all of which were trained: it answers, "
        "without any prompt, as it did with this one."
    )
    return _of_model(report, said)


def _of_model(report: Report, said: str) -> str:
    loading = [
        "## Loading",
        _code("\n".join([*IMPORTS[1:], "", f'model = AutoModelForCausalLM.from_pretrained("{HERE}")']), "python"),
        _code(f"vllm serve {HERE}\npromptmill ask TEXT --model {HERE}"),
    ]
    parts = [_front(report["base"]["name"], "transformers", []), f"# {_title(report)}", said, *_prompt(report),
             *_instead(report), *_figures(report), *_making(report), *loading]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def combined_card(reports: Sequence[Report], below: Sequence[Path], rank: int, largest: float) -> str:
    """largest: a logit's largest difference to the sum of the changes."""
    name = reports[0]["base"]["name"]
    said = (
        f"A LoRA adapter for `{name}` whose change is the sum of {len(reports)} baked prompts: their factors stand "
        "side by side. Held against the model with one merged after the other, no logit differs by more than "
        f"{largest:.2g}. How the prompts get on with each other is not measured here."
    )
    parts = [_front(name, "peft", ["lora"]), f"# {len(reports)} prompts baked into {name}", said]
    for place, report in enumerate(reports, 1):
        parts += [f"## Prompt {place}: {_title(report)}", *_prompt(report)[1:], report["verdict"] + "."]
    return "\n\n".join([*parts, *_loading(name, [str(path) for path in below], rank)]) + "\n"


def _title(report: Report) -> str:
    return " ".join(str(report.get("name", "a baked prompt")).split()).translate({ord("#"): None})


def _front(base: str, library: str, tags: Sequence[str]) -> str:
    """What hubs read. A model that has no name of theirs (an embedded one, a folder) is not named there."""
    named = [f"base_model: {base}"] if "/" in base else []
    listed = ", ".join([*tags, "prompt-baking", "promptmill"])
    return "\n".join(["---", *named, f"library_name: {library}", "pipeline_tag: text-generation",
                      f"tags: [{listed}]", "---"])  # fmt: skip


def _prompt(report: Report) -> list[str]:
    prompt = report["prompt"]
    parts = ["## The prompt"]
    for name in ("system", "user", "prefix"):
        if prompt.get(name) and (name, prompt[name]) != ("user", "{input}"):
            parts += [f"{name}:", _code(prompt[name], "text")]
    for demo in prompt.get("demos") or []:
        asked = "\n".join(f"{key}: {value}" for key, value in demo["fields"].items())
        parts += ["a worked example:", _code(f"{asked}\n\n{demo['answer']}", "text")]
    return parts


def _instead(report: Report) -> list[str]:
    """How it is to be asked, where that is not the question alone."""
    bare = report["settings"]["sample"].get("unprompted", "none")
    if bare == "none":
        return []
    if bare == "empty":
        return ["## How it is asked", 'With an empty system turn (`{"role": "system", "content": ""}`) before each '
                "question: so it was trained. `promptmill ask` sends none; serve it."]  # fmt: skip
    return ["## How it is asked", "With this in the prompt's place: so it was trained.", _code(bare, "text")]


def _figures(report: Report) -> list[str]:
    kl = report["kl"]
    far = "KL to the prompted model, nats per token, on held-out questions"
    rows = [[far, _number(kl["first"]), "", _number(kl["best"])]]
    for one in report.get("behaviour") or []:
        scores = [score(one[way]) for way in ("unprompted", "prompted", "baked")]
        rows.append([f"{one['task']}, score on {one['baked']['n']} examples", *scores])
    kept = [
        [f"{one['task']}, under its own prompt", score(one["base"]), score(one["baked"]), change(one["change"])]
        for one in report.get("forgetting") or []
    ]
    heads = ["", "before, without the prompt", "before, with it", "baked, without it"]
    found = ["## Figures", report["verdict"][:1].upper() + report["verdict"][1:] + ".", _table(heads, rows)]
    found += [f"{one['task']}: {gains(one)}." for one in report.get("behaviour") or []]
    if kept:
        found.append(_table(["what else it could do", "before", "baked", "change"], kept))
    if report.get("unrelated"):
        found.append(f"On unrelated texts, without any prompt: {unrelated_line(report['unrelated'])}.")
    if report.get("behaviour") or kept:
        found.append("In brackets: 95 % intervals.")
    return found


def _making(report: Report) -> list[str]:
    settings, sampling, training = report["settings"], report["sampling"], report["training"]
    drawn = sampling["sampling"]
    asked = report.get("questions", {}).get("from", "")
    rows = [
        ["questions", f"{sampling['questions']['train']} for training, {sampling['questions']['validation']} held out"
                      + (f"; {asked}" if asked else "")],
        ["answers of the prompted model", f"{sampling['answers']['train']}, {sampling['tokens']['train']} tokens"],
        ["drawn at", ", ".join(f"{key} {drawn[key]}" for key in ("temperature", "top_p", "top_k", "max_new_tokens")
                               if key in drawn) or "not known"],
        ["without the prompt", f"{sampling['unprompted']}"],
        ["loss", f"{settings['loss']}, rehearsal {settings['rehearsal']:g}"
                 + (f", on its own answers in {settings['on_policy']:.0%} of the batches"
                    if settings.get("on_policy") else "")],
        ["LoRA", "none: all weights were trained" if settings.get("full") else _settings(settings["lora"])],
        ["training", f"{training['steps']} steps, {training['tokens']:.0f} tokens, ended by {training['ended']}; "
                     + _settings({key: settings["train"][key] for key in ("epochs", "rate", "schedule")})],
        ["seed", str(report["seed"])],
    ]  # fmt: skip
    return ["## How it was made", "By promptmill, after Prompt Baking (arXiv 2409.13697).", _table(["", ""], rows)]


def _loading(name: str, below: Sequence[str], rank: int) -> list[str]:
    base = "BASE" if name in EMBEDDED_MODELS or "/" not in name else name
    lines = [*IMPORTS, "", f'model = AutoModelForCausalLM.from_pretrained("{base}")']
    lines += [f'model = PeftModel.from_pretrained(model, "{path}").merge_and_unload()' for path in below]
    lines.append(f'model = PeftModel.from_pretrained(model, "{HERE}")')
    adapters = " ".join(f"--adapter {path}" for path in (*below, HERE))
    most = next((one for one in VLLM_RANKS if one >= rank), None)
    if below:
        served = "Servers put one adapter to work at a time: `promptmill bake combine` the bakes, or `export --merge`."
    elif most is None:
        served = f"For vLLM rank {rank} is too much; export it with `promptmill bake export --merge`."
    else:
        served = _code(f"vllm serve {base} --enable-lora --max-lora-rank {most} --lora-modules baked={HERE}\n"
                       "# and ask for the model baked")  # fmt: skip
    where, command = [], base
    if name in EMBEDDED_MODELS:
        where, command = [f'BASE is `promptmill.model.embedded.embedded_path("{name}")`.'], name
    elif base != name:
        where = [f"BASE is the folder of `{name}`."]
    commands = [f"promptmill ask TEXT --model {command} {adapters}"]
    if not below:
        commands += [f"promptmill serve --model {command} --adapter baked={HERE}", "# and ask for the model baked"]
    return ["## Loading", *where, _code("\n".join(lines), "python"), served, _code("\n".join(commands))]


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _code(text: str, language: str = "") -> str:
    """In a fence longer than any in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
