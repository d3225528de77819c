"""promptmill: breed, rewrite, recover and bake prompts, on any model.

Names are loaded when they are first used: importing the package draws neither torch nor pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Prompt": "promptmill.prompt",
    "Demo": "promptmill.prompt",
    "Task": "promptmill.tasks.task",
    "load_task": "promptmill.tasks.load",
    "Model": "promptmill.model.gate",
    "Request": "promptmill.model.chat",
    "Sampling": "promptmill.model.chat",
    "ScoreRequest": "promptmill.model.chat",
    "Regex": "promptmill.model.constraint",
    "JsonSchema": "promptmill.model.constraint",
    "Script": "promptmill.model.script",
    "Hole": "promptmill.model.script",
    "fill": "promptmill.model.script",
    "fill_all": "promptmill.model.script",
    "load_model": "promptmill.model.load",
    "evaluate": "promptmill.measure.evaluate",
    "compare": "promptmill.measure.runs",
    "breed": "promptmill.crafts.breed",
}
__all__ = [*_HOME, "__version__"]

if TYPE_CHECKING:
    from promptmill.crafts.breed import breed as breed
    from promptmill.measure.evaluate import evaluate as evaluate
    from promptmill.measure.runs import compare as compare
    from promptmill.model.chat import Request as Request
    from promptmill.model.chat import Sampling as Sampling
    from promptmill.model.chat import ScoreRequest as ScoreRequest
    from promptmill.model.constraint import JsonSchema as JsonSchema
    from promptmill.model.constraint import Regex as Regex
    from promptmill.model.gate import Model as Model
    from promptmill.model.load import load_model as load_model
    from promptmill.model.script import Hole as Hole
    from promptmill.model.script import Script as Script
    from promptmill.model.script import fill as fill
    from promptmill.model.script import fill_all as fill_all
    from promptmill.prompt import Demo as Demo
    from promptmill.prompt import Prompt as Prompt
    from promptmill.tasks.load import load_task as load_task
    from promptmill.tasks.task import Task as Task


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'promptmill' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
