"""One question's way through both indexes of a space: what each brings, and which of it is worth reading."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from kbchat import fusion
from kbchat.catalog import Catalog
from kbchat.embedders import Embedder, Vector
from kbchat.embedders.static import StaticEmbedder
from kbchat.inputs import Bounds
from kbchat.lexical import LexicalHit, LexicalIndex, LexicalResult, Weighted
from kbchat.models import Chunk, SpaceInfo
from kbchat.retrieval.explaining import Clock, Searched, Weighing
from kbchat.retrieval.selecting import Selection
from kbchat.stores import VectorHit, VectorStore
from kbchat.strategies import Strategy
from kbchat.text.analysis import Terms
from kbchat.threads import together

LEXICAL_DEPTH = 4
"""The lexical search looks this many times deeper, for the scores of what only the dense search found: it costs little,
and what is still missing then scores less than 200 others."""
AHEAD = 16
"""Number of chunks beyond those wanted that are read while the dense search is under way: for 97 questions in a hundred
the most promising ones are among those that the lexical search alone puts first."""
DEEPER = 1.5
"""A filter's share is an average: the hits of one question may be rarer among what it selects."""
DEEPEST = 16_000
"""No store answers with more hits than this; the lexical search knows no such end."""


@dataclass(frozen=True, slots=True)
class SearchParts:
    """What a search asks."""

    catalog: Catalog
    lexical: LexicalIndex
    store: VectorStore
    embedder: Embedder
    static: StaticEmbedder


@dataclass(frozen=True, slots=True)
class Ahead:
    """What was read before it was known to be wanted: at one moment, as all of an answer has to be."""

    asked: frozenset[int]
    live: Mapping[int, tuple[Chunk, bytes]]

    def of(self, ids: Sequence[int]) -> dict[int, tuple[Chunk, bytes]] | None:
        """The live ones of these; None where one of them was not asked for."""
        return {key: self.live[key] for key in ids if key in self.live} if self.asked.issuperset(ids) else None


