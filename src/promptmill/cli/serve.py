"""`promptmill serve`."""

from __future__ import annotations

from pathlib import Path

from promptmill.cli.config import AskConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.screen import err
from promptmill.errors import InputError
from promptmill.model.gate import run_blocking
from promptmill.model.load import open_backend


def serve_command(given: Given, port: int) -> None:
    """The base model under its own name, and each adapter over it under the name of its folder."""
    from promptmill.model.serve import serve

    base = resolve(AskConfig, given).model
    if base.base_url:
        raise InputError("serve answers from a local, embedded or scripted model; there is no use in serving a server")
    bare = base.model_copy(update={"adapters": []})
    backends = {bare.name.removeprefix("scripted:"): open_backend(bare)}
    for adapter in base.adapters:
        name = Path(adapter).name
        if name in backends:
            raise InputError(f"--adapter {adapter}: a model named {name!r} is served already; rename the folder")
        backends[name] = open_backend(base.model_copy(update={"adapters": [adapter]}))

    def ready(url: str) -> None:
        names = ", ".join(backends)
        err.print(f"serving {names} at {url} (Ctrl-C ends it)", markup=False, soft_wrap=True)
        first = next(iter(backends))
        err.print(f"next: promptmill ask TEXT --model {first} --base-url {url}", markup=False, soft_wrap=True)

    run_blocking(serve(backends, port=port, ready=ready))
