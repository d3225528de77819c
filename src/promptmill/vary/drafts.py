"""From intents to topics, and from topics to prompts as a writer gives them: what comes of every call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptmill.model.shards import SHARD_ROWS, Listener, fill
from promptmill.prompt import fill as filled
from promptmill.store.stage import Stage
from promptmill.vary.wording import Wording
from promptmill.vary.writing import ROUNDS, Writer

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
    """A row for each answer to the request for a prompt."""
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
    stage: Stage, writer: Writer, wording: Wording, intents: Sequence[str], count: int, *,
    rows: int = SHARD_ROWS, on: Listener = lambda done: None,
) -> Stage:  # fmt: skip
    """`count` topics for each intent that differ, as far as the writer has so many to say. rows: of a shard."""

    async def make(part: Sequence[Intent]) -> list[dict[str, Any]]:
        found = await writer.distinct([filled(wording.topic, {"intent": intent.text}) for intent in part], count)
        return [
            {"domain_id": intent.number, "domain": intent.text, "topic_id": at, "topic": one.text, "error": one.error}
            for intent, several in zip(part, found, strict=True)
            for at, one in enumerate(several)
        ]

    numbered = [Intent(number, text) for number, text in enumerate(intents)]
    return await fill(stage, numbered, make, models=[writer.model], rows=max(1, rows // count), on=on)


def read_topics(stage: Stage) -> Iterator[Topic]:
    for row in stage.rows():
        if row["topic"] is not None:
            yield Topic(Intent(row["domain_id"], row["domain"]), row["topic_id"], row["topic"])


async def write_drafts(
    stage: Stage, writer: Writer, wording: Wording, topics: Stage, count: int, among: int, *,
    rows: int = SHARD_ROWS, on: Listener = lambda done: None,
) -> Stage:  # fmt: skip
    """`count` prompts on each topic, alike or not. among: the topics that were wanted for each intent. rows: of a
    shard."""

    def repeat(topic: Topic, number: int) -> int:
        # Where two intents have a topic in common they get prompts of their own: no repeat index comes twice.
        return (topic.intent.number * among * ROUNDS + topic.number) * count + number

    async def make(part: Sequence[Topic]) -> list[dict[str, Any]]:
        asked = [(topic, number) for topic in part for number in range(count)]
        requests = [(filled(wording.propose, {"topic": topic.text}), repeat(topic, at)) for topic, at in asked]
        return [
            {"domain": topic.intent.text, "topic_id": topic.number, "draft_id": number, "topic": topic.text,
             "text": said.text, "error": said.error}
            for (topic, number), said in zip(asked, await writer.texts(requests), strict=True)
        ]  # fmt: skip

    return await fill(stage, read_topics(topics), make, models=[writer.model], rows=max(1, rows // count), on=on)
