"""Trying a prompt and its rewrites before one is offered: on inputs made up for the prompt, with the main model's
answers, judged by what the prompt itself asks for. No gold is needed, and nothing is offered that was not better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.tables import BASE
from promptmill.crafts.rewrite.trials import messages
from promptmill.crafts.rewrite.values import Margin, Values
from promptmill.judge.judge import Subject
from promptmill.judge.panel import Panel
from promptmill.judge.table import Key, score_rows
from promptmill.model.chat import Completion, Failure, Request, Sampling
from promptmill.model.gate import Model, together
from promptmill.prompt import fill
from promptmill.store.stage import digest
from promptmill.vary.wording import Wording

MORE = 2
"""So many times the inputs that are needed are asked for, since some come twice."""


class Untried(Exception):
    """Nothing could be tried, for the reason that it says: that is no word on the rewrite."""


@dataclass(frozen=True)
class Proof:
    """main, writer, panel: open, all of them. role: what the main model is told beforehand."""

    main: Model
    writer: Model
    panel: Panel
    wording: Wording
    config: RewriteConfig
    role: str = ""

    @property
    def digest(self) -> str:
        """Of all that decides what it finds."""
        config = self.config
        return digest(self.main.fingerprint, self.writer.fingerprint, str(self.panel.identity), self.role,
                      self.wording.write_input, config.test.proof, config.synthesize.inputs,
                      config.answer.model_dump(), config.pairs.z, config.test.margin)  # fmt: skip

    async def margins(self, prompt: str, candidates: Sequence[str]) -> list[Margin | None]:
        """By how much each is better than the prompt; None where nothing could be compared. Untried, with the reason,
        where no answer came at all."""
        inputs = await self._inputs(prompt)
        values = Values(self.panel)
        texts = dict(enumerate([prompt, *candidates], BASE))
        asked = [
            self._scored(prompt, Key("", variation, at, sample), text, given)
            for variation, text in texts.items()
            for at, given in enumerate(inputs)
            for sample in range(self._samples)
        ]
        came = await together(asked)
        failed = [one for one in came if isinstance(one, Failure)]
        if not inputs or len(failed) == len(came):
            why = f"{failed[0].kind}: {failed[0].detail}" if failed else f"{self.writer.name} wrote no input for it"
            raise Untried(why)
        for rows in came:
            if not isinstance(rows, Failure):
                values.add(rows)
        return [values.margin("", variation) for variation in texts if variation != BASE]

    def best(self, margins: Sequence[Margin | None]) -> int | None:
        """The place of the first, where it is better beyond doubt; else of the one that is most so. The rewriter's own
        choice is not outdone by one of several that happened to do best on a few inputs."""
        z, least = self.config.pairs.z, self.config.test.margin
        means = {at: one.mean for at, one in enumerate(margins) if one is not None and one.believed(z, least)}
        return 0 if 0 in means else max(means, key=lambda at: (means[at], -at), default=None)

    @property
    def _samples(self) -> int:
        """Without inputs the same is asked again instead, unless the answer could only be the same one again."""
        answer = self.config.answer
        if self.config.synthesize.inputs or not answer.temperature:
            return answer.samples
        return max(answer.samples, self.config.test.proof)

    def told(self, margin: Margin) -> str:
        """On what a rewrite was better."""
        if self.config.synthesize.inputs:
            return f"better on {margin.n} inputs made up for it"
        return "its answer is better" if margin.n == 1 else f"better in {margin.n} answers to it"

    async def _inputs(self, prompt: str) -> list[str]:
        """Different ones; a prompt that is complete in itself has one, which is empty."""
        config, wanted = self.config.synthesize, self.config.test.proof
        if not config.inputs:
            return [""]
        sampling = Sampling(config.temperature, max_tokens=config.max_tokens)
        request = fill(self.wording.write_input, {"description": prompt})
        came = await together([
            self.writer.ask(Request((("user", request),), sampling, repeat=at)) for at in range(MORE * wanted)
        ])  # fmt: skip
        texts = [one.text.strip() for one in came if isinstance(one, Completion)]
        return [text for text in dict.fromkeys(texts) if text][:wanted]

    async def _scored(self, prompt: str, key: Key, text: str, given: str) -> list[dict[str, object]] | Failure:
        answer = self.config.answer
        sampling = Sampling(answer.temperature, answer.top_p, answer.max_tokens)
        came = await self.main.ask(Request(messages(text, given, self.role), sampling, repeat=key.sample_id))
        if isinstance(came, Failure):
            return came
        subject = Subject(prompt, given, came.text)
        return score_rows(key, subject, await self.panel.score(subject))
