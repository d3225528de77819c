"""A rewritten text before it counts: heads and fences go, nothing of the text goes, the middle of a long one does."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.crafts.recover.synthesize.clean import MARK, cleaned, cut_head, cut_middle, unchanged, words

TEXT = "The old king walked to the sea.\n\nIt was late: he knew it."
LONG = " ".join(f"word{number}" for number in range(60))
HEADS = [
    "Sure, here is the rewritten text:\n\n",
    "Sure, here's a rewrite of the text in the style of a pirate:\n",
    "Sure! Here is the text as a limerick:\n\n",
    "Sure thing! Here's your revised version: ",
    "Certainly! Here is the transformed passage using a Holman F style:\n\n",
    "Certainly, here is an edited version of the text you provided:\n\n",
    "Of course! Below is the translation:\n\n",
    "Of course, the result is: ",
    "Sure, here it is: ",
    "Absolutely! Here’s a sonnet in her manner:\n\n",
    "Okay, here is the summary: ",
    "Sure, I will transform the text into a slow-paced speech for you:\n\n",
    "Certainly! I can help you rewrite that.\n\nHere is the rewritten text:\n\n",
    "Sure, to keep the form, I'll need to change a line. Here's a revised version:\n\n",
    "Here is the revised text for improved readability:\n\n",
    "Here is the revised version: \n\n",
    "Here's a shorter version of the passage: ",
    "Here is the text in capital letters: ",
    "Here you are: ",
    "**Rewritten text:**\n\n",
    "## Rewritten text\n\n",
    "Rewritten Text: ",
    "Revised essay:\n\n",
    "Revised dialogue according to her preferences:\n\n",
    "Revised: ",
]
TEXTS = [
    "Sure, here is what my grandmother said: never trust a goat.",
    "Sure, here is what my grandmother said:\nnever trust a goat.",
    "Sure, here is the thing:\nnobody came.",
    "Sure enough, the rain came: it fell for days.",
    "Sure! I would love to come, she wrote.",
    "Sure!\n\nShe left.",
    "Of course.\n\nThe river was wide: nobody crossed it.",
    "Of course I told him the truth: nothing had been written.",
    "Certainly the best text: a short one.",
    "Okay, then the dog said: no.",
    "Here is where the river bends: wide and slow.",
    "Here is the news: the king is dead.",
    "Here is the revised plan: we attack at dawn.",
    "Here is the text of the treaty: article one.",
    "Here is a poem my father knew:\nroses are red.",
    "Here you are, my dear: a cup of tea.",
    "Here are three cats: one is black.",
    "Below is the valley: it lies in the shade.",
    "Revised timetable:\n8:00 bus to town",
    "Edited by: John",
    "Rewritten in the stars: a song of love",
    "Improved roads: a report to the council",
    "The rewritten text: a history of copying.",
    "Text: what is it?",
]


@pytest.mark.parametrize("head", HEADS)
def test_a_head_is_cut_and_the_text_is_whole(head: str):
    assert cut_head(head + TEXT) == TEXT
    assert cut_head(f"  {head.upper() if '**' in head else head}{TEXT}\n") == TEXT


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_only_begins_alike_loses_nothing(text: str):
    assert cut_head(text) == text
    assert cut_head(f"Sure, here is the rewritten text:\n\n{text}") == text


def test_a_head_alone_leaves_nothing():
    for head in ("Sure, here is the rewritten text:", "Here is the revised version:", "**Rewritten text:**"):
        assert cut_head(head) == ""


@pytest.mark.parametrize("fence", ["```", "~~~"])
def test_a_fence_around_the_whole_goes_and_one_within_stays(fence: str):
    assert cut_head(f"{fence}text\n{TEXT}\n{fence}") == TEXT
    assert cut_head(f"Sure, here is the rewritten text:\n\n{fence}\n{TEXT}\n{fence}\n") == TEXT
    assert cut_head(f"{fence}\nHere is the revised text:\n{TEXT}\n{fence}") == TEXT
    for within in (f"{TEXT}\n{fence}\ncode\n{fence}", f"{fence}\na\n{fence}\nand\n{fence}\nb\n{fence}", f"{fence}\na"):
        assert cut_head(within) == within


def test_thinking_aloud_is_no_text():
    assert cleaned("<think>How? Here is the text:</think>\n\nSure, here is the rewritten text: So.") == "So."
    assert cleaned("<think>How long") == ""


@given(st.text(max_size=200))
def test_what_is_left_is_a_piece_of_the_text_and_loses_nothing_more(text: str):
    cut = cut_head(text)
    assert cut in text
    assert cut_head(cut) == cut


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300), st.sampled_from(HEADS))
def test_no_head_is_left_in_front_of_any_text(text: str, head: str):
    assert cut_head(head + text) == cut_head(text)


# The middle


def letters(text: str) -> list[tuple[int, int]]:
    """A tokenizer that cuts into pieces of three characters, wherever they are."""
    return [(at, min(at + 3, len(text))) for at in range(0, len(text), 3)]


def test_the_middle_of_a_long_text_goes():
    text = " ".join(map(str, range(100)))
    assert cut_middle(text, 100) is text
    assert cut_middle(text, 9) == "0 1 2 3 … 96 97 98 99"
    assert cut_middle(text, 8) == "0 1 2 3 … 97 98 99"
    assert cut_middle(text, 3) == "0 … 99"
    assert cut_middle(text, 2) == "0 1"
    assert cut_middle("abcdef" * 9, 5, letters) == "abcdef … abcdef"


@given(st.text(max_size=200), st.integers(1, 40), st.sampled_from([words, letters]))
def test_no_more_pieces_are_left_than_asked_for_and_both_ends_are(text: str, most: int, pieces):
    cut = cut_middle(text, most, pieces)
    assert len(pieces(cut)) <= most
    if len(pieces(text)) <= most:
        assert cut == text
    elif MARK in cut and MARK not in text:
        head, _, tail = cut.partition(MARK)
        assert text.startswith(head)
        assert text.endswith(tail)
        assert head
        assert tail


def test_the_middle_goes_by_the_tokens_of_a_model():
    from promptmill.crafts.recover.synthesize.rewriting import pieces_of
    from promptmill.model.load import load_model

    pieces = pieces_of(load_model("embedded"))
    text = "the königreich of 東京 and 👩‍👩‍👧 walked " * 20
    cut = cut_middle(text, 40, pieces)
    assert len(pieces(text)) > 100
    assert 35 <= len(pieces(cut)) <= 40
    head, tail = cut.split(MARK)
    assert text.startswith(head)
    assert text.endswith(tail)


# What was not rewritten


@pytest.mark.parametrize(
    ("original", "rewritten", "same"),
    [
        (TEXT, TEXT, True),
        (TEXT, TEXT.replace("\n\n", " "), True),
        (LONG, LONG.replace("word30", "world30"), True),
        (LONG, LONG.replace("word", "world"), False),
        (TEXT, TEXT.upper(), False),
        (TEXT, TEXT.lower(), False),
        ("a cat and a dog met an owl", "dog a an and cat owl met a", False),
        ("one two three four five six", "six five four three two one", False),
        ("the dog is old", "the dog is old!!!", False),
        ("short", "", False),
        ("", "", True),
    ],
)
def test_what_counts_as_unchanged(original: str, rewritten: str, same: bool):
    assert unchanged(original, rewritten, 0.95) is same


def test_sentences_in_another_order_are_a_change():
    sentences = [f"The {name} went to the {name * 3} with nothing in hand." for name in "abcdefgh"]
    assert not unchanged(" ".join(sentences), " ".join(reversed(sentences)), 0.95)


@given(st.text(max_size=60))
def test_a_text_is_unchanged_by_spacing(text: str):
    assert unchanged(text, re.sub(r"\s+", "  ", text.strip()), 1.0)
