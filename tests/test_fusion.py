"""The formulas of scoring keep what they promise for any numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbchat.fusion import (
    BY_CHARACTERS,
    BY_WORDS,
    STATIC,
    Evidence,
    confidence,
    coverage,
    flatness,
    fuse,
    idf,
    lexical_top,
    lift,
    recall_scores,
    sigmoid,
    term_weight,
)

SHARE = st.floats(0, 1)
COSINE = st.floats(-1, 1)
SENTENCE = st.floats(0, 1)
NO_EVIDENCE = Evidence(0.0, 0.0, 0.0, 0.0, 0.0, 5.0, False)


@given(st.integers(0, 10**9).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total))))
def test_a_rarer_term_weighs_more(counts: tuple[int, int]) -> None:
    """Weights are positive and fall with the number of chunks that hold the term."""
    total, holding = counts
    assert term_weight(total, holding) > 0
    if holding:
        assert term_weight(total, holding - 1) > term_weight(total, holding)


def test_idf_is_bm25s() -> None:
    """ln(1 + (N - n + 0.5) / (n + 0.5))."""
    assert idf(100, 3) == pytest.approx(math.log(1 + 97.5 / 3.5))


def test_the_top_counts_fields_by_their_weight() -> None:
    """A question's most possible BM25: 2.2 times the weight of its terms, pairs and characters counting less."""
    weights = {"unigrams": {"a": 2.0, "b": 1.0}, "bigrams": {"a_b": 3.0}, "characters": {"的": 0.5}}
    assert lexical_top(weights) == pytest.approx(2.2 * (3.0 + 0.3 * 3.0 + 0.4 * 0.5))


def test_coverage_is_the_share_of_weight() -> None:
    """Of no terms nothing is covered; a term counts once."""
    assert coverage({"a": 3.0, "b": 1.0}, {"a", "c"}) == 0.75
    assert coverage({}, {"a"}) == 0.0


def test_flatness_compares_ten_with_the_best() -> None:
    """One hit far ahead is sharp, ten alike are flat; hits that are not there score nothing."""
    assert flatness([0.5] * 20) == pytest.approx(1.0)
    assert flatness([0.5]) == pytest.approx(0.1)
    assert flatness([]) == flatness([0.0, 0.0]) == 0.0


@given(st.lists(SHARE, max_size=20).map(lambda scores: sorted(scores, reverse=True)))
def test_flatness_is_a_share(scores: list[float]) -> None:
    """In [0, 1] for falling scores."""
    assert 0.0 <= flatness(scores) <= 1.0 + 1e-9


@given(st.builds(Evidence, SHARE, SHARE, SHARE, SHARE, SENTENCE, st.floats(0, 20), st.booleans()))
def test_confidence_is_a_share(evidence: Evidence) -> None:
    """In [0, 1] whatever the evidence."""
    assert 0.0 <= confidence(evidence) <= 1.0


@pytest.mark.parametrize("field", ["lexical", "covered", "pairs_covered", "sentence"])
def test_more_evidence_is_more_confidence(field: str) -> None:
    """Each part speaks for the hit, and none at all is hardly any confidence."""
    assert confidence(NO_EVIDENCE) < 0.001
    assert confidence(NO_EVIDENCE._replace(**{field: 0.9})) > confidence(NO_EVIDENCE)


def test_the_constants_stand_in_the_order_of_the_evidence() -> None:
    """They are multiplied one by one, the last field but chooses between them."""
    assert BY_WORDS._fields[1:] == BY_CHARACTERS._fields[1:] == Evidence._fields[:-1]
    assert Evidence._fields[-1] == "by_characters"


def test_characters_have_constants_of_their_own() -> None:
    """The same evidence means something else for Chinese."""
    evidence = NO_EVIDENCE._replace(lexical=0.3, covered=0.5)
    assert confidence(evidence) != confidence(evidence._replace(by_characters=True))


@given(SHARE, st.lists(SHARE, max_size=2))
def test_a_lift_never_passes_the_neighbour(score: float, neighbours: list[float]) -> None:
    """A chunk rises towards a better neighbour, never past it, and never falls."""
    lifted = lift(score, neighbours)
    assert score <= lifted <= max([score, *neighbours])


@given(st.floats(allow_nan=False, allow_infinity=True))
def test_sigmoid_takes_any_number(logit: float) -> None:
    """No overflow, and symmetric around a half."""
    assert 0.0 <= sigmoid(logit) <= 1.0
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1.0)


@given(st.lists(st.tuples(SHARE, COSINE, SENTENCE), max_size=30), SHARE)
def test_recall_scores_never_rise(parts: list[tuple[float, float, float]], sure: float) -> None:
    """In [0, 1], the best one equal to the confidence, in the order of what was fused."""
    fused = sorted((fuse(*part, STATIC) for part in parts), reverse=True)
    scores = recall_scores(fused, sure)
    assert len(scores) == len(fused)
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= score <= 1.0 for score in scores)
    if fused and fused[0] > 0:
        assert scores[0] == pytest.approx(sure)
