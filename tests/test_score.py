import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.errors import InputError
from promptmill.score.choice import read_choice
from promptmill.score.number import read_numbers
from promptmill.score.overlap import token_f1
from promptmill.score.reading import final_segments, normalise, spoken
from promptmill.score.scorer import SCORERS, Score, corpus_score, make_scorer

LETTERS = ("A", "B", "C", "D", "E")
MACHINES = {"question": "How long?\nOptions:\n(A) 24 minutes\n(B) 32 minutes\n(C) 36 minutes\n(D) 64\n(E) 72 minutes"}
BRACKETS = ("(A)", "(B)", "(C)")
BOOKS = {"input": "At the end, Bob has\nOptions:\n(A) Ulysses\n(B) Frankenstein\n(C) Lolita"}
DEGREES = ("0 - definitely not", "1 - probably not", "2 - possibly", "3 - probably")


def half(answer, gold, fields):
    return 0.5 if answer in gold else 0.0


def broken(answer, gold, fields):
    raise KeyError("no such thing")


def too_much(answer, gold, fields):
    return 7


def value(spec, answer, *gold, choices=None, fields=None):
    return make_scorer(spec, choices).score(answer, gold, fields or {}).value


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("Paris", "paris"),
        ("**Paris.**", "Paris"),
        ("“Paris”", "Paris"),
        ("The answer is Paris.", "Paris"),
        ("The answer to the question is Paris.", "Paris"),
        ("The answer is Paris. It lies on the Seine.", "Paris"),
        ("It lies on the Seine.\n\n**Answer:**\nParis", "Paris"),
        ("ﬁne  words\n", "fine words"),
        ("So the answer is ] ).", "] )"),
        (")", ")"),
        ("<think>London? No.</think>\nParis", "Paris"),
    ],
)
def test_exact_reads_through_form(answer, gold):
    assert value("exact", answer, gold) == 1


def test_exact_refuses_other_texts_and_tells_empty_from_wrong():
    assert value("exact", "London", "Paris") == 0
    assert value("exact", "not Paris", "Paris") == 0
    assert value("exact", ")", "]") == 0
    assert make_scorer("exact").score("  ", ("Paris",), {}) == Score(0.0, None)
    assert make_scorer("exact").score("<think>Paris", ("Paris",), {}).parsed is None


def test_case_counts_where_case_is_the_answer():
    assert value("exact:case_sensitive=true", "the cat", "THE CAT") == 0
    assert value("exact:case_sensitive=true", '"THE CAT"', "THE CAT") == 1
    assert value({"type": "exact", "case_sensitive": False}, "the cat", "THE CAT") == 1


def test_contains_wants_whole_words():
    assert value("contains", "I think a cat sat here", "cat") == 1
    assert value("contains", "concatenate", "cat") == 0
    assert value("contains", "anything", "") == 0


def test_regex_takes_the_last_match_and_may_hold_commas():
    assert value(r"regex:pattern=<a>(.*?)</a>", "<a>one</a> or <a>two</a>", "Two") == 1
    assert value(r"regex:pattern=(\d{1,3}),case_sensitive=true", "it is 42", "42") == 1
    assert make_scorer("regex:pattern=x(y)").score("nothing", ("y",), {}).parsed is None
    with pytest.raises(InputError, match="no regular expression"):
        make_scorer("regex:pattern=(")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("12", "12"),
        ("Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nAltogether 48+24 = <<48+24=72>>72.\n#### 72", "72"),
        ("#### 1,234", "1234"),
        ("Let's calculate:\n- Eggs: 16 - 3 - 4 = 9\n- Money: 9 × $2 = $18\n\n**Janet makes $18 every day.**", "18"),
        ("The total profit is therefore:\n\n$$195{,}000 - 130{,}000 = \\boxed{65{,}000}$$", "65000"),
        ("Thus, the final answer is $\\boxed{\\$70,000}$.", "70000"),
        ("\\boxed{\\frac{3}{4}}", "0.75"),
        ("\\boxed{540 \\text{ meters}}", "540"),
        ("**Answer: 18 dollars**\n\nI needed 3 steps.", "18"),
        ("The answer is 5 + 7 = 12.", "12"),
        ("The answer is:\n\n$$x = 12$$", "12"),
        ("The answer is 20 cups (5 per flock, 4 flocks).", "20"),
        ("((-1 + 2) - (3 * 12)) = −35", "-35"),
        ("He lost -$5", "-5"),
        ("10-3=7", "7"),
        ("It grew by 150%.", "150"),
        ("about 33.33", "33.333333333333336"),
        ("0.67", "2/3"),
        ("2/3", "0.6666666666666666"),
        ("1 1/2 cups", "1.5"),
        ("It costs 3.50.", "3.5"),
        ("6.02e3", "6020"),
        ("answer: .5", "1/2"),
        ("39", "39.0"),
    ],
)
def test_number_reads_what_models_write(answer, gold):
    assert value("number", answer, gold) == 1


@pytest.mark.parametrize(("answer", "gold"), [("0.7", "2/3"), ("71", "72"), ("3.001", "3"), ("72 or 73", "72")])
def test_number_refuses_other_numbers(answer, gold):
    assert value("number", answer, gold) == 0


