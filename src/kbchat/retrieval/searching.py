"""One question's way through both indexes of a space: what each brings, and which of it is worth reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from kbchat import fusion
from kbchat.catalog import Catalog
from kbchat.embedders import Embedder, Vector
from kbchat.embedders.static import StaticEmbedder
from kbchat.inputs import RetrievalOptions
from kbchat.lexical import LexicalHit, LexicalIndex, LexicalResult, Weighted
from kbchat.models import Chunk, SpaceInfo
from kbchat.retrieval.explaining import Clock, Searched, Weighing
from kbchat.retrieval.selecting import Selection
from kbchat.stores import VectorHit, VectorStore
from kbchat.stores.among import Ids
from kbchat.strategies import Strategy
from kbchat.text.analysis import Terms
from kbchat.threads import together

LEXICAL_DEPTH = 4
"""The lexical search looks this many times deeper, for the scores of what only the dense search found: it costs little,
and what is still missing then scores less than 200 others."""
AHEAD = 16
"""Number of chunks beyond those wanted that are read while the dense search is under way: for 97 questions in a hundred
the most promising ones are among those that the lexical search alone puts first."""
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


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of both searches brought."""

    limit: int
    dense: Mapping[int, float]
    lexical: Mapping[int, float]
    """Scores, best first."""
    weights: Weighted
    promise: Mapping[int, float]
    """What may be a hit, in the order in which it is worth reading."""
    ahead: Ahead | None
    is_exhausted: bool
    """Whether a deeper round would bring nothing more."""

    def searched(self) -> Searched:
        """For who wants to know."""
        return Searched(self.dense, self.lexical, self.promise)


