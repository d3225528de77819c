"""Getting a bake out: its adapter at another strength (half-baking), or merged into a model of its own."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.bake.card import adapter_card, merged_card
from promptmill.crafts.bake.finished import Base, FinishedBake, finished_bake
from promptmill.errors import InputError, ModelError
from promptmill.model.local import adapters
from promptmill.model.local.loading import read_json
from promptmill.store.files import open_to_readers, write_json, write_text
from promptmill.store.whole import whole_folder

if TYPE_CHECKING:
    from promptmill.crafts.bake.compare import Closeness
    from promptmill.train.batches import Item

TOKENIZER = (
    "tokenizer*", "*.model", "added_tokens.json", "special_tokens_map.json", "*.jinja", "chat_template.json", "vocab*",
    "merges.txt", "generation_config.json",
)  # fmt: skip
DTYPES = ("float32", "bfloat16", "float16")
ANSWERS = 64  # held-out answers on which a merged model is held against base and adapter


def exported(run: Path, to: Path, strength: float, merge: bool, dtype: str | None = None) -> dict[str, Any]:
    """Write what was asked for into the new folder `to`; what there is to be said of it: `strength`, and of a merge its
    `dtype`, the `largest` difference of a logit and the `kl` per token to base and adapter. InputError for a run that
    is no finished bake, or a folder that holds something.

    strength: the change times so much; 0 is the model as it was, 1 the baked one, more goes beyond.
    dtype: of a merged model (None: float32). A merge is made in float32 and cast last: added up in half precision it
    moves the logits by 2 % of their spread.
    """
    bake = finished_bake(run)
    if not math.isfinite(strength):
        raise InputError(f"--strength {strength}: must be a number, such as 0.5")
    if dtype is not None and not merge:
        raise InputError(f"--dtype {dtype}: goes with --merge; an adapter stays in float32")
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}: must be one of {', '.join(DTYPES)}")
    if merge:
        bake.base.check()
    bake.check_adapter()
    with whole_folder(to) as folder:
        if merge:
            return _merged(bake, folder, strength, dtype or DTYPES[0])
        scale_adapter(bake.adapter, folder, strength)
        write_text(folder / "README.md", adapter_card(bake.report, strength))
    return {"strength": strength}


def scale_adapter(adapter: Path, to: Path, strength: float) -> None:
    """The same tensors; the strength is in alpha, which every reader of adapters multiplies by."""
    config = read_json(adapter / adapters.CONFIG)
    if not isinstance(config.get("lora_alpha"), int | float):
        raise ModelError(f"{adapter / adapters.CONFIG}: has no number lora_alpha, which the strength is written as")
    to.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(adapter / adapters.WEIGHTS, to / adapters.WEIGHTS)
    write_json(to / adapters.CONFIG, config | {"lora_alpha": config["lora_alpha"] * strength})


def _merged(bake: FinishedBake, to: Path, strength: float, dtype: str) -> dict[str, Any]:
    import torch

    from promptmill.model.local import load

    base, scaled = bake.base, to / ".adapter"
    scale_adapter(bake.adapter, scaled, strength)
    whole = load.load_model(base.folder, [*base.adapters, scaled], "float32", "cpu", False)
    shutil.rmtree(scaled)
    with load.quiet():
        whole.to(getattr(torch, dtype)).save_pretrained(to)
    del whole
    for path in {path for pattern in TOKENIZER for path in base.folder.glob(pattern) if path.is_file()}:
        shutil.copyfile(path, to / path.name)
    open_to_readers(to)
    change = _closeness(bake, to, strength)
    write_text(to / "README.md", merged_card(bake.report, strength, dtype, change.largest, change.kl))
    return {"strength": strength, "dtype": dtype, "largest": change.largest, "kl": change.kl}


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
    from promptmill.model.local import load

    plain = load.load_model(base.folder, base.adapters, dtype, device, base.four_bit)
    return adapters.beside(plain, [adapter], [name]).eval()


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
