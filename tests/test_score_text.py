"""ROUGE-L and BLEU: the field's own numbers, and sums that give the corpus score."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from promptmill.errors import InputError
from promptmill.measure.statistics import score_interval
from promptmill.score.rouge import lcs_length, rouge_l, rouge_tokens
from promptmill.score.scorer import corpus_score, make_scorer, scorer_spec

words = st.sampled_from("the cat sat on a mat and then it ran".split())
texts = st.lists(words, max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),  # as rouge-score 0.1.2 has them
    [
        ("the cat sat on the mat", "the cat is on the mat", 0.8333333333333334),
        ("police ended the gunman", "police killed the gunman", 0.75),
        ("the gunman police killed", "police killed the gunman", 0.5),
        ("It's 3.5 m-long!", "it s 3 5 M LONG", 1.0),
        ("one", "two", 0.0),
        ("", "two", 0.0),
        ("…", "…", 0.0),
        ("a b c d e f g", "b d f", 0.6),
        ("naïve café", "naive cafe", 0.0),
        ("x_y z", "x y z", 1.0),
    ],
)
def test_rouge_l_is_that_of_the_field(answer, gold, expected):
    assert rouge_l(answer, gold) == pytest.approx(expected)


def table_lcs(a: list[str], b: list[str]) -> int:
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            rows[i + 1][j + 1] = rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
    return rows[-1][-1]


@given(st.lists(st.sampled_from("abcd"), max_size=80), st.lists(st.sampled_from("abcde"), max_size=80))
def test_the_common_subsequence_is_as_long_as_the_table_says(a, b):
    assert lcs_length(a, b) == lcs_length(b, a) == table_lcs(a, b)


@given(st.text(), st.text())
def test_rouge_l_is_symmetric_and_one_for_equal_texts(a, b):
    assert rouge_l(a, b) == rouge_l(b, a)
    assert 0 <= rouge_l(a, b) <= 1
    assert rouge_l(a, a) == bool(rouge_tokens(a))


def test_rouge_l_takes_the_best_gold_and_leaves_thinking_out():
    scorer = make_scorer("rouge-l")
    assert scorer.score("<think>dogs bark</think>the cat sat", ("dogs bark", "the cat sat"), {}).value == 1
    assert scorer.score("  ", ("x",), {}).parsed is None
    assert scorer.score("。", ("x",), {}).parsed == "。"


def test_a_long_answer_and_a_long_gold_are_compared_quickly():
    long = " ".join(str(i % 997) for i in range(30_000))
    assert rouge_l(long, long[: len(long) // 3]) == pytest.approx(0.5, abs=0.01)


PAIRS = [
    ("The dog bit the man.", ("The dog bit the man.", "The dog had bit the man.")),
    ("It wasn't surprising.", ("It was not unexpected.", "No one was surprised.")),
    ("The man had just bitten him.", ("The man bit him first.", "The man had bitten the dog.")),
    ("", ("Nothing was said of it at all.", "Nothing.")),
]


def test_bleu_of_a_set_is_the_one_in_sacrebleus_documentation():
    scorer = make_scorer("bleu")
    rows = [scorer.score(answer, golds, {}).row for answer, golds in PAIRS[:3]]
    assert corpus_score(scorer, rows) == pytest.approx(0.4853, abs=5e-5)


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=6), st.sampled_from(["13a", "char", "intl"]))
def test_summed_statistics_give_sacrebleus_score_of_any_set(rows, tokenize):
    scorer = make_scorer(f"bleu:tokenize={tokenize}")
    scores = [scorer.score(answer, golds, {}) for answer, *golds in rows]
    assert all(0 <= score.value <= 1 and score.row[-1] == score.value for score in scores)
    answers, *refs = (list(column) for column in zip(*rows, strict=True))
    expected = BLEU(tokenize=tokenize).corpus_score(answers, refs).score / 100
    assert corpus_score(scorer, [score.row for score in scores]) == pytest.approx(expected, abs=1e-12)


@given(texts.filter(bool), texts)
def test_an_items_value_is_its_sentence_bleu(answer, gold):
    expected = BLEU(effective_order=True).sentence_score(answer, [gold]).score / 100
    assert make_scorer("bleu").score(answer, (gold,), {}).value == pytest.approx(expected)


def test_bleu_totals_are_vectorised_and_bootstrapped():
    scorer = make_scorer("bleu")
    rows = np.array([scorer.score(answer, golds, {}).row for answer, golds in PAIRS])
    sums = np.stack([rows[:2].sum(axis=0), rows[2:].sum(axis=0), np.zeros(rows.shape[1])])
    assert scorer.total(sums, 2).tolist() == pytest.approx(
        [*(corpus_score(scorer, part) for part in (rows[:2], rows[2:])), 0]
    )
    score, lo, hi = score_interval([tuple(row) for row in rows], scorer)
    assert lo < score < hi


def test_means_over_repeated_answers_are_statistics_too():
    scorer = make_scorer("bleu")
    twice = np.array([scorer.score(answer, PAIRS[0][1], {}).row for answer in ("The dog bit the man", "No dog at all")])
    assert corpus_score(scorer, [twice.mean(axis=0)]) == pytest.approx(corpus_score(scorer, twice))


def test_bleu_tells_silence_from_a_wrong_answer_and_case_may_be_left_out():
    assert make_scorer("bleu").score(" ", ("x y",), {}).parsed is None
    assert make_scorer("bleu").score("<think>x y", ("x y",), {}).row[:2] == (0, 2)
    assert make_scorer("bleu:lowercase=true").score("A B C D", ("a b c d",), {}).value == 1
    assert make_scorer("bleu").score("A B C D", ("a b c d",), {}).value == 0
    assert make_scorer("bleu:tokenize=zh").score("我喜欢喝茶", ("我喜欢喝茶",), {}).value == pytest.approx(1)


@pytest.mark.parametrize("name", ["rouge-l", "bleu", "bleu:tokenize=char,lowercase=true"])
def test_the_spec_makes_the_same_scorer_again(name):
    scorer = make_scorer(name)
    assert make_scorer(scorer_spec(scorer)) == scorer
    assert "metric" not in repr(scorer)


def test_what_bleu_cannot_have_is_one_line(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r"unknown tokenize 'flores200' \(known: 13a"):
        make_scorer("bleu:tokenize=flores200")
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(InputError, match=r"scorer bleu needs sacrebleu, .*promptmill\[text\]") as caught:
        make_scorer("bleu")
    assert "\n" not in str(caught.value)
