"""From intents to topics, and from topics to base prompts as the writer gave them (vary/drafts.py), by settings."""

from __future__ import annotations

from collections.abc import Sequence

from promptmill.crafts.rewrite.config import SynthesizeConfig
from promptmill.model import shards
from promptmill.store.stage import Stage
from promptmill.vary import drafts
from promptmill.vary.drafts import Intent, Topic, draft_schema, read_topics, topic_schema
from promptmill.vary.wording import Wording
from promptmill.vary.writing import Writer

__all__ = ["Intent", "Topic", "draft_schema", "read_topics", "topic_schema", "write_drafts", "write_topics"]


async def write_topics(
    stage: Stage, writer: Writer, wording: Wording, config: SynthesizeConfig, intents: Sequence[str],
    on: shards.Listener,
) -> Stage:  # fmt: skip
    """`config.topics` topics for each intent that differ, as far as the writer has so many to say."""
    return await drafts.write_topics(stage, writer, wording, intents, config.topics, rows=shards.SHARD_ROWS, on=on)


async def write_drafts(
    stage: Stage, writer: Writer, wording: Wording, config: SynthesizeConfig, topics: Stage, on: shards.Listener
) -> Stage:
    """`config.prompts` base prompts on each topic, alike or not."""
    count, among = config.prompts, config.topics
    return await drafts.write_drafts(stage, writer, wording, topics, count, among, rows=shards.SHARD_ROWS, on=on)
