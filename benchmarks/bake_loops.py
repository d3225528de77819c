"""The training loops that `bake.py` measures: ours, the original's, the floor, and TRL's, on the same tokens."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from promptmill.train.batches import Item, Items, Seen
from promptmill.train.distil import Distil
from promptmill.train.loop import Trainer
from promptmill.train.settings import LoraSettings, TrainSettings
from promptmill.train.targets import attach_adapter, trained
from promptmill.train.teacher import OnlineTeacher, capture

RATE = 1e-4


@dataclass(frozen=True)
class Sizes:
    """Lengths in tokens. prompts: a short and a long one; k: stored tokens; loss_: of the loss alone."""

    prompts: tuple[int, int] = (512, 2048)
    question: int = 24
    answer: int = 128
    questions: int = 8
    answers: int = 4
    batch: int = 8
    width: int = 256
    layers: int = 4
    vocabulary: int = 4096
    rank: int = 32
    k: int = 128
    loss_vocabulary: int = 128_256
    loss_tokens: int = 512

    @property
    def tokens(self) -> int:
        """Of all answers."""
        return self.questions * self.answers * self.answer


@dataclass(frozen=True)
class Talk:
    """A prompt, and questions with their answers, in tokens drawn evenly."""

    prompt: tuple[int, ...]
    pairs: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True)
class Epoch:
    """cpu: seconds. loss: the mean for an answer's token."""

    cpu: float
    loss: float


Loop = Callable[[], Epoch]
"""The next epoch of a loop; its model goes on learning."""


def talk_of(sizes: Sizes, prompt: int) -> Talk:
    draw = random.Random(3)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, sizes.vocabulary) for _ in range(count))

    asked = [tokens(sizes.question) for _ in range(sizes.questions)]
    return Talk(tokens(prompt), tuple((one, tokens(sizes.answer)) for one in asked for _ in range(sizes.answers)))


def base_model(sizes: Sizes) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=sizes.vocabulary, hidden_size=sizes.width, intermediate_size=sizes.width * 11 // 4,
        num_hidden_layers=sizes.layers, num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=4096,
        initializer_range=0.08, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def student_of(sizes: Sizes) -> Any:
    return attach_adapter(base_model(sizes), LoraSettings(rank=sizes.rank), seed=1)


def our_loops(sizes: Sizes, talk: Talk) -> dict[str, Loop]:
    """online and stored: the trainer as it is, on a student each."""
    items = [Item(asked, said, teacher=Seen(talk.prompt, asked)) for asked, said in talk.pairs]
    online, stored = (OnlineTeacher(student_of(sizes)) for _ in range(2))
    begin = time.process_time()
    kept, mass = capture(stored, items, k=sizes.k, rows=sizes.batch)
    once = time.process_time() - begin
    print(f"  once, to store the teacher: {once:.2f} CPU-s; captured probability {mass:.2f}")
    return {
        "online": our_loop(sizes, online.model, Distil(online.head, online), items),
        "stored": our_loop(sizes, stored.model, Distil(stored.head), kept),
    }


def our_loop(sizes: Sizes, model: Any, objective: Distil, items: list[Item]) -> Loop:
    settings = TrainSettings(
        epochs=1, rate=RATE, schedule="constant", warmup_steps=0, batch_items=sizes.batch, checkpoint_seconds=1e9
    )
    source = Items(items)

    def epoch() -> Epoch:
        steps: list[float] = []  # when each has ended: what is saved after the last is saved once in a run
        with TemporaryDirectory() as folder:
            trainer = Trainer(
                model, objective, source, Path(folder), settings, on_step=lambda _: steps.append(time.process_time())
            )
            begin = time.process_time()
            outcome = trainer.fit()
        return Epoch(steps[-1] - begin, statistics.mean(row["loss"] for row in outcome.rows))

    return epoch


def plain_loop(sizes: Sizes, talk: Talk, summed: Callable[[Any, Sequence[Any]], Tensor]) -> Loop:
    """A loop without anything around it. summed: the loss of a batch of pairs, summed over its tokens."""
    model = student_of(sizes)
    optimizer = torch.optim.Adam(trained(model).values(), lr=RATE)

    def epoch() -> Epoch:
        total, begin = 0.0, time.process_time()
        for low in range(0, len(talk.pairs), sizes.batch):
            pairs = talk.pairs[low : low + sizes.batch]
            loss = summed(model, pairs)
            (loss / len(pairs)).backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
        return Epoch(time.process_time() - begin, total / sizes.tokens)

    return epoch


