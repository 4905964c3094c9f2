"""Trials of retrieval: each configuration indexes the same texts, answers the same questions, and is measured.

A trial uses the public face as any program would, so its figures are those that users get.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbchat import evaluation
from kbchat.chat import is_found
from kbchat.errors import InvalidInputError
from kbchat.inputs import checked_name
from kbchat.knowledge import KnowledgeBase
from kbchat.models import IngestProgress, Reference, TextDocument
from kbchat.settings import Settings
from kbchat.space import KnowledgeSpace
from kbchat.tuning.grids import Configuration, by_embedder
from kbchat.tuning.sets import Dataset, Question

DOCUMENTS, PASSAGES = 10, 5
"""Hits asked for where documents are judged, as is customary, and where passages are, as in Chroma's report."""

TOLD = 3
"""Documents that failed of which it is told why."""

Progress = Callable[[IngestProgress], None]


@dataclass(frozen=True, slots=True)
class Spread:
    """The scores of hits that answer their question and of those that do not, and those of the best hits of questions
    that have an answer and of those that have none."""

    relevant: list[float] = field(default_factory=list)
    irrelevant: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)

    def add(self, found: Sequence[Reference], answers: Sequence[bool]) -> None:
        """What was found for a question that has an answer, and which of it is that."""
        self.best.append(found[0].recall_score if found else 0.0)
        for each, is_relevant in zip(found, answers, strict=True):
            (self.relevant if is_relevant else self.irrelevant).append(each.recall_score)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a configuration. `values` holds each measure for each question, in the order of the questions."""

    configuration: Configuration
    documents: int
    chunks: int
    failed: int
    """Documents that no chunk could be made of."""
    ingest_seconds: float
    values: Mapping[str, Sequence[float]]
    seconds: Sequence[float]
    """How long each retrieval took, one at a time, once the parts were loaded."""
    spread: Spread = field(default_factory=Spread)
    reasons: Sequence[str] = ()
    """Why, for the first documents that failed."""


def by_passages(datasets: Sequence[Dataset]) -> bool:
    """Whether passages are judged, not documents."""
    return any(question.excerpts for dataset in datasets for question in dataset.questions.values())


def customary_top_k(datasets: Sequence[Dataset]) -> int:
    """Number of hits that are asked for unless somebody says otherwise."""
    return PASSAGES if by_passages(datasets) else DOCUMENTS


def measures(datasets: Sequence[Dataset], top_k: int) -> list[str]:
    """What trials of these sets measure. `kept` is the share of questions whose best hit says that the answer is there;
    `precision_omega` the precision if exactly the chunks that hold something wanted were found."""
    if by_passages(datasets):
        return [*(f"{name}@{top_k}" for name in evaluation.Excerpts._fields), "precision_omega", "kept"]
    return [*(f"{name}@{top_k}" for name in evaluation.MEASURES), "kept"]


def measure_named(name: str | None, known: Sequence[str]) -> str:
    """The measure of that name, with or without its `@k`; by default that of documents or passages that says most.

    Raises `InvalidInputError` when there is none.
    """
    names = {full.partition("@")[0]: full for full in known} | {full: full for full in known}
    if name is None:
        return names.get("ndcg") or names["recall"]
    if name not in names:
        raise InvalidInputError("measure", f"{name!r} is none of this set's: {', '.join(known)}")
    return names[name]


async def run(
    datasets: Sequence[Dataset],
    tried: Sequence[Configuration],
    *,
    settings: Settings,
    folder: Path,
    progress: Progress | None = None,
) -> list[Trial]:
    """Try each configuration on all the sets. `folder` is for the indexes, which a trial removes behind itself.

    Stores and catalog are the embedded ones whatever the settings say: nobody's data are touched. Raises
    `InvalidInputError` for a question that is too long to be asked, or the error of a part that failed.
    """
    for dataset in datasets:
        _check_questions(dataset, settings.max_question_chars)
    ran = []
    await check_embedders(tried, settings=settings, folder=folder / "check")
    for number, (embedder, group) in enumerate(by_embedder(tried)):
        async with KnowledgeBase(settings=for_trial(settings, folder / str(number), embedder)) as base:
            ran += [await _try(base, datasets, configuration, progress) for configuration in group]
    return ran


async def check_embedders(
    tried: Sequence[Configuration],
    *,
    settings: Settings,
    folder: Path,
    check: Callable[[KnowledgeBase], Awaitable[object]] = lambda base: base._open.pin(),
) -> None:
    """Know before a long run that each embedder answers: the first one is seen to at once, the later ones would cost
    what ran before them. Raises their errors."""
    for embedder, _ in by_embedder(tried)[1:]:
        async with KnowledgeBase(settings=for_trial(settings, folder, embedder)) as base:
            await check(base)


def for_trial(settings: Settings, folder: Path, embedder: str | None) -> Settings:
    """The settings with stores of the trial's own."""
    own = {"data_dir": folder, "catalog_url": None, "chroma_url": None, "milvus_uri": None}
    return settings.model_copy(update=own if embedder is None else {**own, "embedder": embedder})


def ranking(found: Sequence[Reference]) -> list[str]:
    """The documents in the order of their best chunk."""
    return list(dict.fromkeys(reference.name for reference in found))


