"""What a rewrite may ask at most, before it is begun."""

from __future__ import annotations

from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.probe import COMPARED_OF, PLANTED_OF
from promptmill.crafts.rewrite.proof import MORE
from promptmill.judge.panel import PanelConfig
from promptmill.judge.planted import KINDS


def forecast(config: RewriteConfig, intents: int, prompts: int) -> dict[str, int]:
    """Calls at most, by what they are for."""
    one = config.synthesize
    bases = intents * one.topics * one.prompts + prompts
    learned = round(bases * (1 - one.test))
    tried = max(1, one.inputs) * config.answer.samples
    rewrites = learned * (config.rounds + 1) * config.rewrites  # those of the last rewriter are tried as well
    candidates = learned * (1 + one.variations) + rewrites
    held = bases - learned
    tests = held * (config.rounds + 2 + (2 if config.tune_main else 0) + (config.test.target is not None))
    proofs = held * config.test.proof
    pairs = learned * _compared(config) * config.pairs.compared if config.pairs.orders else 0
    judges = len(config.judge.judges)
    answers = (candidates + 3 * tests) * tried + proofs * (1 + config.test.candidates)
    compared = 2 * judges * (pairs + tests * config.pairs.compared)
    probed = sum(map(_probed, filter(None, (config.judge, config.test.panel))))
    return {
        "base prompts": bases,
        "writer calls": intents * one.topics + bases * (1 + one.variations + one.inputs) + MORE * proofs,
        "rewrites": rewrites + tests * config.test.candidates,
        "answers": answers, "judgements": answers * _questions(config.judge) + compared + probed,
    }  # fmt: skip


def _compared(config: RewriteConfig) -> int:
    """Pairs of a base prompt that the judges are asked to confirm, in all rounds: what they do not confirm makes room
    for another, until there is none left."""
    others = [config.synthesize.variations + 1 + at * config.rewrites for at in range(1, config.rounds + 1)]
    return sum(others)


def _questions(panel: PanelConfig) -> int:
    """Of one answer, to all judges."""
    return sum(len(judge.criteria) or 3 if judge.ask == "rate" else 1 for judge in panel.judges)


def _probed(panel: PanelConfig) -> int:
    """To see whether a panel may be believed."""
    return len(KINDS) * PLANTED_OF * _questions(panel) + 2 * COMPARED_OF * len(panel.judges)
