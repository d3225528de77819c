"""The ground on which searches are compared: is it what it says it is?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from benchmarks.landscape.backends import task_backend, task_of, writer_backend
from benchmarks.landscape.baseline import RandomSearch
from benchmarks.landscape.phrases import CODES, DIRECTIVES, FILLERS, OPENINGS
from benchmarks.landscape.record import Recorder
from benchmarks.landscape.serve import serving
from benchmarks.landscape.world import BEST, START, Case, Landscape, reads, texts_of
from benchmarks.landscape.writer import Writer, in_form
from promptmill.model.chat import Request, Sampling
from promptmill.model.endpoint import EndpointBackend
from promptmill.model.gate import Model, run_blocking
from promptmill.prompt import fill
from promptmill.vary.wording import load_wording

PLAIN, RUGGED, BLIND = Landscape(0), Landscape(0, rugged=True), Landscape(0, blind=True)
SEEDS = range(12)
ROOT = Path(__file__).parents[1]
PEERS_ALONE = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from benchmarks.landscape.peers import main; sys.exit(main())"
)


def reflect(landscape: Landscape, count: int = 1) -> tuple[str, list[Case]]:
    """Our request with that many failures of the seed prompt."""
    wording = load_wording()
    failed = [case for case in landscape.splits["train"] if not landscape.right(case, landscape.start_mask)][:count]
    rows = [fill(wording.failure, {"input": case.text, "output": case.wrong, "wanted": case.gold}) for case in failed]
    fields = {"instruction": landscape.seed_prompt, "failures": "\n\n".join(rows)}
    return fill(wording.reflect, fields), failed


def fits(landscape: Landscape, request: str, case: Case, times: int = 400) -> float:
    """Share of answers that are better on the type of `case` than the seed prompt is."""
    writer, before = Writer(landscape), landscape.chance(case.kind, landscape.start_mask)
    made = [writer.write([request], repeat) for repeat in range(times)]
    return sum(landscape.chance(case.kind, reads(text)) > before for text in made) / times


@pytest.mark.parametrize("rugged", [False, True])
def test_a_search_starts_at_thirty_percent_and_can_reach_ninety_two(rugged: bool) -> None:
    for seed in SEEDS:
        landscape = Landscape(seed, rugged=rugged)
        assert landscape.quality(landscape.seed_prompt) == pytest.approx(START)
        best = " ".join(texts_of(landscape.best_mask))
        assert landscape.quality(best) == pytest.approx(BEST, abs=0.01)
        everything = " ".join(DIRECTIVES)
        assert landscape.quality(everything) < 0.7, "asking for all at once is no way out"


def test_the_best_prompt_is_not_bettered_by_one_change() -> None:
    for landscape in (Landscape(seed, rugged=rugged) for seed in SEEDS for rugged in (False, True)):
        best = landscape.quality_of(landscape.best_mask)
        changed = (landscape.quality_of(landscape.best_mask ^ (1 << at)) for at in range(len(DIRECTIVES)))
        assert max(changed) <= best


def test_an_example_is_answered_alike_each_time_and_idle_words_change_nothing() -> None:
    matters = 0
    for kind in PLAIN.kinds:
        matters |= kind.matters
    idle = next(text for at, text in enumerate(DIRECTIVES) if not matters >> at & 1)
    for case in PLAIN.splits["dev"][:50]:
        said = PLAIN.answer((PLAIN.seed_prompt, case.text))
        assert said in (case.gold, case.wrong)
        assert said == Landscape(0).answer((PLAIN.seed_prompt, case.text))
        assert said == PLAIN.answer((f"{OPENINGS[3]} {idle} {PLAIN.seed_prompt}\n{case.text}",))


def test_the_share_of_right_answers_is_the_true_quality() -> None:
    keys = [PLAIN.best_mask & -(1 << low) for low in (0, 10, 20, 30)]
    for mask in (PLAIN.start_mask, *keys):
        right = [PLAIN.right(case, mask) for case in PLAIN.cases.values()]
        assert sum(right) / len(right) == pytest.approx(PLAIN.quality_of(mask), abs=0.05)


def test_rugged_ground_has_keys_that_clash_and_keys_that_need_each_other() -> None:
    assert {kind.together for kind in PLAIN.kinds} == {False}
    assert not any(kind.clashes for kind in PLAIN.kinds)
    pairs = [(at, kind) for at, kind in enumerate(RUGGED.kinds) if kind.together]
    assert len(pairs) == 2
    for at, kind in pairs:
        assert RUGGED.chance(at, kind.keys[0]) == RUGGED.chance(at, 0)
        assert RUGGED.chance(at, kind.keys[0] | kind.keys[1]) > 0.8
    clashing = [(at, kind) for at, kind in enumerate(RUGGED.kinds) if kind.clashes]
    assert len(clashing) == 4
    for at, kind in clashing:
        both = kind.clashes[0][0]
        assert RUGGED.chance(at, both) < 0.5 < RUGGED.chance(at, kind.keys[0])


def test_no_two_landscapes_are_the_same() -> None:
    assert len({Landscape(seed).best_mask for seed in SEEDS}) == len(SEEDS)


def test_texts_cannot_be_mistaken_for_each_other() -> None:
    requests = load_wording().model_dump_json()
    for text in (*DIRECTIVES, *OPENINGS):
        assert sum(text in other for other in (*DIRECTIVES, *OPENINGS, *FILLERS)) == 1
        assert text not in requests.replace(r"\"", '"')
    assert not any(code in text.lower() for code in CODES for text in (*DIRECTIVES, *OPENINGS, *FILLERS))


def test_a_writer_that_is_shown_a_failure_mends_it_half_of_the_time() -> None:
    request, (case,) = reflect(PLAIN)
    assert 0.45 < fits(PLAIN, request, case) < 0.62


def test_a_blind_writer_mends_no_more_with_a_failure_than_without() -> None:
    request, (case,) = reflect(BLIND)
    assert fits(BLIND, request, case) < 0.1
    shown_right = request.replace(case.wrong, case.gold)
    assert fits(PLAIN, shown_right, case) < 0.1, "an example that went well is no hint"


def test_the_writer_answers_the_same_request_alike_and_a_repeated_one_differently() -> None:
    request, _ = reflect(PLAIN, 3)
    made = [Writer(PLAIN).write([request], repeat) for repeat in range(20)]
    assert made == [Writer(PLAIN).write([request], repeat) for repeat in range(20)]
    assert len(set(made)) > 10


def test_a_list_of_prompts_brings_one_of_them_or_two_joined() -> None:
    shown = [f"{OPENINGS[at]} {DIRECTIVES[at]}" for at in range(4)]
    request = fill(load_wording().eda, {"instructions": "\n".join(f"{at}. {text}" for at, text in enumerate(shown))})
    kept = [reads(Writer(PLAIN).write([request], repeat)) & 0b1111 for repeat in range(200)]
    assert {1, 2, 4, 8} < set(kept), "one of them, and more than one"
    assert {3, 5, 6, 9, 10, 12} <= set(kept)


@pytest.mark.parametrize(
    ("request_text", "form"),
    [
        ("Reply with the new instruction only.", "{}"),
        ("Provide the new instructions within ``` blocks.", "```\n{}\n```"),
        ("Return the new prompt in the following format:\n<prompt>new prompt</prompt>", "<prompt>{}</prompt>"),
        (
            "Respond with the corresponding output fields, starting with the field `[[ ## proposed_instruction ## ]]`, "
            "and then ending with the marker for `[[ ## completed ## ]]`.",
            "[[ ## proposed_instruction ## ]]\n{}\n\n[[ ## completed ## ]]",
        ),
    ],
)
def test_the_instruction_comes_in_the_form_that_is_asked_for(request_text: str, form: str) -> None:
    assert in_form(request_text, "Do it.") == form.format("Do it.")


async def test_over_http_and_in_process_the_same_is_said() -> None:
    reflecting, _ = reflect(PLAIN, 2)
    sampling = Sampling(1.0, seed=3)
    async with serving(PLAIN, budget=20) as url:
        for name, backend, requests in (
            ("task", task_backend(PLAIN), [
                Request((("system", PLAIN.seed_prompt), ("user", case.text))) for case in PLAIN.splits["dev"][:20]
            ]),
            ("writer", writer_backend(PLAIN), [Request((("user", reflecting),), sampling, n=3)]),
        ):  # fmt: skip
            endpoint = EndpointBackend(name, url)
            await endpoint.open()
            for request in requests:
                assert (await endpoint.complete(request)).answers == (await backend.complete(request)).answers
            await endpoint.close()
        async with aiohttp.ClientSession() as session:
            async with session.get(url.replace("/v1", "/stats")) as answer:
                assert await answer.json() == {"task": 20, "writer": 3}
            body = {"model": "task", "messages": [{"role": "user", "content": "Order"}]}
            async with session.post(f"{url}/chat/completions", json=body) as answer:
                assert answer.status == 400
                assert "budget of 20" in await answer.text()


def test_behind_the_gate_the_score_on_a_split_is_near_the_true_quality() -> None:
    from promptmill.measure.answer import Ask
    from promptmill.measure.evaluate import evaluate_async

    task, backend = task_of(PLAIN), task_backend(PLAIN)

    async def measured() -> float:
        async with Model(backend) as model:
            return (await evaluate_async(model, task, task.prompt, task.test, Ask())).score

    assert run_blocking(measured()) == pytest.approx(START, abs=0.07)
    assert backend.calls == len(task.test)


def test_a_record_can_be_read_at_any_budget() -> None:
    calls = 0
    recorder = Recorder(lambda: calls)
    assert recorder.at(1000) is None
    for calls, prompt in ((10, "a"), (500, "b"), (900, "b"), (1001, "c")):  # noqa: B007 (the recorder reads it)
        recorder.note(prompt)
    assert [recorder.at(budget) for budget in (9, 10, 1000, 5000)] == [None, "a", "b", "c"]
    assert recorder.curve(len, (5, 1000), start="start") == {"5": 5, "1000": 1}


def test_random_search_keeps_to_its_budget_and_gets_better() -> None:
    search = RandomSearch(PLAIN)
    curve = search.run(3000).curve(PLAIN.quality, start=PLAIN.seed_prompt)
    assert search.task_calls == 3000
    assert curve["3000"] > START + 0.05


def test_a_peer_that_is_not_installed_is_told_in_one_line() -> None:
    told = ["gepa", "--url", "http://127.0.0.1:9/v1", "--budget", "10"]
    bare = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        PEERS_ALONE,
        str(ROOT),
        *told,
    ]  # without site-packages nothing is installed
    said = subprocess.run(bare, capture_output=True, text=True)
    assert said.returncode == 2
    assert said.stderr == "gepa is not installed here; install it into an environment of its own: pip install gepa\n"