@dataclass
class Asked:
    """A space with a set's texts, its questions put to it one at a time, and how long each took.

    `embedding` are the seconds that a question's vector took, for those whose vector is not made again.
    """

    space: KnowledgeSpace
    embedding: Mapping[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    async def put(self, question: str, configuration: Configuration) -> list[Reference]:
        """What is found with a configuration."""
        return await self.ask(question, **configuration.options.model_dump())

    async def ask(self, question: str, *, top_k: int, **others: Any) -> list[Reference]:
        """What `retrieve` finds with these arguments. A blank question, which there are in real sets, finds nothing."""
        if not question or question.isspace():
            return []
        if not self.seconds:
            await self.space.retrieve(question, top_k=top_k, **others)  # The first one loads the parts.
        began = time.perf_counter()
        found = await self.space.retrieve(question, top_k=top_k, **others)
        self.seconds.append(time.perf_counter() - began + self.embedding.get(question, 0.0))
        return found


async def _try(
    base: KnowledgeBase, datasets: Sequence[Dataset], configuration: Configuration, progress: Progress | None
) -> Trial:
    values: dict[str, list[float]] = {}
    seconds: list[float] = []
    spread = Spread()
    reasons: list[str] = []
    documents = chunks = failed = 0
    ingesting = 0.0
    for dataset in datasets:
        space = await base.create_space("trial")
        names = _names(dataset.texts)
        ids = {name: key for key, name in names.items()}
        texts = [TextDocument(name=names[key], text=text) for key, text in dataset.texts.items()]
        report = await space.ingest(texts, splitting=configuration.splitting, progress=progress)
        reasons += [f"{ids.get(each.name, each.name)!r}: {each.reason}" for each in report.failed]
        if not report.chunks:
            raise InvalidInputError("dataset", f"{dataset.name}: no chunk could be made of it; {reasons[0]}")
        documents, chunks = documents + report.added, chunks + report.chunks
        failed, ingesting = failed + len(report.failed), ingesting + report.seconds
        asked = Asked(space)
        found = await _ask_all(asked, dataset, configuration, progress)
        found = {key: [it.model_copy(update={"name": ids[it.name]}) for it in each] for key, each in found.items()}
        measures_of_it = await _measure(space, dataset, configuration, found, names)
        for name, measured in measures_of_it.items():
            values.setdefault(name, []).extend(measured)
        seconds += asked.seconds
        for key, question in dataset.questions.items():
            spread.add(found[key], [_is_relevant(each, question) for each in found[key]])
        await base.delete_space(space.id)
    return Trial(configuration, documents, chunks, failed, ingesting, values, seconds, spread, reasons[:TOLD])


def _names(texts: Mapping[str, str]) -> dict[str, str]:
    """What the documents of these ids are called in a space: the id, but for one that no document can have."""
    names = {}
    for number, key in enumerate(texts, 1):
        try:
            names[key] = checked_name(key, field="name")
        except InvalidInputError:
            name = f"document {number}"
            while name in texts:
                name += "'"
            names[key] = name
    return names


async def _ask_all(
    asked: Asked, dataset: Dataset, configuration: Configuration, progress: Progress | None
) -> dict[str, list[Reference]]:
    found = {}
    total = len(dataset.questions)
    for done, (key, question) in enumerate(dataset.questions.items(), 1):
        found[key] = await asked.put(question.text, configuration)
        if progress is not None:
            progress(IngestProgress(done=done, total=total, chunks=0, name=f"questions, {configuration.label}"))
    return found


async def _measure(
    space: KnowledgeSpace,
    dataset: Dataset,
    configuration: Configuration,
    found: Mapping[str, Sequence[Reference]],
    names: Mapping[str, str],
) -> dict[str, list[float]]:
    questions, k = dataset.questions, configuration.options.top_k
    if by_passages([dataset]):
        chunks = [(chunk.start, chunk.end) for name in names.values() for chunk in await space.document_chunks(name)]
        values = excerpt_values(questions, found, chunks, k=k)
    else:
        rankings = {key: ranking(each) for key, each in found.items()}
        judged = {key: question.grades for key, question in questions.items()}
        values = {f"{name}@{k}": each for name, each in evaluation.measure(rankings, judged, k=k).items()}
    return {**values, "kept": [float(is_found(found[key])) for key in questions]}


def _is_relevant(found: Reference, question: Question) -> bool:
    if question.excerpts:
        return any(start < found.end and found.start < end for start, end in question.excerpts)
    return question.grades.get(found.name, 0) > 0


def excerpt_values(
    questions: Mapping[str, Question],
    found: Mapping[str, Sequence[Reference]],
    chunks: Sequence[evaluation.Range],
    *,
    k: int,
) -> dict[str, list[float]]:
    """Chroma's measures for each question, and what the chunks would allow for (`precision_omega`)."""
    values: dict[str, list[float]] = {}
    for key, question in questions.items():
        shown = [(each.start, each.end) for each in found[key]]
        for name, value in evaluation.excerpts(shown, question.excerpts)._asdict().items():
            values.setdefault(f"{name}@{k}", []).append(value)
        omega = evaluation.precision_omega(chunks, question.excerpts)
        values.setdefault("precision_omega", []).append(omega)
    return values


def _check_questions(dataset: Dataset, limit: int) -> None:
    for key, question in dataset.questions.items():
        if len(question.text) > limit:
            what = f"question {key!r} has {len(question.text):,} characters; at most {limit:,} are asked"
            raise InvalidInputError("dataset", f"{dataset.name}: {what} (the setting max_question_chars)")
