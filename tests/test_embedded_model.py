"""The shipped folder of the embedded model, through transformers alone. What it can do is measured by
`python -m embedded.evaluate`; here only that it is whole, and right where it must not fail."""

import hashlib
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FOLDER = Path(__file__).parents[1] / "src" / "promptmill" / "model" / "weights" / "embedded"

GOLDEN = [
    ("Write the text in uppercase. Give only the result.", "the dog saw a cat", "THE DOG SAW A CAT"),
    ("Reverse the order of the words in the text. Give only the result.", "the tall man ran", "ran man tall the"),
    ("Make an acronym from the text. Give only the result.", "the red bird slept today", "T R B S T"),
    ("Count the words in the text. Give only the result.", "a boy found the key", "5"),
    ("List only the animals in the text. Give only the result.", "the wolf saw a bear near the river", "wolf bear"),
    ("List only the colours in the text. Give only the result.", "the red lamp", "red"),
    ("Decide if the text is positive or negative. Give only the result.", "the happy queen sang", "positive"),
    ("Decide if the text is positive or negative. Give only the result.", "the cruel king sang", "negative"),
    ("Write the text like a pirate. Give only the result.", "the man took a cake", "arr, th scallywag looted one cake"),
    ("Give only the last word of the text. Give only the result.", "the farmer sold a pig", "pig"),
    ("Put a comma between the words of the text. Give only the result.", "the owl sat", "the, owl, sat"),
    ("Do something with the text.", "the owl sat", "What should I do with this text?"),
    (
        "Solve the problem step by step.",
        "Tom has 12 apples. He gives away 3. He doubles them. How many apples does Tom have now?",
        "12 - 3 = 9 ; 9 x 2 = 18 ; answer 18",
    ),
    ("", "the dog saw a cat", "tell me more about the dog"),
]


@pytest.fixture(scope="module")
def loaded():
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    return transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval(), tokenizer


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


def test_the_file_is_small_half_precision_and_the_one_on_the_card(loaded):
    file = FOLDER / "model.safetensors"
    assert file.stat().st_size < 4_000_000
    stored = transformers.AutoConfig.from_pretrained(FOLDER)
    assert stored.dtype == torch.float16
    assert sum(p.numel() for p in loaded[0].parameters()) < 2_000_000
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(file.read_bytes()).hexdigest() in card
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


@pytest.mark.parametrize(("system", "user", "wanted"), GOLDEN, ids=[wanted for _, _, wanted in GOLDEN])
def test_golden_prompts(loaded, system, user, wanted):
    assert answers(loaded, [chat(system, user)]) == [wanted]


def test_a_padded_batch_gives_the_single_answers(loaded):
    chats = [chat(system, user) for system, user, _ in GOLDEN]
    assert answers(loaded, chats) == [answers(loaded, [c])[0] for c in chats]


def test_it_answers_the_packages_own_requests(loaded):
    from embedded import requests

    judged = requests.judge("Write the text in uppercase.", "the dog ran", "{}")
    asked = [
        requests.recover("the dog saw a cat", "THE DOG SAW A CAT"),
        judged.format("THE DOG RAN"),
        judged.format("arr, th dog sailed"),
        requests.first_order("Rewrite this instruction in other words.", "Write the text in uppercase."),
    ]
    recovered, yes, no, rewritten = answers(loaded, [chat("", request) for request in asked])
    assert (recovered, yes, no) == ("Write the text in uppercase.", "yes", "no")
    assert re.search("upper|capital|caps", rewritten.lower())


def test_a_stopped_training_run_goes_on_as_if_it_had_not_stopped(loaded, tmp_path):
    from embedded.train import Plan, train

    for name in ("whole", "halves"):  # the shipped tokenizer saves making one
        loaded[1].save_pretrained(tmp_path / name / "tokenizer")
    plan = Plan(tokens=4_000, warmup=2_000, batch_tokens=512, shard_examples=60, finish_tokens=2_000)
    whole = train(tmp_path / "whole", plan)
    train(tmp_path / "halves", plan, until_step=whole.progress.step // 2)
    second = train(tmp_path / "halves", plan)
    assert second.progress.step == whole.progress.step > 8
    assert second.progress.shard == whole.progress.shard > 0
    for name, weights in whole.model.state_dict().items():
        assert torch.equal(weights, second.model.state_dict()[name]), name
    assert whole.progress.tokens >= plan.total
    assert whole.progress.finishing


def test_the_export_is_the_trained_model():
    from embedded.lean import LeanLlama, Shape, to_transformers

    torch.manual_seed(3)
    lean = LeanLlama(Shape(vocabulary=96, width=32, layers=2, heads=4, kv_heads=2, inner=48))
    tokens = torch.randint(0, 96, (2, 9))
    with torch.inference_mode():
        ours = lean(tokens, torch.arange(18)).float()
        theirs = to_transformers(lean)(tokens).logits.reshape(18, -1)
    assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()  # bfloat16 against float32
