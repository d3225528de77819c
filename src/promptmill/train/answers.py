"""From chat messages and answers, or preferences between answers, to an adapter: what a craft that teaches asks for.

Importing this draws no torch, and neither does reading a training that has come to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from promptmill.errors import InputError
from promptmill.model.chat import CallError
from promptmill.model.load import ModelConfig, open_backend
from promptmill.model.local import LocalBackend
from promptmill.prompt import Message
from promptmill.store.stage import digest
from promptmill.train.course import Course, Outcome
from promptmill.train.finished import keep_outcome, kept_outcome
from promptmill.train.settings import NO_MATTER, LoraSettings, TrainSettings

if TYPE_CHECKING:
    from promptmill.train.batches import Items
    from promptmill.train.distil import Objective
    from promptmill.train.head import Head
    from promptmill.train.loop import Source
    from promptmill.train.preference import Pairs

Messages = tuple[Message, ...]
_SHAPE = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
"""What two adapters must have alike, beside layers and shapes, for the one to go on from the other's numbers."""


@dataclass(frozen=True)
class Answered:
    """What the model is told, and the answer that it shall give. weight: of each of the answer's tokens in the loss."""

    messages: Messages
    answer: str
    weight: float = 1.0


@dataclass(frozen=True)
class Preferred:
    """What the model is told, and two answers, of which the one shall become likelier than the other. weight: of the
    pair in the loss."""

    messages: Messages
    chosen: str
    rejected: str
    weight: float = 1.0


@dataclass(frozen=True)
class Built:
    """What the loop needs beside the model. checked: what a validation batch costs, where that is another objective.
    left_out: examples that the model's context does not hold."""

    train: Source
    held: Source | None
    objective: Objective
    checked: Objective | None = None
    left_out: int = 0


Example = TypeVar("Example", bound=Answered | Preferred)
Build = Callable[[Any, Any], Built]
"""(model, Head) to what it is trained on and by. The model has its new adapter, which changes nothing yet."""
After = Callable[[Any, Any], dict[str, Any]]
"""(model, Head) to what else is to be known of the trained model (JSON)."""


@dataclass(frozen=True)
class Taught:
    """adapters: of the model as it is now, in the order in which they are loaded. more: what `after` has told, and
    left_out: how many examples were longer than the model's context, so that nothing was learned from them."""

    outcome: Outcome
    adapters: tuple[Path, ...]
    more: dict[str, Any] = field(default_factory=dict)


def trainable(kind: ModelConfig, lora: LoraSettings, what: str = "training") -> LocalBackend:
    """The model as one that an adapter can be trained for. InputError, one line beginning with `what`, where it cannot
    be; no weights are read."""
    from promptmill.model.local import load
    from promptmill.train.targets import find_targets

    backend = open_backend(kind)
    if not isinstance(backend, LocalBackend):
        raise InputError(f"{what}: {backend.name} cannot be trained: its weights are not here; give a model folder, a "
                         "Hugging Face name or an embedded model")  # fmt: skip
    find_targets(load.model_without_weights(backend.folder), lora.targets)
    return backend


