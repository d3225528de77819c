"""`promptmill serve`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptmill.cli.config import AskConfig, resolve
from promptmill.cli.options import Given
from promptmill.cli.screen import err
from promptmill.errors import InputError
from promptmill.model.gate import run_blocking
from promptmill.model.load import open_backend

USUAL = "adapter"
"""So it is called in every bake: the run's own name says more."""


def serve_command(given: Given, port: int) -> None:
    """The base model under its own name, and each adapter over it under the name that it was given or its folder's."""
    from promptmill.model.serve import serve

    base = resolve(AskConfig, given).model
    if base.base_url:
        raise InputError("serve answers from a local, embedded or scripted model; there is no use in serving a server")
    bare = base.model_copy(update={"adapters": []})
    first = bare.name.removeprefix("scripted:")
    folders = named_adapters(base.adapters, first)
    backends = {first: open_backend(bare)}
    for name, folder in folders.items():
        backends[name] = open_backend(base.model_copy(update={"adapters": [folder]}))

    def ready(url: str) -> None:
        names = ", ".join(backends)
        err.print(f"serving {names} at {url} (Ctrl-C ends it)", markup=False, soft_wrap=True)
        asked = next(iter(folders), first)  # whoever gives an adapter wants its answers
        err.print(f"next: promptmill ask TEXT --model {asked} --base-url {url}", markup=False, soft_wrap=True)

    run_blocking(serve(backends, port=port, ready=ready))


def named_adapters(given: Sequence[str], base: str) -> dict[str, str]:
    """The folder of each adapter by the name that it is asked for: NAME=FOLDER as it is given, else that of the folder,
    or of the run in which it lies. InputError where two would have the same."""
    found: dict[str, str] = {}
    for one in given:
        before, equals, after = one.partition("=")
        named = bool(equals) and not Path(one).is_dir()
        name, folder = (before, after) if named else (_name_of(Path(one)), one)
        if not name or not folder:
            raise InputError(f"--adapter {one}: must be a folder, or NAME=FOLDER")
        if name == base or name in found:
            raise InputError(
                f"--adapter {one}: a model named {name!r} is served already; give it another name: --adapter "
                f"NAME={folder}"
            )
        found[name] = folder
    return found


def _name_of(folder: Path) -> str:
    whole = folder.expanduser().resolve()
    return whole.parent.name if whole.name == USUAL and whole.parent.name else whole.name
