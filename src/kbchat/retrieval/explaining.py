"""The trace of a retrieval: what became of every chunk that the searches brought, at each stage, and why.

Retrieval keeps what it has in its hands anyway; only when somebody asks is the trace made of it, here.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from kbchat import fusion
from kbchat.models import Chunk, Reference, Score, Value
from kbchat.strategies import Expand, Strategy
from kbchat.telemetry import tell_stage


class Cut(StrEnum):
    """Why a chunk that a search brought is not among the references."""

    TOP_K = "top_k"
    """Others scored more, as many as were asked for."""
    SCORE_THRESHOLD = "score_threshold"
    """It is among those, but its `recall_score` is below the threshold."""
    NOT_READ = "not_read"
    """It promised less than those that were read and scored, which were enough."""
    NOT_LIVE = "not_live"
    """Its document was removed, or has newer content; the indexes have not forgotten it yet."""
    ALIKE = "alike"
    """Diversity was asked for, and others that scored less are less like the better ones."""
    SHOWN = "shown"
    """The text shown around a better one holds it."""


class InPrompt(StrEnum):
    """What a prompt makes of a reference."""

    QUOTED = "quoted"
    SHORTENED = "shortened"
    """Its beginning is quoted: there is room for no more."""
    TAIL = "tail"
    """It is too far behind the best one to be worth its tokens."""
    BUDGET = "budget"
    """There is no room left for it."""
    NOT_FOUND = "not_found"
    """The best one says that the space does not hold the answer, so none is quoted."""


class Place(Value):
    """Where a stage put a chunk, and by what score."""

    rank: int
    """From 1."""
    score: float


class Candidate(Value):
    """A chunk that a search brought. What a stage did not come to is None.

    A chunk that is not live has neither document nor text: these are gone, or not to be seen any more.
    """

    chunk_id: int
    document_id: int | None = None
    name: str | None = None
    start: int | None = None
    end: int | None = None
    content: str | None = None
    dense_search: Place | None = None
    """In the answer of the vector store."""
    lexical_search: Place | None = None
    """In the answer of the lexical index, which is asked deeper than its hits become candidates."""
    promise: Place | None = None
    """In the order in which candidates are read: the score as far as the searches can tell."""
    lexical: float | None = None
    """BM25 over the most it could be for this question, in [0, 1)."""
    dense: float | None = None
    """The cosine of question and chunk, in [-1, 1]."""
    sentence: float | None = None
    """The best cosine of one of its sentences."""
    fused: Place | None = None
    """By the weighted sum of these three."""
    lifted: Place | None = None
    """With its part of a better neighbour's score: the order of the result, unless a reranker makes another."""
    rerank: Place | None = None
    """By the reranker, which looks at the best of them."""
    recall_score: Score | None = None
    """The confidence times its share of the best one's score in the order of the result."""
    cut: Cut | None = None
    """None for what is among the references."""
    prompt: InPrompt | None = None
    """None for what is not among the references, and where there is no prompt."""


class Clue(Value):
    """One number that speaks for or against the best hit, and what it counts."""

    name: str
    value: float
    weight: float

    @property
    def part(self) -> float:
        """What it adds to the logit of the confidence."""
        return self.value * self.weight


class Weighing(Value):
    """How the parts of a score are added up."""

    lexical: float
    dense: float
    sentence: float
    lift: float
    """How much of the gap to a better neighbour a chunk is lifted by."""


class Selected(Value):
    """What a filter selects of a space."""

    documents: int
    share: float
    """Of the space's chunks, in [0, 1]."""
    one_by_one: bool
    """Whether they are so few that each was a candidate; else the searches were asked for the best of them."""


Stage = Literal[
    "analysis",
    "filter",
    "embedding",
    "dense_search",
    "lexical_search",
    "reading_ahead",
    "reading",
    "scoring",
    "confidence",
    "reranking",
    "expanding",
]


class Timings(Value):
    """Seconds that each stage took, over all rounds. The lexical search and reading ahead run beside `embedding` and
    `dense_search`."""

    analysis: float = 0.0
    filter: float = 0.0
    embedding: float = 0.0
    dense_search: float = 0.0
    lexical_search: float = 0.0
    reading_ahead: float = 0.0
    """Of those whose words promise most, from the catalog."""
    reading: float = 0.0
    """Of the candidates, from the catalog, where not all of the most promising were read ahead."""
    scoring: float = 0.0
    confidence: float = 0.0
    reranking: float = 0.0
    expanding: float = 0.0
    """Reading the text around the hits."""
    total: float = 0.0
    """From the question to the references; what making this trace took is not in it."""


class Room(Value):
    """The prompt that the default model would be sent."""

    tokens: int
    """That it has, estimated."""
    budget: int
    """That it may have."""


