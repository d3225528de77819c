"""The operators by name, one family a file: the nine of PromptBreeder, and those that need failures or two parents."""

from __future__ import annotations

from promptmill.vary.operators.contexts import add_demos
from promptmill.vary.operators.direct import first_order, mutate, zero_order
from promptmill.vary.operators.distribution import eda, eda_ranked, lineage
from promptmill.vary.operators.hyper import hyper_first, hyper_zero
from promptmill.vary.operators.lamarck import lamarckian
from promptmill.vary.operators.reflect import merge, reflect
from promptmill.vary.scene import Operator

# Crossover and context shuffling, the paper's fifth class, are not chosen but happen after any of these.
PAPER: dict[str, Operator] = {
    "zero_order": zero_order, "first_order": first_order, "eda": eda, "eda_ranked": eda_ranked, "lineage": lineage,
    "hyper_zero": hyper_zero, "hyper_first": hyper_first, "lamarckian": lamarckian,
}  # fmt: skip
OPERATORS: dict[str, Operator] = PAPER | {
    "mutate": mutate, "reflect": reflect, "merge": merge, "add_demos": add_demos,
}  # fmt: skip
