"""The benchmark of baking, at its smallest: do its loops do the same work, and does it count what it says?"""

from __future__ import annotations

import json
import mmap
from dataclasses import replace

import pytest

from benchmarks import bake, bake_loops
from benchmarks.bake_loops import Epoch, Sizes

TINY = Sizes(
    prompts=(8, 16), question=4, answer=8, questions=2, answers=2, batch=2, width=32, layers=1, vocabulary=64, rank=2,
    k=4, loss_vocabulary=3000, loss_tokens=16,
)  # fmt: skip


def test_a_rough_run_ends_in_one_line_of_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(form: str, sizes: Sizes) -> bake.LossCost:
        cost = bake.loss_alone(form, sizes.loss_vocabulary, sizes.loss_tokens, sizes.width)
        return replace(cost, megabytes={"original": 8.0, "ours": 2.0}[form])

    monkeypatch.setattr(bake, "loss_in_a_process", here)
    monkeypatch.setattr(bake.importlib.util, "find_spec", lambda name: None)
    bake.main(["--repeats", "1"], TINY)
    said = capsys.readouterr().out
    figures = json.loads(said.splitlines()[-1])
    assert "trl is not installed here" in said
    assert figures.pop("online_vs_sdft_512") is figures.pop("stored_vs_sdft_512") is None
    assert figures.pop("loss_memory_ratio") == 0.25
    assert sorted(figures) == ["loss_time_ratio", "over_floor", "store_kb_per_token", "stored_vs_seed_2048"]
    assert min(figures.values()) > 0


def test_our_loop_and_the_originals_learn_the_same_from_each_epoch() -> None:
    talk = bake.talk_of(TINY, 8)
    # One batch to an epoch: ours draws the order of the batches.
    sizes = replace(TINY, batch=4)
    original, online = bake_loops.original_loop(sizes, talk), bake_loops.our_loops(sizes, talk)["online"]
    losses = [(original().loss, online().loss) for _ in range(3)]
    assert losses[0] != losses[-1], "nothing was learned"
    for theirs, ours in losses:
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_loops_that_do_other_work_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bake, "original_loop", lambda sizes, talk: lambda: Epoch(1.0, 9.0))
    with pytest.raises(RuntimeError, match="do not do the same work"):
        bake.epochs(TINY, 8, 1)


def test_the_loss_alone_is_the_same_in_both_forms() -> None:
    theirs, ours = (bake.loss_alone(form, 3000, 16, 32) for form in bake.FORMS)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    assert ours.norm == pytest.approx(theirs.norm, rel=1e-5)


def test_memory_is_what_was_held_at_most() -> None:
    before = bake.megabytes_of("RSS")
    # Fresh pages of the system, not of an allocator that may hand out memory the process already holds.
    with mmap.mmap(-1, 64 << 20) as held:
        held[:: mmap.PAGESIZE] = bytes(len(held) // mmap.PAGESIZE)
    assert bake.megabytes_of("HWM") >= before + 50


def test_no_word_for_a_token_is_the_beginning_of_another() -> None:
    tokenizer = bake_loops.tokenizer_of(TINY)
    ids = [10, 21, 2, 0, 1, 12, 63]
    assert tokenizer(bake_loops.spelt(ids))["input_ids"] == ids
