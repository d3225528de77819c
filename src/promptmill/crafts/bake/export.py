"""Getting a bake out: its adapter at another strength (half-baking), or merged into a model of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.bake.card import adapter_card, merged_card
from promptmill.crafts.bake.finished import Base, FinishedBake, finished_bake
from promptmill.crafts.bake.whole import whole_folder
from promptmill.errors import InputError
from promptmill.store.files import write_json, write_text

if TYPE_CHECKING:
    from promptmill.crafts.bake.compare import Closeness
    from promptmill.train.batches import Item

TOKENIZER = ("tokenizer*", "special_tokens_map.json", "*.jinja", "vocab*", "merges.txt", "generation_config.json")
DTYPES = ("float32", "bfloat16", "float16")
ANSWERS = 64  # held-out answers on which a merged model is held against base and adapter


def exported(run: Path, to: Path, strength: float, merge: bool, dtype: str) -> list[tuple[str, Any]]:
    """Write what was asked for into the new folder `to`; gives what there is to be said of it. InputError for a run
    that is no finished bake, or a folder that holds something.

    strength: the change times so much; 0 is the model as it was, 1 the baked one, more goes beyond.
    A merge is made in float32 and cast last: added up in half precision it moves the logits by 2 % of their spread.
    """
    bake = finished_bake(run)
    if dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}: must be one of {', '.join(DTYPES)}")
    if merge:
        bake.base.check()
    with whole_folder(to) as folder:
        if merge:
            return _merged(bake, folder, strength, dtype)
        scale_adapter(bake.adapter, folder, strength)
        write_text(folder / "README.md", adapter_card(bake.report, strength))
    return [("strength", f"{strength:g}")]


def scale_adapter(adapter: Path, to: Path, strength: float) -> None:
    """The same tensors; the strength is in alpha, which every reader of adapters multiplies by."""
    to.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(adapter / "adapter_model.safetensors", to / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    config["lora_alpha"] = config["lora_alpha"] * strength
    write_json(to / "adapter_config.json", config)


def _merged(bake: FinishedBake, to: Path, strength: float, dtype: str) -> list[tuple[str, Any]]:
    import torch

    from promptmill.model.local import load

    base, scaled = bake.base, to / ".adapter"
    scale_adapter(bake.adapter, scaled, strength)
    whole = load.load_model(base.folder, [*base.adapters, scaled], "float32", "cpu", False)
    shutil.rmtree(scaled)
    with load.quiet():
        whole.to(getattr(torch, dtype)).save_pretrained(to)
    del whole
    for pattern in TOKENIZER:
        for path in base.folder.glob(pattern):
            shutil.copyfile(path, to / path.name)
    change = _closeness(bake, to, strength)
    write_text(to / "README.md", merged_card(bake.report, strength, dtype, change.largest, change.kl))
    return [("strength", f"{strength:g}"), ("dtype", dtype),
            ("largest difference of a logit", f"{change.largest:.2g}"),
            ("KL per token to the adapter", f"{change.kl:.2g}")]  # fmt: skip


def _closeness(bake: FinishedBake, merged: Path, strength: float) -> Closeness:
    """Of the merged model, its weights as they were cast, to base and adapter in float32; on held-out answers of the
    bake, without the prompt."""
    import torch

    from promptmill.crafts.bake.compare import closeness
    from promptmill.model.local import load
    from promptmill.train.targets import at_strength

    beside = with_adapter(bake.base, bake.adapter, "float32", "cpu")
    found = load.load_model(merged, [], "float32", "cpu", False)
    items = held_answers(bake, found.config.get_text_config().vocab_size)
    with torch.no_grad(), at_strength(beside, strength):
        return closeness(beside, found, items)


def with_adapter(base: Base, adapter: Path, dtype: str, device: str, name: str = "default") -> Any:
    """The base, what was merged into it in place, with the adapter beside its weights (peft's wrapper)."""
    from peft import PeftModel

    from promptmill.model.local import load

    load.check_adapter(str(adapter))
    plain = load.load_model(base.folder, base.adapters, dtype, device, base.four_bit)
    with load.quiet():
        return PeftModel.from_pretrained(plain, str(adapter), adapter_name=name).eval()


def held_answers(bake: FinishedBake, vocabulary: int) -> Sequence[Item]:
    """Held-out answers (any, where nothing was held out) behind their questions without the prompt; where the
    trajectories were removed, a row of tokens instead."""
    from promptmill.crafts.bake.baker import item_of
    from promptmill.crafts.bake.compare import fixed_items
    from promptmill.crafts.bake.trajectories import read_trajectories

    if bake.trajectories is None:
        return fixed_items(vocabulary)
    found: list[Item] = []
    for split in ("validation", "train"):
        for one in read_trajectories(bake.trajectories, split):
            if len(found) < ANSWERS and len(one.answer_ids):
                found.append(item_of(one))
        if found:
            break
    return found or fixed_items(vocabulary)
