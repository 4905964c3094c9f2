"""The formulas of scoring: what a term weighs, how parts become one score, and how sure a question is of its best hit.

Everything is absolute: nothing is divided by the question's best hit or replaced by ranks, so scores of different
questions, spaces and stores can be compared.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import mul
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

K1 = 1.2
B = 0.75
"""BM25's saturation and length normalisation, as tantivy has them."""
BM25_TOP = K1 + 1.0
"""What BM25 tends to for a term of weight 1 that fills a chunk."""

FIELD_WEIGHTS = {"unigrams": 1.0, "bigrams": 0.3, "characters": 0.4}
"""What a term counts by its field: stems and character pairs, pairs of stems, single characters."""
IDF_POWER = 1.3
PRIOR_CHUNKS = 50.0
PRIOR_HOLDING = 0.25
"""A term is weighed as if the space had 50 chunks more, of which a quarter of one chunk held it. Without these, in a
space of two chunks a term that one of them holds would weigh a third of one that none holds, and what small spaces
answer would always be doubted; in large spaces they change nothing. `benchmarks/calibrate.py` fits the constants on
small spaces too."""


LIFT = 0.4
"""How far a chunk rises towards a better neighbour: what stands beside the answer often belongs to it."""


class Weights(NamedTuple):
    """What the parts of a score count for, and how much of the gap to a better neighbour a chunk rises by."""

    cosine: float
    sentence: float
    lexical: float = 1.0
    lift: float = LIFT


STATIC = Weights(cosine=0.10, sentence=0.15)
"""Where the space's vectors are the static embedder's."""
MODEL = Weights(cosine=0.30, sentence=0.10)
"""For embedders that know more than words."""
DENSE = Weights(cosine=1.0, sentence=0.0, lexical=0.0, lift=0.0)
LEXICAL = Weights(cosine=0.0, sentence=0.0, lift=0.0)

RANK_DAMPING = 60
"""What is added to a rank before it counts, as those who thought of rank fusion did it."""


def idf(total: int, holding: int) -> float:
    """BM25's weight of a term that `holding` of `total` chunks hold; positive for any 0 <= holding <= total."""
    return math.log1p((total - holding + 0.5) / (holding + 0.5))


def term_weight(total: int, holding: int) -> float:
    """w(t): rare terms count for more than BM25 gives them, and a few chunks do not tell what is rare."""
    expected = holding + PRIOR_HOLDING
    return math.pow(math.log1p((total + PRIOR_CHUNKS - expected + 0.5) / (expected + 0.5)), IDF_POWER)


def lexical_top(weights: Mapping[str, Mapping[str, float]]) -> float:
    """The most that BM25 could be for a question whose terms have these weights, by field."""
    return BM25_TOP * sum(FIELD_WEIGHTS[field] * sum(of_field.values()) for field, of_field in weights.items())


def fuse(lexical: float, cosine: float, sentence: float, weights: Weights) -> float:
    """R: what hits are ordered by. `lexical` is in [0, 1), `cosine` in [-1, 1], `sentence` in [0, 1]."""
    return weights.lexical * lexical + weights.cosine * cosine + weights.sentence * sentence


def fuse_ranks(ranks: Iterable[int]) -> float:
    """What ranks in several lists, each from 1, make together."""
    return sum(1.0 / (RANK_DAMPING + rank) for rank in ranks)


def lift(score: float, neighbours: Iterable[float], by: float = LIFT) -> float:
    """R of a chunk beside better ones of its document. Never reaches the best of them."""
    return score + by * max(0.0, max(neighbours, default=score) - score)


def relevance(scores: Sequence[float]) -> list[float]:
    """What a reranker answered, in [0, 1]: as it is, or by the logistic function where it answered logits."""
    if all(0.0 <= score <= 1.0 for score in scores):
        return list(scores)
    return [sigmoid(score) for score in scores]


def coverage(weights: Mapping[str, float], held: Collection[str]) -> float:
    """The share of a question's term weight that a hit holds, in [0, 1]; 0 for a question without terms."""
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in held) / total if total > 0 else 0.0


def flatness(scores: Sequence[float]) -> float:
    """Mean of the ten best lexical scores over the best, in [0, 1]; missing hits score 0."""
    best = max(scores, default=0.0)
    return sum(scores[:10]) / (10 * best) if best > 0 else 0.0


class Evidence(NamedTuple):
    """What speaks for a question's best hit."""

    lexical: float
    """Its BM25 over the most it could be, in [0, 1)."""
    covered: float
    """Share of the weight of the question's stems and character pairs that it holds."""
    pairs_covered: float
    """The same for pairs of stems; for a question without any, that of its stems."""
    flatness: float
    """How close the ten best lexical scores are to the best one."""
    sentence: float
    """The best cosine of one of its sentences, by the static embedder whatever the space's own embedder is."""
    size: float
    """Natural logarithm of the number of chunks in the space: in a large one something always looks alike."""
    by_characters: bool
    """Whether the question is in a script that does not separate words."""


class Constants(NamedTuple):
    """A logistic regression over the numbers of `Evidence`."""

    offset: float
    lexical: float
    covered: float
    pairs_covered: float
    flatness: float
    sentence: float
    size: float


# Fitted by `benchmarks/calibrate.py`, which prints them with what they keep and reject.
BY_WORDS = Constants(-9.13, 13.88, 9.6, 8.22, 0.02, 16.2, -0.3)
BY_CHARACTERS = Constants(-6.28, 15.83, 9.82, 0.0, -0.08, 0.0, 0.0)
"""The static embedder knows too little of such scripts for its cosines to tell anything."""


def confidence(evidence: Evidence) -> float:
    """How sure it is that the space holds the answer, in [0, 1]; 0.5 is the line.

    Nothing in it depends on the space's embedder, whose cosines lie in a range of their own.
    """
    weights = constants(evidence)
    return sigmoid(weights.offset + sum(map(mul, weights[1:], evidence)))


def constants(evidence: Evidence) -> Constants:
    """What its numbers count, which depends on the question's script."""
    return BY_CHARACTERS if evidence.by_characters else BY_WORDS


def sigmoid(logit: float) -> float:
    """In [0, 1] for any number."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    grown = math.exp(max(logit, -700.0))
    return grown / (1.0 + grown)


def recall_scores(fused: Sequence[float], confidence: float) -> list[float]:
    """Each hit's share of the best one, times how sure the best one is. `fused` falls from the best on.

    In [0, 1] and never rising. Where even the best speaks against itself, all are 0.
    """
    best = fused[0] if fused else 0.0
    if best <= 0.0:
        return [0.0 for _ in fused]
    return [confidence * (max(score, 0.0) / best) for score in fused]


def cosine(one: "npt.NDArray[np.float32]", other: "npt.NDArray[np.float32]") -> float:
    """The cosine of two vectors, in [-1, 1]; 0 for the zero vector, which is like nothing."""
    scale = float((one @ one) * (other @ other)) ** 0.5
    return max(-1.0, min(1.0, float(one @ other) / scale)) if scale > 0 else 0.0
