"""The first stage: from intents and prompts of one's own to base prompts in train, dev and test, variations, inputs.

Tables of the run: topics and drafts (what the writer said, failures too), dropped (drafts that say what another says),
bases, variations, raw_inputs (failures too) and inputs. Each one's name holds a digest of all that decides it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.synthesize.bases import (
    Draft,
    Tally,
    count_rows,
    drafts_of,
    dropped_schema,
    write_bases,
)
from promptmill.crafts.rewrite.synthesize.drafts import (
    draft_schema,
    read_topics,
    topic_schema,
    write_drafts,
    write_topics,
)
from promptmill.crafts.rewrite.synthesize.inputs import raw_schema, write_inputs
from promptmill.crafts.rewrite.synthesize.prompts_file import GivenPrompt
from promptmill.crafts.rewrite.synthesize.variations import VARIED, write_variations
from promptmill.crafts.rewrite.tables import BaseRow, InputRow, VariationRow
from promptmill.errors import InputError
from promptmill.model import shards
from promptmill.model.chat import Sampling
from promptmill.model.embedder import Embedder
from promptmill.model.gate import Model
from promptmill.store.records import schema_of
from promptmill.store.run import Run
from promptmill.store.stage import Stage, digest
from promptmill.vary.splits import Shares
from promptmill.vary.wording import Wording
from promptmill.vary.writing import Writer, kind_of

if TYPE_CHECKING:
    import pyarrow as pa

ALGORITHM = "synthesize-1"  # change it when the same configuration and answers give other rows
HALF = 0.5
FEW = 8
"""Base prompts below which nothing is said of shares."""

Progress = Callable[[str, int, int], None]
"""Told the table, how many of its items are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Synthesized:
    """bases, variations (of train and dev; the base prompts themselves are not among them), inputs (none for a prompt
    that is complete in itself). report: see `report_of`."""

    bases: Stage
    variations: Stage
    inputs: Stage
    report: dict[str, Any]


@dataclass
class _Stages:
    """The tables of this stage, by names that say all that decides them."""

    run: Run
    base: Sequence[Any]
    made: dict[str, Stage] = field(default_factory=dict)

    def open(self, name: str, schema: pa.Schema, *parts: Any) -> Stage:
        stage = self.run.stage(f"{name}-{digest(ALGORITHM, shards.SHARD_ROWS, *self.base, *parts)}", schema)
        self.made[name] = stage
        return stage


async def synthesize(
    run: Run, writer: Model, wording: Wording, config: SynthesizeConfig, seed: int, intents: Sequence[str] = (),
    given: Sequence[GivenPrompt] = (), on: Progress = lambda table, done, total: None,
) -> Synthesized:  # fmt: skip
    """Make what is not there yet.

    intents: what prompts are wanted for, a domain each. given: base prompts of one's own, beside these or alone.
    InputError where there is neither, where no base prompt comes at all, and for settings that cannot be; raises what
    `Model.ask` raises. What failed otherwise is a row with the reason, and counted in the report.
    """
    intents = _intents_of(intents, given)
    Shares(config.dev, config.test)
    embedder = Embedder() if config.embed else None
    stages = _Stages(run, [seed, config.temperature, config.max_tokens])
    pen = Writer(writer, Sampling(config.temperature, max_tokens=config.max_tokens, seed=seed))
    async with writer:
        written = await _write_drafts(stages, pen, wording, config, intents, on)
        drafts = list(drafts_of(given, written))
        if not drafts:
            raise InputError(_nothing(writer, intents, stages))
        told = [one.digest for one in given]
        keys = [config.alike, config.together, config.dev, config.test, embedder.fingerprint if embedder else None]
        made_by = [written.folder.name if written else None, told, *keys]
        bases = stages.open("bases", schema_of(BaseRow), *made_by)
        dropped = stages.open("dropped", dropped_schema(), *made_by)
        vectors = embedder.vectors if embedder else None
        await write_bases(bases, dropped, drafts, config, seed, vectors, _heard(on, "bases", len(drafts)))
        total = count_rows(bases)
        by = [bases.folder.name, writer.fingerprint]
        variations = stages.open(
            "variations", schema_of(VariationRow), *by, config.variations, wording.first_order,
            wording.all_mutation_prompts,
        )  # fmt: skip
        varied = sum(row["split"] in VARIED for row in bases.rows()) if config.variations else 0
        await write_variations(
            variations, pen, wording, config, seed, bases, _heard(on, "variations", varied)
        )  # fmt: skip
        raw = stages.open("raw_inputs", raw_schema(), *by, config.inputs, wording.write_input)
        inputs = stages.open("inputs", schema_of(InputRow), raw.folder.name)
        await write_inputs(
            raw, inputs, pen, wording, config, seed, bases, given, _heard(on, "inputs", total)
        )  # fmt: skip
    return Synthesized(bases, variations, inputs, report_of(stages.made, config, intents, drafts))


