"""What can be known of a bake before its run is begun: whether the model can be trained as the settings say, and on
what there is to learn and to rehearse. Training would find it out too, but only after the sampling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.contexts import contexts, without_weights
from promptmill.crafts.bake.questions import Question
from promptmill.crafts.bake.ready import OfFile, OfRun, Ready
from promptmill.crafts.bake.rehearse import plan_rehearsal
from promptmill.crafts.bake.trajectories import tokens_in
from promptmill.errors import InputError
from promptmill.model.local import LocalBackend, load
from promptmill.model.local.loaded import Loaded
from promptmill.prompt import Prompt

Lengths = tuple[Sequence[int], int, int]
"""The tokens before an answer with the prompt, how many there are without it, and how many the answer has at most."""


def check_trainable(
    backend: LocalBackend, prompt: Prompt, others: Sequence[str], questions: Sequence[Question], config: BakeConfig,
    seed: int, ready: Ready | None = None,
) -> None:  # fmt: skip
    """InputError, one line, for what training would refuse. No weights are read.

    others: prompts to be rehearsed. questions: those that are asked. ready: their answers, where these are there.
    """
    _check_model(backend, config)
    learned = [question for question in questions if question.split == "train"]
    if not learned:
        raise InputError(
            f"all of the questions ({len(questions)}) are held out, so none is left to learn from; hold out others "
            "(--validation), or ask more"
        )
    loaded = without_weights(backend)
    _check_lengths(_ready(ready) if ready else _to_be_drawn(loaded, prompt, questions, config), config)
    if config.rehearsal and not plan_rehearsal(loaded, prompt, others, learned, config, seed).contexts:
        raise InputError(
            "none of the prompts to be rehearsed is another than the one to bake; name others with --rehearse, or set "
            "bake.rehearsal=0"
        )


def _check_model(backend: LocalBackend, config: BakeConfig) -> None:
    from promptmill.train.targets import find_targets, recompute_activations

    precision = _precision(backend)
    if backend.adapters and precision != "float32":
        raise InputError(
            f"{backend.adapters[0]}: stays beside the weights of a model in {precision}, and no other adapter can be "
            "trained there; load the model in float32 (--dtype float32), which merges it"
        )
    if config.full and precision != "float32":
        raise InputError(f"bake.full: all weights are trained in float32, not in {precision}; give --dtype float32")
    model = load.model_without_weights(backend.folder)
    if not config.full:
        find_targets(model, config.lora.targets)
    if config.train.gradient_checkpointing:
        recompute_activations(model)


def _precision(backend: LocalBackend) -> str:
    """What the weights will be in. A config that does not say leaves it to the checkpoint: float32 is taken for it."""
    from transformers import AutoConfig

    if backend.four_bit:
        return "4 bit"
    if backend.dtype != "auto":
        return backend.dtype
    told = AutoConfig.from_pretrained(backend.folder, trust_remote_code=False, local_files_only=True)
    return str(getattr(told, "dtype", None) or "float32").removeprefix("torch.")


def _to_be_drawn(
    loaded: Loaded, prompt: Prompt, questions: Sequence[Question], config: BakeConfig
) -> Iterable[Lengths]:
    for context in contexts(loaded, prompt, questions, config.sample):
        yield context.prompted, len(context.bare), config.sample.max_new_tokens


def _ready(ready: Ready) -> Iterable[Lengths]:
    if isinstance(ready, OfRun):
        found = tokens_in(ready.folder)
    else:
        assert isinstance(ready, OfFile)
        found = ((one.context_ids, one.bare_context_ids, one.answer_ids) for one in ready.trajectories)
    for prompted, bare, answer in found:
        yield tuple(prompted.tolist()), len(bare), len(answer)


def _check_lengths(answers: Iterable[Lengths], config: BakeConfig) -> None:
    """A sequence is never split, so the longest must fit into a batch (see batches.plan_epoch)."""
    from promptmill.train.teacher import common_prefix

    told = [one for one in answers if one[2]]
    begun = 0
    if config.sample.teacher == "online":
        begun = len(common_prefix([tuple(prompted) for prompted, _, _ in told]))
    longest = 0
    for prompted, bare, answer in told:
        seen = len(prompted) - begun if config.sample.teacher == "online" else 0
        longest = max(longest, max(bare, seen) + answer - 1)
    if longest > config.train.batch_tokens:
        raise InputError(
            f"a question and its answer may have {longest} tokens, more than a batch may have: set "
            f"bake.train.batch_tokens to {longest} or more, or lower bake.sample.max_new_tokens"
        )