def test_number_without_a_number_is_unparsed_and_a_gold_without_one_is_an_error():
    assert make_scorer("number").score("I cannot tell.", ("3",), {}).parsed is None
    assert make_scorer("number").score("H2O", ("2",), {}).parsed is None
    with pytest.raises(InputError, match="holds no number"):
        value("number", "3", "three")
    assert value("number:tolerance=0.5", "3.4", "3") == 1


@given(
    st.integers(-(10**12), 10**12),
    st.sampled_from(["{}", "{:,}", "It is {:,}.", "**{}**", "#### {:,}", "\\boxed{{{}}}"]),
)
def test_any_integer_is_read_back(number, form):
    assert value("number", form.format(number), str(number)) == 1


@given(st.floats(-1e9, 1e9).map(lambda x: round(x, 4)))
def test_any_decimal_is_read_back(number):
    assert [read.value for read in read_numbers(f"so {number:.4f} in all")] == [pytest.approx(number)]


@given(st.text())
def test_reading_never_fails_on_any_text(text):
    for spec in ("exact", "contains", "number", "choice", "token_f1", "word_set", "f_beta:positive=A"):
        score = make_scorer(spec, LETTERS).score(text, ("1",) if spec == "number" else ("A",), MACHINES)
        assert 0 <= score.value <= 1
        assert score.row[-1] == score.value
        assert score.value == 0 or score.parsed is not None
    assert isinstance(final_segments(text), list)
    assert normalise(normalise(text)) == normalise(text) or not normalise(text)


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("**B) 32 minutes**", "B"),
        ("B. Both machines are slow.", "B"),
        ("The answer is **B**.", "B"),
        ("The correct answer is B) 32 minutes.", "B"),
        ("Together they need 36 minutes.\n\nSo the answer is 36 minutes.", "C"),
        ("36 minutes", "C"),
        ("A: C", "C"),
        ("Thus $\\boxed{\\text{(C) 36 minutes}}$.", "C"),
        ("### Answer\n**C**", "C"),
        ("**Answer:**\nC) 36 minutes", "C"),
        ("Option A is wrong because it is too short. Option C is right.", "C"),
        ("The answer is B. Wait, I forgot the break. The answer is C.", "C"),
        ("The answer is not A. It is C.", "C"),
        ("The correct answer is (B).\n\nThe options were:\n(A) 24 minutes\n(B) 32 minutes\n(C) 36 minutes", "B"),
        ("I'd go with B.", "B"),
        ("<think>(A)? (D)?</think>E", "E"),
        ("It could be A or B.", None),
        ("The answer is either A or B.", None),
        ("(A) 24 minutes\n(B) 32 minutes\n(C) 36 minutes", None),
        ("A car takes time.", None),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_choice_reads_letters(answer, taken):
    assert read_choice(spoken(answer), LETTERS, MACHINES) == taken


@pytest.mark.parametrize(
    ("answer", "choices", "fields", "taken"),
    [
        ("Bob starts with Ulysses and swaps with Claire. So the answer is (B).", BRACKETS, BOOKS, "(B)"),
        ("So, at the end of the semester, Bob has Frankenstein.", BRACKETS, BOOKS, "(B)"),
        ("Let's track:\n1. Bob: Ulysses\n2. Bob: Lolita\n\nSo, Bob has Lolita.", BRACKETS, BOOKS, "(C)"),
        ("Alice has Ulysses, Bob has Frankenstein", BRACKETS, BOOKS, None),
        ("yes.", ("yes", "no"), {}, "yes"),
        ("No, because it is absurd.", ("yes", "no"), {}, "no"),
        ("There is no reason to doubt it.", ("yes", "no"), {}, None),
        ("No.\n\nWait, it is plausible after all. So the answer is yes.", ("yes", "no"), {}, "yes"),
        ("yes and no", ("yes", "no"), {}, None),
        ("not ( True ) is False. So the answer is False.", ("True", "False"), {}, "False"),
        ("The argument is deductively invalid.", ("valid", "invalid"), {}, "invalid"),
        ("The argument is not valid.", ("valid", "invalid"), {}, None),
        ("Not the same", ("same", "not the same"), {}, "not the same"),
        ("3", DEGREES, {}, "3 - probably"),
        ("probably not", DEGREES, {}, "1 - probably not"),
        ("Answer: 3 - probably", DEGREES, {}, "3 - probably"),
    ],
)
def test_choice_reads_words_and_option_texts(answer, choices, fields, taken):
    assert read_choice(answer, choices, fields) == taken


FORMS = [
    "{}",
    "({})",
    "**{}**",
    "The answer is {}.",
    "Answer: {}",
    "I thought about it.\n\nSo the answer is **{}**.",
    "{}.",
]


@given(st.sampled_from(LETTERS), st.sampled_from(FORMS))
def test_every_usual_form_of_every_letter_is_read(letter, form):
    assert read_choice(form.format(letter), LETTERS, MACHINES) == letter