async def _write_drafts(
    stages: _Stages, pen: Writer, wording: Wording, config: SynthesizeConfig, intents: Sequence[str], on: Progress
) -> Stage | None:
    if not intents:
        return None
    by = [pen.model.fingerprint, wording.topic, config.topics, list(intents)]
    topics = stages.open("topics", topic_schema(), *by)
    await write_topics(topics, pen, wording, config, intents, _heard(on, "topics", len(intents)))
    drafts = stages.open("drafts", draft_schema(), topics.folder.name, wording.propose, config.prompts)
    total = sum(1 for _ in read_topics(topics))
    return await write_drafts(drafts, pen, wording, config, topics, _heard(on, "drafts", total))


def _intents_of(intents: Sequence[str], given: Sequence[GivenPrompt]) -> list[str]:
    named = list(dict.fromkeys(" ".join(intent.split()) for intent in intents))
    if "" in named:
        raise InputError("an intent is empty; say in a few words what the prompts are for")
    if not named and not given:
        raise InputError("there is nothing to begin with: name an intent, or give prompts of your own")
    return named


def _heard(on: Progress, name: str, total: int) -> shards.Listener:
    return lambda done: on(name, done, total)


def _nothing(writer: Model, intents: Sequence[str], stages: _Stages) -> str:
    failed = _failures(stages.made["topics"]) + _failures(stages.made["drafts"])
    why = ", ".join(f"{count} {kind}" for kind, count in failed.most_common()) or "it was asked for none"
    intent = repr(intents[0][:40]) + (f" and {len(intents) - 1} more" if len(intents) > 1 else "")
    return f"{writer.name} has written no base prompt for {intent} ({why}); try another writer, or give prompts"


def _failures(stage: Stage) -> Counter[str]:
    return Counter(kind_of(row["error"]) for row in stage.rows() if row["error"])


# The report


def report_of(
    stages: dict[str, Stage], config: SynthesizeConfig, intents: Sequence[str], drafts: Sequence[Draft]
) -> dict[str, Any]:
    """Plain data: `domains` {name: {train, dev, test}}, `splits`, `clusters` {count, largest}, `dedup` {texts, kept,
    exact, near, embedding as counts, shares}, `variations` and `inputs` (counts), `failures` {table: {kind: count}},
    `warnings` (lines)."""
    tally = Tally.of(stages["bases"].rows())
    kept = sum(tally.clusters.values())
    gone = Counter(row["why"] for row in stages["dropped"].rows())
    dropped = {why: gone[why] for why in ("exact", "near", "embedding")}
    domains = {
        name: {split: count[split] for split in ("train", "dev", "test")} for name, count in tally.domains.items()
    }
    failed = {name: stages[name] for name in ("topics", "drafts", "variations", "raw_inputs") if name in stages}
    tried = {row["base_id"] for row in stages["inputs"].rows()}
    report = {
        "domains": domains,
        "splits": {split: sum(count[split] for count in domains.values()) for split in ("train", "dev", "test")},
        "clusters": {"count": len(tally.clusters), "largest": max(tally.clusters.values())},
        "dedup": {
            "texts": len(drafts), "kept": kept, **dropped,
            "shares": {why: count / len(drafts) for why, count in dropped.items()},
        },
        "variations": sum(row["text"] is not None for row in stages["variations"].rows()),
        "inputs": count_rows(stages["inputs"]),
        "failures": {name.removeprefix("raw_"): dict(_failures(stage).most_common()) for name, stage in failed.items()},
    }  # fmt: skip
    lines = _of_domains(domains, intents, config) + _of_all(report, tally, config)
    return {**report, "warnings": lines + _of_inputs(kept - len(tried), config)}


def _of_domains(domains: dict[str, dict[str, int]], intents: Sequence[str], config: SynthesizeConfig) -> list[str]:
    lines = [f"no base prompt came for the intent {name!r}" for name in intents if name not in domains]
    wanted = [name for name, share in (("train", 1.0), ("dev", config.dev), ("test", config.test)) if share > 0]
    for name, count in domains.items():
        empty = [split for split in wanted if not count[split]]
        if sum(count.values()) == 1:
            place = next(split for split, some in count.items() if some)
            lines.append(f"{name!r} has one base prompt only; it is for {place}, and nothing else of it is held out")
        elif empty:
            lines.append(
                f"{name!r} has no base prompt for {' and '.join(empty)}: its {sum(count.values())} base prompts are of "
                "too few clusters, for those alike must not be parted"
            )
    return lines


def _of_all(report: dict[str, Any], tally: Tally, config: SynthesizeConfig) -> list[str]:
    lines, dedup, largest = [], report["dedup"], report["clusters"]["largest"]
    share = 1 - dedup["kept"] / dedup["texts"]
    if dedup["texts"] >= FEW and share > HALF:
        lines.append(f"{share:.0%} of {dedup['texts']} base prompts say what another one says, and fell away")
    if dedup["kept"] >= FEW and largest > HALF * dedup["kept"]:
        lines.append(
            f"one cluster holds {largest} of {dedup['kept']} base prompts, which are all for one split; "
            f"with synthesize.together above {config.together} clusters are smaller"
        )
    if tally.torn:
        lines.append(
            f"{tally.torn} clusters lie in several splits, since the file of prompts says so; what is held out is "
            "then nearly the same as what is learned"
        )
    return lines


def _of_inputs(without: int, config: SynthesizeConfig) -> list[str]:
    if not without or not config.inputs:
        return []
    return [f"{without} base prompts got no input, and are tried as if they were complete in themselves"]
