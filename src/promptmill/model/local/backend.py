"""Any Hugging Face causal language model in this process, with adapters: `--model FOLDER` or `--model org/name`.

Calls come one by one and are answered in batches (batcher, plan); prompts that begin alike share the
computation of that beginning (cache, folded); the decoding loop is our own (decode).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from promptmill.errors import ModelError
from promptmill.model.chat import (
    Answer,
    CallError,
    Completion,
    Request,
    Sampling,
    ScoreRequest,
    Scores,
    TokenLogprob,
    Usage,
)
from promptmill.model.local import load
from promptmill.model.local.adapters import check_adapter
from promptmill.model.local.batcher import Batcher
from promptmill.model.local.chat import ChatTokenizer
from promptmill.model.local.choosing import choose, log_shares, seed_of
from promptmill.model.local.loaded import Loaded
from promptmill.model.local.work import Drawn, Draws, Rated, Rates, Result, Shape, Token, Work
from promptmill.prompt import Message

if TYPE_CHECKING:
    from promptmill.model.local.decode import Engine


class LocalBackend:
    """A model folder, or a hub name, answering in batches on one worker thread.

    adapters:    LoRA folders (peft); their changes are added up.
    dtype:       auto, float32, bfloat16 or float16; auto is float32 on a CPU and the checkpoint's own on a GPU.
    device:      auto, cpu, cuda, cuda:1, …
    batch_size:  rows in a batch; 16 times as many calls may wait, so that batches can be put together well.
    max_context: tokens of prompt and answer, where less than the model's own limit.
    threads:     torch's CPU threads, set for the whole process at `open`; None leaves them as they are.

    The constructor reads only what the fingerprint needs, and sees whether adapters are of this model; weights are
    loaded at the first `open` and kept. The same request gives the same answer whatever it is batched with, up to
    rounding in the last bits of a logit.
    """

    continues = True

    def __init__(
        self,
        path_or_name: str,
        *,
        adapters: Sequence[str] = (),
        dtype: str = "auto",
        load_in_4bit: bool = False,
        device: str = "auto",
        batch_size: int = 64,
        max_context: int | None = None,
        threads: int | None = None,
    ):
        load.need_extra()
        if batch_size < 1:
            raise ModelError(f"the batch size must be at least 1, not {batch_size}")
        self.name = path_or_name.rstrip("/").rpartition("/")[2] if path_or_name.count("/") != 1 else path_or_name
        self.folder = load.resolve(path_or_name)
        self.adapters = tuple(check_adapter(path) for path in adapters)
        if self.adapters:  # now, not when the weights are loaded: by then a run has been begun
            load.check_made_for(self.folder, self.adapters)
        self.device = load.pick_device(device)
        self.dtype = load.pick_dtype(dtype, self.device)
        self.four_bit = load_in_4bit
        self.fingerprint = load.fingerprint(self.folder, self.adapters, self.dtype, load_in_4bit)
        self.server, self.batch_size, self.concurrency = self.fingerprint, batch_size, 16 * batch_size
        self._max_context, self._threads = max_context, threads
        self._eos = load.end_tokens(self.folder)
        self._chat: ChatTokenizer | None = None
        self._engine: Engine | None = None
        self._limit = 0
        self._worker: ThreadPoolExecutor | None = None
        self._batcher: Batcher | None = None

    # The protocol

    async def open(self) -> None:
        """Load the weights (once) and start the batcher in this event loop. ModelError for what cannot be loaded."""
        if self._batcher is not None:
            return
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="promptmill-local")
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._load)
        except BaseException:
            self._worker.shutdown(wait=False)
            self._worker = None
            raise
        self._batcher = Batcher(self._run, self.batch_size, self._worker)

    async def close(self) -> None:
        """Stop the batcher and its thread; the weights stay in memory for the next `open`."""
        batcher, worker, self._batcher, self._worker = self._batcher, self._worker, None, None
        if batcher is not None:
            await batcher.close()
        if worker is not None:
            worker.shutdown(wait=True)

    async def complete(self, request: Request) -> Completion:
        """CallError "refused" for a prompt that does not fit the context or the template, and for a response_format."""
        if request.response_format is not None:
            raise CallError("refused", "a local model takes no response_format; give a constraint")
        if isinstance(request.constraint, tuple):
            return await self._choose(request, request.constraint)
        given, lead = self.chat.begin(request.prefix)
        ids, shape = self.chat.encode_chat(request.messages, given), None
        if request.constraint is not None:
            load.need_guidance()
            shape = Shape(request.constraint, lead, request.suffix)
        free = shape is None and (not given or lead != "")
        return await self._draw(ids, request.sampling, request.n, request.repeat, request.logprobs, free, shape)

    async def score(self, request: ScoreRequest) -> Scores:
        """Summed log-probability of each continuation as the assistant's answer (after the prefix), the end of the turn
        not included. The white space that the template puts before answers is added; see chat.leading_of."""
        ids, texts = self.chat.continuations(request.messages, request.prefix, request.continuations)
        rated = await self._rate(ids, texts)
        sums = tuple(math.fsum(token.logprob for token in tokens) for tokens in rated)
        return Scores(sums, tuple(map(len, texts)), Usage(len(ids) + sum(map(len, texts)), 0))

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        return len(self.chat.encode_chat(messages))

    # Raw text, for the server's /v1/completions and its prompt log-probabilities

    async def complete_text(
        self, text: str, sampling: Sampling, *, n: int = 1, repeat: int = 0, logprobs: int | None = None
    ) -> Completion:
        """Continue a text as it is, without a chat template. Nothing is stripped."""
        ids = tuple(self.chat.encode(text, special=True))
        return await self._draw(ids, sampling, n, repeat, logprobs, False)

    async def rate_text(self, text: str, top: int = 0, *, special: bool = True) -> tuple[tuple[int, ...], Rated]:
        """The tokens of a text, and the log-probabilities of all but the first. special: as for raw text; a rendered
        chat brings its own special tokens."""
        ids = tuple(self.chat.encode(text, special=special))
        if len(ids) < 2:
            return ids, []
        return ids, (await self._rate(ids[:1], (ids[1:],), top))[0]

    def render(self, messages: tuple[Message, ...], prefix: str = "") -> str:
        """The prompt as the model reads it. CallError "refused" where the template does not take the messages."""
        return self.chat.render(messages, prefix)

    def forget(self) -> None:
        """Drop kept prefixes (for measurements)."""
        if self._engine is not None:
            self._engine.forget()
        if self._chat is not None:
            self._chat.encode_chat.cache_clear()

    @property
    def chat(self) -> ChatTokenizer:
        if self._chat is None:
            tokenizer = load.load_tokenizer(self.folder)
            if tokenizer.eos_token_id is not None:
                self._eos |= {tokenizer.eos_token_id}
            self._chat = ChatTokenizer(tokenizer, self._eos)
        return self._chat

    def text_of(self, token: int) -> str:
        return str(self.chat.tokenizer.decode([token]))

    def loaded(self) -> Loaded:
        """The model itself, for crafts that look inside it; loaded where it is not yet. Not while calls are under way:
        it is used by one thread at a time. ModelError for what cannot be loaded."""
        self._load()
        assert self._engine is not None
        return Loaded(self._engine.model, self.chat, frozenset(self._eos), self._limit, self.name, self.fingerprint)

    # How it works

    async def _draw(
        self,
        ids: tuple[int, ...],
        sampling: Sampling,
        n: int,
        repeat: int,
        logprobs: int | None,
        free: bool,
        shape: Shape | None = None,
    ) -> Completion:
        """n answers after `ids`. free: leading white space belongs to the prompt (see ChatTokenizer.begin)."""
        self._check_fits(len(ids), 1)
        limit = min(sampling.max_tokens, self._limit - len(ids))
        work = Draws(
            ids, limit, tuple(seed_of(ids, sampling.seed, repeat, index) for index in range(n)), sampling.temperature,
            sampling.top_p, tuple(filter(None, sampling.stop)), free, None if free or not ids else ids[-1], logprobs,
            shape,
        )  # fmt: skip
        drawn = cast(list[Drawn], await self._submit(work))
        usage = Usage(len(ids), sum(row.tokens for row in drawn))
        if missed := next((row.missed for row in drawn if row.missed), None):
            raise CallError("constraint", missed, usage=usage)
        told = [None if logprobs is None else tuple(map(self._told, row.logs)) for row in drawn]
        answers = tuple(Answer(row.text, row.finish, logs, row.stop) for row, logs in zip(drawn, told, strict=True))
        return Completion(answers, usage)

    async def _rate(self, ids: tuple[int, ...], texts: tuple[tuple[int, ...], ...], top: int = 0) -> list[Rated]:
        self._check_fits(len(ids), max(map(len, texts), default=0))
        return cast(list[Rated], await self._submit(Rates(ids, texts, top)))

    async def _choose(self, request: Request, choices: tuple[str, ...]) -> Completion:
        """An answer among the choices. Each is weighed by the probability that the model answers it and then ends its
        turn (or goes on with the suffix), so that "yes" and "yes please" can be compared; the weights are made to sum
        to one. Temperature 0 takes the most probable, another draws from the weights sharpened by it; top_p and stop
        have no say.

        Log-probabilities: one entry, the choice with the log of its share, all choices as alternatives.
        """
        if not choices:
            raise CallError("refused", "there are no choices to choose from")
        whole = [choice + request.suffix for choice in choices]
        ids, texts = self.chat.continuations(request.messages, request.prefix, whole)
        end = () if request.suffix or self.chat.end is None else (self.chat.end,)
        rated = await self._rate(ids, tuple(text + end for text in texts))
        logs = log_shares([math.fsum(token.logprob for token in tokens) for tokens in rated])
        ranked = tuple(sorted(zip(choices, logs, strict=True), key=lambda row: -row[1]))
        answers, spent = [], 0
        for index in range(request.n):
            seed = seed_of(ids, request.sampling.seed, request.repeat, index)
            at = choose(logs, request.sampling.temperature, (seed >> 64) / 2.0**64)
            noted = (TokenLogprob(choices[at], logs[at], ranked),) if request.logprobs is not None else None
            answers.append(Answer(choices[at], "stop", noted))
            spent += len(texts[at]) + len(end)
        return Completion(tuple(answers), Usage(len(ids), spent))

    def _told(self, token: Token) -> TokenLogprob:
        top = tuple((self.text_of(other), logprob) for other, logprob in token.top)
        return TokenLogprob(self.text_of(token.id), token.logprob, top)

    def _check_fits(self, prompt: int, answer: int) -> None:
        if prompt == 0:
            raise CallError("refused", "the prompt is empty")
        if prompt + answer > self._limit:
            raise CallError(
                "refused", f"the prompt has {prompt} tokens and the answer at least {answer}, the context {self._limit}"
            )

    async def _submit(self, work: Work) -> list[Result]:
        if self._batcher is None:
            raise RuntimeError("open() first")
        return await self._batcher.submit(work)

    def _load(self) -> None:
        """In the worker thread: torch, the weights, the tokenizer."""
        import torch

        from promptmill.model.local.decode import Engine
        from promptmill.model.local.folded import prepare

        if self._threads is not None:
            torch.set_num_threads(self._threads)
        if self._engine is not None:
            return
        model = load.load_model(self.folder, self.adapters, self.dtype, self.device, self.four_bit)
        prepare(model)
        chat = self.chat
        own = load.context_of(model.config)
        self._limit = min(own, self._max_context or own)
        self._engine = Engine(model, chat.decode, frozenset(self._eos), chat.fast)

    def _run(self, works: list[Work], shared: int) -> list[list[Result]]:
        """In the worker thread: one batch. Out of memory, it is tried once more in two halves."""
        import torch

        try:
            return self._compute(works, shared)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(works) > 1:
            half = len(works) // 2
            return self._compute(works[:half], shared) + self._compute(works[half:], shared)
        (work,) = works
        half = work.rows // 2
        parts = [part for part in (work.part(0, half), work.part(half, work.rows)) if part.rows]
        return [[result for part in parts for result in self._compute([part], shared)[0]]]

    def _compute(self, works: list[Work], shared: int) -> list[list[Result]]:
        assert self._engine is not None
        if isinstance(works[0], Draws):
            return cast(list[list[Result]], self._engine.draw(cast(list[Draws], works), shared))
        return cast(list[list[Result]], self._engine.rate(cast(list[Rates], works), shared))


def _out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
