"""From the numbers of candidates to their order. Pure.

Every score here is one that is compared with others of the same question; what they say of the question itself, which
other questions can be compared by, is `fusion.confidence`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kbchat import fusion
from kbchat.models import Chunk
from kbchat.retrieval.explaining import Scored

LIFTED = 50
"""Among so many of the best a chunk is lifted by its neighbours."""


class Numbers(NamedTuple):
    """What is known of each candidate, and the score that this gives, in lists of the same order."""

    chunks: Sequence[Chunk]
    lexical: Sequence[float]
    cosines: Sequence[float | None]
    sentences: Sequence[float]
    fused: Sequence[float]
    packed: Sequence[bytes]

    def ranked(self, lift: float) -> list[Scored]:
        """The candidates in order, best first; ties break by chunk id."""
        lifted = lift_all(self.chunks, self.fused, lift) if lift else self.fused
        order = sorted(range(len(self.chunks)), key=lambda number: (-lifted[number], self.chunks[number].id))
        return [
            Scored(
                self.chunks[number],
                self.lexical[number],
                self.cosines[number],
                self.sentences[number],
                self.fused[number],
                lifted[number],
                lifted[number],
                self.packed[number],
            )
            for number in order
        ]


def lift_all(chunks: Sequence[Chunk], fused: Sequence[float], by: float = fusion.LIFT) -> list[float]:
    """The scores, the best of them lifted towards those of better neighbours in their document."""
    best = sorted(range(len(chunks)), key=lambda number: -fused[number])[:LIFTED]
    places = {(chunks[number].document_id, chunks[number].position): fused[number] for number in best}
    lifted = list(fused)
    for number in best:
        document, position = chunks[number].document_id, chunks[number].position
        before, after = places.get((document, position - 1)), places.get((document, position + 1))
        if before is not None or after is not None:
            beside = [score for score in (before, after) if score is not None]
            lifted[number] = fusion.lift(fused[number], beside, by)
    return lifted


def reranked(ranked: Sequence[Scored], scores: Sequence[float]) -> list[Scored]:
    """The candidates anew, the first of them by a reranker's `scores`, which are no more than there are candidates and
    finite; the rest behind them in their old order."""
    relevance = fusion.relevance(scores)
    judged = [
        it._replace(rerank=score, final=relevant)
        for it, score, relevant in zip(ranked[: len(scores)], scores, relevance, strict=True)
    ]
    judged.sort(key=lambda it: (-it.final, -it.lifted, it.chunk.id))
    rest = ranked[len(judged) :]
    scale = judged[-1].final / rest[0].lifted if judged and rest and rest[0].lifted > 0 else 1.0
    if not judged:
        return list(ranked)
    # By rounding the first of the rest may come out above the one that it is scaled by.
    return [*judged, *(it._replace(final=min(judged[-1].final, max(0.0, it.lifted) * scale)) for it in rest)]


def diverse(ranked: Sequence[Scored], top_k: int, weight: float, alike: Callable[[int, int], float]) -> list[Scored]:
    """The `top_k` that are good and unlike each other, by maximal marginal relevance, best first.

    `weight` in [0, 1] is what it costs a candidate to be like one that was chosen before; `alike` is the cosine of two
    candidates by their places in `ranked`. The best one is always chosen.
    """
    best = ranked[0].final if ranked else 0.0
    worth = [it.final / best if best > 0 else 0.0 for it in ranked]
    nearest = [0.0] * len(ranked)
    chosen: list[int] = []
    left = list(range(len(ranked)))
    while left and len(chosen) < top_k:
        number = max(left, key=lambda it: ((1.0 - weight) * worth[it] - weight * nearest[it], -it))
        left.remove(number)
        chosen.append(number)
        for other in left:
            nearest[other] = max(nearest[other], alike(number, other))
    return [ranked[number] for number in sorted(chosen)]
