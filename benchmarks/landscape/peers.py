"""Searches of others on the landscape, each as its own package runs it, zero demos, over HTTP.

    python -m benchmarks.landscape.peers gepa --url http://127.0.0.1:8000/v1 --seed 0 [--rugged] [--blind] --budget 1000

Runs in an environment that has the peer (pip install gepa promptolution "dspy[optuna]"); promptmill need not be in it.
The server (serve.py) refuses task calls past its budget. There the peer is broken off, and what it held to be its best
prompt at that moment is judged by its true quality. The client is our own thin one, so that no peer waits for an SDK;
all that a peer decides is its own. Prints one JSON line (record.result_line).

Examples: 50 where all prompts are measured on all (EvoPrompt, COPRO); 200 to reflect on and 30 or 50 to choose by for
GEPA; 200 for CAPO; 200 and 200 for MIPROv2.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import sys
import urllib.parse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from benchmarks.landscape.phrases import CODES, DESCRIPTION
from benchmarks.landscape.record import MARKS, Recorder, result_line
from benchmarks.landscape.world import Case, Landscape

NEVER = 10**6  # steps that no budget reaches
POPULATION, EACH, FEW = 10, 50, 30


class Spent(BaseException):
    """The budget of task calls is spent. No Exception: a peer that goes on after errors must not go on after this."""


@dataclass
class Client:
    """Chat completions over one connection that is kept open. url: of serve.py, http://127.0.0.1:PORT/v1."""

    url: str
    _connection: http.client.HTTPConnection | None = None

    def ask(self, model: str, messages: Sequence[dict[str, Any]], **fields: Any) -> list[str]:
        """The texts of all n answers. Raises Spent where the server says so."""
        status, data = self._send(
            "POST", "/v1/chat/completions", {"model": model, "messages": list(messages), **fields}
        )
        if status == 400 and "is spent" in str(data):
            raise Spent
        if status != 200:
            raise RuntimeError(f"the landscape server answered {status}: {data}")
        return [choice["message"]["content"] for choice in data["choices"]]

    def say(self, model: str, text: str, system: str = "") -> str:
        messages = [{"role": "system", "content": system}] if system else []
        return self.ask(model, [*messages, {"role": "user", "content": text}])[0]

    def calls(self) -> dict[str, int]:
        """Answers given so far, by the server's count."""
        return dict(self._send("GET", "/stats")[1])

    def _send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        parts = urllib.parse.urlsplit(self.url)
        if self._connection is None:
            self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


@dataclass
class Run:
    """What a driver is given."""

    landscape: Landscape
    client: Client
    budget: int
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(lambda: self.client.calls()["task"])

    def cases(self, start: int, count: int) -> tuple[Case, ...]:
        return self.landscape.splits["train"][start : start + count]


def gepa(run: Run) -> None:
    """GEPA (arXiv 2507.19457) with its defaults: minibatches of 3, Pareto selection, the whole validation set."""
    few = FEW if run.budget < 5000 else EACH  # of 20, 30, 40, 50, 75, 100, 150 and 200 the best at such budgets
    import gepa as package

    def told(cases: Sequence[Case]) -> list[Any]:
        return [{"input": case.text, "additional_context": {}, "answer": case.gold} for case in cases]

    class Watch:
        def on_valset_evaluated(self, event: Any) -> None:
            if event["is_best_program"]:
                run.recorder.note(event["candidate"]["system"])

    package.optimize(
        {"system": run.landscape.seed_prompt}, told(run.cases(0, 200)), told(run.cases(200, few)),
        task_lm=lambda messages: run.client.ask("task", messages, temperature=0)[0],
        reflection_lm=lambda text: run.client.say("writer", str(text)),
        max_metric_calls=run.budget, callbacks=[Watch()], seed=run.landscape.seed,
        logger=SimpleNamespace(log=lambda *_: None),
    )  # fmt: skip


