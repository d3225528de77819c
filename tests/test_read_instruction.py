from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.vary.read import LONGEST_INSTRUCTION, read_instruction
from promptmill.vary.wording import load_wording

WORDING = load_wording()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Add the numbers.", "Add the numbers."),
        ("  \n'Add the numbers.'\n", "Add the numbers."),
        ("Sure! Here is the new instruction:\n\n\"Add the numbers.\"", "Add the numbers."),
        ("Here's a clearer version: Add the numbers.", "Add the numbers."),
        ("**New instruction:** Add the numbers.", "Add the numbers."),
        ("<think>hm, they want sums\n</think>\nInstruction: Add the numbers.", "Add the numbers."),
        ("Certainly, here you go:\n```text\nAdd the numbers.\nStop.\n```\nHope it helps!", "Add the numbers.\nStop."),
        ("“Add the numbers.”", "Add the numbers."),
        ("Reply with JSON:\n```json\n{}\n```\nNo more.", "Reply with JSON:\n```json\n{}\n```\nNo more."),
        ("Say 'yes' or 'no'", "Say 'yes' or 'no'"),
        ("Sure! Add the numbers.", "Add the numbers."),
        ("OK, answer with: yes or no", "OK, answer with: yes or no"),
        ("Of course you must add: carefully.", "Of course you must add: carefully."),
        ("Okay to use a calculator. Add numbers.", "Okay to use a calculator. Add numbers."),
        ("'yes' or 'no'", "'yes' or 'no'"),
        ("Okapis are animals. Name them.", "Okapis are animals. Name them."),
        ("Instructions given to a nurse must be short.", "Instructions given to a nurse must be short."),
    ],
)  # fmt: skip
def test_the_instruction_is_read_out_of_what_writers_say(said: str, meant: str):
    assert read_instruction(said) == meant


@pytest.mark.parametrize(
    "said", ["", "  \n", '""', "<think>and so on</think>", "<think>\nOkay, the user", "x" * (LONGEST_INSTRUCTION + 1)]
)
def test_nothing_usable_is_none(said: str):
    assert read_instruction(said) is None


@given(st.text(max_size=200))
def test_reading_never_fails_and_reading_again_changes_little(text: str):
    once = read_instruction(text)
    assert once is None or 0 < len(once) <= LONGEST_INSTRUCTION


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("{instruction}", ""), "first_order.*holes"),
        (("judge:", "jugde:"), "jugde"),
        (("thinking_styles:", "thinking_styles: ["), "not YAML"),
    ],
)
def test_a_wording_that_cannot_be_used_is_refused_in_one_line(change: tuple[str, str], said: str, tmp_path: Path):
    import promptmill.vary

    text = (Path(promptmill.vary.__file__).parent / "wording.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(*change, 1))
    with pytest.raises(InputError, match=said) as caught:
        load_wording(path)
    assert "\n" not in str(caught.value)
