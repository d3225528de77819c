"""Fixed prompts whose answers must not drift: `python -m embedded.golden` writes tests/golden.json after a training.

An answer is kept only if no token of it was a close call, so that another processor rounds to the same one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from embedded import requests
from embedded.evaluate import MAX_NEW, encode, load
from embedded.layouts import Message, system, user
from embedded.release import WEIGHTS

FILE = Path(__file__).parents[1] / "tests" / "golden.json"
CLOSE = 0.3  # nats between the best token and the next
ONLY = "Give only the result."
PROMPTS: tuple[tuple[str, str], ...] = (
    (f"Write the text in uppercase. {ONLY}", "the dog saw a cat"),
    (f"Write the text in uppercase. {ONLY}", "the zorbit saw a quiblet"),
    (f"Write the text in lowercase. {ONLY}", "THE DOG SAW A CAT"),
    (f"Capitalise each word of the text. {ONLY}", "the old king slept"),
    (f"Reverse the order of the words in the text. {ONLY}", "the tall man ran"),
    (f"Reverse the word order. {ONLY}", "a big zorbit ran near our house"),
    (f"Sort the words alphabetically. {ONLY}", "my cat found bread"),
    (f"Make an acronym from the text. {ONLY}", "the red bird slept today"),
    (f"Repeat every word of the text. {ONLY}", "the owl sat"),
    (f"Count the words in the text. {ONLY}", "a boy found the key"),
    (f"List only the animals in the text. {ONLY}", "the wolf saw a bear near the river"),
    (f"List only the animals in the text. {ONLY}", "the king opened a door"),
    (f"List only the colours in the text. {ONLY}", "the red lamp and a green box"),
    (f"List only the people in the text. {ONLY}", "the king called my sister"),
    (f"Decide if the text is positive or negative. {ONLY}", "the happy queen sang"),
    (f"Decide if the text is positive or negative. {ONLY}", "the cruel king sang"),
    (f"Decide if there is an animal in the text. {ONLY}", "the tiger slept"),
    (f"Write the text like a pirate. {ONLY}", "the man took a cake"),
    (f"Write the text politely. {ONLY}", "the boat is here"),
    (f"Give only the last word of the text. {ONLY}", "the farmer sold a pig"),
    (f"Give only the first word of the text. {ONLY}", "The farmer sold a pig."),
    (f"Put a comma between the words of the text. {ONLY}", "the owl sat"),
    (f"Replace the word dog by lamp in the text. {ONLY}", "the old dog sat beside a dog"),
    (f"Remove the word the from the text. {ONLY}", "the owl and the fox sat"),
    (f"Add three exclamation marks at the end. {ONLY}", "The owl sat."),
    ("Do something with the text.", "the owl sat"),
    ("Write the text in uppercase.", "my dog saw a cat"),
    ("Solve the problem step by step.",
     "Tom has 32 apples. He gives away 13. He doubles them. How many apples does Tom have now?"),
    ("Answer in uppercase.", "the dog saw a cat"),
    ("The key is in the garden. The ball is in the tower.", "Where is the ball?"),
    ("Your name is Anna. You live in the castle.", "What is your name?"),
    ("", "the dog saw a cat"),
    ("", "Hello!"),
    ("", "What can you do?"),
    ("", "What is the capital of France?"),
    ("", requests.recover("the dog saw a cat", "THE DOG SAW A CAT")),
    ("", requests.recover("the tall man ran", "ran man tall the")),
    ("", requests.induce([("the dog ran", "T D R"), ("a red bird sat", "A R B S")])),
    ("", requests.judge("Write the text in uppercase.", "the dog ran", "THE DOG RAN")),
    ("", requests.judge("Write the text in uppercase.", "the dog ran", "arr, th dog sailed")),
    ("", requests.rate("correctness", "Reverse the word order.", "the dog ran", "ran dog the")),
    ("", requests.rate("form", "Reverse the word order.", "my dog ran", "Sure, here it is: ran dog my")),
    ("", requests.compare("Count the words.", "the dog ran", "3", "What should I do with this text?")),
    ("", requests.first_order("Shorten this instruction.", "Count the words in the text. Check the answer twice.")),
)  # fmt: skip


def chat(system_prompt: str, text: str) -> list[Message]:
    return [*([system(system_prompt)] if system_prompt else []), user(text)]


def answer(model: Any, tokenizer: Any, messages: list[Message]) -> tuple[str, float]:
    """The greedy answer, and by how many nats the closest of its tokens won."""
    encoded = encode(tokenizer, [messages])
    with torch.inference_mode():
        made = model.generate(
            input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], max_new_tokens=MAX_NEW,
            do_sample=False, output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
    best = torch.cat(made.scores).log_softmax(-1).topk(2).values
    new = made.sequences[0, encoded["input_ids"].shape[1] :]
    return tokenizer.decode(new, skip_special_tokens=True).strip(), float((best[:, 0] - best[:, 1]).min())


def main() -> None:
    torch.set_num_threads(1)
    kept: dict[str, list[dict[str, str]]] = {}
    for folder in sorted(WEIGHTS.iterdir()):
        loaded = load(folder)
        kept[folder.name] = []
        for system_prompt, text in PROMPTS:
            said, margin = answer(*loaded, chat(system_prompt, text))
            print(f"{folder.name} {margin:5.2f}  {system_prompt!r} {text!r}\n    {said!r}")
            if margin > CLOSE:
                kept[folder.name].append({"system": system_prompt, "user": text, "answer": said})
    FILE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print({name: f"{len(rows)} of {len(PROMPTS)} kept" for name, rows in kept.items()})


if __name__ == "__main__":
    main()
