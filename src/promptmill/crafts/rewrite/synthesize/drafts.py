"""From intents to topics, and from topics to base prompts as the writer gave them: what comes of every call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptmill.crafts.rewrite import shards
from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.crafts.rewrite.synthesize.writing import ROUNDS, Writer
from promptmill.prompt import fill
from promptmill.store.stage import Stage
from promptmill.vary.wording import Wording

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Intent:
    """What somebody wants prompts for. number: its place among the intents."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Topic:
    intent: Intent
    number: int
    text: str


def topic_schema() -> pa.Schema:
    """A row for each topic, and for each answer that is none, with the reason. topic_id: of what was asked."""
    import pyarrow as pa

    columns: dict[str, pa.DataType] = {
        "domain_id": pa.int32(),
        "domain": pa.string(),
        "topic_id": pa.int32(),
        "topic": pa.string(),
        "error": pa.string(),
    }
    return pa.schema(columns)


def draft_schema() -> pa.Schema:
    """A row for each answer to the request for a base prompt."""
    import pyarrow as pa

    columns: dict[str, pa.DataType] = {
        "domain": pa.string(),
        "topic_id": pa.int32(),
        "draft_id": pa.int32(),
        "topic": pa.string(),
        "text": pa.string(),
        "error": pa.string(),
    }
    return pa.schema(columns)


async def write_topics(
    stage: Stage, writer: Writer, wording: Wording, config: SynthesizeConfig, intents: Sequence[str],
    on: shards.Listener,
) -> Stage:  # fmt: skip
    """`config.topics` topics for each intent that differ, as far as the writer has so many to say."""

    async def make(part: Sequence[Intent]) -> list[dict[str, Any]]:
        requests = [fill(wording.topic, {"intent": intent.text}) for intent in part]
        found = await writer.distinct(requests, config.topics)
        return [
            {"domain_id": intent.number, "domain": intent.text, "topic_id": at, "topic": one.text, "error": one.error}
            for intent, several in zip(part, found, strict=True)
            for at, one in enumerate(several)
        ]

    numbered = [Intent(number, text) for number, text in enumerate(intents)]
    rows = max(1, shards.SHARD_ROWS // config.topics)
    return await shards.fill(stage, numbered, make, models=[writer.model], rows=rows, on=on)


def read_topics(stage: Stage) -> Iterator[Topic]:
    for row in stage.rows():
        if row["topic"] is not None:
            yield Topic(Intent(row["domain_id"], row["domain"]), row["topic_id"], row["topic"])


async def write_drafts(
    stage: Stage, writer: Writer, wording: Wording, config: SynthesizeConfig, topics: Stage, on: shards.Listener
) -> Stage:
    """`config.prompts` base prompts on each topic, alike or not."""

    async def make(part: Sequence[Topic]) -> list[dict[str, Any]]:
        asked = [(topic, number) for topic in part for number in range(config.prompts)]
        # Where two intents have a topic in common they get prompts of their own: no repeat index comes twice.
        requests = [
            (fill(wording.propose, {"topic": topic.text}), _repeat(topic, number, config)) for topic, number in asked
        ]
        return [
            {"domain": topic.intent.text, "topic_id": topic.number, "draft_id": number, "topic": topic.text,
             "text": said.text, "error": said.error}
            for (topic, number), said in zip(asked, await writer.texts(requests), strict=True)
        ]  # fmt: skip

    rows = max(1, shards.SHARD_ROWS // config.prompts)
    return await shards.fill(stage, read_topics(topics), make, models=[writer.model], rows=rows, on=on)


def _repeat(topic: Topic, number: int, config: SynthesizeConfig) -> int:
    return (topic.intent.number * config.topics * ROUNDS + topic.number) * config.prompts + number
