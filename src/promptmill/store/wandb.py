"""A run's numbers on Weights & Biases, beside the run folder and never in its place.

Only numbers are sent, and the configuration without its prompts: no texts of rows or reports, no command line, no
console, no code, nothing about the machine. The key and the mode come from the environment (WANDB_API_KEY, WANDB_MODE)
and are written nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from promptmill.errors import InputError

if TYPE_CHECKING:
    from wandb import Run as WandbRun

Mode = Literal["online", "offline", "disabled"]
MODES: tuple[Mode, ...] = ("online", "offline", "disabled")
PROMPT_KEYS = frozenset({"prompt", "seed_prompt", "best_prompt", "system", "user", "prefix", "demos", "instruction"})
"""Parts of a configuration that hold a prompt's words."""
LONGEST = 200
"""Characters of a setting; what is longer is a text."""


class WandbSink:
    """Takes the rows of metrics.jsonl and the report. Open it with `open_wandb`, close it whatever happens.

    A continued promptmill run tells its rows again from the first; those that the wandb run already has are skipped.
    Offline nothing is known of earlier sessions, so each writes all rows and its file is whole.
    """

    def __init__(self, run: WandbRun) -> None:
        self._run: WandbRun | None = run
        self.url: str | None = run.url  # None where no server is asked
        self._begins = run.starting_step
        self._last = -1

    def metric(self, row: Mapping[str, Any]) -> None:
        """Log a row's numbers at step row["calls"], or the next free one where that was taken (or is not there)."""
        calls = row.get("calls")
        self._last = max(calls if isinstance(calls, int) else 0, self._last + 1)
        if self._run is not None and self._last >= self._begins:
            self._run.log(flat_numbers(row), step=self._last)

    def finish(self, report: Mapping[str, Any]) -> None:
        """The report's numbers as the run's summary; then the run is finished."""
        if self._run is not None:
            self._run.summary.update(flat_numbers(report))
            self._end(0)

    def close(self) -> None:
        """End the run as failed where it was not finished: an error or an interruption. Again: nothing happens."""
        self._end(1)

    def _end(self, code: int) -> None:
        if self._run is not None:
            run, self._run = self._run, None
            run.finish(exit_code=code)


def open_wandb(project: str, name: str, config: Mapping[str, Any], run_id: str, folder: Path) -> WandbSink:
    """Begin a wandb run, or go on with the one of that id. Blocks until the server has answered.

    name: shown. run_id: promptmill's own, so that a continued run goes on with the same wandb run. folder: the run's;
    wandb's files go to `folder`/wandb. InputError where wandb is not installed, has no key, or refuses.
    """
    if find_spec("wandb") is None:
        raise InputError("logging to Weights & Biases needs wandb, in the extra: pip install 'promptmill[wandb]'")
    mode = _mode()
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    try:
        wandb.setup(wandb.Settings(silent=True))  # the login says its word before a run's own settings are in force
        settings = wandb.Settings(
            silent=True, console="off", reinit="create_new", program="promptmill",
            disable_git=True, disable_code=True, save_code=False,
            x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        run = wandb.init(
            project=project, name=name, config=without_prompts(config), id=run_id, resume="allow", dir=str(folder),
            mode=mode, settings=settings,
        )  # fmt: skip
    except (wandb.Error, ValueError) as error:
        line = " ".join(str(error).split("\n")[0].split())[:200] or type(error).__name__
        hint = "; WANDB_MODE=offline needs no server" if isinstance(error, wandb.errors.CommError) else ""
        raise InputError(f"wandb, project {project}: {line}{hint}") from None
    return WandbSink(run)


def flat_numbers(data: Mapping[str, Any], prefix: str = "") -> dict[str, int | float]:
    """The numbers of nested mappings by path ("test/gain"). Texts, None and lists are left out; true is 1."""
    flat: dict[str, int | float] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat.update(flat_numbers(value, f"{prefix}{key}/"))
        elif isinstance(value, int):
            flat[f"{prefix}{key}"] = int(value)
        elif isinstance(value, Real):
            flat[f"{prefix}{key}"] = float(value)
    return flat


def without_prompts(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what holds a prompt's words (PROMPT_KEYS, unless a number) and without long texts."""
    kept = {}
    for key, value in config.items():
        words = key in PROMPT_KEYS and not isinstance(value, Real)
        if words or (isinstance(value, str) and len(value) > LONGEST):
            continue
        kept[key] = without_prompts(value) if isinstance(value, Mapping) else value
    return kept


def _mode() -> Mode:
    said = os.environ.get("WANDB_MODE") or "online"
    mode = next((mode for mode in MODES if mode == said), None)
    if mode is None:
        raise InputError(f"WANDB_MODE={said}: must be one of {', '.join(MODES)}")
    # Without a key wandb would ask for one on the terminal, and store it.
    if mode == "online" and not os.environ.get("WANDB_API_KEY"):
        raise InputError("wandb: WANDB_API_KEY is not set; set it, or WANDB_MODE=offline to keep the numbers here")
    return mode
