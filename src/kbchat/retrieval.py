"""Retrieval: from a question to the chunks that answer it, each with a score that means something.

Dense and lexical search run at the same time. What either finds is scored by both, ordered by a weighted sum of
absolute scores, checked against the catalog (only live generations are ever seen) and told how sure the question is of
its best hit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kbchat import fusion, sentences
from kbchat.analysis import Terms, analyse
from kbchat.catalog import Catalog
from kbchat.embedders import Embedder, Vector
from kbchat.embedders.static import StaticEmbedder
from kbchat.lexical import LexicalHit, LexicalIndex, LexicalResult, Weighted
from kbchat.models import Chunk, Reference, SpaceInfo
from kbchat.splitting import embedded_text
from kbchat.stores import VectorHit, VectorStore
from kbchat.threads import Threads, together

CANDIDATES = 50
"""How many hits each search contributes, at least."""
LEXICAL_DEPTH = 4
"""The lexical search looks this many times deeper, for the scores of what only the dense search found. It is cheap."""
SPARE = 8
"""How many more chunks than wanted are read from the catalog, in case some are dead."""
MAX_SENTENCES = 32


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was found: references, best first, and how sure it is that the space holds the answer, in [0, 1]."""

    references: tuple[Reference, ...]
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A chunk that a search found. `cosine` is None where the question or the chunk has no vector."""

    id: int
    lexical: float
    cosine: float | None

    @property
    def fused(self) -> float:
        return fusion.fuse(self.lexical, self.cosine or 0.0)


class Retriever:
    """Finds chunks of any space whose parts it is handed."""

    def __init__(self, *, catalog: Catalog, lexical: LexicalIndex, threads: Threads) -> None:
        self._catalog = catalog
        self._lexical = lexical
        self._threads = threads
        self._static = StaticEmbedder(threads=threads)

    async def retrieve(
        self,
        space: SpaceInfo,
        question: str,
        *,
        store: VectorStore,
        embedder: Embedder,
        top_k: int,
        score_threshold: float | None = None,
    ) -> Retrieval:
        """The `top_k` best live chunks, without those whose `recall_score` is below `score_threshold`.

        Best first; ties break by chunk id. Raises the error of a part that failed.
        """
        search = _Search(self._lexical, store, embedder, space, question, await self._analyse(question))
        limit = max(CANDIDATES, top_k)
        while True:
            candidates = await search.candidates(limit)
            live = await self._live(space, candidates, top_k)
            if len(live) >= top_k or not search.may_find_more(limit):
                break
            limit *= 4  # Many of those found belong to generations that are dead and not yet collected.
        if not live:
            return Retrieval(())
        best, chunk = live[0]
        confidence = fusion.confidence(await self._evidence(search, best, chunk))
        scores = fusion.recall_scores([candidate.fused for candidate, _ in live], confidence)
        return Retrieval(
            tuple(
                _reference(candidate, chunk, score)
                for (candidate, chunk), score in zip(live, scores, strict=True)
                if score_threshold is None or score >= score_threshold
            ),
            confidence,
        )

    async def _analyse(self, question: str) -> Terms:
        return analyse(question) if len(question) < 2000 else await self._threads.read(analyse, question)

    async def _live(
        self, space: SpaceInfo, candidates: Sequence[_Candidate], top_k: int
    ) -> list[tuple[_Candidate, Chunk]]:
        """The best candidates that are live, at most `top_k`."""
        live: list[tuple[_Candidate, Chunk]] = []
        asked = 0
        while asked < len(candidates) and len(live) < top_k:
            part = candidates[asked : asked + top_k + SPARE]
            asked += len(part)
            chunks = await self._catalog.live_chunks(space.id, [candidate.id for candidate in part])
            live += [(candidate, chunks[candidate.id]) for candidate in part if candidate.id in chunks]
        return live[:top_k]

    async def _evidence(self, search: "_Search", best: _Candidate, chunk: Chunk) -> fusion.Evidence:
        """What speaks for the best hit."""
        text = embedded_text(headings_of(chunk), chunk.content)
        held = await self._analyse(text)
        weights, hits = search.weights, search.lexical_hits
        static = search.embedder if isinstance(search.embedder, StaticEmbedder) else self._static
        question = await static.embed_query(search.question)
        vectors = await static.embed_documents(
            [text[start:end] for start, end in sentences.split(text)[:MAX_SENTENCES]]
        )
        return fusion.Evidence(
            lexical=best.lexical,
            covered=fusion.coverage(weights.uni, frozenset(held.uni)),
            pairs_covered=fusion.coverage(weights.bi, frozenset(held.bi)),
            has_pairs=bool(weights.bi),
            flatness=fusion.flatness([hit.score for hit in hits[:10]]),
            sentence=max(0.0, float((vectors @ question).max(initial=0.0))),
        )


class _Search:
    """One question's way through both indexes."""

    def __init__(
        self,
        lexical: LexicalIndex,
        store: VectorStore,
        embedder: Embedder,
        space: SpaceInfo,
        question: str,
        terms: Terms,
    ) -> None:
        self._lexical = lexical
        self._store = store
        self.embedder = embedder
        self._space = space
        self.question = question
        self._terms = terms
        self._vector: Vector | None = None
        self._dense_hits: list[VectorHit] = []
        self.lexical_hits: list[LexicalHit] = []
        self.weights = Weighted({}, {}, {})

    async def candidates(self, limit: int) -> list[_Candidate]:
        """What the searches find, best first, each scored by both."""
        self._dense_hits, (self.lexical_hits, self.weights) = await together(
            lambda: self._search_dense(limit), lambda: self._search_lexical(limit)
        )
        lexical = dict(self.lexical_hits)
        dense = dict(self._dense_hits)
        ids = [hit.id for hit in self.lexical_hits[:limit] if hit.id not in dense]
        dense |= await self._cosines(ids)
        # What the lexical search found neither among the best nor deeper shares no term with the question, or scores
        # less than `limit * LEXICAL_DEPTH` others: too little to come among the best by what it is then worth.
        found = [_Candidate(key, lexical.get(key, 0.0), dense.get(key)) for key in {**dense, **dict.fromkeys(ids)}]
        return sorted(found, key=lambda candidate: (-candidate.fused, candidate.id))

    def may_find_more(self, limit: int) -> bool:
        return len(self._dense_hits) >= limit or len(self.lexical_hits) >= limit

    async def _search_dense(self, limit: int) -> list[VectorHit]:
        if self._vector is None:
            self._vector = await self.embedder.embed_query(self.question)
        if not self._vector.any():
            return []
        return await self._store.query(self._space.collection, self._vector, limit=limit)

    async def _search_lexical(self, limit: int) -> LexicalResult:
        return await self._lexical.search(self._space.lexical_name, self._terms, limit=limit * LEXICAL_DEPTH)

    async def _cosines(self, ids: Sequence[int]) -> dict[int, float]:
        """The question's cosines with chunks that the dense search did not bring."""
        if self._vector is None or not ids or not self._vector.any():
            return {}
        vectors = await self._store.fetch(self._space.collection, ids)
        return {key: cosine(self._vector, vector) for key, vector in vectors.items()}


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two vectors that are not zero, in [-1, 1]."""
    import numpy as np

    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return max(-1.0, min(1.0, float(one @ other) / scale)) if scale > 0 else 0.0


def headings_of(chunk: Chunk) -> tuple[str, ...]:
    """The headings above a chunk, outermost first."""
    headings = chunk.metadata.get("headings")
    return tuple(map(str, headings)) if isinstance(headings, list) else ()


def _reference(candidate: _Candidate, chunk: Chunk, score: float) -> Reference:
    return Reference(
        name=chunk.document_name,
        document_id=chunk.document_id,
        chunk_id=chunk.id,
        content=chunk.content,
        start=chunk.start,
        end=chunk.end,
        recall_score=score,
        metadata=chunk.metadata,
        dense=candidate.cosine,
        lexical=candidate.lexical,
    )
