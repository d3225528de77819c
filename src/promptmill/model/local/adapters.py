"""LoRA adapters in peft's format: whether a folder holds one that fits a model, and putting it there."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptmill.errors import ModelError
from promptmill.model.local.loading import line_of, quiet, read_json

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def check_adapter(path: str) -> Path:
    """The folder of a LoRA adapter. ModelError for anything else."""
    folder = Path(path).expanduser()
    if not (folder / CONFIG).is_file():
        raise ModelError(f"no adapter at {path}: the folder has no {CONFIG} (save it with peft)")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{path}: no {WEIGHTS} (pickled .bin adapters are not read: save it anew)")
    kind = read_json(folder / CONFIG).get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{path}: a {kind} adapter; only LoRA adapters can be loaded")
    return folder


def shapes(folder: Path) -> dict[str, list[int]]:
    """Of an adapter's tensors, from the file's header. ModelError where it is no whole safetensors file."""
    from safetensors import SafetensorError, safe_open

    file = folder / WEIGHTS
    try:
        with safe_open(file, framework="pt") as tensors:
            return {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: cannot be read as safetensors ({line_of(error)})") from None


def check_fits(model: Any, folder: Path) -> None:
    """ModelError where the adapter cannot be read or was made for another model. peft only warns of that: its shapes
    are compared with the layers that it names."""
    modules = dict(model.named_modules())
    for key, shape in shapes(folder).items():
        name, _, factor = key.removeprefix("base_model.model.").rpartition(".lora_")
        side = factor.partition(".")[0]
        if side not in ("A", "B"):
            continue
        layer = modules.get(name)
        # The first factor takes what the layer takes, the second gives what it gives; nx, nf: GPT-2's own layers.
        names, width = (("in_features", "nx"), shape[-1]) if side == "A" else (("out_features", "nf"), shape[0])
        here = next((value for one in names if (value := getattr(layer, one, None)) is not None), None)
        if layer is None or (here is not None and here != width):
            have = "which this model does not have" if layer is None else f"{width} wide, here {here}"
            raise ModelError(f"{folder}: the adapter was made for another model (it changes {name}, {have})")


def with_adapters(model: Any, adapters: Sequence[Path], merge: bool) -> Any:
    """The model with the sum of all adapters' changes. Merged into the weights where that loses nothing (float32)."""
    names = [f"adapter{index}" for index in range(len(adapters))]
    wrapped = beside(model, adapters, names)
    try:
        with quiet():
            if len(names) > 1:
                wrapped.add_weighted_adapter(names, [1.0] * len(names), "sum", combination_type="cat")
                wrapped.set_adapter("sum")
            return wrapped.merge_and_unload() if merge else wrapped.base_model.model
    except Exception as error:  # peft raises many kinds; none leaves a usable model
        raise ModelError(f"{adapters[0]}: the adapter cannot be loaded ({line_of(error)})") from None


def beside(model: Any, adapters: Sequence[Path], names: Sequence[str]) -> Any:
    """The model in peft's wrapper with the adapters beside its weights, each under its name; the first is in use.
    ModelError where one cannot be read or was made for another model."""
    if find_spec("peft") is None:
        raise ModelError("adapters need peft, in the extra: pip install 'promptmill[local]'")
    from peft import PeftModel

    for folder in adapters:
        check_fits(model, check_adapter(str(folder)))
    at = adapters[0]
    try:
        with quiet():
            wrapped = PeftModel.from_pretrained(model, str(at), adapter_name=names[0], use_safetensors=True)
            for at, name in zip(adapters[1:], names[1:], strict=True):
                wrapped.load_adapter(str(at), adapter_name=name, use_safetensors=True)
    except Exception as error:  # as above
        raise ModelError(f"{at}: the adapter cannot be loaded ({line_of(error)})") from None
    return wrapped