@given(
    st.lists(st.from_regex(r"[a-z]{2,8}( [a-z]{2,8})?", fullmatch=True), min_size=2, max_size=5, unique=True), st.data()
)
def test_a_choice_given_word_for_word_is_always_read(words, data):
    word = data.draw(st.sampled_from(words))
    assert read_choice(word, tuple(words), {}) == word


def test_a_gold_that_is_no_choice_is_compared_as_text():
    assert value("choice", "Monsters, Inc", "Monsters, Inc", choices=BRACKETS) == 1
    assert value("choice", "(A)", "Monsters, Inc", choices=BRACKETS) == 0


def test_token_f1_is_squads():
    assert token_f1("The cat sat.", "a cat sat") == 1
    assert token_f1("cat", "cat sat") == pytest.approx(2 / 3)
    assert token_f1("dog", "cat") == 0
    assert token_f1("the", "a") == 1
    assert value("token_f1", "the answer is: green tea", "tea", "green tea") == 1


def test_word_sets_do_not_mind_order_or_case():
    assert value("word_set", "Dog, cat and bear", "cat, bear, dog") == 1
    assert value("word_set", "- dog\n- cat", "cat, dog") == 1
    assert value("word_set", "dog", "cat, dog") == 0


def test_f_beta_agrees_with_its_definition_and_counts_the_unreadable_as_not_positive():
    scorer = make_scorer("f_beta:beta=0.5,positive=yes")
    pairs = (
        [("yes", "yes")] * 6
        + [("yes", "no")] * 2
        + [("no", "yes")] * 3
        + [("no", "no")] * 4
        + [("hm", "yes"), ("hm", "no")]
    )
    scores = [scorer.score(answer, (gold,), {}) for answer, gold in pairs]
    precision, recall = 6 / 8, 6 / 10
    expected = 1.25 * precision * recall / (0.25 * precision + recall)
    assert corpus_score(scorer, [score.row for score in scores]) == pytest.approx(expected)
    assert [score.parsed for score in scores[-2:]] == [None, None]
    assert sum(score.value for score in scores) == 10


def test_f_beta_without_any_positive_is_zero_and_totals_are_vectorised():
    scorer = make_scorer("f_beta:positive=yes")
    sums = np.array([[[2.0, 0, 0, 2], [1, 1, 1, 1]], [[0, 0, 0, 4], [0, 3, 0, 0]]])
    assert scorer.total(sums, 4).tolist() == [[1.0, 0.5], [0.0, 0.0]]
    assert make_scorer("exact").total(sums, 4).tolist() == [[0.5, 0.25], [1.0, 0.0]]


def test_a_function_of_your_own_scores():
    assert value(f"{__name__}:half", "x", "x") == 0.5
    assert value({"type": "callable", "function": f"{__name__}:half"}, "y", "x") == 0
    assert repr(make_scorer(f"{__name__}:half")) != repr(make_scorer(f"{__name__}:broken"))


def test_a_failing_function_names_itself_and_the_example():
    with pytest.raises(InputError, match=r"broken failed on the example input='6 x 7': KeyError") as caught:
        make_scorer(f"{__name__}:broken").score("42", ("42",), {"input": "6 x 7"})
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="must be from 0 to 1"):
        value(f"{__name__}:too_much", "x", "x")
    with pytest.raises(InputError, match="PYTHONPATH"):
        make_scorer("no_such_module:score")
    with pytest.raises(InputError, match="has no function nothing"):
        make_scorer(f"{__name__}:nothing")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("exakt", "known: exact, contains"),
        ("exact:strict=1", "unknown argument|not key=value"),
        ({"type": "exact", "strict": 1}, "known: case_sensitive"),
        ("exact:case_sensitive=maybe", "true or false"),
        ("number:tolerance=small", "a number"),
        ("regex", "needs pattern"),
        ("choice", "needs the choices"),
        ("f_beta:positive=hate", "name both labels"),
        ("f_beta:positive=yes,beta=0", "above 0"),
        ({"pattern": "x"}, "no type"),
    ],
)
def test_a_wrong_scorer_spec_says_what_is_known(spec, message):
    with pytest.raises(InputError, match=message) as caught:
        make_scorer(spec)
    assert "\n" not in str(caught.value)


def test_choices_in_the_spec_go_before_the_tasks():
    assert make_scorer("choice:choices=ja|nein", ("yes", "no")).score("Ja!", ("ja",), {}).value == 1
    assert make_scorer("choice", ("yes", "no")).score("no", ("no",), {}).value == 1


def test_a_long_answer_is_read_quickly():
    import time

    long = "Let me think (A) and also 3 - 4, or the answer would be hard to tell; option B? " * 2000
    start = time.perf_counter()
    for spec in SCORERS:
        if spec not in ("regex", "callable", "f_beta"):
            make_scorer(spec, LETTERS).score(long, ("3",), MACHINES)
    assert time.perf_counter() - start < 5


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1))
def test_the_corpus_score_of_most_scorers_is_the_mean(values):
    assert corpus_score(make_scorer("token_f1"), [(v,) for v in values]) == pytest.approx(sum(values) / len(values))
