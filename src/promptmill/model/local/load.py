"""From a folder or a hub name to a model in memory; what makes two models the same (the fingerprint)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptmill.errors import ModelError
from promptmill.model.chat import CallError

DTYPES = ("auto", "float32", "bfloat16", "float16")
FILES = ("*.json", "*.jinja", "*.safetensors", "*.model", "*.txt")
BIG = 10**9  # bytes: a larger folder's weights are told apart by name, size and time instead of being read
# Where a model lay and who saved it changes none of its answers.
NO_MATTER = frozenset({"_name_or_path", "name_or_path", "base_model_name_or_path", "transformers_version"})
ALGORITHM = "local-2"  # change it when rendering, sampling or choosing changes: cached answers are then asked anew


def need_extra() -> None:
    """ModelError where torch or transformers is not installed."""
    for package in ("torch", "transformers", "safetensors"):
        if find_spec(package) is None:
            raise ModelError(f"a local model needs {package}, in the extra: pip install 'promptmill[local]'")


def need_guidance() -> None:
    """CallError "refused" where llguidance is not installed: only constrained answers need it."""
    if find_spec("llguidance") is None:
        raise CallError("refused", "constrained answers need llguidance: pip install 'promptmill[local]'")


def resolve(path_or_name: str) -> Path:
    """The model's folder: a path, or a hub name that is in the local cache or can be fetched. ModelError otherwise."""
    path = Path(path_or_name).expanduser()
    if not path.is_dir():
        looks_like_path = path.is_absolute() or path_or_name.startswith((".", "~")) or path_or_name.count("/") > 1
        if looks_like_path or path.exists():
            raise ModelError(f"no model at {path_or_name}: it is not a folder with config.json and *.safetensors")
        path = _from_hub(path_or_name)
    if not (path / "config.json").is_file():
        raise ModelError(f"{path_or_name}: the folder has no config.json; is it a Hugging Face model folder?")
    if not list(path.glob("*.safetensors")):
        raise ModelError(f"{path_or_name}: no *.safetensors weights (pickled .bin weights are not read: convert them)")
    return path


def _from_hub(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True, allow_patterns=list(FILES)))
    except HFValidationError:
        raise ModelError(f"no model {name!r}: neither a folder nor a Hugging Face name such as org/model") from None
    except LocalEntryNotFoundError:
        pass
    offline = constants.HF_HUB_OFFLINE or not _reachable(f"{constants.ENDPOINT}/api/models/{name}", name)
    if offline:
        raise ModelError(
            f"no model {name!r}: there is no such folder, it is not in the local Hugging Face cache, and "
            f"{constants.ENDPOINT} cannot be reached; give the path of a model folder, or --base-url for a served model"
        )
    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(f"{name}: the download failed ({_line(error)})") from None


def _reachable(url: str, name: str) -> bool:
    """One short request instead of the hub library's many. ModelError where the hub answers that it knows no `name`."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5):
            return True
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404) and not _token():
            raise ModelError(
                f"no model {name!r}: there is no such folder, and the hub has no public model of that name"
            ) from None
        return True
    except OSError:
        return False


def _token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def check_adapter(path: str) -> Path:
    """The folder of a LoRA adapter. ModelError for anything else."""
    folder = Path(path).expanduser()
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(f"no adapter at {path}: the folder has no adapter_config.json (save it with peft)")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"{path}: no adapter_model.safetensors (pickled .bin adapters are not read: save it anew)")
    kind = _read_json(folder / "adapter_config.json").get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{path}: a {kind} adapter; only LoRA adapters can be loaded")
    return folder


def fingerprint(folder: Path, adapters: Sequence[Path], *settings: object) -> str:
    """sha256 over all that decides an answer: weights, configs, tokenizer, chat template, adapters, settings. Not over
    where the folder lies. Weights of more than 1 GB go in by file name, size and modification time."""
    digest = hashlib.sha256(json.dumps([ALGORITHM, *settings]).encode())
    for part in (folder, *adapters):
        files = sorted({path for pattern in FILES for path in part.glob(pattern) if path.is_file()})
        weights = sum(path.stat().st_size for path in files if path.suffix == ".safetensors")
        for path in files:
            digest.update(f"\0{path.name}\0".encode())
            if path.suffix == ".safetensors" and weights > BIG:
                stat = path.stat()
                digest.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
            elif path.suffix == ".json" and path.stat().st_size < 1 << 20:
                kept = {key: value for key, value in _read_json(path).items() if key not in NO_MATTER}
                digest.update(json.dumps(kept, sort_keys=True).encode())
            else:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(b"\1")
    return f"local:{digest.hexdigest()[:32]}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({_line(error)})") from None
    return data if isinstance(data, dict) else {"": data}


def end_tokens(folder: Path) -> frozenset[int]:
    """The tokens that end an answer, by the generation config or else the config; the tokenizer may add its own."""
    for name in ("generation_config.json", "config.json"):
        ends = _read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        if ends is not None:
            return frozenset(ends if isinstance(ends, list) else [ends])
    return frozenset()


def context_of(config: Any) -> int:
    """Most tokens of prompt and answer together; a million where the config does not say (state-space models)."""
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None) or 1_000_000)


def pick_device(device: str) -> str:
    if device != "auto":
        return device  # without importing torch: a run that is answered from the cache never needs it
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def pick_dtype(dtype: str, device: str) -> str:
    """auto: float32 on a CPU (half precision changes answers there and is slow), the checkpoint's own on a GPU."""
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}")
    return "float32" if dtype == "auto" and device == "cpu" else dtype


