"""Retrieval: from a question to the chunks that answer it, each with a score that means something.

Dense and lexical search run at the same time. What either finds is checked against the catalog (only live generations
are ever seen), scored by both and by its best sentence, ordered by a weighted sum of absolute scores, and told how sure
the question is of its best hit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kbchat import fusion
from kbchat.analysis import Terms, analyse
from kbchat.catalog import Catalog
from kbchat.embedders import Embedder, Vector, passages
from kbchat.embedders.static import StaticEmbedder
from kbchat.filters import Filter
from kbchat.lexical import LexicalHit, LexicalIndex, LexicalResult, Weighted
from kbchat.models import Chunk, Reference, SpaceInfo
from kbchat.selecting import Selection, Selector
from kbchat.splitting import embedded_text
from kbchat.stores import VectorHit, VectorStore
from kbchat.threads import Threads, together

CANDIDATES = 50
"""How many hits each search contributes, at least."""
LEXICAL_DEPTH = 4
"""The lexical search looks this many times deeper, for the scores of what only the dense search found: it costs little,
and what is still missing then scores less than 200 others."""
DEEPER = 1.5
"""A filter's share is an average: the hits of one question may be rarer among what it selects."""
DEEPEST = 16_000
"""No store answers with more hits than this; the lexical search knows no such end."""
LIFTED = 50
"""Among so many of the best a chunk is lifted by its neighbours."""
INLINE_CHARS = 2000
"""A longer text is analysed in a thread."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was found: references, best first, and how sure it is that the space holds the answer, in [0, 1]."""

    references: tuple[Reference, ...]
    confidence: float = 0.0
    evidence: fusion.Evidence | None = None
    """What the confidence was made from; None where nothing was found."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A live chunk that a search found, and its scores. `cosine` is None where question or chunk have no vector."""

    chunk: Chunk
    lexical: float
    cosine: float | None
    sentence: float
    fused: float

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
            dense=self.cosine,
            lexical=self.lexical,
            sentence=self.sentence,
        )


class Retriever:
    """Finds chunks of any space whose parts it is handed."""

    def __init__(self, *, catalog: Catalog, lexical: LexicalIndex, threads: Threads) -> None:
        self._catalog = catalog
        self._lexical = lexical
        self._threads = threads
        self._static = StaticEmbedder(threads=threads)
        self._selector = Selector(catalog=catalog, threads=threads)

    async def retrieve(
        self,
        space: SpaceInfo,
        question: str,
        *,
        store: VectorStore,
        embedder: Embedder,
        top_k: int,
        score_threshold: float | None = None,
        where: Filter | None = None,
    ) -> Retrieval:
        """The `top_k` best live chunks, without those whose `recall_score` is below `score_threshold`; only of the
        documents that `where` selects.

        Best first; ties break by chunk id. Raises the error of a part that failed.
        """
        static = embedder if isinstance(embedder, StaticEmbedder) else self._static
        terms = await self._analyse(question)
        selection = None if where is None else await self._selector.select(space, where)
        if selection is not None and not selection.share:
            return Retrieval(())
        parts = _SearchParts(self._catalog, self._lexical, store, embedder, static)
        search = _Search(space, question, terms, parts, selection)
        limit = max(CANDIDATES, top_k)
        while True:
            found = await search.run(limit)
            live = await self._score(search, found)
            if len(live) >= top_k or not search.may_find_more(limit):
                break
            limit *= 4  # Many of those found belong to generations that are dead and not yet collected.
        if not live:
            return Retrieval(())
        evidence = await self._evidence(search, live[0])
        confidence = fusion.confidence(evidence)
        best = live[:top_k]
        scores = fusion.recall_scores([candidate.fused for candidate in best], confidence)
        references = [
            candidate.reference(score)
            for candidate, score in zip(best, scores, strict=True)
            if score_threshold is None or score >= score_threshold
        ]
        return Retrieval(tuple(references), confidence, evidence)

    async def _analyse(self, text: str) -> Terms:
        return analyse(text) if len(text) <= INLINE_CHARS else await self._threads.read(analyse, text)

    async def _score(self, search: "_Search", ids: Sequence[int]) -> list[_Candidate]:
        """Those of the chunks that are live, best first."""
        live = await self._catalog.live_vectors(search.space.id, ids)
        chunks = [chunk for chunk, _ in live.values()]
        packed = await self._packed(search, chunks, [vectors for _, vectors in live.values()])
        alike = passages.compare(await search.static_vector(), packed)
        cosines = await search.cosines(list(live), alike.chunk.tolist())
        lexical = dict(search.lexical_hits)
        candidates = []
        for chunk, sentence in zip(chunks, alike.sentence.tolist(), strict=True):
            score, cosine = lexical.get(chunk.id, 0.0), cosines.get(chunk.id)
            fused = fusion.fuse(score, cosine or 0.0, sentence, search.weighing)
            candidates.append(_Candidate(chunk, score, cosine, sentence, fused))
        return _in_order(_lifted(_in_order(candidates)))

    async def _packed(self, search: "_Search", chunks: Sequence[Chunk], packed: Sequence[bytes]) -> Sequence[bytes]:
        """What is kept of each chunk; made now for those that were written before anything was kept."""
        missing = [number for number, vectors in enumerate(packed) if not vectors]
        if not missing:
            return packed
        texts = [text_of(chunks[number]) for number in missing]
        made = dict(zip(missing, await self._threads.read(passages.pack, search.static, texts), strict=True))
        return [made.get(number, vectors) for number, vectors in enumerate(packed)]

    async def _evidence(self, search: "_Search", best: _Candidate) -> fusion.Evidence:
        """What speaks for the best hit."""
        held = await self._analyse(text_of(best.chunk))
        weights = search.weights
        covered = fusion.coverage(weights.uni, frozenset(held.uni))
        return fusion.Evidence(
            lexical=best.lexical,
            covered=covered,
            pairs_covered=fusion.coverage(weights.bi, frozenset(held.bi)) if weights.bi else covered,
            flatness=fusion.flatness([hit.score for hit in search.lexical_hits[:10]]),
            sentence=best.sentence,
            size=math.log(max(search.space.chunk_count, 1)),
            by_characters=bool(weights.c1),
        )


