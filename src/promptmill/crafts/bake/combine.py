"""Several bakes in one adapter, whose change is exactly the sum of theirs.

The low-rank factors are put side by side (peft's `cat`): the sum of the products is then one product. Adding up the
factors themselves (peft's `linear`) is another change altogether; in a trial it moved logits by 6.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptmill.crafts.bake.card import combined_card
from promptmill.crafts.bake.export import with_adapter
from promptmill.crafts.bake.finished import Base, FinishedBake, finished_bake
from promptmill.errors import InputError, ModelError
from promptmill.model.local.adapters import beside, with_adapters
from promptmill.store.files import write_text
from promptmill.store.whole import whole_folder

FARTHEST = 1e-3
"""A difference of a logit to the sum of the changes, as a share of the logits' spread, that is more than rounding."""


def combined(runs: Sequence[Path], to: Path) -> dict[str, Any]:
    """Write the sum of the runs' adapters into the new folder `to`; what there is to be said of it: how many `prompts`,
    the `rank`, the `largest` difference of a logit and the `kl` per token to the sum.

    InputError for fewer than two runs, runs that are no finished bakes, or bakes of different models; ModelError where
    the sum is not what it should be.
    """
    if len({run.resolve() for run in runs}) < 2:
        raise InputError("say which bakes to combine: two different runs at least")
    bakes = [finished_bake(run) for run in runs]
    base = common_base(bakes)
    for bake in bakes:
        bake.check()
    adapters = [bake.adapter for bake in bakes]
    with whole_folder(to) as folder:
        rank = _write_sum(base, adapters, folder)
        largest, kl = _check_sum(base, adapters, folder)
        write_text(folder / "README.md", combined_card([bake.report for bake in bakes], base.adapters, rank, largest))
    return {"prompts": len(bakes), "rank": rank, "largest": largest, "kl": kl}


def common_base(bakes: Sequence[FinishedBake]) -> Base:
    """The model under all of them: the same one, with the same adapters merged but for those that are combined (a bake
    on top of another goes with it). InputError where there is none."""
    together = {bake.adapter.resolve() for bake in bakes}
    first, *others = bakes
    rest = [tuple(path for path in bake.base.adapters if path.resolve() not in together) for bake in bakes]
    for bake, under in zip(others, rest[1:], strict=True):
        if bake.base.folder.resolve() != first.base.folder.resolve():
            raise InputError(
                f"{bake.run} was baked into {bake.base.name}, {first.run} into {first.base.name} "
                f"({first.base.folder}): only bakes of one model can be combined"
            )
        if under != rest[0]:
            lone = str((set(under) ^ set(rest[0])).pop())
            raise InputError(f"{bake.run} and {first.run} do not lie on the same adapters: combine {lone} with them")
    return Base(first.base.name, first.base.folder, first.base.dtype, rest[0])


def _write_sum(base: Base, adapters: Sequence[Path], to: Path) -> int:
    """Write the adapter; its rank."""
    from promptmill.model.local import load
    from promptmill.train.targets import save_trained

    names = [f"part{place}" for place in range(len(adapters))]
    plain = load.load_model(base.folder, base.adapters, "float32", "cpu", False)
    wrapped = beside(plain, adapters, names).eval()
    try:
        with load.quiet():
            wrapped.add_weighted_adapter(names, [1.0] * len(names), "default", combination_type="cat")
            wrapped.set_adapter("default")
    except ValueError as error:  # target modules of different kinds
        raise InputError(f"these adapters cannot be combined: {' '.join(str(error).split())[:160]}") from None
    config = wrapped.peft_config["default"]
    config.base_model_name_or_path = str(base.folder)  # where peft looks whether the vocabulary has grown
    save_trained(wrapped, to, base.name)
    return int(config.r)


def _check_sum(base: Base, adapters: Sequence[Path], written: Path) -> tuple[float, float]:
    """Largest difference of a logit, and KL per token, of the written adapter to the model into which the adapters were
    merged one after the other."""
    import torch

    from promptmill.crafts.bake.compare import closeness, fixed_items
    from promptmill.model.local import load

    one = with_adapter(base, written, "float32", "cpu")
    other = load.load_model(base.folder, base.adapters, "float32", "cpu", False)
    for adapter in adapters:
        other = with_adapters(other, [adapter], merge=True).eval().requires_grad_(False)
    items = fixed_items(other.config.get_text_config().vocab_size)
    found = closeness(one, other, items)
    with torch.no_grad():
        spread = float(other(input_ids=torch.tensor([items[0].answer])).logits.std())
    if not found.largest <= FARTHEST * max(1.0, spread):
        raise ModelError(
            f"the combined adapter is not the sum of the others (a logit differs by {found.largest:.2g}); "
            "nothing was written"
        )
    return found.largest, found.kl