def evoprompt(run: Run) -> None:
    """EvoPrompt's genetic algorithm (arXiv 2309.08532) as promptolution has it."""
    from promptolution.optimizers.evoprompt_ga import EvoPromptGA

    _promptolution(run, EvoPromptGA, EACH, "full")


def capo(run: Run) -> None:
    """CAPO (arXiv 2504.16005) as promptolution has it, without its few-shot examples."""
    from promptolution.optimizers.capo import CAPO

    _promptolution(run, CAPO, 200, "sequential_block", upper_shots=0, create_fs_reasoning=False)


def _promptolution(run: Run, optimizer: Any, count: int, strategy: Any, **settings: Any) -> None:
    import logging

    import numpy
    import pandas
    from promptolution.llms.base_llm import BaseLLM
    from promptolution.predictors.first_occurrence_predictor import FirstOccurrencePredictor
    from promptolution.tasks.classification_tasks import ClassificationTask
    from promptolution.utils.callbacks import BaseCallback
    from promptolution.utils.prompt_creation import create_prompt_variation

    class Model(BaseLLM):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def _get_response(self, prompts: list[str], system_prompts: list[str]) -> list[str]:
            return [run.client.say(self.name, *both) for both in zip(prompts, system_prompts, strict=True)]

    class Watched(optimizer):
        def _pre_optimization_loop(self) -> None:
            super()._pre_optimization_loop()
            run.recorder.note(self.prompts[0].construct_prompt())

    class Watch(BaseCallback):
        def on_step_end(self, optimizer: Any) -> bool:
            run.recorder.note(optimizer.prompts[0].construct_prompt())
            return True

    logging.disable(logging.CRITICAL)
    numpy.random.seed(run.landscape.seed)
    random.seed(run.landscape.seed)
    writer = Model("writer")
    table = pandas.DataFrame([{"x": case.text, "y": case.gold} for case in run.cases(0, count)])
    task = ClassificationTask(table, DESCRIPTION, eval_strategy=strategy, seed=run.landscape.seed)
    seed_prompt = run.landscape.seed_prompt
    first = [seed_prompt, *create_prompt_variation([seed_prompt] * (POPULATION - 1), writer)]
    predictor = FirstOccurrencePredictor(Model("task"), list(CODES))
    Watched(predictor, task, writer, first, callbacks=[Watch()], **settings).optimize(NEVER)


def copro(run: Run) -> None:
    """DSPy's COPRO (after OPRO, arXiv 2309.03409): ten instructions at a time, the best so far shown with scores."""
    from dspy.teleprompt import copro_optimizer

    best = -1.0

    class Evaluate(copro_optimizer.Evaluate):
        def __call__(self, program: Any, **given: Any) -> Any:
            nonlocal best
            result = super().__call__(program, **given)
            if result.score > best:
                best = result.score
                run.recorder.note(program.signature.instructions)
            return result

    sys.setrecursionlimit(100_000)  # each signature is a subclass of the one before
    program, _, writer, metric = _dspy(run)
    copro_optimizer.Evaluate = Evaluate
    search = copro_optimizer.COPRO(prompt_model=writer, metric=metric, breadth=POPULATION, depth=NEVER)
    quiet = {"num_threads": 1, "display_progress": False, "display_table": 0}
    search.compile(program, trainset=_dspy_examples(run.cases(0, EACH)), eval_kwargs=quiet)


