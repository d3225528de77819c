"""What a rewrite may ask at most, before it is begun."""

from __future__ import annotations

from collections.abc import Sequence

from promptmill.crafts.rewrite.config import RewriteConfig
from promptmill.crafts.rewrite.probe import COMPARED_OF, PLANTED_OF
from promptmill.crafts.rewrite.proof import MORE
from promptmill.crafts.rewrite.synthesize.prompts_file import GivenPrompt
from promptmill.judge.panel import Panel
from promptmill.judge.planted import KINDS


def forecast(
    config: RewriteConfig, intents: int, prompts: Sequence[GivenPrompt], panel: Panel, test_panel: Panel | None = None
) -> dict[str, int]:
    """Calls at most, by what they are for. Splits of base prompts without one are taken in their shares. panel: the
    judges that teach; test_panel: those of the test, where they are others."""
    one = config.synthesize
    written = intents * one.topics * one.prompts
    own = max(1, one.inputs)  # of a prompt that brings none
    unsplit, tests = ([prompt for prompt in prompts if prompt.split == split] for split in (None, "test"))
    held = round((written + len(unsplit)) * one.test) + len(tests)
    learned = written + len(prompts) - held
    held_tried = round((written * own + _tried_on(unsplit, own)) * one.test) + _tried_on(tests, own)
    tried = written * own + _tried_on(prompts, own) - held_tried
    samples = config.answer.samples
    of_each = config.rewrites * (config.rounds + 1)  # those of the last rewriter are tried as well
    passes = config.rounds + 2 + (2 if config.tune_main else 0) + (config.test.target is not None)
    proofs = held * max(config.test.proof, samples if config.test.proof else 0)
    learning = tried * samples * (1 + one.variations + of_each)
    testing, proving = 3 * held_tried * samples * passes, proofs * (1 + config.test.candidates)
    compared = learned * _compared(config) * config.pairs.compared if config.pairs.orders else 0
    judges = test_panel or panel
    judged = (learning + proving) * _questions(panel) + testing * _questions(judges)
    judged += compared * _comparisons(panel) + held * passes * config.pairs.compared * _comparisons(judges)
    judged += sum(_probed(each) for each in (panel, test_panel) if each)
    inputs = written * one.inputs + sum(one.inputs for prompt in prompts if not prompt.inputs)
    return {
        "base prompts": written + len(prompts),
        "writer calls": intents * one.topics + written + (written + len(prompts)) * one.variations + inputs
                        + MORE * proofs,
        "rewrites": learned * of_each + held * passes * config.test.candidates,
        "answers": learning + testing + proving, "judgements": judged,
    }  # fmt: skip


def _tried_on(prompts: Sequence[GivenPrompt], own: int) -> int:
    """Inputs of all of them. own: of one that brings none."""
    return sum(len(prompt.inputs) or own for prompt in prompts)


def _compared(config: RewriteConfig) -> int:
    """Pairs of a base prompt that the judges are asked to confirm, in all rounds: what they do not confirm makes room
    for another, until there is none left."""
    return sum(config.synthesize.variations + 1 + at * config.rewrites for at in range(1, config.rounds + 1))


def _questions(panel: Panel) -> int:
    """Calls about one answer, of all judges."""
    return sum(len(judge.criteria) * judge.repeats * judge.calls_at_most for judge in panel.judges)


def _comparisons(panel: Panel) -> int:
    """Calls about two answers, in both orders."""
    return sum(2 * judge.calls_at_most for judge in panel.judges)


def _probed(panel: Panel) -> int:
    """To see whether a panel may be believed."""
    return len(KINDS) * PLANTED_OF * _questions(panel) + COMPARED_OF * _comparisons(panel)
