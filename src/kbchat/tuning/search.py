"""Trying configurations on the documents of a space that is there, without touching it.

Its texts are read and indexed anew in a folder of the trial's own, once for each way of splitting; then every
configuration answers the questions. The texts are those that the loaders made, so what a page, slide or sheet was is
not seen; the present configuration is tried in the same way, so that all are compared on equal terms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from kbchat import evaluation
from kbchat.chat import is_found
from kbchat.errors import InvalidInputError
from kbchat.knowledge import KnowledgeBase
from kbchat.models import DocumentStatus, IngestProgress, Reference, TextDocument
from kbchat.settings import MAX_TOP_K, Settings
from kbchat.space import KnowledgeSpace
from kbchat.strategies import Expand, Strategy
from kbchat.text.splitting import estimate_tokens
from kbchat.tuning.grids import Configuration, by_embedder
from kbchat.tuning.questions import Judged
from kbchat.tuning.trials import Asked, Progress, Spread, Trial, check_embedders, for_trial, ranking

if TYPE_CHECKING:
    from kbchat.embedders.cached import CachedEmbedder

SAMPLE = 30
"""Number of questions by which it is measured how long hits are with the text around them."""


@dataclass
class Search:
    """What is tried on which texts and questions.

    With `equal_room` the first configuration's `top_k` says how much text a question is answered from, and the others
    get as many passages as are about as long: else longer chunks would win by showing more.
    """

    texts: Mapping[str, str]
    questions: Sequence[Judged]
    equal_room: bool
    progress: Progress | None = None
    _done: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)
    _room: float = field(default=0.0, init=False)
    _embedding: Mapping[str, float] = field(default_factory=dict, init=False)

    async def run(
        self, tried: Sequence[Configuration], *, settings: Settings, folder: Path, cache: Path | None = None
    ) -> list[Trial]:
        """Try each, the first one first. `folder` is for the indexes. Vectors of an embedder that is not built in are
        kept in `cache`, or for this run. Raises the error of a part that failed."""
        self._total = len({one.indexing_label for one in tried}) * len(self.texts) + len(tried) * len(self.questions)
        ran = []
        kept = cache or folder / "embeddings.sqlite"
        checked = folder / "check"
        await check_embedders(tried, settings=settings, folder=checked, check=lambda base: _cached(base, kept))
        for number, (embedder, of_embedder) in enumerate(by_embedder(tried)):
            async with KnowledgeBase(settings=for_trial(settings, folder / str(number), embedder)) as base:
                self._embedding = await self._time_questions(await _cached(base, kept))
                for _, group in groupby(of_embedder, key=lambda one: one.splitting):
                    ran += await self._try(base, list(group))
        return ran

    async def _try(self, base: KnowledgeBase, group: Sequence[Configuration]) -> list[Trial]:
        """Configurations that split alike."""
        space = await base.create_space("trial")
        texts = [TextDocument(name=name, text=text) for name, text in self.texts.items()]
        label, begun = group[0].label, self._done

        def advance(state: IngestProgress) -> None:
            self._tell(begun + state.done, f"indexing, {label}")

        report = await space.ingest(texts, splitting=group[0].splitting, progress=advance)
        self._tell(begun + len(texts), label)
        if not report.chunks:
            raise InvalidInputError("space", "no chunk could be made of its documents")
        length = await self._tokens_a_chunk(space)
        trials = []
        for given in group:
            is_embedded = given.options.strategy is not Strategy.LEXICAL
            asked = Asked(space, self._embedding if is_embedded else {})
            configuration = await self._fitted(asked, given, length)
            found = await self._ask(asked, configuration)
            spread = Spread()
            values = self._measure(found, spread)
            trials.append(
                Trial(
                    configuration,
                    report.added,
                    report.chunks,
                    len(report.failed),
                    report.seconds,
                    values,
                    asked.seconds,
                    spread,
                )
            )
        await base.delete_space(space.id)
        return trials

    async def _time_questions(self, cached: "CachedEmbedder | None") -> dict[str, float]:
        """How long each question's vector takes: once the first configuration has asked for it, it is known, and the
        later ones are not to seem quicker."""
        texts = [judged.text for judged in self.questions if judged.text.strip()]
        return {} if cached is None else {text: await cached.time_query(text) for text in texts}

    async def _fitted(self, asked: Asked, configuration: Configuration, length: float) -> Configuration:
        """With as many passages as there is room for, where that is to be equal."""
        if not self.equal_room:
            return configuration
        if configuration.options.expand is not Expand.NONE:  # What stands around hits is seen when they are shown.
            shown = [it for each in self.questions[:SAMPLE] for it in await asked.put(each.text, configuration)]
            length = sum(estimate_tokens(it.content) for it in shown) / len(shown) if shown else length
            asked.seconds.clear()
        self._room = self._room or configuration.options.top_k * length
        top_k = min(MAX_TOP_K, max(1, round(self._room / length)))
        return replace(configuration, options=configuration.options.model_copy(update={"top_k": top_k}))

    async def _tokens_a_chunk(self, space: KnowledgeSpace) -> float:
        tokens = [estimate_tokens(chunk.content) for name in self.texts for chunk in await space.document_chunks(name)]
        return max(1.0, sum(tokens) / max(1, len(tokens)))

    async def _ask(self, asked: Asked, configuration: Configuration) -> list[list[Reference]]:
        found = []
        for question in self.questions:
            found.append(await asked.put(question.text, configuration))
            self._tell(self._done + 1, f"questions, {configuration.label}")
        return found

    def _tell(self, done: int, what: str) -> None:
        self._done = done
        if self.progress is not None:
            self.progress(IngestProgress(done=done, total=self._total, chunks=0, name=what))

    def _measure(self, found: Sequence[Sequence[Reference]], spread: Spread) -> dict[str, list[float]]:
        """Each measure for each question that it is about, in the order of the questions."""
        pairs = list(zip(self.questions, found, strict=True))
        answerable = [(judged, each) for judged, each in pairs if judged.is_answerable]
        passages = by_passages(self.questions)
        values = _of_passages(answerable) if passages else _of_documents(answerable)
        for judged, each in answerable:
            spread.add(each, [_is_relevant(one, judged, passages=passages) for one in each])
        values["kept"] = [float(is_found(each)) for _, each in answerable]
        if foreign := [each for judged, each in pairs if not judged.is_answerable]:
            values["refused"] = [float(not is_found(each)) for each in foreign]
            spread.foreign.extend(each[0].recall_score if each else 0.0 for each in foreign)
        values["tokens"] = [float(sum(estimate_tokens(one.content) for one in each)) for _, each in answerable]
        return values


async def texts_of(space: KnowledgeSpace) -> dict[str, str]:
    """The texts of a space's documents by name. Raises `InvalidInputError` where there are none."""
    texts = {}
    for document in await space.documents():
        if document.status is DocumentStatus.FINISHED:
            texts[document.name] = (await space.get_document(document.id)).text or ""
    if not texts:
        raise InvalidInputError("space", f"{space.name!r} holds no documents; ingest some first")
    return texts


