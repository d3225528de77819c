"""What a recoverer learns from, and that it learns it: pairs by hand, a random model, and the embedded one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.recover.candidates import request_of
from promptmill.crafts.recover.config import LearnConfig
from promptmill.crafts.recover.learn import Learner, Paired, PreferredRow, balanced, choose, pairs_of, weights
from promptmill.crafts.recover.space import Grams
from promptmill.crafts.recover.tables import DrawRow
from promptmill.crafts.recover.traces import Trace
from promptmill.errors import InputError
from promptmill.model.load import ModelConfig, open_backend
from promptmill.model.local import load
from promptmill.vary.wording import load_wording

QUICK = {"epochs": 2, "rate": 0.005, "warmup_steps": 0, "batch_items": 4}
SETTINGS = {"lora": {"rank": 2}, "train": QUICK, "preference": QUICK, "cluster": 3}
ASKS = partial(request_of, load_wording(), shorten=lambda text: text)


def trace(at: int, cluster: str | None = "a", split: str = "train", prompt: str | None = "Reverse the words.") -> Trace:
    return Trace(f"t{at}", f"the old dog {at}", f"{at} dog old the", prompt, split=split, cluster=cluster)


def draws(*texts: str | None, at: int = 0, source: str = "zero_shot") -> list[DrawRow]:
    return [DrawRow("g", source, f"t{at}", number, text) for number, text in enumerate(texts)]


class Told:
    """Texts whose cosine with the truth ("truth…") they name: "0.5 some words"."""

    name = fingerprint = "told"

    def vectors(self, texts: Sequence[str]) -> Any:
        cosines = [1.0 if text.startswith("truth") else float(text.split()[0]) for text in texts]
        return np.array([(one, (1 - one * one) ** 0.5) for one in cosines], dtype=np.float32)


def pairs(rows: Sequence[DrawRow], traces: Sequence[Trace] | None = None, seed: int = 0, **settings: Any) -> Paired:
    config = LearnConfig.model_validate({"gold": 0.0, "ratio": 2.0, "gap": 0.3} | settings)
    return pairs_of(rows, traces or [trace(0, prompt="truth is long")], Told(), config, seed)


# Balance


def test_no_cluster_is_drawn_from_more_than_so_often_and_every_cluster_counts_alike() -> None:
    traces = [trace(at, cluster) for at, cluster in enumerate("a" * 7 + "b" * 2 + "c")]
    kept = balanced(traces, 3, seed=0)
    assert Counter(one.cluster for one in kept) == {"a": 3, "b": 2, "c": 1}
    assert kept == [one for one in traces if one in kept]
    found = weights(kept)
    assert [round(one, 6) for one in found] == [round(one, 6) for one in [2 / 3] * 3 + [1.0] * 2 + [2.0]]


def test_which_traces_are_drawn_follows_from_seed_and_id_whatever_else_there_is() -> None:
    mine = [trace(at) for at in range(20)]
    others = [trace(at, "b") for at in range(20, 30)]
    kept = balanced(mine, 5, seed=1)
    assert [one for one in balanced([*others, *mine], 5, seed=1) if one.cluster == "a"] == kept
    assert balanced(mine, 5, seed=2) != kept


def test_a_trace_without_a_cluster_is_in_that_of_its_prompt() -> None:
    traces = [trace(0, None, prompt="Do it."), trace(1, None, prompt="do  IT."), trace(2, None, prompt="Not that.")]
    assert weights(traces) == [0.75, 0.75, 1.5]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40), st.integers(1, 6))
def test_weights_have_mean_one_and_the_same_sum_for_each_cluster(names: list[str], most: int) -> None:
    kept = balanced([trace(at, name) for at, name in enumerate(names)], most, seed=0)
    sums = Counter[str]()
    for one, weight in zip(kept, weights(kept), strict=True):
        sums[str(one.cluster)] += weight  # type: ignore[assignment]
    assert sum(sums.values()) == pytest.approx(len(kept))
    assert max(sums.values()) == pytest.approx(min(sums.values()))


# Pairs


def test_the_best_answer_is_preferred_to_the_worst() -> None:
    found = pairs(draws("0.5 some words", "0.9 good words", None, "0.2 poor words"))
    assert found.left_out == {}
    (one,) = found.pairs
    assert (one.trace_id, one.chosen, one.rejected, one.gold) == ("t0", "0.9 good words", "0.2 poor words", False)
    assert one.gap == pytest.approx(0.9**3 - 0.2**3, abs=1e-6)


@pytest.mark.parametrize(("said", "settings", "reason"), [
    ([None, None], {}, "unanswered"),
    ([], {}, "unanswered"),
    (["0.5 one thing", "0.5  ONE thing"], {}, "same"),
    (["truth is long", "truth is  long"], {"gold": 1.0}, "same"),
    (["0.5 some words", "0.8 good words"], {"gap": 0.4}, "gap"),  # 0.512 - 0.125
    (["0.8 good words", "0.1 x"], {}, "ratio"),
    (["0.1 far too many words of which nobody has any need"], {"gold": 1.0}, "ratio"),
])  # fmt: skip
def test_a_trace_without_a_pair_is_counted_by_its_reason(said: Any, settings: dict[str, Any], reason: str) -> None:
    assert pairs(draws(*said), **settings) == Paired((), {reason: 1})


def test_the_best_of_wrong_answers_may_be_refused() -> None:
    rows, config = draws("0.7 wrong words", "0.1 wrong words"), LearnConfig(gold=0.0)
    traces = [trace(0, prompt="truth is long")]
    assert pairs_of(rows, traces, Told(), config, 0, least=0.5) == Paired((), {"poor": 1})
    assert len(pairs_of(rows, traces, Told(), config, 0, least=0.3).pairs) == 1


def test_the_truth_is_preferred_to_the_worst_answer_even_of_one() -> None:
    (one,) = pairs(draws("0.2 poor words"), gold=1.0).pairs
    assert one == PreferredRow("t0", "truth is long", "0.2 poor words", round(1 - 0.2**3, 6), True)


def test_only_what_it_answered_on_its_own_about_a_trace_of_these_is_compared() -> None:
    rows = draws("0.9 good words", "0.5 some words")
    others = [*draws("0.1 shown words", source="few_shot"), *draws("1.0 bank words", source="bank"),
              *draws("0.1 shown words", source="together"), *draws("0.0 lost words", at=7)]  # fmt: skip
    assert pairs([*others, *rows]) == pairs(rows)


def many(count: int) -> tuple[list[Trace], list[DrawRow]]:
    traces = [trace(at, prompt="truth is long") for at in range(count)]
    rows = [row for at in range(count) for row in draws("0.9 good words", "0.2 poor words", at=at)]
    return traces, rows


def test_a_share_has_the_truth_as_the_better_one_and_more_traces_change_none_of_the_others() -> None:
    traces, rows = many(600)
    found = pairs(rows, traces, gold=0.3)
    assert sum(one.gold for one in found.pairs) / 600 == pytest.approx(0.3, abs=0.06)
    assert pairs(rows, traces[::-1][:100], gold=0.3).pairs == found.pairs[:499:-1]
    assert [one.gold for one in pairs(rows, traces, 1, gold=0.3).pairs] != [one.gold for one in found.pairs]


@given(st.permutations(range(6)))
def test_the_order_in_which_draws_come_plays_no_part(order: list[int]) -> None:
    rows = draws("0.5 one", "0.9 two", "0.9 three", "0.2 four", "0.2 five", None)
    assert pairs([rows[at] for at in order]) == pairs(rows)


def test_pairs_are_found_in_a_space_of_texts() -> None:
    traces = [trace(at, prompt="Reverse the order of the words.") for at in range(2)]
    rows = [row for at in range(2)
            for row in draws("Count all letters, please now.", "Reverse the order of words.", at=at)]  # fmt: skip
    found = pairs_of(rows, traces, Grams(), LearnConfig(gold=0.0), seed=0)
    assert [one.chosen for one in found.pairs] == ["Reverse the order of words."] * 2


# Learning


@pytest.fixture
def learner(tiny_folder: Path, tmp_path: Path):
    def make(name: str = "run", **more: Any) -> Learner:
        config = LearnConfig.model_validate(SETTINGS | more.pop("settings", {}))
        return Learner(ModelConfig(name=str(tiny_folder), device="cpu"), config, tmp_path / name, ASKS, **more)

    return make


TRACES = [trace(at, "ab"[at % 2], prompt=["Reverse it.", "Write it large."][at % 2]) for at in range(8)]
TRACES += [trace(at, "c", "dev", "Count it.") for at in range(8, 11)] + [trace(11, "d", "test", "Sort it.")]
PAIRED = Paired(
    tuple(PreferredRow(f"t{at}", "Reverse it.", "Sort all of it.", 0.5, at == 1) for at in (0, 1, 2, 3, 8, 9)),
    {"gap": 2},
)


def test_true_prompts_are_learned_first_and_preferences_on_top_and_both_are_done_once(
    learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Any] = []
    one = learner(on_row=rows.append)
    sft = one.sft(TRACES)
    told = sft.report
    assert (told["examples"], told["dev_examples"], told["clusters"], told["left_out"]) == (6, 3, 2, {"cluster": 2})
    assert told["loss"]["last"] < told["loss"]["first"]
    assert told["validation"]["best"] < told["validation"]["first"]
    dpo = one.dpo(sft, TRACES, PAIRED)
    told = dpo.report
    assert (told["pairs"], told["dev_pairs"], told["gold"], told["left_out"]) == (4, 2, 1, {"gap": 2})
    assert told["validation"]["first"] == pytest.approx(np.log(2), abs=1e-5)
    assert told["validation"]["best"] < told["validation"]["first"]
    folders = [one.folder / stage / "adapter" for stage in ("sft", "dpo")]
    assert (one.base.adapters, sft.adapters, dpo.adapters) == ((), tuple(folders[:1]), tuple(folders))
    assert {row["stage"] for row in rows} == {"sft", "dpo"}
    kinds = [stage.model(one.kind) for stage in (one.base, sft, dpo)]
    assert len({open_backend(kind).fingerprint for kind in kinds}) == 3
    monkeypatch.setattr(load, "load_model", lambda *args: pytest.fail("a model was loaded"))
    again = learner()
    assert (again.sft(TRACES), again.dpo(sft, TRACES, PAIRED)) == (sft, dpo)


def test_a_killed_training_goes_on_to_the_same_adapter(learner) -> None:
    every_step = {"train": QUICK | {"checkpoint_seconds": 0.0, "batch_items": 2}}

    def stop(phase: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole = learner("whole", settings=every_step).sft(TRACES)
    with pytest.raises(KeyboardInterrupt):
        learner("broken", settings=every_step, watch=stop).sft(TRACES)
    broken = learner("broken", settings=every_step).sft(TRACES)
    assert broken.report == whole.report
    made = [one.adapters[0] / "adapter_model.safetensors" for one in (whole, broken)]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_without_a_pair_to_learn_from_the_stage_before_stays_and_the_report_says_why(learner) -> None:
    one = learner()
    only_dev = replace(PAIRED, pairs=PAIRED.pairs[-2:])
    for paired in (Paired((), {"same": 8}), only_dev):
        found = one.dpo(one.base, TRACES, paired)
        assert found.adapters == one.base.adapters
        assert found.report["skipped"].startswith("no pair")
        assert found.report["left_out"] == paired.left_out


def test_what_cannot_be_learned_from_is_named(learner) -> None:
    with pytest.raises(InputError, match="no trace of the split train"):
        learner().sft([one for one in TRACES if one.split != "train"])
    with pytest.raises(InputError, match="'t0' has no rewrite_prompt"):
        learner().sft([trace(0, prompt=None)])


def test_the_embedded_model_learns_prompts_that_it_would_not_have_said(tmp_path: Path) -> None:
    prompt = {"a": "Kindly turn the whole row of words round, my friend.", "b": "Kindly shout every word, my friend."}
    traces = [
        Trace(f"{name}{at}", text, changed, prompt[name], split="dev" if at == 2 else "train", cluster=name)
        for at, text in enumerate(["the old dog ran", "a red boat came", "my cat likes apples"])
        for name, changed in (("a", " ".join(reversed(text.split()))), ("b", text.upper()))
    ]
    config = LearnConfig.model_validate({"lora": {"rank": 4}, "train": QUICK | {"epochs": 6}})
    told = Learner(ModelConfig(name="embedded-small"), config, tmp_path, ASKS).sft(traces).report
    assert told["validation"]["best"] < 0.7 * told["validation"]["first"]
    assert told["loss"]["last"] < told["loss"]["first"]


# The choice


@pytest.mark.parametrize(("scores", "stage"), [
    ({"base": 0.2, "sft": 0.5, "dpo": 0.6}, "dpo"),
    ({"base": 0.2, "sft": 0.6, "dpo": 0.6}, "sft"),
    ({"dpo": 0.2, "sft": 0.2, "base": 0.2}, "base"),
    ({"base": 0.4, "sft": None, "dpo": 0.3}, "base"),
    ({"base": None, "dpo": -0.1}, "dpo"),
])  # fmt: skip
def test_the_best_stage_by_dev_is_chosen_and_of_equals_the_simpler(scores: dict[str, float | None], stage: str) -> None:
    assert choose(scores) == stage


def test_without_any_dev_score_there_is_nothing_to_choose_by() -> None:
    with pytest.raises(InputError, match="no dev traces"):
        choose({"base": None})