class Search:
    """One question's way through both indexes of a space, in as many rounds as it takes."""

    def __init__(
        self,
        space: SpaceInfo,
        question: str,
        terms: Terms,
        parts: SearchParts,
        selection: Selection | None,
        clock: Clock,
        options: RetrievalOptions,
    ) -> None:
        self.space = space
        self.selection = selection
        self.clock = clock
        self.strategy = options.strategy
        self.rounds = 0
        self.static = parts.static
        self.weighing = _weighing(options, is_static=parts.embedder is parts.static)
        self.seen: SpaceInfo | None = None
        """The space as it was when chunks were last read."""
        self.question = question
        self._terms = terms
        self._catalog = parts.catalog
        self._lexical = parts.lexical
        self._store = parts.store
        self._embedder = parts.embedder
        self._among = None if selection is None else selection.chunks
        self._vector: Vector | None = None

    async def run(self, limit: int, *, wanted: int = 0) -> Round:
        """What the two searches find, or all of the selected ones where these are few. Where so many of them are
        `wanted`, they are read ahead if that can be."""
        self.rounds += 1
        few = self._few
        dense, ((lexical, weights), ahead) = await together(
            lambda: self._search_dense(min(limit, DEEPEST) if few is None else len(few)),
            lambda: self._search_lexical(limit * LEXICAL_DEPTH if few is None else len(few), wanted),
        )
        is_exhausted = few is not None or limit > DEEPEST or len(dense) < limit
        if few is None and self.strategy is not Strategy.DENSE:
            is_exhausted = is_exhausted and len(lexical) < limit
        return Round(
            limit=limit,
            dense=dict(dense),
            lexical=dict(lexical),
            weights=weights,
            promise=self._promise(dense, lexical, limit),
            ahead=ahead,
            is_exhausted=is_exhausted,
        )

    def _promise(self, dense: Sequence[VectorHit], words: Sequence[LexicalHit], limit: int) -> dict[int, float]:
        """The score of each that may be a hit, as far as the searches can tell, the most promising first."""
        first = limit if self._few is None else len(self._few)
        if self.strategy is Strategy.RANKS:
            promise = _by_ranks([[hit.id for hit in hits[:first]] for hits in (dense, words)])
        else:
            cosines, lexical = dict(dense), dict(words)
            # The cosine of what the dense search did not find is unknown yet, but no better than that of its last hit.
            unknown = dense[-1].score if len(dense) >= limit else 0.0
            promise = {
                key: fusion.fuse(lexical.get(key, 0.0), cosines.get(key, unknown), 0.0, self.weighing)
                for key in self._found(dense[:first], words[:first])
            }
        return dict(sorted(promise.items(), key=lambda it: (-it[1], it[0])))

    def _found(self, dense: Sequence[VectorHit], words: Sequence[LexicalHit]) -> Sequence[int]:
        """What may be a hit: of few selected ones each, unless words alone count; else what a search brought."""
        if self._few is not None and self.strategy is not Strategy.LEXICAL:
            return self._few
        found = [hit.id for hit in dense]
        if self.strategy is not Strategy.DENSE:
            found += [hit.id for hit in words]
        return list(dict.fromkeys(found))

    def fused(
        self,
        found: Round,
        ids: Sequence[int],
        lexical: Sequence[float],
        cosines: Sequence[float | None],
        sentences: Sequence[float],
    ) -> list[float]:
        """The score that candidates of a round have by the strategy."""
        if self.strategy is Strategy.RANKS:
            return [found.promise[key] for key in ids]
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

    @property
    def _few(self) -> Ids | None:
        """What a filter selects, where it is so little that each of it is a candidate."""
        return self._among if self.selection is not None and self.selection.is_few else None

    async def static_vector(self) -> Vector:
        """The question's vector by the static embedder."""
        own = self._vector if self._embedder is self.static else None
        return await self.static.embed_query(self.question) if own is None else own

    async def cosines(self, found: Round, ids: Sequence[int], static: Sequence[float]) -> list[float | None]:
        """The question's cosines with chunks, None where either has no vector; `static` are the static embedder's."""
        if self._vector is None or not self._vector.any():
            return [None] * len(ids)
        if self._embedder is self.static:
            return [cosine or None for cosine in static]
        missing = await self._store.fetch(self.space.collection, [key for key in ids if key not in found.dense])
        fresh = {key: fusion.cosine(self._vector, vector) for key, vector in missing.items()}
        return [found.dense.get(key, fresh.get(key)) for key in ids]

    async def _search_dense(self, limit: int) -> list[VectorHit]:
        if self.strategy is Strategy.LEXICAL:
            return []
        if self._vector is None:
            with self.clock.time("embedding"):
                self._vector = await self._embedder.embed_query(self.question)
        if not self._vector.any():
            return []
        with self.clock.time("dense_search"):
            return await self._store.query(self.space.collection, self._vector, limit=limit, among=self._among)

    async def _search_lexical(self, limit: int, wanted: int) -> tuple[LexicalResult, Ahead | None]:
        with self.clock.time("lexical_search"):
            found = await self._lexical.search(self.space.lexical_name, self._terms, limit=limit, among=self._among)
        if not wanted or self.strategy is not Strategy.HYBRID or self.selection is not None:
            return found, None
        ids = [hit.id for hit in found.hits[: wanted + AHEAD]]
        with self.clock.time("reading_ahead"):
            return found, Ahead(frozenset(ids), await self.read(ids))

    async def read(self, ids: Sequence[int]) -> Mapping[int, tuple[Chunk, bytes]]:
        """Those of the chunks that are live, with what is kept of each."""
        self.seen, live = await self._catalog.live_vectors(self.space.id, ids)
        return live


def _by_ranks(lists: Sequence[Sequence[int]]) -> dict[int, float]:
    ranks: dict[int, list[int]] = {}
    for ids in lists:
        for rank, key in enumerate(ids, 1):
            ranks.setdefault(key, []).append(rank)
    return {key: fusion.fuse_ranks(each) for key, each in ranks.items()}


def _weighing(options: RetrievalOptions, *, is_static: bool) -> fusion.Weights:
    """What the parts of a score count for."""
    match options.strategy:
        case Strategy.DENSE:
            return fusion.DENSE
        case Strategy.LEXICAL:
            return fusion.LEXICAL
        case Strategy.HYBRID:
            usual = fusion.STATIC if is_static else fusion.MODEL
            given = {"cosine": options.dense_weight, "sentence": options.sentence_weight}
            return usual._replace(**{name: weight for name, weight in given.items() if weight is not None})
        case Strategy.RANKS:
            return fusion.Weights(cosine=0.0, sentence=0.0, lexical=0.0, lift=0.0)
        case _:
            assert_never(options.strategy)