def by_passages(questions: Sequence[Judged]) -> bool:
    """Whether passages are measured: every question that has an answer says where it stands."""
    return all(judged.passages for judged in questions if judged.is_answerable)


def measures(questions: Sequence[Judged]) -> list[str]:
    """The names of what is measured that can decide."""
    return (
        ["recall", "precision", "iou", "kept"] if by_passages(questions) else ["ndcg", "recall", "hit", "mrr", "kept"]
    )


def _of_documents(answerable: Sequence[tuple[Judged, Sequence[Reference]]]) -> dict[str, list[float]]:
    """The measures of rankings, over all that was found: how many that are is the configuration's."""
    names = measures([judged for judged, _ in answerable])[:-1]
    values: dict[str, list[float]] = {name: [] for name in names}
    for judged, found in answerable:
        documents = ranking(found)
        for name in names:
            values[name].append(evaluation.MEASURES[name](documents, judged.grades, MAX_TOP_K))
    return values


def _of_passages(answerable: Sequence[tuple[Judged, Sequence[Reference]]]) -> dict[str, list[float]]:
    """The measures of Chroma's report, over several documents laid end to end."""
    values: dict[str, list[float]] = {}
    for judged, found in answerable:
        offsets: dict[str, int] = {}

        def at(document: str, start: int, end: int, offsets: dict[str, int] = offsets) -> evaluation.Range:
            first = offsets.setdefault(document, len(offsets) * _APART)
            return first + start, first + end

        shown = [at(one.name, one.start, one.end) for one in found]
        wanted = [at(one.document, one.start, one.end) for one in judged.passages]
        for name, value in evaluation.excerpts(shown, wanted)._asdict().items():
            values.setdefault(name, []).append(value)
    return values


_APART = 1 << 40
"""Characters; no text is as long."""


def _is_relevant(found: Reference, judged: Judged, *, passages: bool) -> bool:
    if not passages:
        return judged.grades.get(found.name, 0) > 0
    return any(it.document == found.name and it.start < found.end and found.start < it.end for it in judged.passages)


async def _cached(base: KnowledgeBase, path: Path) -> "CachedEmbedder | None":
    """Keep the embedder's vectors in a file from now on. The static one takes less time than looking its vectors up."""
    from kbchat.embedders.cached import CachedEmbedder
    from kbchat.embedders.static import StaticEmbedder

    parts = base._open
    if isinstance(parts.embedder, StaticEmbedder):
        return None
    parts.embedder = cached = CachedEmbedder(parts.embedder, path, threads=parts.threads)
    await cached.open()
    return cached
