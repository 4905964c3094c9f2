"""Retrieval: from a question to the chunks that answer it, each with a score that means something.

Dense and lexical search run at the same time. What either finds is checked against the catalog (only live generations
are ever seen), scored by both and by its best sentence, ordered by a weighted sum of absolute scores, and told how sure
the question is of its best hit.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import anyio

from kbchat import explaining, fusion
from kbchat.analysis import Terms, analyse, analyse_question
from kbchat.catalog import Catalog
from kbchat.embedders import Embedder, Vector, passages
from kbchat.embedders.static import StaticEmbedder
from kbchat.explaining import Clock, Explanation, Scored, Searched, Weighing
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
READ = 32
"""So many of the most promising candidates are read and scored in full, at least: sentences move nothing further."""
LIFTED = 50
"""Among so many of the best a chunk is lifted by its neighbours."""
TURNS = 4
"""So many questions are searched for at a time, where all of the work is this machine's."""
INLINE_CHARS = 2000
"""A longer text is analysed in a thread."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was found: references, best first, and how sure it is that the space holds the answer, in [0, 1]."""

    references: tuple[Reference, ...]
    confidence: float = 0.0
    evidence: fusion.Evidence | None = None
    """What the confidence was made from; None where nothing was found."""


class _Scores(NamedTuple):
    """The chunks that were read, and a number for each in every list; `order` are their indexes, best first."""

    chunks: Sequence[Chunk] = ()
    lexical: Sequence[float] = ()
    cosines: Sequence[float | None] = ()
    sentences: Sequence[float] = ()
    fused: Sequence[float] = ()
    lifted: Sequence[float] = ()
    order: Sequence[int] = ()

    def best(self, limit: int | None = None) -> list[Scored]:
        return [
            Scored(
                self.chunks[number],
                self.lexical[number],
                self.cosines[number],
                self.sentences[number],
                self.fused[number],
                self.lifted[number],
            )
            for number in self.order[:limit]
        ]


