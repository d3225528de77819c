"""From a folder or a hub name to a model in memory; what makes two models the same (the fingerprint)."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from promptmill.errors import ModelError
from promptmill.model.chat import CallError
from promptmill.model.local.adapters import check_fits, with_adapters
from promptmill.model.local.loading import line_of, read_json
from promptmill.model.local.loading import quiet as quiet

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
        raise ModelError(f"{name}: the download failed ({line_of(error)})") from None


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
                kept = {key: value for key, value in read_json(path).items() if key not in NO_MATTER}
                digest.update(json.dumps(kept, sort_keys=True).encode())
            else:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(b"\1")
    return f"local:{digest.hexdigest()[:32]}"


def end_tokens(folder: Path) -> frozenset[int]:
    """The tokens that end an answer, by the generation config or else the config; the tokenizer may add its own."""
    for name in ("generation_config.json", "config.json"):
        ends = read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
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


_LOADING = Lock()
"""Transformers builds a model on the "meta" device first, in a context that other threads would fall into."""


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
        with _LOADING, quiet():
            model = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, **given
            )
            if not four_bit:
                model = model.to(device)
    except Exception as error:  # any of a dozen kinds; whichever it is, this folder is not a model that can be used
        raise ModelError(f"{folder}: the model cannot be loaded ({line_of(error)})") from None
    if adapters:
        model = with_adapters(model, adapters, merge=model.dtype == torch.float32 and not four_bit)
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True, padding_side="left"
            )
    except Exception as error:  # as above
        raise ModelError(f"{folder}: the tokenizer cannot be loaded ({line_of(error)})") from None


def model_without_weights(folder: Path) -> Any:
    """The layers of the model in `folder`, by its config alone. ModelError for a config that is none."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with _LOADING, quiet(), torch.device("meta"):  # layers without numbers
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # as in load_model
        raise ModelError(f"{folder}: the model cannot be loaded ({line_of(error)})") from None


def check_made_for(folder: Path, adapters: Sequence[Path]) -> None:
    """ModelError where an adapter was made for another model than that in `folder`: before weights are loaded, from the
    config's layers and the shapes in the adapters' headers."""
    model = model_without_weights(folder)
    for adapter in adapters:
        check_fits(model, adapter)
