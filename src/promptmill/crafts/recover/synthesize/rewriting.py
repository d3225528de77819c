"""What each prompt makes of some texts, and what of that is a trace."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptmill.crafts.recover.config import SynthesizeConfig
from promptmill.crafts.recover.layout import Layout, messages
from promptmill.crafts.recover.synthesize.clean import EMPTY, UNCHANGED, Pieces, cleaned, cut_middle, unchanged, words
from promptmill.crafts.recover.synthesize.records import DroppedRow, OriginalRow, PromptRow, RewrittenRow
from promptmill.crafts.recover.traces import Trace
from promptmill.model.chat import Completion, Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.model.local import LocalBackend
from promptmill.model.lockstep import behind
from promptmill.model.shards import Listener, fill
from promptmill.store.records import row_of
from promptmill.store.stage import Stage
from promptmill.vary.alike import likeness_of
from promptmill.vary.dedup import copies
from promptmill.vary.writing import LONGEST_REASON, sound

FEWEST_WORDS = 4
"""A text of fewer words, a number or a name, may come of several originals by chance."""
DIGITS = 4


@dataclass(frozen=True, slots=True)
class Rewriting:
    """One answer to be asked for."""

    prompt: PromptRow
    original: OriginalRow


def pieces_of(model: Model) -> Pieces:
    """How the model's tokenizer cuts a text, for a model on this machine with a fast one; else its words."""
    backend = behind(model.backend)

    def tokens(text: str) -> Sequence[tuple[int, int]]:
        assert isinstance(backend, LocalBackend)
        fast = backend.chat.fast  # read now, not before: what is finished needs no tokenizer
        if fast is None:
            return words(text)
        return [span for span in fast.encode(text, add_special_tokens=False).offsets if span[0] < span[1]]

    return tokens if isinstance(backend, LocalBackend) else words


def rewritings(
    prompts: Sequence[PromptRow], originals: Sequence[OriginalRow], count: int, seed: int
) -> Iterator[Rewriting]:
    """Each prompt with `count` originals. Those of a base prompt are drawn for it alone, and its variations get the
    same ones: so it is the words of the prompt that make the difference."""
    for prompt in prompts:
        rng = random.Random(f"{seed}/{prompt.base_id}/originals")
        for original in rng.sample(originals, min(count, len(originals))):
            yield Rewriting(prompt, original)


async def rewrite(
    stage: Stage, main: Model, layout: Layout, config: SynthesizeConfig, seed: int, wanted: Iterable[Rewriting],
    on: Listener,
) -> Stage:  # fmt: skip
    """A row for each; the model must be open. Raises what `Model.ask` raises."""
    pieces = pieces_of(main)
    sampling = Sampling(config.rewriting, max_tokens=config.max_tokens, seed=seed if config.rewriting else None)

    async def one(wish: Rewriting) -> RewrittenRow:
        original = cut_middle(wish.original.text, config.longest, pieces)
        came = await main.ask(Request(messages(layout, wish.prompt.text or "", original), sampling))
        text, error = _read(came, original, config, pieces)
        return RewrittenRow(wish.prompt.prompt_id or "", wish.original.original_id, original, text, error)

    async def make(part: Sequence[Rewriting]) -> list[dict[str, Any]]:
        return [row_of(row) for row in await together([one(wish) for wish in part])]

    return await fill(stage, wanted, make, models=[main], on=on)


def _read(
    came: Completion | Failure, original: str, config: SynthesizeConfig, pieces: Pieces
) -> tuple[str | None, str | None]:
    """The rewritten text, or why there is none."""
    if isinstance(came, Failure):
        return None, " ".join(f"{came.kind}: {came.detail}".split())[:LONGEST_REASON]
    if came.answers[0].finish == "length":
        return None, f"cut_off: not at its end after {config.max_tokens} tokens"
    text = cut_middle(cleaned(sound(came.text)), config.longest, pieces)
    if not text:
        return None, EMPTY
    return (None, UNCHANGED) if unchanged(original, text, config.unchanged) else (text, None)


def trace_id_of(row: RewrittenRow) -> str:
    return f"{row.prompt_id}-{row.original_id}"


def traces_of(
    rows: Sequence[RewrittenRow], prompts: Mapping[str, PromptRow], generator: str, alike: float
) -> tuple[list[Trace], list[DroppedRow]]:
    """What is a trace, in groups by prompt, without split and cluster but for those that a file gives; and what is
    none.

    A text that came of several originals, in nearly the same words (likeness `alike`), says little of its prompt, as a
    refusal does: the first one is kept, be the others by the same prompt or not. What several prompts make of one
    original may be the same.
    """
    traces, dropped = [], []
    repeats = _repeats(rows, alike)
    for at, row in enumerate(rows):
        if row.rewritten is None:
            dropped.append(DroppedRow(row.prompt_id, row.original_id, row.error or EMPTY))
        elif at in repeats:
            other, likeness = repeats[at]
            like = trace_id_of(rows[other])
            reason = f"repeats: what {like} says"
            dropped.append(DroppedRow(row.prompt_id, row.original_id, reason, like, round(likeness, DIGITS)))
        else:
            prompt = prompts[row.prompt_id]
            similarity = round(likeness_of(row.original, row.rewritten), DIGITS)
            traces.append(Trace(trace_id_of(row), row.original, row.rewritten, prompt.text, row.prompt_id, prompt.split,
                                prompt.cluster, generator, similarity))  # fmt: skip
    return traces, dropped


def _repeats(rows: Sequence[RewrittenRow], alike: float) -> dict[int, tuple[int, float]]:
    """The places of rows to be dropped, each with the place of the row that it repeats and their likeness."""
    places = [at for at, row in enumerate(rows) if row.rewritten and len(row.rewritten.split()) >= FEWEST_WORDS]
    _, gone, _ = copies([rows[at].rewritten or "" for at in places], alike)
    pairs = [(places[one.at], places[one.of], one.likeness) for one in gone]
    several = {of for at, of, _ in pairs if rows[at].original_id != rows[of].original_id}
    return {at: (of, likeness) for at, of, likeness in pairs if of in several}


def ambiguous(traces: Sequence[Trace]) -> float:
    """The share of traces, 0 to 1, of which another prompt has made the very same text of the same original: which of
    them it was cannot be told from the texts."""
    prompts: dict[tuple[str | None, str], set[str | None]] = {}
    for trace in traces:
        prompts.setdefault((trace.original, trace.rewritten), set()).add(trace.prompt)
    shared = sum(len(prompts[trace.original, trace.rewritten]) > 1 for trace in traces)
    return shared / len(traces) if traces else 0.0
