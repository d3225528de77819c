"""What a bake does to the model where nobody asked for anything: the KL to the model as it was on plain texts, which
neither the prompt nor the questions are about and on which nothing was trained or rehearsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.errors import InputError
from promptmill.model.local.loaded import Loaded
from promptmill.tasks.formats import read_table

if TYPE_CHECKING:
    from promptmill.train.batches import Item

KEY = "text"
ROWS = 8
LEVEL = 0.95


@dataclass(frozen=True)
class Texts:
    """source: where they are from, in words. whole: whether each of them must fit the model (those of a user must;
    of ours the ones that do are taken)."""

    rows: tuple[tuple[str, str], ...]
    source: str
    whole: bool

    @property
    def content(self) -> list[str]:
        return [text for _, text in self.rows]


def unrelated_texts(path: Path | None = None) -> Texts:
    """Ours, or those of a file of rows with the key `text` (JSONL; CSV and parquet do as well). InputError names the
    line of a row without one."""
    source, rows = path or Path(__file__).with_name("unrelated.jsonl"), []
    for row in read_table(source).rows:
        text = row.values.get(KEY)
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"{source}, {row.where}: no text under the key {KEY!r} (keys: {', '.join(row.values)}); write rows "
                'such as {"text": …}'
            )
        rows.append((row.where, text))
    if not rows:
        raise InputError(f'{source}: holds no text; write rows such as {{"text": …}}, or leave it out')
    return Texts(tuple(rows), "ours" if path is None else path.name, path is not None)


def unrelated_items(loaded: Loaded, texts: Texts) -> list[Item]:
    """Each text as it is, no chat around it: its first token is given, all others are read. The teacher, the model as
    it was, sees the same. InputError for a text of a user's that is too long for the model: nothing is cut."""
    from promptmill.train.batches import Item, Seen

    items = []
    for where, text in texts.rows:
        ids = tuple(loaded.chat.encode(text, special=True))
        if 2 <= len(ids) <= loaded.context:
            items.append(Item(ids[:1], ids[1:], teacher=Seen((), ids[:1])))
        elif texts.whole:
            raise InputError(
                f"{texts.source}, {where}: the text has {len(ids)} tokens; it must have 2 at least, and the context of "
                f"{loaded.name} holds {loaded.context}"
            )
    return items


def unrelated_kl(model: Any, teacher: Any, items: Sequence[Item]) -> dict[str, Any] | None:
    """Mean KL(model as it was ‖ model as it is) in nats per token, with an interval over texts (percentile bootstrap;
    None for a single text). None where there is no text.

    model: as it is. teacher: its OnlineTeacher, which answers as the model was before it was trained.
    """
    import torch

    from promptmill.train.batches import collate
    from promptmill.train.distil import Distil
    from promptmill.train.head import answering, hidden_states
    from promptmill.train.losses import token_losses

    if not items:
        return None
    objective, device, rows = Distil(teacher.head, teacher), next(model.parameters()).device, []
    with torch.no_grad(), answering(model):
        for low in range(0, len(items), ROWS):
            batch = collate(items[low : low + ROWS], device)
            target = objective.target(batch)
            hidden_ND = batch.predicting(hidden_states(model, **batch.inputs()))
            each_N = token_losses(hidden_ND, teacher.head, target).each_N.double().cpu()
            sizes = [len(item.answer) for item in batch.items]
            rows += [(part.sum().item(), float(len(part))) for part in torch.split(each_N, sizes)]
    return _summed(rows)


def _summed(rows: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """rows: of each text the KL in all, and its tokens."""
    import numpy as np

    from promptmill.measure.statistics import bootstrap_totals

    sums = np.array(rows, np.float64)
    # Rounding may leave less than nothing where nothing has changed.
    found: dict[str, Any] = {"kl": max(0.0, float(sums[:, 0].sum() / sums[:, 1].sum())), "lo": None, "hi": None,
                             "texts": len(rows), "tokens": int(sums[:, 1].sum())}  # fmt: skip
    if len(rows) > 1:
        (drawn,) = bootstrap_totals(sums, [(slice(None), lambda total, _: total[:, 0] / total[:, 1])])
        lo, hi = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found |= {"lo": max(0.0, float(lo)), "hi": max(0.0, float(hi))}
    return found