class Search:
    """One question's way through both indexes of a space."""

    def __init__(
        self,
        space: SpaceInfo,
        question: str,
        terms: Terms,
        parts: SearchParts,
        selection: Selection | None,
        clock: Clock,
        bounds: Bounds,
    ) -> None:
        self.space = space
        self.selection = selection
        self.clock = clock
        self.strategy = bounds.strategy
        self.rounds = self.limit = 0
        self.static = parts.static
        self.weighing = _weighing(bounds, is_static=parts.embedder is parts.static)
        self.lexical_hits: list[LexicalHit] = []
        self.weights = Weighted({}, {}, {})
        self.ahead: Ahead | None = None
        self.seen: SpaceInfo | None = None
        """The space as it was when chunks were last read."""
        self.question = question
        self._terms = terms
        self._catalog = parts.catalog
        self._lexical = parts.lexical
        self._store = parts.store
        self._embedder = parts.embedder
        self._deeper = DEEPER / selection.share if selection is not None and selection.share else 1.0
        self._vector: Vector | None = None
        self._dense_hits: list[VectorHit] = []
        self._answered: tuple[list[VectorHit], list[LexicalHit]] = ([], [])
        self._promise: dict[int, float] = {}
        self._is_exhausted = False

    async def run(self, limit: int, *, wanted: int = 0) -> list[int]:
        """What the two searches find, or all of the selected ones where these are few, the most promising first.
        Where so many of them are `wanted`, they are read ahead if that can be."""
        self.rounds, self.limit = self.rounds + 1, limit
        depth = self._depth(limit)
        deepest = min(depth, DEEPEST)
        dense, (lexical, self.weights) = await together(
            lambda: self._search_dense(deepest),
            lambda: self._search_lexical(self._depth(limit * LEXICAL_DEPTH), wanted),
        )
        if self.strategy is Strategy.DENSE:
            self._is_exhausted = depth > DEEPEST or len(dense) < depth
        else:
            self._is_exhausted = (depth > DEEPEST or len(dense) < depth) and len(lexical) < depth
        self._answered = dense, lexical
        self._dense_hits, self.lexical_hits = await self._selected(dense, lexical)
        return self._by_promise(self._found(limit), limit)

    def _found(self, limit: int) -> Sequence[int]:
        """What may be a hit. Of few selected ones each, where their scores are added up; else what a search brought."""
        match self.strategy:
            case Strategy.HYBRID | Strategy.DENSE if self._few is not None:
                return self._few
            case Strategy.DENSE:
                words: list[LexicalHit] = []
            case Strategy.HYBRID | Strategy.LEXICAL | Strategy.RANKS:
                words = self.lexical_hits
            case _:
                assert_never(self.strategy)
        first = limit if self._few is None else len(self._few)
        return list(dict.fromkeys([*(hit.id for hit in self._dense_hits[:first]), *(hit.id for hit in words[:first])]))

    def _by_promise(self, found: Sequence[int], limit: int) -> list[int]:
        if self.strategy is Strategy.RANKS:
            self._promise = self._by_ranks(found, limit)
            return list(self._promise)
        lexical, dense = dict(self.lexical_hits), dict(self._dense_hits)
        # The cosine of what the dense search did not find is unknown yet, but no better than that of its last hit.
        unknown = self._dense_hits[-1].score if len(self._dense_hits) >= limit else 0.0
        promise = self._promise = {
            key: fusion.fuse(lexical.get(key, 0.0), dense.get(key, unknown), 0.0, self.weighing) for key in found
        }
        return sorted(promise, key=lambda key: (-promise[key], key))

    def _by_ranks(self, found: Sequence[int], limit: int) -> dict[int, float]:
        ranks: dict[int, list[int]] = {key: [] for key in found}
        dense, lexical = [it.id for it in self._dense_hits[:limit]], [it.id for it in self.lexical_hits[:limit]]
        for ids in (dense, lexical):
            for rank, key in enumerate(ids, 1):
                ranks[key].append(rank)
        scores = {key: fusion.fuse_ranks(each) for key, each in ranks.items()}
        return dict(sorted(scores.items(), key=lambda it: (-it[1], it[0])))

    def fused(
        self, ids: Sequence[int], lexical: Sequence[float], cosines: Sequence[float | None], sentences: Sequence[float]
    ) -> list[float]:
        """The score that candidates have by the strategy."""
        if self.strategy is Strategy.RANKS:
            return [self._promise[key] for key in ids]
        return [
            fusion.fuse(words, cosine or 0.0, sentence, self.weighing)
            for words, cosine, sentence in zip(lexical, cosines, sentences, strict=True)
        ]

    def weighed(self) -> Weighing | None:
        """How scores were added up; None where ranks were."""
        if self.strategy is Strategy.RANKS:
            return None
        cosine, sentence, lexical, lift = self.weighing
        return Weighing(lexical=lexical, dense=cosine, sentence=sentence, lift=lift)

    def searched(self) -> Searched:
        """What the last round brought, for who wants to know."""
        dense, lexical = self._answered
        kept = {*(hit.id for hit in self._dense_hits), *(hit.id for hit in self.lexical_hits)}
        first = dict.fromkeys([*(hit.id for hit in dense[: self.limit]), *(hit.id for hit in lexical[: self.limit])])
        promise = sorted(self._promise.items(), key=lambda it: (-it[1], it[0]))
        return Searched(dict(dense), dict(lexical), dict(promise), [key for key in first if key not in kept])

    @property
    def _few(self) -> tuple[int, ...] | None:
        return None if self.selection is None else self.selection.chunks

    def _depth(self, limit: int) -> int:
        """How deep to look for so many that are selected."""
        if self._few is not None:
            return len(self._few)
        return max(limit, min(math.ceil(limit * self._deeper), self.space.chunk_count))

    async def _selected(
        self, dense: list[VectorHit], lexical: list[LexicalHit]
    ) -> tuple[list[VectorHit], list[LexicalHit]]:
        selection = self.selection
        if selection is None or self._few is not None:
            return dense, lexical
        with self.clock.time("ownership"):
            owners = await self._catalog.chunk_owners([*(hit.id for hit in dense), *(hit.id for hit in lexical)])
        chosen = {key for key, document in owners.items() if document in selection.documents}
        return [hit for hit in dense if hit.id in chosen], [hit for hit in lexical if hit.id in chosen]

    @property
    def may_find_more(self) -> bool:
        """Whether searching deeper can bring candidates that are not known yet."""
        return self._few is None and not self._is_exhausted

    async def static_vector(self) -> Vector:
        """The question's vector by the static embedder."""
        own = self._vector if self._embedder is self.static else None
        return await self.static.embed_query(self.question) if own is None else own

    async def cosines(self, ids: Sequence[int], static: Sequence[float]) -> list[float | None]:
        """The question's cosines with chunks, None where either has no vector; `static` are the static embedder's."""
        if self._vector is None or not self._vector.any():
            return [None] * len(ids)
        if self._embedder is self.static:
            return [cosine or None for cosine in static]
        known = dict(self._dense_hits)
        missing = await self._store.fetch(self.space.collection, [key for key in ids if key not in known])
        known |= {key: fusion.cosine(self._vector, vector) for key, vector in missing.items()}
        return [known.get(key) for key in ids]

    async def _search_dense(self, limit: int) -> list[VectorHit]:
        if self.strategy is Strategy.LEXICAL:
            return []
        if self._vector is None:
            with self.clock.time("embedding"):
                self._vector = await self._embedder.embed_query(self.question)
        if not self._vector.any():
            return []
        with self.clock.time("dense_search"):
            if self._few is None:
                return await self._store.query(self.space.collection, self._vector, limit=limit)
            few = await self._store.fetch(self.space.collection, self._few)
            return _nearest(self._vector, few)

    async def _search_lexical(self, limit: int, wanted: int) -> LexicalResult:
        with self.clock.time("lexical_search"):
            found = await self._lexical.search(self.space.lexical_name, self._terms, limit=limit, among=self._few)
        if wanted and self.strategy is Strategy.HYBRID and self.selection is None:
            ids = [hit.id for hit in found.hits[: wanted + AHEAD]]
            with self.clock.time("reading_ahead"):
                self.ahead = Ahead(frozenset(ids), await self.read(ids))
        return found

    async def read(self, ids: Sequence[int]) -> Mapping[int, tuple[Chunk, bytes]]:
        """Those of the chunks that are live, with what is kept of each."""
        self.seen, live = await self._catalog.live_vectors(self.space.id, ids)
        return live


