"""The server over real HTTP on 127.0.0.1, in OpenAI's shapes, and with our own endpoint client as its counterpart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from promptmill.cli.serve import named_adapters
from promptmill.errors import ModelError
from promptmill.model.chat import Request, Sampling, ScoreRequest
from promptmill.model.constraint import JsonSchema, Regex
from promptmill.model.endpoint import EndpointBackend
from promptmill.model.local import LocalBackend
from promptmill.model.scripted import ScriptedBackend
from promptmill.model.serve import serve
from tests.test_local_load import lora
from tests.tiny import tiny_model

MESSAGES = [{"role": "system", "content": "answer yes or no"}, {"role": "user", "content": "is the sky blue ?"}]
PLAIN = tuple((row["role"], row["content"]) for row in MESSAGES)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalBackend:
    return LocalBackend(str(tiny_model(tmp_path_factory.mktemp("served") / "tiny")), device="cpu", batch_size=8)


@asynccontextmanager
async def serving(local: LocalBackend) -> AsyncIterator[str]:
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    backends = {"tiny": local, "script": ScriptedBackend(lambda request: "so it is")}
    task = asyncio.create_task(serve(backends, port=0, ready=address.set_result))
    try:
        await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
        yield address.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


Post = Callable[..., Awaitable[tuple[int, Any]]]


def with_server(local: LocalBackend, work: Callable[[Post], Awaitable[Any]]) -> Any:
    """Run `work(post)`; post(path, body) gives (status, JSON or text), a GET where there is no body."""

    async def run() -> Any:
        async with serving(local) as url, aiohttp.ClientSession() as session:

            async def post(path: str, body: Any = None, **fields: Any) -> tuple[int, Any]:
                given = body if body is not None or not fields else {"model": "tiny", **fields}
                call = session.get(url + path) if given is None else session.post(url + path, json=given)
                async with call as response:
                    text = await response.text()
                    return response.status, json.loads(text) if text.startswith("{") else text

            return await work(post)

    return asyncio.run(run())


def test_a_chat_has_openais_shape_and_the_backends_answer(local: LocalBackend) -> None:
    async def work(post: Post) -> Any:
        wanted = await local.complete(Request(PLAIN, Sampling(max_tokens=5), logprobs=2))
        return wanted, *await post(
            "/chat/completions", messages=MESSAGES, temperature=0, max_tokens=5, logprobs=True, top_logprobs=2
        )

    wanted, status, data = with_server(local, work)
    assert status == 200
    assert set(data) == {"id", "object", "created", "model", "choices", "usage"}
    assert (data["object"], data["model"], data["id"][:9]) == ("chat.completion", "tiny", "chatcmpl-")
    (choice,) = data["choices"]
    assert choice["message"] == {"role": "assistant", "content": wanted.text, "refusal": None}
    assert (choice["index"], choice["finish_reason"]) == (0, wanted.answers[0].finish)
    tokens = choice["logprobs"]["content"]
    assert [row["token"] for row in tokens] == [token.token for token in wanted.answers[0].logprobs or ()]
    assert set(tokens[0]) == {"token", "logprob", "bytes", "top_logprobs"}
    assert bytes(tokens[0]["bytes"]).decode() == tokens[0]["token"]
    assert [set(row) for row in tokens[0]["top_logprobs"]] == [{"token", "logprob", "bytes"}] * 2
    used = wanted.usage
    assert data["usage"] == {"prompt_tokens": used.prompt, "completion_tokens": used.completion,
                             "total_tokens": used.prompt + used.completion}  # fmt: skip


def test_models_health_and_what_is_not_there(local: LocalBackend) -> None:
    async def work(post: Post) -> Any:
        bad = {"model": "gpt-9", "messages": MESSAGES}
        return await post("/models"), await post("/models/tiny"), await post("/../health"), [
            await post("/chat/completions", bad), await post("/models/none"), await post("/nothing"),
        ]  # fmt: skip

    models, one, health, missing = with_server(local, work)
    assert [(row["id"], row["owned_by"], row["parent"]) for row in models[1]["data"]] == [
        ("tiny", "promptmill", None),
        ("script", "promptmill", "tiny"),
    ]
    assert one[1] == models[1]["data"][0]
    assert health == (200, {"status": "ok"})
    assert [status for status, _ in missing] == [404] * 3
    assert missing[0][1]["error"]["code"] == "model_not_found"
    assert all(set(data["error"]) == {"message", "type", "param", "code"} for _, data in missing)


BAD: list[dict[str, Any]] = [
    {"messages": []},
    {"messages": [{"role": "wizard", "content": "x"}]},
    {"messages": [{"role": "user", "content": 3}]},
    {"temperature": -1},
    {"temperature": "hot"},
    {"top_p": 0},
    {"n": 0},
    {"n": True},
    {"max_tokens": 0},
    {"seed": "x"},
    {"stop": [1]},
    {"top_logprobs": 99},
    {"logprobs": "yes"},
    {"stream": 1},
    {"stream_options": 1, "stream": True},
    {"continue_final_message": True},
    {"add_generation_prompt": False},
    {"structured_outputs": {"regex": "("}},
    {"structured_outputs": {"regex": "a", "choice": ["a"]}},
    {"structured_outputs": {"json": {"type": "strin"}}},
    {"structured_outputs": {"grammar": "a"}},
    {"structured_outputs": ["a"]},
    {"response_format": {"type": "xml"}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": "("}}}},
    {"messages": [{"role": "user", "content": "fox " * 400}]},
]


@pytest.mark.parametrize("change", BAD, ids=lambda change: json.dumps(change)[:40])
def test_values_that_cannot_be_honoured_are_refused(local: LocalBackend, change: dict[str, Any]) -> None:
    status, data = with_server(local, lambda post: post("/chat/completions", **{"messages": MESSAGES} | change))
    assert status == 400
    assert data["error"]["type"] == "invalid_request_error"
    assert "\n" not in data["error"]["message"]


def test_other_bad_bodies(local: LocalBackend) -> None:
    async def work(post: Post) -> Any:
        return [
            await post("/chat/completions", [1]),
            await post("/chat/completions", {"model": [1], "messages": MESSAGES}),
            await post("/completions", prompt=[1, 2]),
            await post("/completions", prompt="a", max_tokens=0),
            await post("/completions", prompt="a", structured_outputs={"choice": ["a"]}),
            await post("/completions", {"model": "script", "prompt": "a"}),
        ]

    assert [status for status, _ in with_server(local, work)] == [400, 404, 400, 400, 400, 400]


def test_choices_n_seed_stop_and_unknown_fields(local: LocalBackend) -> None:
    async def work(post: Post) -> Any:
        async def chat(**fields: Any) -> Any:
            status, data = await post("/chat/completions", messages=MESSAGES, **fields)
            assert status == 200
            return [choice["message"]["content"] for choice in data["choices"]]

        schema = {"type": "string", "enum": ["yes", "no"]}
        wrapped = {"type": "object", "properties": {"answer": schema}, "required": ["answer"]}
        formats = [{"type": "json_schema", "json_schema": {"name": "a", "schema": s}} for s in (schema, wrapped)]
        chosen = await chat(temperature=0, structured_outputs={"choice": ["yes", "no"]})
        assert [await chat(temperature=0, response_format=f) for f in formats] == [
            chosen,
            [json.dumps({"answer": chosen[0]})],
        ]
        several = await chat(n=3, seed=4, max_completion_tokens=8, user="me", store=True)
        assert several == await chat(n=3, seed=4, max_tokens=8)
        assert len(set(several)) == 3
        assert await chat(max_tokens=8) != await chat(max_tokens=8)  # no seed: another answer each time
        (greedy,) = await chat(temperature=0, max_tokens=8)
        assert await chat(temperature=0, max_tokens=8, stop=greedy[3]) == [greedy[: greedy.index(greedy[3])]]
        (wide,) = await chat(temperature=0, max_tokens=8, continue_final_message=False)
        assert wide == greedy
        status, data = await post(
            "/chat/completions", messages=[*MESSAGES, {"role": "assistant", "content": "the sky"}], temperature=0,
            max_tokens=8, continue_final_message=True, add_generation_prompt=False,
        )  # fmt: skip
        wanted = await local.complete(Request(PLAIN, Sampling(max_tokens=8), prefix="the sky"))
        assert (status, data["choices"][0]["message"]["content"]) == (200, wanted.text)

    with_server(local, work)


def test_streams(local: LocalBackend) -> None:
    async def work(post: Post) -> Any:
        body = {"temperature": 0, "max_tokens": 8, "stream_options": {"include_usage": True}}
        _, whole = await post("/chat/completions", messages=MESSAGES, **body)
        _, chat = await post("/chat/completions", messages=MESSAGES, stream=True, **body)
        _, text = await post("/completions", prompt="the fox", stream=True, temperature=0)
        return whole, chat, text

    whole, chat, text = with_server(local, work)
    chunks = [line.removeprefix("data: ") for line in chat.split("\n\n") if line]
    assert chunks[-1] == "[DONE]"
    rows = [json.loads(chunk) for chunk in chunks[:-1]]
    assert {row["object"] for row in rows} == {"chat.completion.chunk"}
    said = "".join(row["choices"][0]["delta"].get("content", "") for row in rows if row["choices"])
    assert said == whole["choices"][0]["message"]["content"]
    assert rows[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert rows[-1]["usage"] == whole["usage"]
    assert text.endswith("data: [DONE]\n\n")
    assert json.loads(text.split("\n\n")[0].removeprefix("data: "))["object"] == "text_completion"


def test_raw_completions_echo_and_score(local: LocalBackend) -> None:
    async def work(post: Post) -> Any:
        _, two = await post("/completions", prompt=["the fox", "a dog"], max_tokens=4, temperature=0, n=2)
        _, told = await post("/completions", prompt="the fox", max_tokens=4, temperature=0, logprobs=2, echo=True)
        _, scored = await post("/completions", prompt="the fox", max_tokens=0, logprobs=1, echo=True)
        return two, told, scored

    two, told, scored = with_server(local, work)
    assert [row["index"] for row in two["choices"]] == [0, 1, 2, 3]
    assert two["usage"]["completion_tokens"] == 16
    (row,) = told["choices"]
    assert row["text"] == "the fox" + two["choices"][0]["text"]
    logs = row["logprobs"]
    assert "".join(logs["tokens"][: len(scored["choices"][0]["logprobs"]["tokens"])]) == "the fox"
    assert logs["token_logprobs"][0] is None
    assert logs["text_offset"][:2] == [0, len(logs["tokens"][0])]
    short = scored["choices"][0]
    assert (short["text"], short["finish_reason"]) == ("the fox", "length")
    count = len(short["logprobs"]["tokens"])
    assert short["logprobs"]["token_logprobs"][1:] == pytest.approx(logs["token_logprobs"][1:count], abs=1e-4)
    assert scored["usage"] == {"prompt_tokens": count, "completion_tokens": 0, "total_tokens": count}


def test_our_endpoint_client_gets_the_same_as_the_backend_itself(local: LocalBackend) -> None:
    requests = [
        Request(PLAIN, Sampling(max_tokens=6), logprobs=1),
        Request(PLAIN, Sampling(max_tokens=6, temperature=1.0, seed=2), n=2),
        Request(PLAIN, Sampling(max_tokens=6), prefix="the"),
        Request(PLAIN, constraint=("yes", "no")),
        Request(PLAIN, Sampling(max_tokens=40), constraint=Regex("[a-z]{3,6}")),
        Request(PLAIN, Sampling(max_tokens=40), prefix="it is ", constraint=Regex("[a-z]{3,6}"), suffix=" then"),
        Request(PLAIN, Sampling(max_tokens=90), constraint=JsonSchema.of({"enum": [[1, 2], {"a": None}]})),
    ]
    score = ScoreRequest(PLAIN, ("yes", "no", "yes please"), prefix="well ,")

    async def run() -> Any:
        async with serving(local) as url:
            client = EndpointBackend("tiny", url)
            await client.open()
            assert client.dialect == "vllm"
            try:
                theirs = await asyncio.gather(*(client.complete(request) for request in requests))
                ours = await asyncio.gather(*(local.complete(request) for request in requests))
                return theirs, ours, await client.score(score), await local.score(score)
            finally:
                await client.close()

    theirs, ours, scored, wanted = asyncio.run(run())
    for a, b in zip(theirs, ours, strict=True):
        assert [answer.text for answer in a.answers] == [answer.text for answer in b.answers]
        assert a.usage == b.usage
    assert scored.tokens == wanted.tokens
    assert scored.logprobs == pytest.approx(wanted.logprobs, abs=1e-3)


def test_concurrent_requests_share_batches(local: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = local._compute

    def compute(works: Any, shared: int) -> Any:
        sizes.append(len(works))
        return real(works, shared)

    monkeypatch.setattr(local, "_compute", compute)

    async def work(post: Post) -> Any:
        bodies = [{"messages": [{"role": "user", "content": f"fox {i}"}], "max_tokens": 8} for i in range(32)]
        return await asyncio.gather(*(post("/chat/completions", **body) for body in bodies))

    assert all(status == 200 for status, _ in with_server(local, work))
    assert sum(sizes) == 32
    assert len(sizes) <= 12


def test_an_address_in_use_is_one_line(local: LocalBackend) -> None:
    async def run() -> None:
        async with serving(local) as url:
            port = int(url.split(":")[2].split("/")[0])
            await serve({"script": ScriptedBackend(lambda request: "x")}, port=port)

    with pytest.raises(ModelError, match="another --port"):
        asyncio.run(run())


def test_adapters_are_served_by_the_names_of_their_runs_or_those_that_they_are_given(
    cli, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one/adapter", "two/adapter", "half"):
        lora(tmp_path / folder, tiny_folder, 1)
    served: list[str] = []

    async def serving(backends: dict[str, Any], *, port: int, ready: Callable[[str], None]) -> None:
        served.extend(backends)
        ready("http://127.0.0.1:1/v1")

    monkeypatch.setattr("promptmill.model.serve.serve", serving)
    base = ["serve", "--model", str(tiny_folder)]
    said = cli(*base, "--adapter", "one/adapter", "--adapter", "two/adapter", "--adapter", "calm=half")
    assert served == [str(tiny_folder), "one", "two", "calm"]
    assert said.err.splitlines()[-1] == "next: promptmill ask TEXT --model one --base-url http://127.0.0.1:1/v1"
    twice = cli(*base, "--adapter", "one/adapter", "--adapter", "one=half")
    twice.is_one_error_line("'one' is served already", "--adapter NAME=half")
    monkeypatch.chdir(tmp_path / "two")
    assert named_adapters(["adapter"], "base") == {"two": "adapter"}
    (tmp_path / "two" / "a=b").mkdir()
    assert named_adapters(["a=b"], "base") == {"a=b": "a=b"}, "a folder that is there is a folder"
    cli(*base, "--adapter", "=half").is_one_error_line("NAME=FOLDER")
