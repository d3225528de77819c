"""The shipped folders of the embedded models, through transformers alone. What they can do is measured by
benchmarks/embedded.py; here only that they are whole, and answer as they did when they were made."""

import hashlib
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WEIGHTS = Path(__file__).parents[1] / "src" / "promptmill" / "model" / "weights"
GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
LARGEST_MB = {"embedded": 8.0, "embedded-small": 1.5}


@pytest.fixture(scope="module", params=sorted(LARGEST_MB))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def loaded(name):
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(WEIGHTS / name)
    return transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS / name, dtype=torch.float32).eval(), tokenizer


def chat(system, user):
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": user}]


def answers(loaded, chats):
    model, tokenizer = loaded
    texts = [tokenizer.apply_chat_template(c, add_generation_prompt=True, tokenize=False) for c in chats]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.inference_mode():
        made = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=64, do_sample=False
        )
    new = tokenizer.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in new]


def test_the_file_is_small_half_precision_and_the_one_on_the_card(loaded, name):
    file = WEIGHTS / name / "model.safetensors"
    assert file.stat().st_size < LARGEST_MB[name] * 1e6
    assert transformers.AutoConfig.from_pretrained(WEIGHTS / name).dtype == torch.float16
    card = (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(file.read_bytes()).hexdigest() in card
    assert f"{sum(p.numel() for p in loaded[0].parameters()):,} parameters" in card
    record = json.loads((WEIGHTS / name / "training.json").read_text(encoding="utf-8"))
    assert record["command"] in card
    assert record["commit"] in card
    assert "apache-2.0" in card


def test_the_template_writes_the_roles(loaded):
    messages = [*chat("Be brief.", "hello"), {"role": "assistant", "content": "yes"}]
    tokenizer = loaded[1]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == "<|system|> Be brief.<|end|><|user|> hello<|end|><|assistant|> yes<|end|>"
    opened = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert opened == "<|system|> Be brief.<|end|><|user|> hello<|end|><|assistant|>"
    assert tokenizer.padding_side == "left"


def test_the_template_masks_the_answer(loaded):
    messages = [*chat("", "hello"), {"role": "assistant", "content": "the dog"}]
    encoded = loaded[1].apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True, tokenize=True
    )
    masked = [i for i, on in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if on]
    assert loaded[1].decode(masked) == " the dog<|end|>"


def test_special_tokens_are_one_token_each(loaded):
    tokenizer = loaded[1]
    for token in ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"):
        assert len(tokenizer(token, add_special_tokens=False)["input_ids"]) == 1
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|pad|>", "<|end|>")
    text = "Any text at all: 1,234 — naïve ☂ {json: [1]}\n\n"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_answers_have_not_drifted(loaded, name):
    rows = GOLDEN[name]
    assert len(rows) >= 24
    said = [answers(loaded, [chat(row["system"], row["user"])])[0] for row in rows]
    drifted = [(row["system"], row["user"], row["answer"], now) for row, now in zip(rows, said, strict=True)
               if row["answer"] != now]  # fmt: skip
    assert not drifted


def test_a_left_padded_batch_gives_the_single_answers(loaded, name):
    rows = GOLDEN[name]
    assert answers(loaded, [chat(row["system"], row["user"]) for row in rows]) == [row["answer"] for row in rows]


def test_an_unknown_word_is_spelt_and_a_known_one_is_not(loaded):
    tokenizer = loaded[1]
    assert len(tokenizer.tokenize(" dog")) == 1
    assert tokenizer.tokenize(" zorbit")[1:] == list("zorbit")
    assert len(tokenizer.tokenize("42")) == 2


def test_a_stopped_training_run_goes_on_as_if_it_had_not_stopped(loaded, tmp_path):
    from embedded.lean import Shape
    from embedded.train import Phase, Plan, train

    for name in ("whole", "halves"):  # the shipped tokenizer saves making one
        loaded[1].save_pretrained(tmp_path / name / "tokenizer")
    phases = (Phase("main", 8_000, 4e-3, steady=0.3), Phase("late", 4_000, 2e-3))
    plan = Plan(5, phases, warmup=2_000, batch_tokens=1024, shard_examples=60)
    shape = Shape(width=32, layers=2, inner=48)
    whole = train(tmp_path / "whole", plan, shape)
    train(tmp_path / "halves", plan, shape, until_step=whole.progress.step // 2)
    second = train(tmp_path / "halves", plan, shape)
    assert second.progress.step == whole.progress.step > 8
    assert second.progress.shard == whole.progress.shard > 0
    for name, weights in whole.model.state_dict().items():
        assert torch.equal(weights, second.model.state_dict()[name]), name
    assert whole.progress.tokens >= plan.total
    assert whole.progress.phase == 1


def test_answers_alone_are_learned_the_longer_the_less_each_token(loaded):
    from embedded import data
    from embedded.corpus import corpus

    tokenizer = loaded[1].backend_tokenizer
    shard = data.make_shard(tokenizer, 7, 0, 200)
    rows = zip(corpus("7/train/0", 200), shard.lengths, shard.offsets, strict=False)
    for example, length, begin in rows:
        weights = shard.weights[begin : begin + length]
        learned = tokenizer.decode(shard.tokens[begin : begin + length][weights > 0].tolist())
        assert learned.endswith(example.answer)
        own = len(tokenizer.encode(f" {example.answer}<|end|>", add_special_tokens=False).ids)
        assert weights[-1] == pytest.approx(own**-0.5)
        assert (weights > 0).sum() >= own


def test_the_export_is_the_trained_model():
    from embedded.lean import LeanLlama, Shape, to_transformers

    torch.manual_seed(3)
    lean = LeanLlama(Shape(vocabulary=96, width=32, layers=2, heads=4, kv_heads=2, inner=48))
    tokens = torch.randint(0, 96, (2, 9))
    with torch.inference_mode():
        ours = lean(tokens, torch.arange(18)).float()
        theirs = to_transformers(lean)(tokens).logits.reshape(18, -1)
    assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()  # bfloat16 against float32