def load_model(folder: Path, adapters: Sequence[Path], dtype: str, device: str, four_bit: bool) -> Any:
    """The model on its device, adapters in place, ready to answer. ModelError, one line, for what cannot be loaded."""
    import torch
    from transformers import AutoModelForCausalLM

    given: dict[str, Any] = {"dtype": dtype if dtype == "auto" else getattr(torch, dtype)}
    if four_bit:
        if find_spec("bitsandbytes") is None:
            raise ModelError("loading in 4 bit needs bitsandbytes: pip install bitsandbytes (and a GPU)")
        from transformers import BitsAndBytesConfig

        given["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
        given["device_map"] = {"": device}
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, **given
            )
            if not four_bit:
                model = model.to(device)
    except Exception as error:  # any of a dozen kinds; whichever it is, this folder is not a model that can be used
        raise ModelError(f"{folder}: the model cannot be loaded ({_line(error)})") from None
    if adapters:
        model = _with_adapters(model, adapters, merge=model.dtype == torch.float32 and not four_bit)
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True, padding_side="left"
            )
    except Exception as error:  # as above
        raise ModelError(f"{folder}: the tokenizer cannot be loaded ({_line(error)})") from None


def _with_adapters(model: Any, adapters: Sequence[Path], merge: bool) -> Any:
    """The model with the sum of all adapters' changes. Merged into the weights where that loses nothing (float32)."""
    if find_spec("peft") is None:
        raise ModelError("adapters need peft, in the extra: pip install 'promptmill[local]'")
    from peft import PeftModel

    for folder in adapters:
        _check_fits(model, folder)
    names = [f"adapter{index}" for index in range(len(adapters))]
    try:
        with quiet():
            wrapped = PeftModel.from_pretrained(model, str(adapters[0]), adapter_name=names[0], use_safetensors=True)
            for name, folder in zip(names[1:], adapters[1:], strict=True):
                wrapped.load_adapter(str(folder), adapter_name=name, use_safetensors=True)
            if len(names) > 1:
                wrapped.add_weighted_adapter(names, [1.0] * len(names), "sum", combination_type="cat")
                wrapped.set_adapter("sum")
            return wrapped.merge_and_unload() if merge else wrapped.base_model.model
    except Exception as error:  # peft raises many kinds; none leaves a usable model
        raise ModelError(f"{adapters[0]}: the adapter cannot be loaded ({_line(error)})") from None


def check_made_for(folder: Path, adapters: Sequence[Path]) -> None:
    """ModelError where an adapter was made for another model than that in `folder`: before weights are loaded, from the
    config's layers and the shapes in the adapters' headers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with quiet(), torch.device("meta"):  # layers without numbers
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # as in load_model
        raise ModelError(f"{folder}: the model cannot be loaded ({_line(error)})") from None
    for adapter in adapters:
        _check_fits(model, adapter)


def _check_fits(model: Any, folder: Path) -> None:
    """peft only warns where an adapter was made for another model: compare its shapes with the layers it names."""
    modules = dict(model.named_modules())
    for key, shape in _shapes(folder / "adapter_model.safetensors").items():
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


def _shapes(file: Path) -> dict[str, list[int]]:
    """Of the tensors of a safetensors file, from its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            return {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: cannot be read as safetensors ({_line(error)})") from None


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice while a model loads; both are as they were afterwards."""
    from transformers.utils import logging as hf_logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between the libraries; nobody here can mend it
            yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
