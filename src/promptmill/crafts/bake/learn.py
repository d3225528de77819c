"""The training of a bake: what is trained, what a batch costs, and how far the result is from the model as it was."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptmill.crafts.bake.clock import timed
from promptmill.crafts.bake.config import BakeConfig
from promptmill.crafts.bake.trajectories import Trajectory, read_trajectories
from promptmill.crafts.bake.unrelated import unrelated_kl
from promptmill.errors import InputError
from promptmill.model.local.load import FILES
from promptmill.store.files import write_whole

if TYPE_CHECKING:
    from promptmill.crafts.bake.baker import Baker, Drawn
    from promptmill.train.batches import Item
    from promptmill.train.course import Course, Outcome
    from promptmill.train.loop import Source
    from promptmill.train.teacher import OnlineTeacher


def learned(baker: Baker, drawn: Drawn) -> tuple[Outcome, dict[str, Any] | None]:
    """Train on what was drawn, or go on with that. Also the KL on unrelated texts (see unrelated.py)."""
    from promptmill.train.batches import Items
    from promptmill.train.head import head_of
    from promptmill.train.loop import Trainer
    from promptmill.train.teacher import OnlineTeacher

    backend, config = baker.backend, baker.config
    model = _student(baker)
    teacher = OnlineTeacher(model, head_of(model))
    train, held = (_answered(drawn, split) for split in ("train", "validation"))
    if not train:
        raise InputError("the prompted model has answered nothing to learn from; look at the sampling's settings")
    prefix = _prefix(train)
    objective, checked = _objectives(config, teacher, drawn, train, prefix, baker.seed)
    validation: Source | None = Items(_items(held, _prefix(held)), backend.device) if held else None
    with timed(baker.run, "training") as note:

        def stepped(course: Course) -> None:
            note()
            baker.watch("train", course.step, course.steps)

        trainer = Trainer(
            model, objective, Items(_items(train, prefix), backend.device), baker.run.folder, config.train,
            validation=validation, checked=checked,
            identity={key: getattr(config, key) for key in ("loss", "beta", "rehearsal", "on_policy")},
            base=str(backend.name), on_step=stepped, on_row=lambda row: baker.run.metric(**row),
        )  # fmt: skip
        outcome = trainer.fit()
    if config.full:
        _complete(outcome.folder, backend.folder)
    return outcome, unrelated_kl(model, teacher, drawn.unrelated)


def _student(baker: Baker) -> Any:
    from transformers import GenerationConfig

    from promptmill.model.local import load
    from promptmill.train.targets import attach_adapter, unfreeze

    backend = baker.backend
    # A model of its own: the sampler's has the attention of the decoding loop, which gives no gradients.
    model = load.load_model(backend.folder, backend.adapters, backend.dtype, backend.device, backend.four_bit)
    model.generation_config = GenerationConfig()  # whose defaults play no part in what the student answers itself
    return unfreeze(model) if baker.config.full else attach_adapter(model, baker.config.lora, baker.seed)


def _objectives(
    config: BakeConfig, online: OnlineTeacher, drawn: Drawn, train: Sequence[Trajectory], prefix: tuple[int, ...],
    seed: int,
) -> tuple[Any, Any]:  # fmt: skip
    """What a batch costs in training, and what one costs in validation: there always the KL itself."""
    from promptmill.train.distil import Distil, OnPolicy, Samples, WithRehearsal, sampling_rollout

    teacher = online if drawn.sampling["teacher"] == "online" else None
    checked = Distil(online.head, teacher)
    main: Any = checked
    if config.loss == "samples":
        main = Samples(online.head)
    elif config.loss != "forward":
        main = Distil(online.head, teacher, config.loss, config.beta)
    if config.on_policy:
        from promptmill.crafts.bake.baker import seen_of

        seen = {tuple(one.bare_context_ids.tolist()): seen_of(one, prefix) for one in train}
        longest = max(max(len(one.context_ids), len(one.bare_context_ids)) for one in train)
        most = min(config.sample.max_new_tokens, drawn.context - longest)
        main = OnPolicy(
            main, online, sampling_rollout(most, drawn.ends), config.on_policy,
            # On samples alone there is no divergence that was asked for.
            "reverse" if config.loss == "samples" else config.loss, seed, config.beta, seen,
        )  # fmt: skip
    if drawn.rehearsal:
        main = WithRehearsal(main, drawn.rehearsal, online, config.rehearsal, seed=seed)
    return main, checked


def _answered(drawn: Drawn, split: str) -> list[Trajectory]:
    return [one for one in read_trajectories(drawn.stage, split) if len(one.answer_ids)]


def _prefix(answered: Sequence[Trajectory]) -> tuple[int, ...]:
    """What all begin with: a teacher that is asked while training has its keys and values computed once."""
    from promptmill.train.teacher import common_prefix

    return common_prefix([tuple(one.context_ids.tolist()) for one in answered])


def _items(answered: Sequence[Trajectory], prefix: tuple[int, ...]) -> list[Item]:
    from promptmill.crafts.bake.baker import item_of

    return [item_of(one, prefix) for one in answered]


def _complete(model: Path, base: Path) -> None:
    """Beside the weights and the configuration what else belongs to a model: tokenizer, chat template, end tokens."""
    for path in sorted({path for pattern in FILES for path in base.glob(pattern)}):
        if path.suffix != ".safetensors" and path.name not in ("config.json", "model.safetensors.index.json"):
            write_whole(model / path.name, lambda part, path=path: shutil.copyfile(path, part))  # type: ignore[misc]