@dataclass(frozen=True, slots=True)
class _SearchParts:
    """What a search asks."""

    catalog: Catalog
    lexical: LexicalIndex
    store: VectorStore
    embedder: Embedder
    static: StaticEmbedder


class _Search:
    """One question's way through both indexes of a space."""

    def __init__(
        self,
        space: SpaceInfo,
        question: str,
        terms: Terms,
        parts: _SearchParts,
        selection: Selection | None,
    ) -> None:
        self.space = space
        self.static = parts.static
        self.weighing = fusion.STATIC if parts.embedder is parts.static else fusion.MODEL
        self.lexical_hits: list[LexicalHit] = []
        self.weights = Weighted({}, {}, {})
        self._question = question
        self._terms = terms
        self._catalog = parts.catalog
        self._lexical = parts.lexical
        self._store = parts.store
        self._embedder = parts.embedder
        self._selection = selection
        self._deeper = 1.0 if selection is None else DEEPER / selection.share
        self._vector: Vector | None = None
        self._dense_hits: list[VectorHit] = []
        self._is_exhausted = False

    async def run(self, limit: int) -> list[int]:
        """The ids that the two searches find; all of the selected ones where these are few."""
        depth = self._depth(limit)
        deepest = min(depth, DEEPEST)
        dense, (lexical, self.weights) = await together(
            lambda: self._search_dense(deepest), lambda: self._search_lexical(self._depth(limit * LEXICAL_DEPTH))
        )
        self._is_exhausted = (depth > DEEPEST or len(dense) < depth) and len(lexical) < depth
        self._dense_hits, self.lexical_hits = await self._selected(dense, lexical)
        if self._few is not None:
            return list(self._few)
        ids = [hit.id for hit in self._dense_hits[:limit]] + [hit.id for hit in self.lexical_hits[:limit]]
        return list(dict.fromkeys(ids))

    @property
    def _few(self) -> tuple[int, ...] | None:
        return None if self._selection is None else self._selection.chunks

    def _depth(self, limit: int) -> int:
        """How deep to look for so many that are selected."""
        if self._few is not None:
            return len(self._few)
        return max(limit, min(math.ceil(limit * self._deeper), self.space.chunk_count))

    async def _selected(
        self, dense: list[VectorHit], lexical: list[LexicalHit]
    ) -> tuple[list[VectorHit], list[LexicalHit]]:
        selection = self._selection
        if selection is None or self._few is not None:
            return dense, lexical
        owners = await self._catalog.chunk_owners([*(hit.id for hit in dense), *(hit.id for hit in lexical)])
        chosen = {key for key, document in owners.items() if document in selection.documents}
        return [hit for hit in dense if hit.id in chosen], [hit for hit in lexical if hit.id in chosen]

    def may_find_more(self, limit: int) -> bool:
        return self._few is None and not self._is_exhausted

    async def static_vector(self) -> Vector:
        """The question's vector by the static embedder."""
        own = self._vector if self._embedder is self.static else None
        return await self.static.embed_query(self._question) if own is None else own

    async def cosines(self, ids: Sequence[int], static: Sequence[float]) -> dict[int, float]:
        """The question's cosines with chunks, where both have vectors. `static` are those of the static embedder."""
        if self._vector is None or not self._vector.any():
            return {}
        if self._embedder is self.static:
            return {key: cosine for key, cosine in zip(ids, static, strict=True) if cosine}
        known = dict(self._dense_hits)
        missing = await self._store.fetch(self.space.collection, [key for key in ids if key not in known])
        return known | {key: cosine(self._vector, vector) for key, vector in missing.items()}

    async def _search_dense(self, limit: int) -> list[VectorHit]:
        if self._vector is None:
            self._vector = await self._embedder.embed_query(self._question)
        if not self._vector.any() or self._few is not None:
            return []
        return await self._store.query(self.space.collection, self._vector, limit=limit)

    async def _search_lexical(self, limit: int) -> LexicalResult:
        return await self._lexical.search(self.space.lexical_name, self._terms, limit=limit, among=self._few)


def _in_order(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    return sorted(candidates, key=lambda candidate: (-candidate.fused, candidate.chunk.id))


def _lifted(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """The candidates, the best of them lifted towards better neighbours in their document."""
    best = {(each.chunk.document_id, each.chunk.position): each.fused for each in candidates[:LIFTED]}

    def lifted(candidate: _Candidate) -> _Candidate:
        document, position = candidate.chunk.document_id, candidate.chunk.position
        beside = [best[place] for place in ((document, position - 1), (document, position + 1)) if place in best]
        return replace(candidate, fused=fusion.lift(candidate.fused, beside)) if beside else candidate

    return [*map(lifted, candidates[:LIFTED]), *candidates[LIFTED:]]


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two vectors, in [-1, 1]; 0 for the zero vector."""
    scale = float((one @ one) * (other @ other)) ** 0.5
    return max(-1.0, min(1.0, float(one @ other) / scale)) if scale > 0 else 0.0


def text_of(chunk: Chunk) -> str:
    """What was embedded and indexed of a chunk."""
    headings = chunk.metadata.get("headings")
    return embedded_text([str(heading) for heading in headings] if isinstance(headings, list) else (), chunk.content)
