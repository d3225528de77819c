"""What is trained: a LoRA adapter on layers found in the model, or all weights; and how it is saved.

An adapter is written in peft's own format, so peft, vLLM and `--adapter` read it: adapter_model.safetensors and
adapter_config.json.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from promptmill.errors import InputError, ModelError
from promptmill.model.local.load import quiet
from promptmill.store.files import open_to_readers, write_json, write_whole
from promptmill.train.head import inner_model
from promptmill.train.settings import LoraSettings

ATTENTION = ("attn", "attention")
ROUTERS = frozenset({"gate", "router", "shared_expert_gate"})  # which expert gets a token: no projection of its content


def find_targets(model: Any, targets: str | Sequence[str] = "attention") -> list[str]:
    """The linear layers that get an adapter, by the shortest endings of their names that name no others.

    targets: "attention", "all", or endings of names. InputError where there is none, or a name is no linear layer's.
    """
    layers = _projections(model)
    if not isinstance(targets, str):
        for name in targets:
            if not any(_ends(layer, name) for layer in layers):
                have = ", ".join(sorted({layer.rpartition(".")[2] for layer in layers}))
                raise InputError(f"lora.targets: {name!r} is no linear layer of this model (it has {have})")
        return sorted(set(targets))
    wanted = [name for name in layers if targets == "all" or any(word in name.lower() for word in ATTENTION)]
    if not wanted:
        kind = model.config.model_type
        raise InputError(f'no linear projections of attention in this {kind} model: set lora.targets to "all" or names')
    return _endings(wanted, [name for name, _ in model.named_modules()])


def _projections(model: Any) -> list[str]:
    """Names of the linear layers inside the repeated blocks (so neither embeddings nor the output layer)."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not head
        and any(part.isdigit() for part in name.split("."))
        and name.rpartition(".")[2] not in ROUTERS
    ]


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def _endings(wanted: Sequence[str], everything: Sequence[str]) -> list[str]:
    """For each wanted name its shortest ending that no unwanted name has: GPT-2's attn.c_proj is not its mlp.c_proj."""
    chosen, others = set(), set(everything) - set(wanted)
    for name in wanted:
        parts = name.split(".")
        endings = (".".join(parts[-length:]) for length in range(1, len(parts) + 1))
        chosen.add(next(ending for ending in endings if not any(_ends(other, ending) for other in others)))
    return sorted(chosen)


def attach_adapter(model: Any, lora: LoraSettings, seed: int) -> Any:
    """The model with a fresh LoRA adapter, wrapped by peft; only the adapter is trained, in float32.

    At first it changes nothing (B is zero). Its A is drawn from `seed`; the caller's random state is left alone.
    """
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers.pytorch_utils import Conv1D

    if any("lora_" in name for name, _ in model.named_modules()):
        raise ModelError("the model has an adapter beside its weights already: load it in float32, which merges it")
    targets = find_targets(model, lora.targets)
    named = [module for name, module in model.named_modules() if any(_ends(name, ending) for ending in targets)]
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=lora.rank, lora_dropout=lora.dropout, target_modules=targets,
        lora_alpha=2 * lora.rank if lora.alpha is None else lora.alpha,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in named),
    )  # fmt: skip
    with seeded(seed, inner_model(model).device), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers; nobody here can mend it
        return get_peft_model(model, config).eval()


def unfreeze(model: Any) -> Any:
    """Full fine-tuning: everything is trained but the output layer (and the embedding where it is tied to it), which
    the losses take as frozen. InputError for a model in half precision, where small steps round to nothing."""
    if any(weight.dtype != torch.float32 for weight in model.parameters()):
        raise InputError("full fine-tuning needs the model in float32 (dtype float32); an adapter does not")
    model.requires_grad_(True)
    model.get_output_embeddings().requires_grad_(False)
    return model


def recompute_activations(model: Any) -> None:
    """Gradient checkpointing: a layer's activations are computed again for the backward pass instead of kept.
    InputError where the architecture cannot."""
    inner = inner_model(model)
    enable = getattr(inner, "activation_checkpointing_enable", None) or inner.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError:
        kind = inner.config.model_type
        raise InputError(f"gradient_checkpointing: {kind} models do not have it; set it to false") from None


def has_adapter(model: Any) -> bool:
    """Whether peft wraps the model. (A model that an adapter was merged into keeps its peft_config.)"""
    return hasattr(model, "disable_adapter")


def trained(model: Any) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by name, in the model's order."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def set_training(model: Any) -> None:
    """Ready for a step. Of all dropout only the adapter's own is on: what is taught is the model as it answers, and
    noise in its frozen layers would be in every target too."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    model.eval()
    for name, module in model.named_modules():
        # A layer recomputes its activations only in training mode; its parts stay as they answer.
        if isinstance(module, GradientCheckpointingLayer) and getattr(module, "gradient_checkpointing", False):
            module.training = True
        if "lora_dropout" in name:
            module.training = True


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from `seed` inside; outside they go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def at_strength(model: Any, strength: float) -> Iterator[None]:
    """The model with its adapter's change times `strength`: 0 is the model as it was, 1 as it was trained."""
    layers = [module for module in model.modules() if isinstance(getattr(module, "scaling", None), dict)]
    before = [dict(layer.scaling) for layer in layers]
    for layer in layers:
        layer.scaling = {name: scale * strength for name, scale in layer.scaling.items()}
    try:
        yield
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling = scaling


def save_trained(model: Any, folder: Path, base: str | None = None, strength: float = 1.0) -> None:
    """The adapter, or after full fine-tuning the whole model, in `folder`. A reader finds the old weights or the new
    ones, never a mixture. base: what an adapter's config names as its model; strength: of the adapter (see
    at_strength), as its alpha."""
    if has_adapter(model):
        _save_adapter(model, folder, base, strength)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".part-", dir=folder) as part, quiet():
        model.save_pretrained(part, max_shard_size="100TB")  # one file, so that one rename is the whole change
        open_to_readers(Path(part))
        for path in sorted(Path(part).iterdir()):  # config.json before model.safetensors
            path.replace(folder / path.name)


def _save_adapter(model: Any, folder: Path, base: str | None, strength: float) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    config = model.peft_config[model.active_adapter].to_dict() | {"inference_mode": True}
    alpha = float(config["lora_alpha"]) * strength
    config["lora_alpha"] = int(alpha) if alpha.is_integer() else alpha
    if base is not None:
        config["base_model_name_or_path"] = base
    # Sets come in another order in every process: the same adapter shall be the same file.
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    write_json(folder / "adapter_config.json", plain)
    tensors = {name: value.detach().contiguous() for name, value in get_peft_model_state_dict(model).items()}
    write_whole(folder / "adapter_model.safetensors", lambda part: save_file(tensors, part, metadata={"format": "pt"}))
