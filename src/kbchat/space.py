"""A knowledge space, as users hold it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Unpack

from kbchat import finding, inputs, intake
from kbchat.answers import AnswerStream, explain_answer, open_answer, whole
from kbchat.chunking import Splitting
from kbchat.errors import SpaceNotFoundError
from kbchat.inputs import DocumentHandle, Messages, RetrievalOptions, Where
from kbchat.models import (
    Answer,
    Chunk,
    Document,
    IngestProgress,
    IngestReport,
    Metadata,
    Reference,
    Sampling,
    SpaceInfo,
    VectorType,
)
from kbchat.strategies import Stages
from kbchat.summaries import SpaceStats

if TYPE_CHECKING:
    import os

    from kbchat.maintenance.checking import CheckReport
    from kbchat.maintenance.moving import Agreement
    from kbchat.retrieval.explaining import Explanation
    from kbchat.wiring import Parts


class KnowledgeSpace:
    """One space: what goes in, what is found in it, and what is answered from it.

    `info` is how the catalog held the space when this object was made, or last changed it or was asked a question.
    What others did since, `watch` among them, `refresh` reads.
    """

    def __init__(self, parts: Parts, info: SpaceInfo) -> None:
        self._held = parts
        self.info = info

    def __repr__(self) -> str:
        return f"<KnowledgeSpace {self.id} {self.name!r}>"

    @property
    def id(self) -> int:
        return self.info.id

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def owner(self) -> str:
        return self.info.owner

    @property
    def vector_type(self) -> VectorType:
        return self.info.vector_type

    @property
    def desc(self) -> str:
        return self.info.desc

    @property
    def context(self) -> str | None:
        return self.info.context

    async def refresh(self) -> SpaceInfo:
        """Read the space again. Raises `SpaceNotFoundError` when it was deleted."""
        self.info = await self._parts.catalog.get_space(self.id)
        return self.info

    # -- documents in ------------------------------------------------------------------------------------------------

    async def ingest(
        self,
        sources: intake.Source | Iterable[intake.Source],
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        gitignore: bool = False,
        splitting: Splitting | None = None,
        progress: intake.Progress = None,
    ) -> IngestReport:
        """Bring files, folders and texts into the space. What did not change since the last time is left alone.

        Of a folder all files of a known type are taken, or those that `include` fits, but none that `exclude` fits
        (patterns as in `.gitignore`, which is obeyed itself with `gitignore`). `splitting` goes before the space's own.

        A document that cannot be read is reported with its reason and the others go in. `progress` is called in the
        event loop after each batch. Raises `InvalidInputError` for a path that is not there, `EmbedderMismatchError`,
        `BusyError`, or the error of a part that failed; batches already published stay.
        """
        selection = intake.selected(include, exclude, gitignore)
        report = await intake.ingest(
            self._parts, self.id, sources, selection=selection, splitting=splitting, progress=progress
        )
        await self._see()
        return report

    async def sync(
        self,
        paths: intake.Paths,
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        gitignore: bool = False,
        splitting: Splitting | None = None,
        allow_empty: bool = False,
        progress: intake.Progress = None,
    ) -> IngestReport:
        """Bring the space in step with folders: as `ingest`, and documents whose file is no longer there, or no longer
        selected, are removed; one that moved keeps its id, chunks and vectors.

        Documents from elsewhere are left alone. A folder that holds nothing is an `InvalidInputError` unless
        `allow_empty`: it may be a disk that is not mounted.
        """
        report = await intake.sync(
            self._parts,
            self.id,
            paths,
            selection=intake.selected(include, exclude, gitignore),
            splitting=splitting,
            allow_empty=allow_empty,
            progress=progress,
        )
        await self._see()
        return report

    def watch(
        self,
        paths: intake.Paths,
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        gitignore: bool = False,
        splitting: Splitting | None = None,
        progress: intake.Progress = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[IngestReport]]:
        """Sync folders now, and again whenever something changes in them, until the block is left.

            async with space.watch("docs") as reports:
                async for report in reports:
                    ...

        The first report comes always, later ones when something was added, updated, moved or removed, or fails that
        did not before. What goes away, or is empty of a sudden and another folder to the system (a disk that is not
        mounted), is waited for. Raises `InvalidInputError` for what is so from the beginning.
        """
        selection = intake.selected(include, exclude, gitignore)
        return intake.watch(self._parts, self.id, paths, selection=selection, splitting=splitting, progress=progress)

    async def add_document(
        self,
        name: str,
        *,
        data: bytes | None = None,
        text: str | None = None,
        source: str | None = None,
        metadata: Metadata | None = None,
        file_name: str | None = None,
        replace: bool = False,
    ) -> Document:
        """Take a file's bytes or a text, to be found once `index_documents` has indexed it; its status is TODO.

        `source` says where it came from; the suffix of `file_name` what kind of file it is, where the name does not.
        With `replace` it takes the place of a document of that name, which is found until then, and which no folder's
        file is from then on. Raises `DocumentExistsError` without, and `InvalidInputError` naming the argument.
        """
        from kbchat.ingestion.indexing import upload

        parts, limit = self._parts, self._parts.settings.max_document_bytes
        new = upload(name, data=data, text=text, source=source, metadata=metadata, file_name=file_name, max_bytes=limit)
        document, self.info = await parts.catalog.keep_upload(self.id, new, replace=replace)
        return document

    async def index_documents(
        self,
        ids: Sequence[int | Document],
        *,
        splitting: Splitting | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> None:
        """Index documents that were added. Their status says how far each is: RUNNING, then FINISHED or FAILED.

        `splitting` goes before the space's own and the settings'; `progress` is told more closely how far each is, by
        its name. Ids that are not, or no longer, in the space are passed over. Raises the error of a part that failed;
        the documents that it stopped are FAILED with its reason.
        """
        asked = inputs.checked_ids(ids, field="ids")
        await intake.index(self._parts, self.id, asked, splitting=splitting, progress=progress)
        await self._see()

    async def added_documents(self, ids: Sequence[int]) -> list[int]:
        """Those of the ids whose documents `add_document` brought, in any order; no others can be indexed again."""
        return list(await self._parts.catalog.upload_states(self.id, inputs.checked_ids(ids, field="ids")))

    async def documents(self, *, offset: int = 0, limit: int | None = None) -> list[Document]:
        """The space's documents in the order they came, without their texts."""
        offset, limit = inputs.checked_page(offset, limit)
        found, _ = await self._parts.catalog.list_documents(self.id, offset=offset, limit=limit)
        return found

    async def count_documents(self) -> int:
        """How many documents the space holds."""
        return (await self._parts.catalog.list_documents(self.id, limit=0))[1]

    async def get_document(self, id_or_name: DocumentHandle) -> Document:
        """A document with its text. Raises `DocumentNotFoundError`."""
        return await self._document(id_or_name, with_text=True)

    async def delete_document(self, id_or_name: DocumentHandle) -> Document:
        """Remove a document, which nobody finds from then on; returns it as it was. Raises `DocumentNotFoundError`."""
        async with self._parts.writing(self.id):
            document = await self._document(id_or_name, with_text=False)
            generations = (await intake.open_writer(self._parts, self.id)).generations
            await generations.open()
            await self._parts.catalog.delete_document(self.id, document.id, writer=self._parts.writer_id)
            await generations.collect(pending=True)
        await self._see()
        return document

    async def reembed(self, *, progress: Callable[[IngestProgress], None] | None = None) -> SpaceInfo:
        """Embed every chunk anew with the embedder in use, from the texts in the catalog.

        Readers keep the old vectors until all new ones are there. Cut short, it goes on when it is called again with
        the same embedder; whoever writes something else before removes what was made. `progress` counts chunks.
        """
        from kbchat.upkeep import reembed

        self.info = await reembed(self._parts, self.id, progress=progress)
        return self.info

    async def update_document(
        self, id_or_name: DocumentHandle, *, name: str | None = None, metadata: Metadata | None = None
    ) -> Document:
        """Give a document another name or other metadata; its text and chunks stay. Raises `DocumentNotFoundError`,
        `DocumentExistsError`, and `InvalidInputError` naming the argument.

        When its content changes, the metadata is again what the document itself says. What was added with
        `add_document` keeps it until it is replaced, beside what the file says of itself.
        """
        from kbchat.catalog import DocumentEdit

        name = None if name is None else inputs.checked_name(name, field="name")
        metadata = None if metadata is None else inputs.checked_metadata(metadata, field="metadata")
        edit = DocumentEdit(name=name, metadata=metadata)
        async with self._parts.writing(self.id):
            document = await self._document(id_or_name, with_text=False)
            edited = await self._parts.catalog.edit_document(self.id, document.id, edit)
        await self._see()
        return edited

    async def document_chunks(self, id_or_name: DocumentHandle) -> list[Chunk]:
        """The chunks of a document in reading order. Raises `DocumentNotFoundError`."""
        document = await self._document(id_or_name, with_text=False)
        return await self._parts.catalog.document_chunks(document.id)

    async def check(self, *, repair: bool = False) -> CheckReport:
        """Compare the space's vectors, lexical index, texts and files with its catalog; with `repair` mend what can be
        mended. Raises `BusyError` while another process writes, and `EmbedderMismatchError`."""
        from kbchat.upkeep import check

        return await check(self._parts, self.id, repair=repair)

    async def migrate(
        self,
        to: VectorType | str,
        *,
        progress: intake.Progress = None,
        before_switch: Callable[[Agreement], None] | None = None,
    ) -> SpaceInfo:
        """Take the space to another kind of store: vectors are copied, and it answers all the while. Can be cut short
        anywhere and called again. `before_switch` is told how far the copy answers as the original does; at less than
        90 % it is a `StoreError`, and nothing is switched."""
        from kbchat.upkeep import move

        self.info = await move(self._parts, self.id, to, progress=progress, before_switch=before_switch)
        return self.info

    async def export(self, path: str | os.PathLike[str], *, progress: intake.Progress = None) -> int:
        """Write the space to one file that `KnowledgeBase.import_space` reads, on whatever machine or store, without
        embedding again; returns the number of documents."""
        from kbchat.upkeep import export

        return await export(self._parts, self.id, path, progress=progress)

    async def stats(self) -> SpaceStats:
        """Count what is in the space. Tokens are estimated from every text, once for each change of the space."""
        from kbchat.upkeep import stats

        return await stats(self._parts, await self.refresh())

    # -- questions out -----------------------------------------------------------------------------------------------

    async def retrieve(
        self,
        query: str,
        *,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
        **stages: Unpack[Stages],
    ) -> list[Reference]:
        """The chunks that fit a question best, best first: at most `top_k` (1 to 1000; by default 5), none that scores
        below `score_threshold` (0 to 1; by default none is dropped), and only of documents whose metadata `where` fits
        (`kbchat.filters`, or its JSON form). The question has at most 100,000 characters. These defaults, that limit
        and how chunks are found and shown are the settings'; `kbchat.strategies.Stages` has what a call may choose of
        the latter, with ranges: `strategy`, `rerank`, `diversity`, `expand`, `expand_tokens`, `dense_weight` and
        `sentence_weight`.

        A best hit with a `recall_score` below 0.5 (`kbchat.FOUND`) means that the space does not hold the answer.
        Raises `InvalidInputError` naming the argument, `EmbedderMismatchError`, or the error of a part that failed.
        """
        options = self._parts.options(top_k, score_threshold, where, stages, caller="retrieve()")
        return list(await self._retrieve(self._question(query), options))

    async def explain(
        self,
        query: Messages,
        *,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
        **stages: Unpack[Stages],
    ) -> Explanation:
        """What `retrieve` finds, as `references`, and how it came to that: each chunk that the searches brought, its
        scores and rank at every stage and why it was cut, how sure the best hit is and why, what a prompt would quote,
        and what took how long. Of a conversation's messages the last is searched for as `stream` does it. Raises what
        `retrieve` does."""
        parts = self._parts
        options = parts.options(top_k, score_threshold, where, stages, caller="explain()")
        limit = parts.settings.max_question_chars
        asked = self._question(query) if isinstance(query, str) else inputs.checked_messages(query, limit=limit)
        info = self.info = await finding.ready(self._parts, self.id)
        store = parts.store(info.vector_type)

        async def explain(question: str) -> Explanation:
            return await parts.retriever.explain(info, question, options, store=store, embedder=parts.embedder)

        return await explain_answer(parts, asked, explain=explain)

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
        sampling: Sampling | None = None,
        **stages: Unpack[Stages],
    ) -> AnswerStream:
        """Answer a question, or the last of a conversation's messages, from the space's documents, event by event. A
        message is a `kbchat.Message`, or a mapping with `role` and `content`. The references are the passages that the
        model was given; which of them carry a sentence, the citations say.

        `model` names who answers: one of `KnowledgeBase.models()`, by default the first. `sampling` is how it chooses
        its words; one without a model server heeds `max_tokens` and `stop` alone. The rest is as in `retrieve`.

        Raises `ModelNotFoundError` or `InvalidInputError` at once, the errors of parts while it is iterated.
        """
        options = self._parts.options(top_k, score_threshold, where, stages, caller="stream()")
        return self._answer(messages, model, sampling, options)

    async def chat(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
        sampling: Sampling | None = None,
        **stages: Unpack[Stages],
    ) -> Answer:
        """The whole answer that `stream` gives in pieces, as it does: by the model that `model` names, one of
        `KnowledgeBase.models()`, or else the first of them, which chooses its words as `sampling` says."""
        options = self._parts.options(top_k, score_threshold, where, stages, caller="chat()")
        return await whole(self._answer(messages, model, sampling, options))

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _parts(self) -> Parts:
        return self._held.while_open()

    def _question(self, query: str) -> str:
        return inputs.checked_question(query, field="query", limit=self._parts.settings.max_question_chars)

    def _answer(
        self, messages: Messages, model: str | None, sampling: Sampling | None, options: RetrievalOptions
    ) -> AnswerStream:
        turns = inputs.checked_messages(messages, limit=self._parts.settings.max_question_chars)
        retrieve = partial(self._retrieve, options=options)
        return open_answer(self._parts, turns, model=model, sampling=sampling, retrieve=retrieve)

    async def _retrieve(self, question: str, options: RetrievalOptions) -> Sequence[Reference]:
        self.info, found = await finding.find(self._parts, self.info, question, options)
        return found

    async def _document(self, asked: DocumentHandle, *, with_text: bool) -> Document:
        return await finding.find_document(self._parts.catalog, self.id, asked, with_text=with_text)

    async def _see(self) -> None:
        """Bring `info` in step with what was just done. Should the space be gone meanwhile, the next call says so."""
        with suppress(SpaceNotFoundError):
            await self.refresh()
