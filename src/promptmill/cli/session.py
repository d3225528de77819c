"""A command at work: its run folder, its books and its models, opened together and closed together."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

from promptmill.cli.config import AskConfig
from promptmill.cli.options import Given
from promptmill.model.budget import Ledger, Price, Spend, price_of
from promptmill.model.cache import CallStore
from promptmill.model.gate import Model
from promptmill.model.load import ModelConfig, behind_gate, open_backend
from promptmill.store.run import Run
from promptmill.store.stage import digest

T = TypeVar("T")


class Closes(Protocol):
    def close(self) -> None: ...


S = TypeVar("S", bound=Closes)


@dataclass
class Session:
    run: Run
    ledger: Ledger
    model: Model
    writer: Model
    """The model itself where no second one was named."""
    store: CallStore
    prices: dict[str, Price]

    def another(self, kind: ModelConfig, role: str = "task") -> Model:
        """One more model in the same books and the same record."""
        backend = open_backend(kind)
        price = price_of(backend.name, self.prices, self.ledger.budget)
        return behind_gate(backend, kind, role=role, store=self.store, ledger=self.ledger, price=price)

    @contextmanager
    def closing(self, sink: S | None) -> Iterator[S | None]:
        """The sink, closed whatever happens."""
        try:
            yield sink
        finally:
            if sink is not None:
                sink.close()


@contextmanager
def session(craft: str, name: str, identity: dict[str, Any], config: AskConfig, given: Given,
            writer: ModelConfig | None = None) -> Iterator[Session]:  # fmt: skip
    """Open models and run folder. `identity` is completed by the models' fingerprints; without --out the folder is
    named after it, so that the same command continues its own run."""
    ledger, prices = Ledger(config.budget.budget()), config.budget.price_table()
    kinds = [config.model, *([writer] if writer else [])]
    backends = [open_backend(kind) for kind in kinds]
    costs = [price_of(backend.name, prices, ledger.budget) for backend in backends]
    cache = str(given["cache"].resolve()) if given["cache"] else None
    identity = identity | {"seed": config.seed, "cache": cache, "model": backends[0].fingerprint,
                           "writer": backends[-1].fingerprint if writer else None}  # fmt: skip
    folder = given["out"] or Path("runs") / f"{craft}-{_file_name(name)}-{digest(identity)}"
    with ExitStack() as stack:
        if given["forecast"] and not (folder / "run.json").exists():  # a forecast leaves nothing behind
            folder = Path(stack.enter_context(TemporaryDirectory())) / "run"
        settings = {"model": config.model.model_dump(), "budget": config.budget.model_dump(mode="json")}
        run = stack.enter_context(Run(folder, craft, identity, settings))
        store = CallStore(given["cache"] or run.calls_path, run.id, shared=bool(given["cache"]))
        stack.callback(store.close)
        models = [
            behind_gate(backend, kind, role=role, store=store, ledger=ledger, price=price)
            for backend, kind, role, price in zip(backends, kinds, ("task", "writer"), costs, strict=False)
        ]
        yield Session(run, ledger, models[0], models[-1], store, prices)


def in_all(store: CallStore) -> dict[str, Any]:
    """What all sessions of the run have asked, by the record: a stage that is there already is not asked again."""
    roles, paid = store.by_role(), Spend(*store.paid())
    prompt, completion = (sum(one[at] for one in roles.values()) for at in (1, 2))
    return {
        "calls": {role: one[0] for role, one in roles.items()}, "tokens": {"prompt": prompt, "completion": completion},
        "cost": round(sum(one[3] for one in roles.values()), 6),
        "paid": {"calls": paid.calls, "tokens": paid.tokens, "cost": round(paid.cost, 6)},
    }  # fmt: skip


def limited(examples: Sequence[T], limit: int | None, seed: int) -> Sequence[T]:
    """`limit` of the examples drawn by `seed`, in their order; all of them where there is no limit."""
    if limit is None or limit >= len(examples):
        return examples
    return [examples[i] for i in sorted(random.Random(seed).sample(range(len(examples)), limit))]


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-")[:40] or "task"
