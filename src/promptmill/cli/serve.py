"""`promptmill serve`."""

from __future__ import annotations

from promptmill.cli.config import AskConfig, resolve
from promptmill.cli.options import Given
from promptmill.errors import InputError
from promptmill.model.load import open_backend


def serve_command(given: Given, port: int) -> None:
    from promptmill.model.serve import serve

    config = resolve(AskConfig, given)
    if config.model.base_url:
        raise InputError("serve answers from a local, embedded or scripted model; there is no use in serving a server")
    serve(open_backend(config.model), port=port)