class Trace(Value):
    """The way of one question through retrieval."""

    question: str
    """What was searched for, of a conversation in the end."""
    searched: tuple[str, ...] = ()
    """All that was searched for, one after the other: of a follow-up first what it means after what was said before."""
    top_k: int
    score_threshold: float | None = None
    strategy: Strategy = Strategy.HYBRID
    reranker: str | None = None
    """None where none was asked."""
    diversity: float = 0.0
    expand: Expand = Expand.NONE
    selected: Selected | None = None
    """None without a filter."""
    rounds: int = 0
    """How often the searches were asked, each time deeper: more than once where too few of their hits were live."""
    depth: int = 0
    """Number of hits of each search, at most, that became candidates in the last round."""
    weighing: Weighing | None = None
    """None where ranks are added up, not scores."""
    candidates: tuple[Candidate, ...] = ()
    """First those that were scored, best first; then the others, the most promising first."""
    confidence: Score = 0.0
    """How sure it is that the space holds the answer: the best hit's `recall_score`. Below 0.5: it does not."""
    offset: float = 0.0
    """The logit of the confidence is this and the parts of all clues."""
    clues: tuple[Clue, ...] = ()
    timings: Timings = Timings()
    prompt: Room | None = None
    """None where the question leaves no room for any."""


class Explanation(Trace):
    """A retrieval with its trace: `references` are what `retrieve` returns."""

    references: tuple[Reference, ...] = ()


class Clock:
    """Adds up the seconds that each stage takes."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._began = now()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, stage: Stage) -> Iterator[None]:
        began = self._now()
        try:
            yield
        finally:
            self._seconds[stage] += (took := self._now() - began)
            tell_stage(stage, took)

    def read(self) -> Timings:
        """What was measured since the clock was made."""
        return Timings(**self._seconds, total=self._now() - self._began)


class Scored(NamedTuple):
    """A live chunk that a search brought, and its scores. `dense` is None where question or chunk have no vector."""

    chunk: Chunk
    lexical: float
    dense: float | None
    sentence: float
    fused: float
    lifted: float
    final: float
    """What the order of the result goes by."""
    packed: bytes
    """Its static vectors, as they are kept."""
    rerank: float | None = None

    def reference(self, score: float) -> Reference:
        chunk = self.chunk
        return Reference(
            name=chunk.document_name,
            document_id=chunk.document_id,
            chunk_id=chunk.id,
            content=chunk.content,
            start=chunk.start,
            end=chunk.end,
            recall_score=score,
            metadata=chunk.metadata,
            dense=self.dense,
            lexical=self.lexical,
            sentence=self.sentence,
            rerank=self.rerank,
        )


@dataclass(frozen=True, slots=True)
class Searched:
    """What the searches brought in the last round, each mapping the best first: chunk ids and scores."""

    dense: Mapping[int, float]
    lexical: Mapping[int, float]
    promise: Mapping[int, float]
    """All candidates, in the order in which they are read."""


def candidates(
    searched: Searched,
    scored: Sequence[Scored],
    others: Mapping[int, Chunk],
    *,
    shares: Sequence[float],
    cuts: Callable[[int, float], Cut | None],
) -> tuple[Candidate, ...]:
    """What became of each chunk. `scored` are in their final order, with their `recall_score`s in `shares`; `others`
    are the live ones that were not scored. `cuts` tells by place and score why one of the former was cut."""
    dense, lexical, promise = (_places(it.items()) for it in (searched.dense, searched.lexical, searched.promise))
    fused = _places(_best_first((it.chunk.id, it.fused) for it in scored))
    lifted = _places(_best_first((it.chunk.id, it.lifted) for it in scored))
    rerank = _places((it.chunk.id, it.rerank) for it in scored if it.rerank is not None)

    def candidate(
        key: int, chunk: Chunk | None, cut: Cut | None, it: Scored | None = None, share: float | None = None
    ) -> Candidate:
        return Candidate(
            chunk_id=key,
            document_id=chunk and chunk.document_id,
            name=chunk and chunk.document_name,
            start=chunk and chunk.start,
            end=chunk and chunk.end,
            content=chunk and chunk.content,
            dense_search=dense.get(key),
            lexical_search=lexical.get(key),
            promise=promise.get(key),
            lexical=it and it.lexical,
            dense=it and it.dense,
            sentence=it and it.sentence,
            fused=fused.get(key),
            lifted=lifted.get(key),
            rerank=rerank.get(key),
            recall_score=share,
            cut=cut,
        )

    found = [
        candidate(it.chunk.id, it.chunk, cuts(number, share), it, share)
        for number, (it, share) in enumerate(zip(scored, shares, strict=True))
    ]
    unscored = [key for key in searched.promise if key not in lifted]
    found += [candidate(key, others.get(key), Cut.NOT_READ if key in others else Cut.NOT_LIVE) for key in unscored]
    return tuple(found)


def _best_first(scores: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    return sorted(scores, key=lambda it: (-it[1], it[0]))


def _places(ranked: Iterable[tuple[int, float]]) -> dict[int, Place]:
    return {key: Place(rank=rank, score=score) for rank, (key, score) in enumerate(ranked, 1)}


def clues(evidence: fusion.Evidence) -> tuple[Clue, ...]:
    """The evidence with what each number in it counts for this question."""
    weights = fusion.constants(evidence)[1:]
    return tuple(
        Clue(name=name, value=value, weight=weight)
        for name, value, weight in zip(fusion.Constants._fields[1:], evidence, weights, strict=False)
    )
