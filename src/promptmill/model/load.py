"""From a name to a model: an embedded one, a folder or hub name, `scripted:FILE`, or a name on a server."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from promptmill.errors import ModelError
from promptmill.model.backend import Backend
from promptmill.model.budget import Ledger, Price
from promptmill.model.cache import CallStore
from promptmill.model.embedded import EMBEDDED_MODELS, embedded_backend
from promptmill.model.gate import Model
from promptmill.settings import Strict, checked

SECRET = re.compile(r"(^|_)(api_?key|token|secret|password|authorization)$", re.I)


class ModelConfig(Strict, allow_inf_nan=False):
    """Which model, and how to reach it. Settings of one kind of model do nothing for the others."""

    name: str = Field(
        EMBEDDED_MODELS[0],
        description=f"{', '.join(EMBEDDED_MODELS)}, a folder, a Hugging Face name, scripted:FILE, or a served name",
    )
    base_url: str | None = Field(None, description="an OpenAI-compatible server, such as http://localhost:8000/v1")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the server's key")
    api: Literal["chat", "completions"] = Field("chat", description="completions: base models, no chat template")
    dialect: Literal["auto", "openai", "vllm"] = Field("auto", description="which extra fields the server takes")
    concurrency: int = Field(64, ge=1, description="calls in flight at most, on a server")
    timeout: float = Field(120.0, gt=0, description="seconds for one attempt of a call to a server")
    attempts: int = Field(8, ge=1, description="how often a call is sent before it counts as failed")
    base_wait: float = Field(0.5, ge=0, description="seconds before the second attempt; doubles from there")
    extra_body: dict[str, Any] = Field({}, description="fields added to each request to a server")
    adapters: list[str] = Field([], description="folders of PEFT LoRA adapters, for local models")
    dtype: str = Field("auto", description="float32, bfloat16, float16: passed to transformers")
    load_in_4bit: bool = Field(False, description="4-bit weights by bitsandbytes, through transformers")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps")
    batch_size: int = Field(64, ge=1, description="answers generated side by side by a local model")

    @field_validator("extra_body")
    @classmethod
    def _holds_no_key(cls, value: dict[str, Any]) -> dict[str, Any]:
        """What is configured is recorded in run folders."""
        if name := next((name for name in value if SECRET.search(name)), None):
            raise ValueError(
                f"{name} looks like a secret, and runs are recorded; put it into the variable of api_key_env"
            )
        return value

    @property
    def embedded(self) -> bool:
        """One of the models in the wheel. What a server calls by such a name may be anything."""
        return self.base_url is None and self.name in EMBEDDED_MODELS


def open_backend(config: ModelConfig) -> Backend:
    """The backend of a model. InputError or ModelError, one line, for what cannot be one."""
    if config.base_url:
        from promptmill.model.endpoint import EndpointBackend

        return EndpointBackend(
            config.name,
            config.base_url,
            api_key_env=config.api_key_env,
            concurrency=config.concurrency,
            timeout=config.timeout,
            api=config.api,
            dialect=config.dialect,
            extra_body=config.extra_body,
        )
    if config.name.startswith("scripted:"):
        from promptmill.model.scripted import load_scripted

        return load_scripted(Path(config.name.removeprefix("scripted:")))
    _need_torch(config.name)
    if config.embedded:
        return embedded_backend(config.name, adapters=config.adapters, batch_size=config.batch_size)
    from promptmill.model.local import LocalBackend

    return LocalBackend(
        config.name,
        adapters=config.adapters,
        dtype=config.dtype,
        load_in_4bit=config.load_in_4bit,
        device=config.device,
        batch_size=config.batch_size,
    )


def _need_torch(name: str) -> None:
    missing = [module for module in ("torch", "transformers") if find_spec(module) is None]
    if missing:
        raise ModelError(f"--model {name} needs {missing[0]}: pip install 'promptmill[local]' (or name a --base-url)")


def behind_gate(
    backend: Backend,
    config: ModelConfig,
    *,
    role: str = "task",
    store: CallStore | None = None,
    ledger: Ledger | None = None,
    price: Price | None = None,
) -> Model:
    """The model behind the gate, with the books and the record of a run."""
    return Model(backend, role=role, store=store, ledger=ledger, price=price, attempts=config.attempts,
                 base_wait=config.base_wait)  # fmt: skip


def load_model(name: str = EMBEDDED_MODELS[0], base_url: str | None = None, *, cache: str | Path | None = None,
               **settings: Any) -> Model:  # fmt: skip
    """A model for use from Python: `load_model("embedded").complete([Request(...)])`.

    cache: a file that keeps the calls from one use to the next. settings: fields of ModelConfig.
    """
    config = checked(ModelConfig, {"name": name, "base_url": base_url, **settings}, "load_model")
    return behind_gate(open_backend(config), config, store=CallStore(Path(cache)) if cache else None)