class Retriever:
    """Finds chunks of any space whose parts it is handed."""

    def __init__(self, *, catalog: Catalog, lexical: LexicalIndex, threads: Threads) -> None:
        self._catalog = catalog
        self._lexical = lexical
        self._threads = threads
        self._static = StaticEmbedder(threads=threads)
        self._selector = Selector(catalog=catalog)
        self._turns = anyio.Semaphore(TURNS)

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
        async with self._turn(embedder):
            search = await self._prepare(space, question, store=store, embedder=embedder, where=where)
            _, found = await self._find(search, top_k, score_threshold)
        return found

    async def explain(
        self,
        space: SpaceInfo,
        question: str,
        *,
        store: VectorStore,
        embedder: Embedder,
        top_k: int,
        score_threshold: float | None = None,
        where: Filter | None = None,
    ) -> Explanation:
        """The same, with what became of every chunk on the way."""
        search = await self._prepare(space, question, store=store, embedder=embedder, where=where)
        scores, found = await self._find(search, top_k, score_threshold)
        timings = search.clock.read()
        scored, searched = scores.best(), search.searched()
        known = {it.chunk.id for it in scored}
        rest = [key for key in (*searched.promise, *searched.unselected) if key not in known]
        others = await self._catalog.live_chunks(space.id, rest) if rest else {}
        return Explanation(
            references=found.references,
            top_k=top_k,
            score_threshold=score_threshold,
            selected=None if search.selection is None else search.selection.described(),
            rounds=search.rounds,
            depth=search.limit,
            weighing=Weighing(dense=search.weighing.cosine, sentence=search.weighing.sentence),
            candidates=explaining.candidates(
                searched, scored, others, confidence=found.confidence, top_k=top_k, score_threshold=score_threshold
            ),
            confidence=found.confidence,
            offset=0.0 if found.evidence is None else fusion.constants(found.evidence).offset,
            clues=() if found.evidence is None else explaining.clues(found.evidence),
            timings=timings,
        )

    def _turn(self, embedder: Embedder) -> anyio.Semaphore | nullcontext[None]:
        """Side by side, each of many questions would be answered as late as the last of them."""
        return self._turns if isinstance(embedder, StaticEmbedder) else nullcontext()

    async def _prepare(
        self, space: SpaceInfo, question: str, *, store: VectorStore, embedder: Embedder, where: Filter | None
    ) -> "_Search":
        clock = Clock()
        static = embedder if isinstance(embedder, StaticEmbedder) else self._static
        with clock.time("analysis"):
            terms = await self._run(analyse_question, question)
        with clock.time("filter"):
            selection = None if where is None else await self._selector.select(space, where)
        parts = _SearchParts(self._catalog, self._lexical, store, embedder, static)
        return _Search(space, question, terms, parts, selection, clock)

    async def _find(self, search: "_Search", top_k: int, score_threshold: float | None) -> tuple[_Scores, Retrieval]:
        if search.selection is not None and not search.selection.share:
            return _Scores(), Retrieval(())
        limit = max(CANDIDATES, top_k)
        while True:
            found = await search.run(limit)
            scores = await self._score(search, found, top_k)
            if len(scores.order) >= top_k or not search.may_find_more(limit):
                break
            limit *= 4  # Many of those found belong to generations that are dead and not yet collected.
        live = scores.best(top_k)
        if not live:
            return scores, Retrieval(())
        with search.clock.time("confidence"):
            evidence = await self._evidence(search, live[0])
        confidence = fusion.confidence(evidence)
        shares = fusion.recall_scores([it.lifted for it in live], confidence)
        references = [
            it.reference(share)
            for it, share in zip(live, shares, strict=True)
            if score_threshold is None or share >= score_threshold
        ]
        return scores, Retrieval(tuple(references), confidence, evidence)

    async def _run(self, analysis: Callable[[str], Terms], text: str) -> Terms:
        return analysis(text) if len(text) <= INLINE_CHARS else await self._threads.read(analysis, text)

    async def _score(self, search: "_Search", ids: Sequence[int], top_k: int) -> _Scores:
        """The chunks that are live, in order. `ids` are read until there are enough of them."""
        live: dict[int, tuple[Chunk, bytes]] = {}
        step = max(READ, top_k + READ // 2)
        with search.clock.time("reading"):
            for first in range(0, len(ids), step):
                live |= await self._catalog.live_vectors(search.space.id, ids[first : first + step])
                if len(live) >= top_k:
                    break
        with search.clock.time("scoring"):
            chunks = [chunk for chunk, _ in live.values()]
            packed = await self._packed(search, chunks, [vectors for _, vectors in live.values()])
            alike = passages.compare(await search.static_vector(), packed)
            sentences = alike.sentence.tolist()
            cosines = await search.cosines(list(live), alike.chunk.tolist())
            found = dict(search.lexical_hits)
            lexical = [found.get(chunk.id, 0.0) for chunk in chunks]
            fused = [
                fusion.fuse(words, cosine or 0.0, sentence, search.weighing)
                for words, cosine, sentence in zip(lexical, cosines, sentences, strict=True)
            ]
            lifted = _lifted(chunks, fused)
            order = sorted(range(len(chunks)), key=lambda number: (-lifted[number], chunks[number].id))
        return _Scores(chunks, lexical, cosines, sentences, fused, lifted, order)

    async def _packed(self, search: "_Search", chunks: Sequence[Chunk], packed: Sequence[bytes]) -> Sequence[bytes]:
        """What is kept of each chunk; made now for those that were written before anything was kept."""
        missing = [number for number, vectors in enumerate(packed) if not vectors]
        if not missing:
            return packed
        texts = [text_of(chunks[number]) for number in missing]
        made = dict(zip(missing, await self._threads.read(passages.pack, search.static, texts), strict=True))
        return [made.get(number, vectors) for number, vectors in enumerate(packed)]

    async def _evidence(self, search: "_Search", best: Scored) -> fusion.Evidence:
        """What speaks for the best hit."""
        held = await self._run(analyse, text_of(best.chunk))
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
        clock: Clock,
    ) -> None:
        self.space = space
        self.selection = selection
        self.clock = clock
        self.rounds = self.limit = 0
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
        self._deeper = DEEPER / selection.share if selection is not None and selection.share else 1.0
        self._vector: Vector | None = None
        self._dense_hits: list[VectorHit] = []
        self._answered: tuple[list[VectorHit], list[LexicalHit]] = ([], [])
        self._promise: dict[int, float] = {}
        self._is_exhausted = False

    async def run(self, limit: int) -> list[int]:
        """What the two searches find, and all of the selected ones where these are few, the most promising first."""
        self.rounds, self.limit = self.rounds + 1, limit
        depth = self._depth(limit)
        deepest = min(depth, DEEPEST)
        dense, (lexical, self.weights) = await together(
            lambda: self._search_dense(deepest), lambda: self._search_lexical(self._depth(limit * LEXICAL_DEPTH))
        )
        self._is_exhausted = (depth > DEEPEST or len(dense) < depth) and len(lexical) < depth
        self._answered = dense, lexical
        self._dense_hits, self.lexical_hits = await self._selected(dense, lexical)
        found = self._few
        if found is None:
            dense, lexical = self._dense_hits[:limit], self.lexical_hits[:limit]
            found = tuple(dict.fromkeys((*(hit.id for hit in dense), *(hit.id for hit in lexical))))
        return self._by_promise(found, limit)

    def _by_promise(self, found: Sequence[int], limit: int) -> list[int]:
        lexical, dense = dict(self.lexical_hits), dict(self._dense_hits)
        # The cosine of what the dense search did not find is unknown yet, but no better than that of its last hit.
        unknown = self._dense_hits[-1].score if len(self._dense_hits) >= limit else 0.0
        promise = self._promise = {
            key: fusion.fuse(lexical.get(key, 0.0), dense.get(key, unknown), 0.0, self.weighing) for key in found
        }
        return sorted(promise, key=lambda key: (-promise[key], key))

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

    def may_find_more(self, limit: int) -> bool:
        return self._few is None and not self._is_exhausted

    async def static_vector(self) -> Vector:
        """The question's vector by the static embedder."""
        own = self._vector if self._embedder is self.static else None
        return await self.static.embed_query(self._question) if own is None else own

    async def cosines(self, ids: Sequence[int], static: Sequence[float]) -> list[float | None]:
        """The question's cosines with chunks, None where either has no vector; `static` are the static embedder's."""
        if self._vector is None or not self._vector.any():
            return [None] * len(ids)
        if self._embedder is self.static:
            return [cosine or None for cosine in static]
        known = dict(self._dense_hits)
        missing = await self._store.fetch(self.space.collection, [key for key in ids if key not in known])
        known |= {key: cosine(self._vector, vector) for key, vector in missing.items()}
        return [known.get(key) for key in ids]

    async def _search_dense(self, limit: int) -> list[VectorHit]:
        if self._vector is None:
            with self.clock.time("embedding"):
                self._vector = await self._embedder.embed_query(self._question)
        if not self._vector.any() or self._few is not None:
            return []
        with self.clock.time("dense_search"):
            return await self._store.query(self.space.collection, self._vector, limit=limit)

    async def _search_lexical(self, limit: int) -> LexicalResult:
        with self.clock.time("lexical_search"):
            return await self._lexical.search(self.space.lexical_name, self._terms, limit=limit, among=self._few)


def _lifted(chunks: Sequence[Chunk], fused: Sequence[float]) -> list[float]:
    """The scores, the best of them lifted towards those of better neighbours in their document."""
    best = sorted(range(len(chunks)), key=lambda number: -fused[number])[:LIFTED]
    places = {(chunks[number].document_id, chunks[number].position): fused[number] for number in best}
    lifted = list(fused)
    for number in best:
        document, position = chunks[number].document_id, chunks[number].position
        beside = [places[place] for place in ((document, position - 1), (document, position + 1)) if place in places]
        lifted[number] = fusion.lift(fused[number], beside)
    return lifted


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two vectors, in [-1, 1]; 0 for the zero vector."""
    scale = float((one @ one) * (other @ other)) ** 0.5
    return max(-1.0, min(1.0, float(one @ other) / scale)) if scale > 0 else 0.0


def text_of(chunk: Chunk) -> str:
    """What was embedded and indexed of a chunk."""
    headings = chunk.metadata.get("headings")
    return embedded_text([str(heading) for heading in headings] if isinstance(headings, list) else (), chunk.content)
