"""All that changes while a model is trained, to a checkpoint and back, bit for bit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from promptmill.errors import InputError
from promptmill.store.run import difference

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class Progress:
    """How far a run is, in plain values.

    step: optimiser steps done; epoch, group: of them, and the next group of batches in it; tokens: learned from
    validation: the last validation loss; first: the one before training; best, best_step: the least, and when
    worse: validations since the best
    rows: what was reported so far
    """

    step: int = 0
    epoch: int = 0
    group: int = 0
    tokens: float = 0.0
    validation: float | None = None
    best: float | None = None
    best_step: int = 0
    worse: int = 0
    first: float | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)


class State:
    """The trained weights of a model, its optimiser, the random generators, the best weights so far, and progress."""

    def __init__(self, weights: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, identity: dict[str, Any]):
        self.weights, self.optimizer, self.identity = weights, optimizer, identity
        self.device = next(iter(weights.values())).device
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()

    def keep_best(self) -> None:
        self.best = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def restore_best(self) -> None:
        """The best weights into the model; without any, the last stay."""
        with torch.no_grad():
            for name, tensor in self.best.items():
                self.weights[name].copy_(tensor)

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {f"weight.{name}": weight for name, weight in self.weights.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, weight in self.weights.items():
            moments: dict[str, Tensor] = self.optimizer.state.get(weight, {})
            tensors |= {f"{part}.{name}": tensor for part, tensor in moments.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors, {"identity": self.identity, "progress": asdict(self.progress)}

    def unpack(self, tensors: dict[str, Tensor], values: dict[str, Any], where: str) -> None:
        """InputError where the checkpoint is of another run: of other settings, other items or other weights."""
        change = difference(values["identity"], self.identity)
        shapes = {name[7:]: list(tensor.shape) for name, tensor in tensors.items() if name.startswith("weight.")}
        change = change or difference(shapes, {name: list(weight.shape) for name, weight in self.weights.items()})
        if change:
            raise InputError(f"{where}: this training was begun with {change}; name another folder for a new one")
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weight.{name}"])
                moments = {part: tensors[f"{part}.{name}"] for part in MOMENTS if f"{part}.{name}" in tensors}
                if moments:
                    self.optimizer.state[weight] = {
                        part: tensor if part == "step" else tensor.to(weight.device) for part, tensor in moments.items()
                    }
        self.best = {name[5:]: tensor.to(self.device) for name, tensor in tensors.items() if name.startswith("best.")}
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        self.progress = Progress(**values["progress"])