def original_loop(sizes: Sizes, talk: Talk) -> Loop:
    def predicting(ids_B_S: Tensor) -> Tensor:
        mask_B_S = torch.zeros_like(ids_B_S, dtype=torch.bool)
        mask_B_S[:, -sizes.answer - 1 : -1] = True
        return mask_B_S

    def summed(model: Any, pairs: Sequence[Any]) -> Tensor:
        bare_B_S = torch.tensor([asked + said for asked, said in pairs])
        prompted_B_S = torch.tensor([talk.prompt + asked + said for asked, said in pairs])
        student_B_S_V = model(input_ids=bare_B_S, use_cache=False).logits
        with torch.no_grad(), model.disable_adapter():
            teacher_B_S_V = model(input_ids=prompted_B_S, use_cache=False).logits
        return original_kl(student_B_S_V[predicting(bare_B_S)], teacher_B_S_V[predicting(prompted_B_S)])

    return plain_loop(sizes, talk, summed)


def original_kl(student_NV: Tensor, teacher_NV: Tensor) -> Tensor:
    """Its form of the loss, from logits."""
    student_NV, teacher_NV = F.log_softmax(student_NV, -1), F.log_softmax(teacher_NV, -1)
    return F.kl_div(student_NV, teacher_NV, reduction="none", log_target=True).sum()


def floor_loop(sizes: Sizes, talk: Talk) -> Loop:
    def summed(model: Any, pairs: Sequence[Any]) -> Tensor:
        ids_B_S = torch.tensor([asked + said for asked, said in pairs])
        given = {"input_ids": ids_B_S[:, :-1], "use_cache": False, "logits_to_keep": sizes.answer}
        return F.cross_entropy(
            model(**given).logits.flatten(0, 1), ids_B_S[:, -sizes.answer :].flatten(), reduction="sum"
        )

    return plain_loop(sizes, talk, summed)


def sdft_loop(sizes: Sizes, talk: Talk) -> Loop:
    """SDFTTrainer on the same tokens, its completions given, not generated. ImportError without trl."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from datasets import Dataset
    from peft import LoraConfig, TaskType
    from transformers import PrinterCallback, TrainerCallback
    from trl.experimental.sdft import SDFTTrainer

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            self.begin = time.process_time()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            self.cpu = time.process_time() - self.begin

    class Given(SDFTTrainer):  # type: ignore[misc]
        def sample_rollouts(self, inputs: list[dict[str, Any]]) -> Any:
            self.given = [row["answer"] for row in inputs]
            return super().sample_rollouts(inputs)

        def _generate(self, prompt_ids: list[list[int]]) -> Any:
            return prompt_ids, self.given

    rows = [
        {"prompt": spelt(asked), "privileged_context": spelt(talk.prompt), "answer": said} for asked, said in talk.pairs
    ]
    lora = LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=sizes.rank, lora_alpha=2 * sizes.rank,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
    )  # fmt: skip
    clock, out = Clock(), TemporaryDirectory()
    trainer = Given(
        model=base_model(sizes), args=sdft_settings(sizes, out.name), train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer_of(sizes), peft_config=lora, callbacks=[clock],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)

    def epoch() -> Epoch:
        assert out.name  # the folder lives as long as the loop
        loss = trainer.train().training_loss
        return Epoch(clock.cpu, loss)

    return epoch


def sdft_settings(sizes: Sizes, folder: str) -> Any:
    """As near to the other loops as it can be set; its defaults would cut the prompt and recompute activations."""
    from trl.experimental.sdft import SDFTConfig

    return SDFTConfig(
        output_dir=folder, per_device_train_batch_size=sizes.batch, num_train_epochs=1, learning_rate=RATE,
        lr_scheduler_type="constant", optim="adamw_torch", max_grad_norm=0.0, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        shuffle_dataset=False, distillation_mode="full_logits", distillation_alpha=0.0, distillation_is_clip=None,
        teacher_model_kind="base", generate_from_teacher=True, teacher_prompt_template="{privileged_context} {prompt}",
        max_prompt_length=None, num_generations=1, max_completion_length=sizes.answer,
    )  # fmt: skip


def tokenizer_of(sizes: Sizes) -> Any:
    """A word for each token. None may be the beginning of another: special ones are found inside of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({spelt([token]): token for token in range(sizes.vocabulary)}, spelt([0])))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"pad_token": spelt([0]), "bos_token": spelt([1]), "eos_token": spelt([2])}
    return PreTrainedTokenizerFast(tokenizer_object=words, padding_side="left", **named)


def spelt(ids: Sequence[int]) -> str:
    return " ".join(f"<{token}>" for token in ids)
