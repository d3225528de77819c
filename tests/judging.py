"""Judges for tests: a backend whose probabilities are given, a server with and without logprobs, tables of scores."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from aiohttp import web

from promptmill.judge.judge import Judge
from promptmill.judge.rubric import Rubric
from promptmill.judge.table import scores_schema
from promptmill.model.chat import ScoreRequest, Scores, Usage
from promptmill.model.gate import Model
from promptmill.model.scripted import ScriptedBackend
from promptmill.vary.wording import load_wording
from tests.servers import Server

WORDING = load_wording()
RUBRIC = Rubric.of(WORDING)
Shares = Callable[[str], Mapping[str, float]]


class Weighted(ScriptedBackend):
    """A local model whose probability of each answer to a question is what `shares` says; of others, nothing."""

    def __init__(self, shares: Shares, name: str = "weighted"):
        super().__init__(lambda request: max(shares(request.messages[-1][1]).items(), key=lambda one: one[1])[0],
                         name=name, fingerprint=name)  # fmt: skip
        self.shares = shares

    async def score(self, request: ScoreRequest) -> Scores:
        shares = self.shares(request.messages[-1][1])
        logprobs = tuple(math.log(shares.get(one, 0) or 1e-12) for one in request.continuations)
        return Scores(logprobs, (1,) * len(logprobs), Usage(10, 0))


def judge_of(backend: Any, **more: Any) -> Judge:
    more.setdefault("criteria", ("correctness",))
    return Judge("it", Model(backend, attempts=1), RUBRIC, WORDING, **more)


def asked(judge: Judge, work: Callable[[Judge], Any]) -> Any:
    """What `work(judge)` gives, with the judge's model open."""

    async def go() -> Any:
        async with judge.model:
            return await work(judge)

    return asyncio.run(go())


class JudgeServer(Server):
    """A server that answers by `said(body)`: the text, and the alternatives of its tokens or None for no logprobs."""

    def __init__(self, said: Callable[[dict[str, Any]], tuple[str, list[tuple[str, dict[str, float]]] | None]]):
        super().__init__()
        self.said = said

    async def chat(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.calls += 1
        self.bodies.append(body)
        text, tokens = self.said(body)
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
        }
        if body.get("logprobs") and tokens is not None:
            choice["logprobs"] = {"content": [
                {"token": token, "logprob": math.log(shares[token]),
                 "top_logprobs": [{"token": one, "logprob": math.log(share)} for one, share in shares.items()]}
                for token, shares in tokens
            ]}  # fmt: skip
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})


def scores_table(values: Mapping[str, np.ndarray], bases: np.ndarray, planted: np.ndarray | None = None,
                 lengths: np.ndarray | None = None) -> pa.Table:  # fmt: skip
    """A long table from each judge's scores 1 to 5 [items]; NaN is unread. planted: kinds, "" for a real answer."""
    rows = []
    places: dict[Any, int] = {}
    for item, base in enumerate(bases):
        kind = None if planted is None else (planted[item] or None)
        sample = places[base, kind] = places.get((base, kind), -1) + 1
        for name, scores in values.items():
            score = float(scores[item])
            read = not math.isnan(score)
            rows.append({
                "base_id": str(base), "variation_id": -1, "input_id": 0, "sample_id": sample, "planted": kind,
                "validator": name, "criterion": "correctness", "repeat": 0, "expected": score if read else None,
                "level": round(score) if read else None, "prompt_tokens": 1, "completion_tokens": 0, "how": "exact",
                "length": None if lengths is None else int(lengths[item]), "error": None if read else "unread: 'hm'",
            })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=scores_schema())