@dataclass(frozen=True)
class Teaching:
    """The training of an adapter: on answers, on preferences, or on what `fit` is given to build.

    backend: the model as it is. folder: gets the new adapter, in `adapter`, and checkpoints. identity: what else
    decides the result (JSON). A training that was killed goes on where it was, and one that has come to its end is read
    from its folder, without the model; a folder that holds another one is an InputError.

    The backend's own adapters are merged into the weights first, which loses nothing in float32. In half precision or 4
    bit they cannot be: there a lone adapter of the same shape is trained further in a copy, which takes its place
    (`Taught.adapters` tells which are left).
    """

    backend: LocalBackend
    lora: LoraSettings
    settings: TrainSettings
    folder: Path
    seed: int = 0
    identity: Mapping[str, Any] = field(default_factory=dict)
    on_row: Callable[[Mapping[str, Any]], None] = lambda row: None
    on_step: Callable[[Course], None] = lambda course: None

    def on_answers(self, answered: Sequence[Answered], held: Sequence[Answered] = ()) -> Taught:
        """Cross-entropy on the answers' tokens and the token that ends the turn; on nothing else. held: for validation.
        What is longer than the model's context is left out. InputError where nothing is left to learn."""

        def build(model: Any, head: Head) -> Built:
            from promptmill.train.distil import Samples

            (train, checked), left_out = self.fitting_all(answered, held)
            return Built(self.items(train), self.items(checked) if checked else None, Samples(head), None, left_out)

        told = ([one.messages, one.answer, one.weight] for part in (answered, held) for one in part)
        return self.fit({"loss": "answers", "lesson": digest(len(answered), told)}, build)

    def on_preferences(
        self, preferred: Sequence[Preferred], held: Sequence[Preferred] = (), *, beta: float, sft: float = 0.0
    ) -> Taught:
        """Direct preference optimisation against the model as it is; sft: weight of the chosen answers' own likelihood
        beside it (see train/preference.py). Pairs whose answers are the same tokens are left out. held: for validation,
        where sft does not count. What is too long is left out, and InputError raised, as for answers."""

        def build(model: Any, head: Head) -> Built:
            from promptmill.train.preference import Preference

            fitting, left_out = self.fitting_all(preferred, held)
            train, checked = (self.pairs(model, head, part) for part in fitting)
            if train is None:
                raise InputError("no two answers of a pair differ by a token, so there is nothing to learn")
            return Built(train, checked, Preference(head, beta, sft=sft), Preference(head, beta), left_out)

        told = ([one.messages, one.chosen, one.rejected, one.weight] for part in (preferred, held) for one in part)
        lesson = digest(len(preferred), told)
        return self.fit({"loss": "preferences", "beta": beta, "sft": sft, "lesson": lesson}, build)

    def fit(self, identity: Mapping[str, Any], build: Build, after: After | None = None) -> Taught:
        """Train on what is built, or read what came of it in an earlier session. identity: all that decides what is
        built (JSON). after: asked once, at the end."""
        backend, settings = self.backend, self.settings
        whole = {**self.identity, "model": backend.fingerprint, "seed": self.seed,
                 "lora": self.lora.model_dump(mode="json"), **identity}  # fmt: skip
        final = whole | {"settings": settings.model_dump(mode="json", exclude=set(NO_MATTER))}
        found = kept_outcome(self.folder, final)
        if found is not None:
            outcome, kept = found
            for row in outcome.rows:
                self.on_row(row)
            return self._taught(outcome, kept["continued"], kept["more"])
        return self._trained(whole, final, build, after)

    def _trained(self, whole: Mapping[str, Any], final: Mapping[str, Any], build: Build, after: After | None) -> Taught:
        from promptmill.train.head import head_of
        from promptmill.train.loop import Trainer

        model, continued = self._student()
        head = head_of(model)
        built = build(model, head)
        outcome = Trainer(
            model, built.objective, built.train, self.folder, self.settings, validation=built.held,
            checked=built.checked, identity=dict(whole), base=str(self.backend.name), on_step=self.on_step,
            on_row=self.on_row,
        ).fit()  # fmt: skip
        more = {"left_out": built.left_out, **(after(model, head) if after else {})}
        keep_outcome(self.folder, final, outcome, continued=continued, more=more)
        return self._taught(outcome, continued, more)

    def _taught(self, outcome: Outcome, continued: bool, more: dict[str, Any]) -> Taught:
        before = () if continued else self.backend.adapters
        return Taught(outcome, (*before, outcome.folder), more)

    def _student(self) -> tuple[Any, bool]:
        """The model with an adapter to be trained; whether that goes on from the one that the model had."""
        from promptmill.model.local import load
        from promptmill.model.local.adapters import with_adapters
        from promptmill.train.targets import attach_adapter

        backend = self.backend
        model = load.load_model(backend.folder, (), backend.dtype, backend.device, backend.four_bit)
        continued = self.continues(model)
        if continued and len(backend.adapters) > 1:
            raise InputError(f"{backend.name}: its {len(backend.adapters)} adapters stay beside weights that are not "
                             "in float32, and none can be trained on top; give --dtype float32")  # fmt: skip
        if backend.adapters and not continued:
            model = with_adapters(model, backend.adapters, merge=True).eval().requires_grad_(False)
        model = attach_adapter(model, self.lora, self.seed)
        if continued:
            _go_on_from(model, backend.adapters[0])
        return model, continued

    def continues(self, model: Any) -> bool:
        """Whether the adapter that is trained holds what the model's own one held, so that without it the model is not
        the one that it was before the training. model: loaded, with the adapter or without."""
        weights = next(one for name, one in model.named_parameters() if "lora_" not in name)
        return bool(self.backend.adapters) and (self.backend.four_bit or str(weights.dtype) != "torch.float32")

    # What crafts build of

    @cached_property
    def context(self) -> int:
        """Tokens that the model's context holds."""
        from promptmill.model.local import load

        return load.context_of(load.model_without_weights(self.backend.folder).config)

    def fitting(self, examples: Sequence[Example]) -> list[Example]:
        """Those that the model's context holds."""
        return [one for one in examples if self._length(one) <= self.context]

    def fitting_all(self, *parts: Sequence[Example]) -> tuple[list[list[Example]], int]:
        """The fitting ones of each part, and how many are left out. The first part is what is learned: InputError where
        it has examples and none of them fits."""
        found = [self.fitting(part) for part in parts]
        if parts[0] and not found[0]:
            raise InputError(f"all of {len(parts[0])} examples are longer than the context of {self.backend.name}, "
                             f"{self.context} tokens, so there is nothing to learn")  # fmt: skip
        return found, sum(map(len, parts)) - sum(map(len, found))

    def _length(self, one: Answered | Preferred) -> int:
        answers = (one.answer,) if isinstance(one, Answered) else (one.chosen, one.rejected)
        context, told = self.tokens(one.messages, *answers)
        return len(context) + max(map(len, told))

    def tokens(self, messages: Messages, *answers: str) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """The request, and each answer with the token that ends it. InputError where the model's template does not take
        the messages."""
        chat = self.backend.chat
        try:
            context, told = chat.continuations(messages, "", answers)
        except CallError as error:
            raise InputError(f"what is to be learned cannot be put to {self.backend.name}: {error}") from None
        end = () if chat.end is None else (chat.end,)
        return context, [(*one, *end) for one in told]

    def items(self, answered: Sequence[Answered]) -> Items:
        """InputError where there are none."""
        from promptmill.train.batches import Item, Items

        found = []
        for one in answered:
            context, (answer,) = self.tokens(one.messages, one.answer)
            found.append(Item(context, answer, one.weight))
        return Items(found, self.backend.device)

    def pairs(self, model: Any, head: Head, preferred: Sequence[Preferred]) -> Pairs | None:
        """With what the answers are worth to the model as it is. None where there are none that differ."""
        from promptmill.train.head import inner_model
        from promptmill.train.preference import Pair, Pairs, with_reference

        found = []
        for one in preferred:
            context, (chosen, rejected) = self.tokens(one.messages, one.chosen, one.rejected)
            if chosen != rejected:  # some tokenizers do not see all differences
                found.append(Pair(context, chosen, rejected, one.weight))
        if not found:
            return None
        # A fresh adapter changes nothing, and one that is trained further belongs to the model as it was: so it is on.
        known = with_reference(inner_model(model), found, self.settings, head=head)
        return Pairs(known, self.backend.device)


def _go_on_from(model: Any, adapter: Path) -> None:
    """The numbers of `adapter` into the model's new one. InputError where the two are not of one shape."""
    from peft import PeftConfig, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    from promptmill.model.local.adapters import WEIGHTS

    ours, theirs = (one.to_dict() for one in (model.peft_config["default"], PeftConfig.from_pretrained(str(adapter))))
    tensors = load_file(adapter / WEIGHTS)
    shapes = {name: value.shape for name, value in get_peft_model_state_dict(model).items()}
    if shapes != {name: value.shape for name, value in tensors.items()} or any(ours[k] != theirs[k] for k in _SHAPE):
        raise InputError(f"{adapter}: stays beside weights that are not in float32, and can only be trained further "
                         "with its own rank, alpha and targets: set these, or give --dtype float32")  # fmt: skip
    set_peft_model_state_dict(model, tensors)
