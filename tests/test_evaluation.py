"""Measures against independent implementations, and intervals that do what they say."""

import math
import random

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from kbchat.errors import InvalidInputError
from kbchat.evaluation import MEASURES, Range, compare, excerpts, interval, measure, precision_omega

TREC = {
    "ndcg": "ndcg_cut",
    "recall": "recall",
    "precision": "P",
    "hit": "success",
    "map": "map_cut",
}
DOCUMENTS = [f"d{n}" for n in range(12)]
RANKING = st.permutations(DOCUMENTS).flatmap(lambda order: st.integers(0, len(order)).map(lambda n: order[:n]))
JUDGED = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 4), max_size=12)
RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda at: (at[0], at[0] + at[1])), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(RANKING, JUDGED), min_size=1, max_size=4), st.sampled_from([1, 3, 5, 10]))
def test_ranked_measures_are_trec_evals(questions: list[tuple[list[str], dict[str, int]]], k: int) -> None:
    """Every ranked measure agrees with trec_eval's own code, whatever is ranked and judged."""
    judgements = {f"q{n}": judged for n, (_, judged) in enumerate(questions)}
    rankings = {f"q{n}": ranking for n, (ranking, _) in enumerate(questions)}
    asked = [question for question, judged in judgements.items() if any(judged.values())]
    if not asked:
        with pytest.raises(InvalidInputError, match="nothing to measure"):
            measure(rankings, judgements, k=k)
        return
    ours = measure(rankings, judgements, k=k)
    evaluator = pytrec_eval.RelevanceEvaluator(judgements, {f"{name}.{k}" for name in TREC.values()})
    theirs = evaluator.evaluate(
        {question: {document: -rank for rank, document in enumerate(found)} for question, found in rankings.items()}
    )
    for name, measured in TREC.items():
        expected = [theirs.get(question, {}).get(f"{measured}_{k}", 0.0) for question in asked]
        assert ours[name] == pytest.approx(expected, abs=1e-6), name


def test_the_reciprocal_rank_is_of_the_first_relevant() -> None:
    """One over its rank; 0 where it comes after the k-th."""
    ranking, judged = ["a", "b", "c"], {"b": 1, "c": 3, "a": 0}
    assert measure({"q": ranking}, {"q": judged}, k=3)["mrr"] == [0.5]
    assert measure({"q": ranking}, {"q": judged}, k=1)["mrr"] == [0.0]


def test_a_question_without_hits_counts_as_none() -> None:
    """It pulls the mean down instead of vanishing; one without a relevant document is left out."""
    judgements = {"found": {"a": 1}, "missed": {"b": 2}, "unjudged": {"a": 0}}
    measured = measure({"found": ["a"], "unjudged": ["a"]}, judgements)
    assert measured == {name: [1.0 if name != "precision" else 0.1, 0.0] for name in MEASURES}


@pytest.mark.parametrize(
    ("rankings", "judgements", "k", "expected"),
    [
        ({}, {}, 10, "nothing to measure"),
        ({"q": ["a"]}, {"q": {"a": 0}}, 10, "nothing to measure"),
        ({"other": ["a"]}, {"q": {"a": 1}}, 10, "'other' has no judgements"),
        ({"q": ["a", "a"]}, {"q": {"a": 1}}, 10, "document twice"),
        ({"q": ["a"]}, {"q": {"a": 1}}, 0, "k: must be 1 or more"),
        ({"q": ["a"]}, {"q": {"a": 1, "b": math.nan}}, 10, "a grade of question 'q' is not finite"),
        ({"q": ["a"]}, {"q": {"a": math.inf}}, 10, "a grade of question 'q' is not finite"),
    ],
)
def test_nonsense_is_told(
    rankings: dict[str, list[str]], judgements: dict[str, dict[str, int]], k: int, expected: str
) -> None:
    """An error that names the question, not a silent zero."""
    with pytest.raises(InvalidInputError, match=expected):
        measure(rankings, judgements, k=k)


