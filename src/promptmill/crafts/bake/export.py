"""Getting a bake out: its adapter at another strength (half-baking), or merged into a model of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from promptmill.errors import InputError, ModelError
from promptmill.store.files import write_json
from promptmill.store.run import read_run

TOKENIZER = ("tokenizer*", "special_tokens_map.json", "*.jinja", "vocab*", "merges.txt", "generation_config.json")


def exported(run: Path, to: Path, strength: float, merge: bool, dtype: str) -> list[tuple[str, Any]]:
    """Write what was asked for; gives what there is to be said of it. InputError for a run that is no finished bake.

    strength: the change times so much; 0 is the model as it was, 1 the baked one, more goes beyond.
    A merge is made in float32 and cast last: added up in half precision it moves the logits by 2 % of their spread.
    """
    report = _report(run)
    adapter, base = run / report["adapter"], Path(report["base"]["folder"])
    if not merge:
        _scaled(adapter, to, strength)
        return [("strength", f"{strength:g}")]
    return _merged(adapter, base, to, strength, dtype)


def _report(run: Path) -> dict[str, Any]:
    if read_run(run)["craft"] != "bake":
        raise InputError(f"{run}: is no run of bake")
    try:
        report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{run}: the bake has not come to its end; run the same command again") from None
    return report


def _scaled(adapter: Path, to: Path, strength: float) -> None:
    """The same tensors; the strength is in alpha, which every reader of adapters multiplies by."""
    to.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(adapter / "adapter_model.safetensors", to / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    config["lora_alpha"] = config["lora_alpha"] * strength
    write_json(to / "adapter_config.json", config)


def _merged(adapter: Path, base: Path, to: Path, strength: float, dtype: str) -> list[tuple[str, Any]]:
    import torch

    from promptmill.model.local import load

    if dtype not in ("float32", "bfloat16", "float16"):
        raise InputError(f"--dtype {dtype}: must be float32, bfloat16 or float16")
    if not base.is_dir():
        raise ModelError(f"the base model is not at {base} any more; a merge needs it")
    scaled = to / ".adapter"
    _scaled(adapter, scaled, strength)
    whole = load.load_model(base, [scaled], "float32", "cpu", False)
    shutil.rmtree(scaled)
    cast = whole.to(getattr(torch, dtype))
    with load.quiet():
        cast.save_pretrained(to)
    for pattern in TOKENIZER:
        for path in base.glob(pattern):
            shutil.copyfile(path, to / path.name)
    change = _difference(adapter, base, to, strength)
    return [("strength", f"{strength:g}"), ("dtype", dtype), ("largest difference of a logit", f"{change:.2g}")]


def _difference(adapter: Path, base: Path, merged: Path, strength: float) -> float:
    """Of the merged model to base and adapter, over the logits of a fixed row of tokens."""
    import torch
    from peft import PeftModel

    from promptmill.model.local import load
    from promptmill.train.targets import at_strength

    plain = load.load_model(base, [], "float32", "cpu", False)
    size = plain.config.get_text_config().vocab_size
    ids = (torch.arange(32)[None] * 97 + 11) % size
    with torch.no_grad(), load.quiet():
        beside = PeftModel.from_pretrained(plain, str(adapter))
        with at_strength(beside, strength):
            wanted = beside(input_ids=ids).logits
        found = load.load_model(merged, [], "float32", "cpu", False)(input_ids=ids).logits
    return float((wanted - found).abs().max())
