"""The first stage: from prompts and texts, given or written, to traces in train, dev and test.

Tables of the run: subjects and texts (what the writer said, failures too), originals; topics and drafts (the same),
prompts, variations; rewritten (what every prompt made of its texts, failures too), parts (where each prompt lies),
traces and dropped. Each one's name holds a digest of all that decides it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.space import Space
from promptmill.crafts.recover.synthesize.clean import cleaned
from promptmill.crafts.recover.synthesize.originals import (
    keep_originals,
    read_kept,
    subjects_for,
    write_texts,
)
from promptmill.crafts.recover.synthesize.parts import parts_of, with_parts
from promptmill.crafts.recover.synthesize.prompts import GivenPrompt, bases_of, read_rows, usable, write_variations
from promptmill.crafts.recover.synthesize.records import (
    DroppedRow,
    OriginalRow,
    PartRow,
    PromptRow,
    RewrittenRow,
    TextRow,
)
from promptmill.crafts.recover.synthesize.report import Made, failures, report_of
from promptmill.crafts.recover.synthesize.rewriting import rewrite, rewritings, traces_of
from promptmill.crafts.recover.traces import Trace
from promptmill.errors import InputError
from promptmill.model.chat import Sampling
from promptmill.model.gate import Model
from promptmill.model.shards import SHARD_ROWS, Listener, fill
from promptmill.store.records import record_of, row_of, schema_of
from promptmill.store.run import Run
from promptmill.store.stage import Stage, digest
from promptmill.vary.drafts import draft_schema, read_topics, topic_schema, write_drafts, write_topics
from promptmill.vary.splits import Shares
from promptmill.vary.wording import Wording
from promptmill.vary.writing import Writer, kind_of

if TYPE_CHECKING:
    import pyarrow as pa

ALGORITHM = "recover-synthesize-1"  # change it when the same configuration and answers give other rows

Progress = Callable[[str, int, int], None]
"""Told the table, how many of its items are done, and of how many."""


@dataclass(frozen=True)
class Synthesized:
    """stage: the table of the traces, whose columns are the fields of `Trace`. report: see `report_of`."""

    stage: Stage
    report: dict[str, Any]

    @property
    def traces(self) -> list[Trace]:
        """All of them, those of one prompt as a group, each with prompt, split, cluster and generator."""
        return [record_of(Trace, row) for row in self.stage.rows()]


@dataclass
class _Work:
    """What all steps need, and the tables made so far."""

    run: Run
    writer: Writer
    wording: Wording
    config: RecoverConfig
    seed: int
    on: Progress
    made: dict[str, Stage] = field(default_factory=dict)

    def open(self, name: str, schema: pa.Schema, *parts: Any) -> Stage:
        stage = self.run.stage(f"{name}-{digest(ALGORITHM, SHARD_ROWS, self.seed, *parts)}", schema)
        self.made[name] = stage
        return stage

    def heard(self, name: str, total: int) -> Listener:
        return lambda done: self.on(name, done, total)

    @property
    def pen(self) -> list[Any]:
        """What decides how the writer writes."""
        return [self.writer.model.fingerprint, self.writer.sampling.temperature, self.writer.sampling.max_tokens]


async def synthesize(
    run: Run, writer: Model, main: Model, wording: Wording, config: RecoverConfig, space: Space, seed: int,
    intents: Sequence[str] = (), prompts: Sequence[GivenPrompt] = (), originals: Sequence[str] = (),
    on: Progress = lambda table, done, total: None, about: Sequence[str] = (),
) -> Synthesized:  # fmt: skip
    """Make what is not there yet.

    intents: what prompts are wanted for, a category each; prompts: of one's own, beside these or alone. originals:
    texts of one's own; the writer writes them where there are none, about everyday things, or about topics of `about`
    where that says what texts are wanted. main: the model that rewrites, asked in `config.rank.layout`.

    InputError where there is no intent and no prompt, where nothing comes of a step, and for settings that cannot be;
    raises what `Model.ask` raises. What failed otherwise is a row with the reason, and counted in the report.
    """
    settings = config.synthesize
    intents, about = _named(intents, "an intent"), _named(about, "an entry of what texts are about")
    if not intents and not prompts:
        raise InputError("there is nothing to begin with: name an intent, or give prompts of your own")
    shares = Shares(settings.dev, settings.test, seed)
    sampling = Sampling(settings.temperature, max_tokens=settings.max_tokens, seed=seed)
    work = _Work(run, Writer(writer, sampling), wording, config, seed, on)
    async with writer, main:
        texts = await _originals(work, originals, about)
        chosen, count = await _prompts(work, intents, prompts)
        wanted = list(rewritings(chosen, texts, settings.texts, seed))
        by = [work.made[name].folder.name for name in ("prompts", "variations", "originals")]
        told = settings.model_dump(include={"texts", "rewriting", "max_tokens", "longest", "unchanged"})
        rewritten = work.open("rewritten", schema_of(RewrittenRow), *by, main.fingerprint, config.rank.layout, told)
        await rewrite(rewritten, main, config.rank.layout, settings, seed, wanted, work.heard("rewritten", len(wanted)))
    parts = await _traces(work, rewritten, chosen, main, space, shares)
    done = Synthesized(work.made["traces"], {})
    made = Made(work.made, intents, chosen, drafted=count, originals=len(texts), given=len(originals),
                traces=done.traces, parts=parts, space=space, config=config, shares=shares)  # fmt: skip
    return Synthesized(done.stage, report_of(made))


async def _originals(work: _Work, given: Sequence[str], about: Sequence[str]) -> list[OriginalRow]:
    settings, pen = work.config.synthesize, work.writer
    written = None
    if not given:
        topics: list[str] = []
        if about:
            subjects = work.open("subjects", topic_schema(), *work.pen, work.wording.topic, settings.topics, about)
            await write_topics(
                subjects, pen, work.wording, about, settings.topics, on=work.heard("subjects", len(about))
            )
            topics = [topic.text for topic in read_topics(subjects)]
            if not topics:
                raise InputError(_nothing(pen.model, "topic", about, [subjects]))
        asked = subjects_for(pen.model, topics, settings, work.seed)
        written = work.open("texts", schema_of(TextRow), *work.pen, work.wording.write_text, settings.originals, asked)
        author = Writer(pen.model, pen.sampling, cleaned)
        await write_texts(written, author, work.wording, settings, asked, work.heard("texts", len(asked)))
    made_by = [written.folder.name if written else digest(list(given)), settings.originals, settings.alike]
    stage = work.open("originals", schema_of(OriginalRow), *made_by)
    found = read_kept(await keep_originals(stage, given, written, settings))
    if not found:
        raise InputError(_nothing(pen.model, "text", [], [written] if written else []))
    return found


async def _prompts(work: _Work, intents: Sequence[str], given: Sequence[GivenPrompt]) -> tuple[list[PromptRow], int]:
    """All prompts, base prompts and variations; and how many base prompts there were before each was taken once."""
    settings, pen, wording = work.config.synthesize, work.writer, work.wording
    drafts = None
    if intents:
        topics = work.open("topics", topic_schema(), *work.pen, wording.topic, settings.topics, intents)
        await write_topics(topics, pen, wording, intents, settings.topics, on=work.heard("topics", len(intents)))
        drafts = work.open("drafts", draft_schema(), topics.folder.name, wording.propose, settings.prompts)
        total = sum(1 for _ in read_topics(topics))
        await write_drafts(
            drafts, pen, wording, topics, settings.prompts, settings.topics, on=work.heard("drafts", total)
        )
    bases, count = bases_of(given, drafts)
    if not bases:
        raise InputError(_nothing(pen.model, "prompt", intents, [work.made["topics"], work.made["drafts"]]))
    told = [[one.text, one.category, one.split, one.cluster] for one in given]
    stage = work.open("prompts", schema_of(PromptRow), drafts.folder.name if drafts else None, told)
    await fill(stage, bases, _as_rows)
    by = [*work.pen, settings.variations, wording.first_order, wording.all_mutation_prompts]
    varied = work.open("variations", schema_of(PromptRow), stage.folder.name, *by)
    await write_variations(
        varied, pen, wording, settings, work.seed, bases, work.heard("variations", len(bases))
    )  # fmt: skip
    return usable(bases, read_rows(varied)), count


async def _traces(
    work: _Work, rewritten: Stage, prompts: Sequence[PromptRow], main: Model, space: Space, shares: Shares
) -> list[PartRow]:
    """The tables parts, traces and dropped; nothing is reckoned where they are whole already."""
    settings, together = work.config.synthesize, work.config.split.together
    by = [rewritten.folder.name, main.name, settings.alike]
    dropped = work.open("dropped", schema_of(DroppedRow), *by)
    keys = [*by, together, settings.dev, settings.test, space.fingerprint]
    parts = work.open("parts", schema_of(PartRow), *keys)
    stage = work.open("traces", schema_of(Trace), *keys)
    rows = [record_of(RewrittenRow, row) for row in rewritten.rows()]
    if not _whole(stage, dropped, parts, len(rows)):
        named = {one.prompt_id or "": one for one in prompts}
        traces, gone = traces_of(rows, named, main.name, settings.alike)
        if not traces:
            raise InputError(_no_trace(main, gone))
        bases = {one.base_id: one.text or "" for one in prompts if one.prompt_id == one.base_id}
        same = {one.text or "": bases[one.base_id] for one in prompts}
        found = parts_of(traces, space, together, shares, same)
        await fill(dropped, gone, _as_rows)
        await fill(parts, found, _as_rows)
        await fill(stage, with_parts(traces, found), _as_rows)
    return [record_of(PartRow, row) for row in parts.rows()]


def _whole(traces: Stage, dropped: Stage, parts: Stage, count: int) -> bool:
    """Whether the tables hold all that has become of `count` rewritten texts."""
    if not all(stage.done(0) for stage in (traces, dropped, parts)):
        return False
    prompts = [row["prompt"] for row in traces.rows()]
    placed = {row["prompt"] for row in parts.rows()}
    return len(prompts) + sum(1 for _ in dropped.rows()) == count and placed.issuperset(prompts)


async def _as_rows(part: Sequence[Any]) -> list[dict[str, Any]]:
    return [row_of(row) for row in part]


def _named(texts: Sequence[str], what: str) -> list[str]:
    named = list(dict.fromkeys(" ".join(text.split()) for text in texts))
    if "" in named:
        raise InputError(f"{what} is empty; say it in a few words")
    return named


def _nothing(writer: Model, what: str, wanted: Sequence[str], stages: Sequence[Stage]) -> str:
    failed = sum((failures(stage) for stage in stages), Counter())
    wish = f" for {wanted[0][:40]!r}" if wanted else ""
    more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
    return (f"{writer.name} has written no {what}{wish}{more} ({_told(failed)}); try another writer, or give {what}s "
            "of your own")  # fmt: skip


def _no_trace(main: Model, gone: Sequence[DroppedRow]) -> str:
    why = _told(Counter(kind_of(row.reason) for row in gone))
    return f"{main.name} has rewritten no text ({why}); try another model, other prompts or another rank.layout"


def _told(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "it was asked for none"
