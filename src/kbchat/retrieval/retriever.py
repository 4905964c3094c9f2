"""Retrieval: from a question to the chunks that answer it, each with a score that means something.

Dense and lexical search run at the same time. What either finds is checked against the catalog (only live generations
are ever seen), scored by both and by its best sentence, ordered by a weighted sum of absolute scores, and told how sure
the question is of its best hit. Then, where somebody asks for it, a reranker has its say, hits that are too alike make
room for others, and each is shown with the text around it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from kbchat import fusion
from kbchat.catalog import Catalog
from kbchat.embedders import Embedder, passages
from kbchat.embedders.static import StaticEmbedder
from kbchat.errors import RerankerError
from kbchat.inputs import RetrievalOptions
from kbchat.lexical import LexicalIndex
from kbchat.models import Chunk, Reference, SpaceInfo
from kbchat.rerankers import Reranker
from kbchat.retrieval import explaining, scoring
from kbchat.retrieval.expanding import Expander
from kbchat.retrieval.explaining import Clock, Cut, Explanation, Scored, Searched
from kbchat.retrieval.searching import Round, Search, SearchParts
from kbchat.retrieval.selecting import Selector
from kbchat.stores import VectorStore
from kbchat.strategies import Expand
from kbchat.text.analysis import Terms, analyse, analyse_question
from kbchat.text.splitting import text_of
from kbchat.threads import Threads

CANDIDATES = 50
"""How many hits each search contributes, at least."""
READ = 32
"""Number of the most promising candidates, at least, that are read and scored in full: sentences lift none further
down."""
RERANKED = 32
"""Number of the best hits, at least, that a reranker is shown."""
INLINE_CHARS = 2000
"""A longer text is analysed in a thread."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was found: references, best first, and how sure it is that the space holds the answer, in [0, 1]."""

    references: tuple[Reference, ...]
    confidence: float = 0.0
    evidence: fusion.Evidence | None = None
    """What the confidence was made from; None where nothing was found."""
    space: SpaceInfo | None = None
    """The space as it was when the chunks were read; None where there were none to read."""


class _Way(NamedTuple):
    """What was found, and all that was scored on the way, in the final order."""

    found: Retrieval
    last: Round | None = None
    """What the last round of searches brought; None where nothing was searched."""
    scored: Sequence[Scored] = ()
    chosen: Sequence[Scored] = ()
    """What is not too much for `top_k`."""


