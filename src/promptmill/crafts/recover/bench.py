"""What a recovery works with, put together from settings: models, space, bank, weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptmill.crafts.recover.bank import Bank
from promptmill.crafts.recover.behaviour import Behaviour
from promptmill.crafts.recover.candidates import Drawer, Shorten
from promptmill.crafts.recover.config import RecoverConfig
from promptmill.crafts.recover.critic import Critic
from promptmill.crafts.recover.parts import Rater, can_score
from promptmill.crafts.recover.predicting import Predictor, Watch
from promptmill.crafts.recover.ranking import Ranker
from promptmill.crafts.recover.shown import shortener
from promptmill.crafts.recover.space import Space
from promptmill.model.gate import Model
from promptmill.store.run import Run
from promptmill.vary.wording import Wording


@dataclass
class Bench:
    """run: gets all tables. generator: None where no model stands for the one that wrote the texts."""

    run: Run
    config: RecoverConfig
    wording: Wording
    space: Space
    generator: Model | None = None
    seed: int = 0
    watch: Watch = lambda phase, done, total: None
    warnings: list[str] = field(default_factory=list)

    async def predictor(
        self, recoverer: Model, ranker: Ranker, bank: Bank | None = None, critic: Critic | None = None
    ) -> Predictor:
        """A predictor by these; what cannot score is left out, with a warning, and a critic that is no better than the
        mean prompt without one: its report says so."""
        shorten = self.shortener(recoverer)
        drawer = Drawer(recoverer, self.wording, self.config.candidates, shorten, bank, self.seed,
                        lambda texts: self.shortener(recoverer, texts))  # fmt: skip
        generator = await self._scoring(self.generator, "likelihood", self.config.rank.likelihood)
        asked = await self._scoring(recoverer, "posterior", self.config.rank.posterior)
        rater = Rater(self.space, self.config.rank, self.wording, shorten, generator, asked,
                      critic if critic and critic.kept else None)  # fmt: skip
        behaviour = Behaviour(rater, self.generator, self.config.behaviour) if self.generator else None
        return Predictor(self.run, drawer, rater, ranker, bank.digest if bank else "", behaviour, self.watch)

    def shortener(self, model: Model, texts: int = 2) -> Shorten:
        """texts: how many stand in one request."""
        config = self.config.candidates
        return shortener(model, config.longest, config.max_tokens, texts)

    async def _scoring(self, model: Model | None, part: str, wanted: bool) -> Model | None:
        if model is None or not wanted:
            return None
        if await can_score(model):
            return model
        line = f"{model.name} does not tell how likely a given text is: candidates have no {part}"
        if line not in self.warnings:
            self.warnings.append(line)
        return None
