"""The guard of rewrites: realistic prompts both ways, and properties that hold for all of them."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.rewrite.guard.facts import facts_of, placeholders_of
from promptmill.crafts.rewrite.guard.rules import FLOOR, violations

GUIDE = "Write a learning guide about volcanoes for third-graders."
ANSWER = (
    "Volcanoes are mountains that can erupt. Deep under the ground the rock is so hot that it melts. When the pressure "
    "grows the melted rock breaks through the surface and flows down the sides as lava."
)
SYSTEM = (
    "You are the support assistant of Acme Cloud. Answer from the context only. If the answer is not in it, say "
    '"I do not know". Never mention prices.\n\nContext: {context}'
)
FEW_SHOT = "Classify the sentiment.\n\nReview: Great film!\nLabel: positive\n\nReview: {review}\nLabel:"
JSON_PROMPT = 'Extract the name and the age from {{text}}. Reply with JSON like {"name": "Ada", "age": 36}.'

GOOD = [
    ("Summarise the text.", "Summarise the text below in plain language. Keep the main point and leave out examples."),
    (GUIDE,
     "Create a simple, friendly learning guide that explains to third-graders what volcanoes are and why they erupt."),
    ("write smth about dogs",
     "Write a short, well-structured essay about dogs: their history, their senses, and their needs."),
    ("Give me 3 tips for sleeping better.", "List three practical tips, one per line, for better sleep."),
    ("Translate to French: {text}",
     "Translate the following text into French. Reply with the translation only.\n\n{text}"),
    (SYSTEM,
     'As Acme Cloud\'s support assistant, use nothing but the context. Where it has no answer, reply "I do not know". '
             "Do not mention prices.\n\nContext: {context}"),
    (FEW_SHOT,
     "Say whether the review is positive or negative. One word.\n\nReview: Great film!\nLabel: positive\n\n"
     "Review: {review}\nLabel:"),
    (JSON_PROMPT,
     'From {{ text }} take the name and the age. Return only JSON in this form: {"name": "Ada", "age": 36}'),
    ("Explain this code: `df.groupby('a').sum()`",
     "Explain step by step what `df.groupby('a').sum()` does, for a beginner."),
    ("Fix the bug in train.py: loss is NaN after 1,000 steps.",
     "Find and fix the bug in train.py that makes the loss NaN after 1000 steps."),
    ("why does the loss of llama-3.1-8b go up",
     "Why might the training loss of Llama-3.1-8B increase? Give likely causes and checks."),
    ("Fasse den Text in drei Sätzen zusammen.",
     "Bitte fasse den folgenden Text in genau 3 Sätzen zusammen und bewahre die Kernaussage."),
    ("Schreibe einen Aufsatz über Berlin.",
     "Verfasse einen gut gegliederten Aufsatz über die Stadt Berlin mit Einleitung, Hauptteil und Schluss."),
    ("Answer yes or no.", 'Answer with "yes" or "no" and nothing else.'),
    ("Rate the answer from 1 to 5.", "Rate the answer on a scale of 1–5. Reply with the number only."),
    ("How do I reverse a list?", "How can I reverse a list? Show the shortest way and explain it."),
    ("Improve this prompt: {prompt}",
     "Rewrite this prompt so that it gets better answers. Keep its intent.\n\n{prompt}"),
    ("List the steps to bake bread.", "List the steps to bake bread:\n1. ingredients\n2. method\n3. baking"),
    ("Plan a trip to New York in May.", "Plan a trip to New York for May, day by day. State the cost of each day."),
    ("Write a poem about the sea. Do not use rhymes.", "Write an unrhymed poem about the sea."),
    ("Never explain your answer. What colour is it?", "What colour is it? Reply with the colour only."),
    ("WRITE THE TEXT IN CAPITALS.", "Write the text in capitals."),
    ("You are a Senior Data Scientist. Review the SQL query.",
     "You are an experienced data scientist. Review the SQL query and point out slow joins."),
    ("I can't sleep. What should I do?", "I cannot fall asleep at night. What habits would help me? List them."),
    ("Mail the report to ada@example.org.", "Write a short mail with the report to ada@example.org."),
    ("Read https://example.org/a?b=1.", "Read the page https://example.org/a?b=1 and state its main claim."),
    ("If you cannot answer, say so.", "Say so plainly where you cannot answer."),
    ("Use $name as the greeting.", "Greet the user by $name."),
    ("Put the summary in <summary> tags.", "Write the summary between <summary> and </summary>."),
    ("Solve $x^2 + 1 = 0$.", "Solve the equation $x^2 + 1 = 0$ over the complex numbers."),
    ("Compare PyTorch and JAX.",
     "Compare PyTorch with JAX: speed, ease of debugging, and ecosystem. End with a recommendation."),
    ("The meeting lasts two hours. Write an invitation.", "Write a polite invitation to a meeting that lasts 2 hours."),
    ("Write tests for parse_line() in src/app/parser.py.",
     "Write unit tests for parse_line() of src/app/parser.py. Cover empty lines."),
]  # fmt: skip

BAD = [
    ("Translate to French: {text}", "Translate the text into French.", "lost_placeholder"),
    (JSON_PROMPT, 'From {text} take name, age. Reply with JSON like {"name": "Ada", "age": 36}.', "lost_placeholder"),
    ("Use $name as the greeting.", "Use the name as the greeting.", "lost_placeholder"),
    ("Put the summary in <summary> tags.", "Mark the summary with tags.", "lost_placeholder"),
    ("Summarise the text.", "Summarise this text: {text}", "added_placeholder"),
    ("Hello {name}, write a poem.", "Write a poem for {name} about {topic}.", "added_placeholder"),
    ("Use $name as the greeting.", "Greet $name from $city.", "added_placeholder"),
    ("Give me 3 tips for sleeping better.", "Give me tips for sleeping better.", "lost_intent"),
    ("Fasse den Text in drei Sätzen zusammen.", "Fasse den Text kurz zusammen.", "lost_intent"),
    ("Plan a trip to New York in May.", "Plan a trip for me.", "lost_intent"),
    (SYSTEM, 'Answer from the context only, else say "I do not know".\n\nContext: {context}', "lost_intent"),
    (SYSTEM, "You are the support assistant of Acme Cloud. Answer from the context only.\n\nContext: {context}",
     "lost_intent"),
    ("Explain this code: `df.groupby('a').sum()`", "Explain how grouping works in pandas.", "lost_intent"),
    ("Fix the bug in train.py.", "Fix the bug in my script.", "lost_intent"),
    ("Read https://example.org/a?b=1.", "Read https://example.org/ and state its claim.", "lost_intent"),
    ("Mail the report to ada@example.org.", "Mail the report.", "lost_intent"),
    ("Write about GPT-4 and its limits.", "Write about language models and their limits.", "lost_intent"),
    ("Describe the food. Do not use jargon.", "Describe the food and use jargon.", "lost_intent"),
    ("Schreibe den Bericht. Verwende keine Fachbegriffe.",
     "Schreibe den Bericht und verwende Fachbegriffe.", "lost_intent"),
    ("Summarise the text.", "Summarise the text in 3 bullet points.", "added_intent"),
    ("Summarise the text.", "Summarise the text in five sentences.", "added_intent"),
    ("Write about dogs.", "Write about dogs such as the ones of Queen Elizabeth.", "added_intent"),
    ("Write about dogs.", "Write about dogs, see https://example.org/dogs for details.", "added_intent"),
    ("Answer the question.", 'Answer the question and end with "Have a nice day".', "added_intent"),
    ("What is 12 + 7?", "12 + 7 = 19", "added_intent"),
    (GUIDE, f"Sure, here is the guide:\n\n{ANSWER}", "answered"),
    (GUIDE, f"Here is a learning guide about volcanoes: {ANSWER}", "answered"),
    (GUIDE, f"Sure! {ANSWER}", "answered"),
    ("What is the capital of France?", "The answer is Paris.", "answered"),
    ("Schreibe einen Text über Vulkane.", f"Gerne, hier ist der Text:\n{ANSWER}", "answered"),
    ("How do I reverse a list?", "What is your question?", "asked_back"),
    ("Summarise.", "Could you please provide the text you want summarised?", "asked_back"),
    ("Help me.", "Hello! How can I help you today?", "asked_back"),
    ("Hilf mir bei der Aufgabe.", "Wie kann ich Ihnen helfen?", "asked_back"),
    ("Write about locks.", "I'm sorry, but I cannot help with that request.", "refused"),
    ("Write about locks.", "I cannot assist with this.", "refused"),
    ("Where is the cat?", "I do not know.", "refused"),
    ("Schreibe über Schlösser.", "Es tut mir leid, dabei kann ich nicht helfen.", "refused"),
    ("Write about dogs.", "Here is the improved prompt:\n\nWrite a short text about dogs.", "talk"),
    ("Write about dogs.", "Improved prompt: Write a short text about dogs.", "talk"),
    ("Write about dogs.", "Write a short text about dogs.\n\nI hope this helps!", "talk"),
    ("Write about dogs.", "Write a short text about dogs.\n\n**Changes made:** it is clearer now.", "talk"),
    ("Write about dogs.", "dogs " * (FLOOR + 1), "length"),
    ("Write about dogs.", " \n", "empty"),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "rewrite"), GOOD)
def test_an_ordinary_rewrite_breaks_no_rule(prompt: str, rewrite: str):
    assert violations(prompt, rewrite, answer=ANSWER) == ()


@pytest.mark.parametrize(("prompt", "rewrite", "kind"), BAD)
def test_a_broken_rule_is_named(prompt: str, rewrite: str, kind: str):
    found = violations(prompt, rewrite)
    assert kind in {violation.kind for violation in found}
    assert all(violation.detail and "\n" not in violation.detail for violation in found)


@pytest.mark.parametrize("text", [*dict.fromkeys(text for row in (*GOOD, *BAD) for text in row[:2] if text.strip())])
def test_every_text_may_stay_as_it_is(text: str):
    assert violations(text, text, answer=text) == ()


PIECES = st.sampled_from(
    ['"', "'", "{x}", "{{x}}", "{", "}", "$x", "${y}", "<b>", "3", "1,000", "2.5", "1.", "\n", " ", "`a b`", "```",
     "Paris", "NASA", "\0", "the sea", "GPT-4", "http://a.de/b", "a@b.de", "no use", "do not say it", "a.py", "f_x()",
     "“", "”", "„", "I cannot help", "Sure! ", "three sentences", "Here is a guide: ", "What is your question?",
     "The answer is 4", "und", "ß", "$", "\\"]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=8), max_size=30).map(lambda parts: "x " + "".join(parts)))
def test_a_prompt_never_violates_against_itself(text: str):
    assert violations(text, text, answer=text, similarity=1.0, least_similarity=0.9) == ()


@given(st.text(max_size=80), st.text(max_size=80), st.none() | st.text(max_size=80))
def test_any_two_texts_are_judged(prompt: str, rewrite: str, answer: str | None):
    violations(prompt, rewrite, answer=answer)


NUMBERS = st.integers(13, 9999).map(str)
NAMES = st.sampled_from(["Paris", "Ada Lovelace", "Tolstoy", "Kubernetes", "NASA", "Nairobi"])
FACTS = st.one_of(
    NUMBERS.map(lambda number: ("lost_intent", f"and {number} of them")),
    NAMES.map(lambda name: ("lost_intent", f"about {name}")),
    st.from_regex(r"[b-z]{4,8} [b-z]{4,8}", fullmatch=True).map(lambda text: ("lost_intent", f'with "{text}"')),
    st.from_regex(r"[b-z]{3,6}_[b-z]{3,6}", fullmatch=True).map(lambda text: ("lost_intent", f"using `{text}`")),
    st.from_regex(r"https://[b-z]{4,8}\.org/[b-z]{5}", fullmatch=True).map(lambda url: ("lost_intent", f"from {url}")),
    st.from_regex(r"[b-z]{4,8}@[b-z]{4,8}\.org", fullmatch=True).map(lambda text: ("lost_intent", f"to {text}")),
    st.from_regex(r"[b-z]{4,8}\.(py|csv|yaml)", fullmatch=True).map(lambda text: ("lost_intent", f"in {text}")),
    st.from_regex(r"\{[b-z]{4,8}\}|\{\{[b-z]{4,8}\}\}|\$[b-z]{4,8}|<[b-z]{4,8}>", fullmatch=True).map(
        lambda text: ("lost_placeholder", f"for {text}")
    ),
)  # fmt: skip


@given(st.lists(FACTS, min_size=1, max_size=6, unique_by=lambda fact: fact[1]), st.randoms(use_true_random=False))
def test_who_keeps_all_facts_breaks_no_rule_and_who_drops_one_does(facts: list[tuple[str, str]], rng):
    prompt = "Please write it " + " ".join(text for _, text in facts) + " now."
    shuffled = rng.sample(facts, len(facts))
    assert violations(prompt, "You should produce a text " + ", ".join(text for _, text in shuffled) + ".") == ()
    (kind, lost), *kept = shuffled
    if any(lost.split()[-1].strip('"`{}$<>') in text for _, text in kept):
        return  # it is mentioned in another one
    found = violations(prompt, "You should produce a text " + ", ".join(text for _, text in kept) + ".")
    assert [violation.kind for violation in found] == [kind]


@given(st.lists(FACTS, min_size=1, max_size=4, unique_by=lambda fact: fact[1]))
def test_what_the_prompt_does_not_have_is_added(facts: list[tuple[str, str]]):
    found = violations("Please write it now.", "Write it " + " ".join(text for _, text in facts) + " now.")
    kinds = {violation.kind for violation in found}
    only_other_style = all(kind == "lost_placeholder" and text.split()[-1][0] in "$<" for kind, text in facts)
    assert kinds <= {"added_intent", "added_placeholder"}
    assert bool(kinds) == (not only_other_style)


def test_a_copied_answer_is_no_rewrite():
    assert [one.kind for one in violations(GUIDE, ANSWER, answer=ANSWER)] == ["answered"]
    nearly = "Volcanoes are great. " + ANSWER.removesuffix(" as lava.")
    assert "answered" in {one.kind for one in violations(GUIDE, nearly, answer=ANSWER)}
    assert violations("Is it so?", "Say yes or no.", answer="yes") == ()
    assert [one.kind for one in violations("Is it so?", "Yes.", answer="yes")] == ["answered"]
    assert violations(GUIDE, f"{GUIDE} Say why volcanoes are mountains that can erupt.", answer=ANSWER) == ()


def test_a_prompt_that_holds_its_answer_may_keep_it():
    prompt = f"Shorten this text: {ANSWER}"
    assert violations(prompt, f"Make this text shorter. Text: {ANSWER}", answer=ANSWER) == ()


@pytest.mark.parametrize(("words", "longest", "fits"), [(3, 4.0, FLOOR), (20, 4.0, 80), (20, 2.5, 50), (100, 1.5, 150)])
def test_a_short_prompt_may_grow_to_the_floor_and_a_long_one_by_its_factor(words: int, longest: float, fits: int):
    alphabet = "abcdefghijklmnopqrst"
    of = [f"{a}{b}" for a in alphabet for b in alphabet]  # no three words in a row come twice
    prompt = " ".join(of[:words])
    assert violations(prompt, " ".join(of[:fits]), longest=longest) == ()
    assert [one.kind for one in violations(prompt, " ".join(of[: fits + 1]), longest=longest)] == ["length"]


def test_similarity_is_held_against_the_least_only_where_it_is_known():
    assert violations("Add.", "Sum up.", least_similarity=0.9) == ()
    assert violations("Add.", "Sum up.", similarity=0.9, least_similarity=0.9) == ()
    for similarity in (0.89, math.nan):
        (found,) = violations("Add.", "Sum up.", similarity=similarity, least_similarity=0.9)
        assert found.kind == "similarity"


def test_what_a_text_states_is_read_by_kind():
    text = 'In 2.50 of `a b` and src/x.py, run f_x() for "all of it" at https://a.org/x, say Ada Lovelace. NASA, GPT-4!'
    assert sorted(facts_of(text)) == [
        ("address", "https://a.org/x"), ("code", "a b"), ("code name", "GPT-4"), ("file", "src/x.py"),
        ("identifier", "f_x()"), ("name", "Ada Lovelace"), ("name", "NASA"), ("number", "2.5"), ("quote", "all of it"),
    ]  # fmt: skip
    assert placeholders_of("{a} {{ b }} $c ${d} <e> </e> $5 {0} {'f': 1}") == {
        "{name}": {"{a}"}, "{{name}}": {"{{b}}"}, "$name": {"$c", "${d}"}, "<name>": {"<e>"}, "{0}": {"{0}"},
    }  # fmt: skip


@pytest.mark.parametrize("piece", ["a.", "$", '"', "- ", "\n", "{{", "Aa ", "not use ", "1.", "`", "Here is a ", "a_"])
def test_long_texts_of_one_piece_are_read_in_time(piece: str):
    text, begin = (piece * 4000)[:4000], time.perf_counter()
    violations(text, "x " + text, answer=text + " and so on")
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    "rewrite",
    [
        "Give the first word. " + "Bag in the first " * 5,
        "Is this text about nature?jjjjjjjjjj",
    ],
)
def test_text_that_has_lost_the_thread_breaks_a_rule(rewrite: str) -> None:
    assert "repeats" in {one.kind for one in violations("Give the first word of this sentence.", rewrite)}


def test_what_the_prompt_repeats_its_rewrite_may_repeat() -> None:
    prompt = "Say it like this: la la la la la la la la!"
    assert "repeats" not in {one.kind for one in violations(prompt, f"Please say it like this: {prompt[18:]}")}