class Retriever:
    """Finds chunks of any space whose parts it is handed."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        lexical: LexicalIndex,
        static: StaticEmbedder,
        threads: Threads,
        reranker: Reranker | None = None,
    ) -> None:
        self._catalog = catalog
        self._lexical = lexical
        self._threads = threads
        self._reranker = reranker
        self._static = static
        self._selector = Selector(catalog=catalog)
        self._expander = Expander(catalog=catalog)

    async def retrieve(
        self, space: SpaceInfo, question: str, options: RetrievalOptions, *, store: VectorStore, embedder: Embedder
    ) -> Retrieval:
        """The best live chunks by these options, best first; ties break by chunk id. Raises the error of a part that
        failed."""
        search = await self._prepare(space, question, options, store=store, embedder=embedder)
        return (await self._find(search, options)).found

    async def explain(
        self, space: SpaceInfo, question: str, options: RetrievalOptions, *, store: VectorStore, embedder: Embedder
    ) -> Explanation:
        """The same, with what became of every chunk on the way. An empty space is not searched."""
        if not space.chunk_count:
            return Explanation(question=question, top_k=options.top_k, score_threshold=options.score_threshold)
        search = await self._prepare(space, question, options, store=store, embedder=embedder)
        way = await self._find(search, options)
        timings, evidence, confidence = search.clock.read(), way.found.evidence, way.found.confidence
        searched = Searched({}, {}, {}) if way.last is None else way.last.searched()
        known = {it.chunk.id for it in way.scored}
        rest = [key for key in searched.promise if key not in known]
        others = await self._catalog.live_chunks(space.id, rest) if rest else {}
        shares = fusion.recall_scores([it.final for it in way.scored], confidence)
        return Explanation(
            references=way.found.references,
            question=question,
            top_k=options.top_k,
            score_threshold=options.score_threshold,
            strategy=options.strategy,
            reranker=self._reranker.name if self._reranker is not None and options.rerank else None,
            diversity=options.diversity,
            expand=options.expand,
            selected=None if search.selection is None else search.selection.described(),
            rounds=search.rounds,
            depth=0 if way.last is None else way.last.limit,
            weighing=search.weighed(),
            candidates=explaining.candidates(searched, way.scored, others, shares=shares, cuts=_cuts(way, options)),
            confidence=confidence,
            offset=0.0 if evidence is None else fusion.constants(evidence).offset,
            clues=() if evidence is None else explaining.clues(evidence),
            timings=timings,
        )

    async def _prepare(
        self, space: SpaceInfo, question: str, options: RetrievalOptions, *, store: VectorStore, embedder: Embedder
    ) -> Search:
        clock, where = Clock(), options.where
        with clock.time("analysis"):
            terms = await self._run(analyse_question, question)
        with clock.time("filter"):
            selection = None if where is None else await self._selector.select(space, where)
        parts = SearchParts(self._catalog, self._lexical, store, embedder, self._static)
        return Search(space, question, terms, parts, selection, clock, options)

    async def _find(self, search: Search, options: RetrievalOptions) -> _Way:
        last, scored = await self._scored(search, options.top_k)
        if last is None or not scored:
            return _Way(Retrieval((), space=search.seen), last)
        with search.clock.time("confidence"):
            evidence = await self._evidence(search, last, scored[0])
        confidence = fusion.confidence(evidence)
        if self._reranker is not None and options.rerank:
            with search.clock.time("reranking"):
                scored = await self._reranked(self._reranker, search, scored, options.top_k)
        chosen = _diverse(scored, options) if options.diversity else scored[: options.top_k]
        shares = fusion.recall_scores([it.final for it in chosen], confidence)
        references: Sequence[Reference] = [
            it.reference(share)
            for it, share in zip(chosen, shares, strict=True)
            if options.score_threshold is None or share >= options.score_threshold
        ]
        if options.expand is not Expand.NONE:
            with search.clock.time("expanding"):
                references = await self._expander.expand(search.space.id, references, options)
        return _Way(Retrieval(tuple(references), confidence, evidence, search.seen), last, scored, chosen)

    async def _scored(self, search: Search, top_k: int) -> tuple[Round | None, Sequence[Scored]]:
        """The last round, and live candidates in their order, at least `top_k` if there are so many."""
        if search.selection is not None and not search.selection.share:
            return None, ()
        limit = max(CANDIDATES, top_k)
        while True:
            found = await search.run(limit, wanted=_first(top_k))
            scored = await self._score(search, found, top_k)
            if len(scored) >= top_k or found.is_exhausted:
                return found, scored
            limit *= 4  # Many of those found belong to generations that are dead and not yet collected.

    async def _run(self, analysis: Callable[[str], Terms], text: str) -> Terms:
        return analysis(text) if len(text) <= INLINE_CHARS else await self._threads.read(analysis, text)

    async def _score(self, search: Search, found: Round, top_k: int) -> list[Scored]:
        """The chunks that are live, in order. The most promising are read until there are enough of them."""
        ids = list(found.promise)
        first = ids[: _first(top_k)]
        live = None if found.ahead is None else found.ahead.of(first)
        if live is None or (len(live) < top_k and len(first) < len(ids)):
            with search.clock.time("reading"):
                live = await self._read(search, ids, top_k)
        with search.clock.time("scoring"):
            chunks = [chunk for chunk, _ in live.values()]
            packed = await self._packed(search, chunks, [vectors for _, vectors in live.values()])
            alike = passages.compare(await search.static_vector(), packed)
            sentences = alike.sentence.tolist()
            cosines = await search.cosines(found, list(live), alike.chunk.tolist())
            lexical = [found.lexical.get(chunk.id, 0.0) for chunk in chunks]
            fused = search.fused(found, list(live), lexical, cosines, sentences)
            return scoring.Numbers(chunks, lexical, cosines, sentences, fused, packed).ranked(search.weighing.lift)

    async def _read(self, search: Search, ids: Sequence[int], top_k: int) -> dict[int, tuple[Chunk, bytes]]:
        """The live ones, from the first on, until there are enough."""
        live: dict[int, tuple[Chunk, bytes]] = {}
        step = _first(top_k)
        for first in range(0, len(ids), step):
            live |= await search.read(ids[first : first + step])
            if len(live) >= top_k:
                break
        return live

    async def _packed(self, search: Search, chunks: Sequence[Chunk], packed: Sequence[bytes]) -> Sequence[bytes]:
        """What is kept of each chunk; made now for those that were written before anything was kept."""
        missing = [number for number, vectors in enumerate(packed) if not vectors]
        if not missing:
            return packed
        texts = [text_of(chunks[number]) for number in missing]
        made = dict(zip(missing, await self._threads.read(passages.pack, search.static, texts), strict=True))
        return [made.get(number, vectors) for number, vectors in enumerate(packed)]

    async def _evidence(self, search: Search, found: Round, best: Scored) -> fusion.Evidence:
        """What speaks for the best hit."""
        held = await self._run(analyse, text_of(best.chunk))
        weights = found.weights
        covered = fusion.coverage(weights.unigrams, frozenset(held.unigrams))
        return fusion.Evidence(
            lexical=best.lexical,
            covered=covered,
            pairs_covered=fusion.coverage(weights.bigrams, frozenset(held.bigrams)) if weights.bigrams else covered,
            flatness=fusion.flatness(list(islice(found.lexical.values(), 10))),
            sentence=best.sentence,
            size=math.log(max(search.space.chunk_count, 1)),
            by_characters=bool(weights.characters),
        )

    async def _reranked(self, reranker: Reranker, search: Search, scored: Sequence[Scored], top_k: int) -> list[Scored]:
        """By the reranker's scores. They leave it as it is how sure the question is of its best hit: each reranker's
        lie in a range of their own."""
        shown = scored[: max(top_k, RERANKED)]
        scores = await reranker.rerank(search.question, [text_of(it.chunk) for it in shown])
        if len(scores) != len(shown):
            told = f"gave {len(scores)} scores for {len(shown)} passages; there has to be one for each"
            raise RerankerError(f"reranker {reranker.name!r} {told}")
        for number, score in enumerate(scores, 1):
            if not math.isfinite(score):
                told = f"gave passage {number} of {len(shown)} the score {score}; scores have to be finite"
                raise RerankerError(f"reranker {reranker.name!r} {told}")
        return scoring.reranked(scored, scores)


def _first(top_k: int) -> int:
    """How many of the most promising are read."""
    return max(READ, top_k + READ // 2)


def _diverse(scored: Sequence[Scored], options: RetrievalOptions) -> list[Scored]:
    cosines = passages.cosines([it.packed for it in scored])
    return scoring.diverse(scored, options.top_k, options.diversity, lambda one, other: float(cosines[one, other]))


def _cuts(way: _Way, options: RetrievalOptions) -> Callable[[int, float], Cut | None]:
    """Tells why the candidate that is at a place of the order and has a score is not among the references."""
    chosen = {it.chunk.id for it in way.chosen}
    shown = {it.chunk_id for it in way.found.references}
    last = max((place for place, it in enumerate(way.scored) if it.chunk.id in chosen), default=-1)

    def cut(place: int, score: float) -> Cut | None:
        key = way.scored[place].chunk.id
        if key not in chosen:
            return Cut.ALIKE if place < last else Cut.TOP_K
        if options.score_threshold is not None and score < options.score_threshold:
            return Cut.SCORE_THRESHOLD
        return None if key in shown else Cut.SHOWN

    return cut
