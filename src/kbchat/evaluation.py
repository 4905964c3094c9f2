"""How good rankings and excerpts are, with intervals, so that nobody tunes on noise. Pure.

Ranked measures are trec_eval's: `judged` maps documents to grades, those above 0 are relevant, a ranking holds each
document once, best first. Excerpt measures are those of Chroma's report "Evaluating Chunking Strategies for Retrieval":
`found` and `wanted` are ranges of characters, end exclusive.
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from kbchat.errors import InvalidInputError

Grades = Mapping[str, float]
Range = tuple[int, int]
Measure = Callable[[Sequence[str], Grades, int], float]


def ndcg(ranking: Sequence[str], judged: Grades, k: int) -> float:
    """Discounted gain of the first k over the most it could be; a grade is its gain."""
    ideal = _gain(sorted(judged.values(), reverse=True)[:k])
    return _gain([judged.get(document, 0.0) for document in ranking[:k]]) / ideal if ideal > 0 else 0.0


def recall(ranking: Sequence[str], judged: Grades, k: int) -> float:
    """The share of all relevant documents that is among the first k."""
    relevant = _relevant(judged)
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def precision(ranking: Sequence[str], judged: Grades, k: int) -> float:
    """The share of k that is relevant, also where fewer were found."""
    return len(_relevant(judged).intersection(ranking[:k])) / k if k > 0 else 0.0


def hit(ranking: Sequence[str], judged: Grades, k: int) -> float:
    """1 where any of the first k is relevant, else 0."""
    return float(not _relevant(judged).isdisjoint(ranking[:k]))


def reciprocal_rank(ranking: Sequence[str], judged: Grades, k: int) -> float:
    """One over the rank of the first relevant document among the first k; 0 without one."""
    relevant = _relevant(judged)
    return next((1.0 / rank for rank, document in enumerate(ranking[:k], 1) if document in relevant), 0.0)


def average_precision(ranking: Sequence[str], judged: Grades, k: int) -> float:
    """The mean precision at the ranks of the relevant documents; those not among the first k count as 0."""
    relevant, found, total = _relevant(judged), 0, 0.0
    for rank, document in enumerate(ranking[:k], 1):
        if document in relevant:
            found += 1
            total += found / rank
    return total / len(relevant) if relevant else 0.0


MEASURES: Mapping[str, Measure] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "hit": hit,
    "mrr": reciprocal_rank,
    "map": average_precision,
}


def measure(
    rankings: Mapping[str, Sequence[str]], judgements: Mapping[str, Grades], *, k: int = 10
) -> dict[str, list[float]]:
    """Each measure for each question that has a relevant document, in the order of the judgements.

    A question without a ranking found nothing. Raises `InvalidInputError` when there is nothing to measure, when a
    grade is not finite, when a ranking is of a question that nobody judged, or holds a document twice.
    """
    if k < 1:
        raise InvalidInputError("k", f"must be 1 or more, not {k}")
    for question, judged in judgements.items():
        if not all(map(math.isfinite, judged.values())):
            raise InvalidInputError("judgements", f"a grade of question {question!r} is not finite")
    asked = [question for question, judged in judgements.items() if _relevant(judged)]
    if not asked:
        raise InvalidInputError("judgements", "no question has a relevant document; there is nothing to measure")
    for question, ranking in rankings.items():
        if question not in judgements:
            raise InvalidInputError("rankings", f"question {question!r} has no judgements")
        if len(set(ranking)) < len(ranking):
            raise InvalidInputError("rankings", f"the ranking of question {question!r} holds a document twice")
    return {
        name: [of(rankings.get(question, ()), judgements[question], k) for question in asked]
        for name, of in MEASURES.items()
    }


class Excerpts(NamedTuple):
    """How well chunks match the excerpts that answer a question."""

    recall: float
    """The share of the wanted characters that was found; one that two excerpts want counts once."""
    precision: float
    """The share of the found characters that is wanted; characters found twice count twice."""
    iou: float
    """Found and wanted characters over found or wanted ones."""


def excerpts(found: Sequence[Range], wanted: Sequence[Range]) -> Excerpts:
    """Compare chunks with the excerpts wanted. Raises `InvalidInputError` where none are."""
    _check_wanted(wanted)
    both = _length(_union(_overlaps(found, wanted)))
    shown, asked = _length(found), _length(_union(wanted))
    return Excerpts(both / asked, both / shown if shown else 0.0, both / (shown + asked - both))


def precision_omega(chunks: Sequence[Range], wanted: Sequence[Range]) -> float:
    """Precision if exactly the chunks that hold something of the excerpts were found: what a splitting allows for."""
    _check_wanted(wanted)
    touched = [chunk for chunk in chunks if _overlaps([chunk], wanted)]
    both = _length(_union(_overlaps(touched, wanted)))
    return both / _length(_union(touched)) if touched else 0.0


class Interval(NamedTuple):
    """A mean and where it would likely fall with other questions of the same kind."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def interval(values: Sequence[float], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean with its bootstrap interval; the same for the same arguments. Raises `InvalidInputError` for none, and
    for a confidence that is no share."""
    _check_values(values)
    if not 0.0 < confidence < 1.0:
        raise InvalidInputError("confidence", f"must be between 0 and 1, such as 0.95, not {confidence}")
    if resamples < 1:
        raise InvalidInputError("resamples", f"must be 1 or more, not {resamples}")
    chance = random.Random(seed)  # noqa: S311 - draws samples, guards nothing
    means = sorted(math.fsum(chance.choices(values, k=len(values))) / len(values) for _ in range(resamples))
    edge = (1.0 - confidence) / 2
    return Interval(
        math.fsum(values) / len(values),
        means[round(edge * (resamples - 1))],
        means[round((1 - edge) * (resamples - 1))],
    )


class Comparison(NamedTuple):
    """Whether one configuration is better than another on the same questions."""

    difference: Interval
    p: float
    """How often chance alone makes a difference as large: below 0.05 it is hardly luck."""


def compare(one: Sequence[float], other: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Comparison:
    """The mean of `one` less that of `other`, question by question, with a two-sided randomisation test."""
    if len(one) != len(other):
        raise InvalidInputError("other", f"{len(other)} values do not pair with {len(one)}")
    differences = [left - right for left, right in zip(one, other, strict=True)]
    _check_values(differences)
    chance = random.Random(seed)  # noqa: S311 - draws samples, guards nothing
    seen = abs(math.fsum(differences)) - 1e-12
    moving = [difference for difference in differences if difference]
    larger = 0
    for _ in range(resamples):
        signs = chance.getrandbits(len(moving) + 1)
        total = math.fsum(value if signs >> bit & 1 else -value for bit, value in enumerate(moving))
        larger += abs(total) >= seen
    return Comparison(interval(differences, resamples=resamples, seed=seed), (larger + 1) / (resamples + 1))


def _relevant(judged: Grades) -> set[str]:
    return {document for document, grade in judged.items() if grade > 0}


def _gain(grades: Iterable[float]) -> float:
    return math.fsum(max(grade, 0.0) / math.log2(rank + 1) for rank, grade in enumerate(grades, 1))


def _check_wanted(wanted: Sequence[Range]) -> None:
    if not any(start < end for start, end in wanted):
        raise InvalidInputError("wanted", "there are no excerpts to find")


def _check_values(values: Sequence[float]) -> None:
    if not values or not all(map(math.isfinite, values)):
        raise InvalidInputError("values", "there are none, or some are not finite")


def _overlaps(one: Sequence[Range], other: Sequence[Range]) -> list[Range]:
    pairs = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return [(start, end) for start, end in pairs if start < end]


def _union(ranges: Sequence[Range]) -> list[Range]:
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _length(ranges: Sequence[Range]) -> int:
    return sum(end - start for start, end in ranges)