def _weighing(bounds: Bounds, *, is_static: bool) -> fusion.Weights:
    """What the parts of a score count for."""
    match bounds.strategy:
        case Strategy.DENSE:
            return fusion.DENSE
        case Strategy.LEXICAL:
            return fusion.LEXICAL
        case Strategy.HYBRID:
            usual = fusion.STATIC if is_static else fusion.MODEL
            given = {"cosine": bounds.dense_weight, "sentence": bounds.sentence_weight}
            return usual._replace(**{name: weight for name, weight in given.items() if weight is not None})
        case Strategy.RANKS:
            return fusion.Weights(cosine=0.0, sentence=0.0, lexical=0.0, lift=0.0)
        case _:
            assert_never(bounds.strategy)


def _nearest(question: Vector, vectors: Mapping[int, Vector]) -> list[VectorHit]:
    """All of them, best first, ties by id."""
    if not vectors:
        return []
    # Not by BLAS, which wakes its threads for every question.
    products = np.einsum("ij,j->i", np.stack(list(vectors.values())), question)
    lengths = np.sqrt([float(vector @ vector) for vector in vectors.values()]) * math.sqrt(float(question @ question))
    cosines = np.clip(products / np.maximum(lengths, 1e-30), -1.0, 1.0).tolist()
    return [VectorHit(key, score) for score, key in sorted(zip(cosines, vectors, strict=True), key=_best_first)]


def _best_first(scored: tuple[float, int]) -> tuple[float, int]:
    return -scored[0], scored[1]