def mipro(run: Run) -> None:
    """DSPy's MIPROv2 (arXiv 2406.11695), instructions only; as many of them as the budget can try."""
    from dspy.teleprompt import mipro_optimizer_v2

    best = -1.0
    inner = mipro_optimizer_v2.eval_candidate_program

    def evaluated(batch_size: int, examples: Any, program: Any, *rest: Any, **given: Any) -> Any:
        nonlocal best
        result = inner(batch_size, examples, program, *rest, **given)
        if batch_size >= len(examples) and result.score > best:  # it chooses by what was measured in full
            best = result.score
            run.recorder.note(program.signature.instructions)
        return result

    program, task, writer, metric = _dspy(run)
    mipro_optimizer_v2.eval_candidate_program = evaluated
    count = max(4, (run.budget - 250) // 125)  # bootstrapping, 1.5 trials of 35, a full measurement every five
    search = mipro_optimizer_v2.MIPROv2(
        metric=metric, prompt_model=writer, task_model=task, max_bootstrapped_demos=0, max_labeled_demos=0,
        auto=None, num_candidates=count, num_threads=1, seed=run.landscape.seed,
    )  # fmt: skip
    train, val = (_dspy_examples(run.cases(start, 200)) for start in (0, 200))
    search.compile(program, trainset=train, valset=val, num_trials=count * 3 // 2)


def _dspy(run: Run) -> tuple[Any, Any, Any, Callable[..., bool]]:
    """Program, task model, writer and metric. Task calls are cached, as dspy does it by default."""
    import logging

    import dspy

    class Model(dspy.BaseLM):
        def __init__(self, name: str, held: dict[str, list[str]] | None) -> None:
            super().__init__(model=name, temperature=0.0 if held is not None else 1.0, max_tokens=1000, cache=False)
            self.held = held

        def forward(self, prompt: str | None = None, messages: Any = None, **given: Any) -> Any:
            asked = messages or [{"role": "user", "content": prompt}]
            key = json.dumps(asked)
            texts = self.held.get(key) if self.held is not None else None
            if texts is None:
                texts = run.client.ask(self.model, asked, n=given.get("n") or self.kwargs.get("n") or 1)
            if self.held is not None:
                self.held[key] = texts
            said = [SimpleNamespace(content=text, tool_calls=None) for text in texts]
            choices = [SimpleNamespace(message=message, finish_reason="stop") for message in said]
            return SimpleNamespace(choices=choices, usage={}, model=self.model)

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    random.seed(run.landscape.seed)
    task, writer = Model("task", {}), Model("writer", None)
    dspy.configure(lm=task, disable_history=True)
    program = dspy.Predict(dspy.Signature("order -> answer", run.landscape.seed_prompt))
    return program, task, writer, lambda example, made, trace=None: made.answer.strip() == example.answer


def _dspy_examples(cases: Sequence[Case]) -> list[Any]:
    import dspy

    return [dspy.Example(order=case.text, answer=case.gold).with_inputs("order") for case in cases]


PEERS: dict[str, tuple[Callable[[Run], None], str, str]] = {
    "gepa": (gepa, "gepa", "gepa"),
    "evoprompt": (evoprompt, "promptolution", "promptolution"),
    "capo": (capo, "promptolution", "promptolution"),
    "copro": (copro, "dspy", "dspy"),
    "mipro": (mipro, "dspy", '"dspy[optuna]"'),
}
"""By name: the driver, the module that it needs, and how that is installed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rugged", action="store_true")
    parser.add_argument("--blind", action="store_true")
    parser.add_argument("--budget", type=int, required=True)
    given = parser.parse_args()
    drive, module, install = PEERS[given.peer]
    try:
        __import__(module)
    except ImportError:
        wanted = f"install it into an environment of its own: pip install {install}"
        print(f"{module} is not installed here; {wanted}", file=sys.stderr)
        return 2
    run = Run(Landscape(given.seed, rugged=given.rugged, blind=given.blind), Client(given.url), given.budget)
    out, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115 (peers print as they go)
    try:
        drive(run)
    except Spent:
        pass
    finally:
        sys.stdout = out
    calls, landscape = run.client.calls(), run.landscape
    curve = run.recorder.curve(landscape.quality, [m for m in MARKS if m <= given.budget], landscape.seed_prompt)
    quality = landscape.quality(run.recorder.at(given.budget) or landscape.seed_prompt)
    both = calls["task"], calls["writer"]
    print(json.dumps(result_line(given.peer, given.seed, landscape.variant, both, quality, curve)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