@given(RANGES, RANGES)
def test_excerpts_are_counted_by_characters(found: list[Range], wanted: list[Range]) -> None:
    """Recall, precision and IoU agree with counting characters one by one."""
    if not wanted:
        with pytest.raises(InvalidInputError, match="no excerpts"):
            excerpts(found, wanted)
        return
    asked = {at for start, end in wanted for at in range(start, end)}
    seen = {at for start, end in found for at in range(start, end)}
    shown = sum(end - start for start, end in found)
    result = excerpts(found, wanted)
    assert result.recall == pytest.approx(len(asked & seen) / len(asked))
    assert result.precision == pytest.approx(len(asked & seen) / shown if shown else 0.0)
    assert result.iou == pytest.approx(len(asked & seen) / (shown + len(asked - seen)))


@given(st.integers(1, 9), RANGES.filter(bool))
def test_precision_omega_is_that_of_the_chunks_needed(size: int, wanted: list[Range]) -> None:
    """No choice of these chunks that finds everything is more precise."""
    chunks = [(start, start + size) for start in range(0, 90, size)]
    needed = [chunk for chunk in chunks if any(chunk[0] < end and start < chunk[1] for start, end in wanted)]
    assert precision_omega(chunks, wanted) == pytest.approx(excerpts(needed, wanted).precision)
    assert precision_omega([], wanted) == 0.0


def test_an_interval_holds_the_mean() -> None:
    """It lies around the mean, is wider for fewer values and more confidence, and does not depend on chance."""
    chance = random.Random(1)
    values = [chance.random() for _ in range(400)]
    wide, narrow = interval(values[:40]), interval(values)
    assert narrow.low < narrow.mean < narrow.high
    assert wide.high - wide.low > narrow.high - narrow.low
    assert interval(values, confidence=0.99).low < narrow.low
    assert interval(values) == narrow
    assert interval([0.5] * 9) == (0.5, 0.5, 0.5)
    assert str(interval([0.5])) == "0.5000 [0.5000, 0.5000]"


def test_an_interval_is_as_wide_as_theory_says() -> None:
    """For many values it is the normal one: 1.96 standard errors to each side."""
    values = [float(n % 2) for n in range(400)]
    low, high = interval(values, resamples=4000)[1:]
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / math.sqrt(400), rel=0.1)


def test_a_difference_is_told_from_luck() -> None:
    """A small steady gain is significant, the same gain in noise is not; nothing differs from itself."""
    chance = random.Random(2)
    base = [chance.random() for _ in range(200)]
    steady = compare([value + 0.02 + 0.01 * chance.random() for value in base], base)
    assert steady.p < 0.01
    assert steady.difference.low > 0
    noisy = compare([chance.random() + 0.02 for _ in base], base)
    assert noisy.p > 0.05
    same = compare(base, base)
    assert (same.p, same.difference.mean) == (1.0, 0.0)


def test_chance_finds_a_difference_as_often_as_it_should() -> None:
    """Where there is none, p is below 0.1 in about a tenth of the trials."""
    chance = random.Random(3)
    trials = [
        compare(
            [chance.gauss(0, 1) for _ in range(30)], [chance.gauss(0, 1) for _ in range(30)], resamples=200, seed=n
        ).p
        for n in range(300)
    ]
    assert 0.05 < sum(p < 0.1 for p in trials) / len(trials) < 0.16


@pytest.mark.parametrize("values", [[], [math.nan], [0.1, math.inf]])
def test_no_values_have_no_interval(values: list[float]) -> None:
    """Nothing, or NaN, is told instead of averaged."""
    with pytest.raises(InvalidInputError, match="values"):
        interval(values)
    with pytest.raises(InvalidInputError):
        compare(values, values)
    with pytest.raises(InvalidInputError, match="do not pair"):
        compare([0.1], [0.1, 0.2])


def test_arguments_that_make_no_interval() -> None:
    """Are named, with what they may be; no place is no precision."""
    for confidence in (0.0, 1.0, 95, math.nan):
        with pytest.raises(InvalidInputError, match=r"confidence: must be between 0 and 1, such as 0\.95"):
            interval([0.5], confidence=confidence)
    for resamples in (0, -1):
        with pytest.raises(InvalidInputError, match="resamples: must be 1 or more"):
            interval([0.5], resamples=resamples)
        with pytest.raises(InvalidInputError, match="resamples: must be 1 or more"):
            compare([0.5], [0.5], resamples=resamples)
    assert MEASURES["precision"](["a"], {"a": 1}, 0) == 0.0
