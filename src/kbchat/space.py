"""A knowledge space, as users hold it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from kbchat.answers import AnswerStream
from kbchat.errors import DocumentNotFoundError, EmbedderMismatchError, ModelNotFoundError
from kbchat.filters import Filter, parse
from kbchat.inputs import Messages, checked_messages, checked_question, checked_threshold, checked_top_k
from kbchat.models import (
    Answer,
    Document,
    EmbedderPin,
    IngestProgress,
    IngestReport,
    Message,
    Metadata,
    Reference,
    Sampling,
    SpaceInfo,
    TextDocument,
    VectorType,
)

if TYPE_CHECKING:
    from kbchat.ingest import Ingester
    from kbchat.wiring import Parts

DEFAULT_MODEL_ALIAS = "chatgpt_proxyllm"
"""The documentation's model name: it always means the default model."""

Where = Filter | Mapping[str, JsonValue]
"""A filter on documents' metadata, or its JSON form."""

Source = str | os.PathLike[str] | TextDocument
"""A file, a folder, or a text."""


class KnowledgeSpace:
    """One space: what goes in, what is found in it, and what is answered from it.

    `info` is how the catalog held the space when this object was made; `refresh` reads it again.
    """

    def __init__(self, parts: Parts, info: SpaceInfo) -> None:
        self._parts = parts
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
        sources: Source | Iterable[Source],
        *,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> IngestReport:
        """Bring files, folders and texts into the space. What did not change since the last time is left alone.

        A document that cannot be read is reported with its reason and the others go in. `progress` is called in the
        event loop after each document or batch. Raises `InvalidInputError` for a path that is not there,
        `EmbedderMismatchError`, `BusyError`, or the error of a part that failed; batches already published stay.
        """
        from kbchat.loaders.files import discover

        given = [sources] if isinstance(sources, str | os.PathLike | TextDocument) else list(sources)
        texts = [source for source in given if isinstance(source, TextDocument)]
        paths = [Path(source) for source in given if not isinstance(source, TextDocument)]
        found = await self._parts.threads.read(discover, paths)
        async with self._parts.writing(self.id):
            ingester = await self._ingester()
            return await ingester.ingest([*found.files, *texts], progress=progress)

    async def add_document(
        self,
        name: str,
        *,
        data: bytes | None = None,
        text: str | None = None,
        source: str | None = None,
        metadata: Metadata | None = None,
        replace: bool = False,
    ) -> Document:
        """Take a file's bytes or a text, to be found once `index_documents` has indexed it; its status is TODO.

        `source` says where it came from. With `replace` it takes the place of a document of that name, which is found
        until then. Raises `DocumentExistsError` without, and `InvalidInputError` naming the argument.
        """
        from kbchat.indexing import upload

        parts = self._parts
        limit = parts.settings.max_document_bytes
        given = upload(name, data=data, text=text, source=source, metadata=metadata, max_bytes=limit)
        return await parts.catalog.keep_upload(self.id, given, replace=replace, writer=parts.writer)

    async def index_documents(
        self, ids: Sequence[int], *, chunk_tokens: int | None = None, chunk_overlap: int | None = None
    ) -> None:
        """Index documents that were added. Their status says how far each is: RUNNING, then FINISHED or FAILED.

        Chunks are as the settings say unless said otherwise. Raises the error of a part that failed; the documents that
        it stopped are FAILED with its reason.
        """
        from kbchat.indexing import Indexing, check_chunks

        check_chunks(chunk_tokens, chunk_overlap)
        indexing = Indexing(
            self.id,
            catalog=self._parts.catalog,
            writing=lambda: self._parts.writing(self.id),
            ingester=lambda: self._ingester(chunk_tokens=chunk_tokens, chunk_overlap=chunk_overlap),
        )
        await indexing.run(ids)

    async def documents(self, *, offset: int = 0, limit: int | None = None) -> list[Document]:
        """The space's documents in the order they came, without their texts."""
        found, _ = await self._parts.catalog.list_documents(self.id, offset=offset, limit=limit)
        return found

    async def get_document(self, id_or_name: int | str) -> Document:
        """A document with its text. Raises `DocumentNotFoundError`."""
        return await self._document(id_or_name, with_text=True)

    async def delete_document(self, id_or_name: int | str) -> Document:
        """Remove a document, which nobody finds from then on; returns it as it was. Raises `DocumentNotFoundError`."""
        async with self._parts.writing(self.id):
            document = await self._document(id_or_name, with_text=False)
            await self._parts.catalog.delete_document(self.id, document.id, writer=self._parts.writer)
            await (await self._ingester()).collect(pending=True)
        return document

    async def reembed(self, *, progress: Callable[[IngestProgress], None] | None = None) -> SpaceInfo:
        """Embed every chunk anew with the embedder in use, from the texts in the catalog.

        Readers keep the old vectors until all new ones are there. `progress` counts chunks.
        """
        from kbchat.reembed import reembed

        parts = self._parts
        async with parts.writing(self.id):
            info = await self.refresh()
            await reembed(
                info,
                catalog=parts.catalog,
                store=parts.store(info.vector_type),
                embedder=parts.embedder,
                pin=await parts.pin(),
                writer=parts.writer,
                progress=progress,
            )
            return await self.refresh()

    # -- questions out -----------------------------------------------------------------------------------------------

    async def retrieve(
        self,
        query: str,
        *,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
    ) -> list[Reference]:
        """The chunks that fit a question best, best first: at most `top_k`, none below `score_threshold`, and only of
        documents whose metadata `where` fits (`kbchat.filters`, or its JSON form).

        A best hit with a `recall_score` below 0.5 means that the space does not hold the answer. Raises
        `InvalidInputError` naming the argument, `EmbedderMismatchError`, or the error of a part that failed.
        """
        settings = self._parts.settings
        query = checked_question(query, field="query", limit=settings.max_question_chars)
        k = checked_top_k(settings.top_k if top_k is None else top_k)
        threshold = checked_threshold(settings.score_threshold if score_threshold is None else score_threshold)
        chosen = checked_where(where)
        return list(await self._retrieve(query, top_k=k, score_threshold=threshold, where=chosen))

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
        sampling: Sampling | None = None,
    ) -> AnswerStream:
        """Answer a question, or the last of a conversation's messages, from the space's documents, event by event.

        `top_k`, `score_threshold` and `where` say what is retrieved, as in `retrieve`.

        Raises `ModelNotFoundError` or `InvalidInputError` at once, the errors of parts while it is iterated.
        """
        settings = self._parts.settings
        turns = checked_messages(messages, limit=settings.max_question_chars)
        k = checked_top_k(settings.top_k if top_k is None else top_k)
        threshold = checked_threshold(settings.score_threshold if score_threshold is None else score_threshold)
        chosen = checked_where(where)

        async def retrieve(question: str) -> Sequence[Reference]:
            return await self._retrieve(question, top_k=k, score_threshold=threshold, where=chosen)

        return open_answer(self._parts, turns, model=model, sampling=sampling, retrieve=retrieve)

    async def chat(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
        sampling: Sampling | None = None,
    ) -> Answer:
        """The whole answer that `stream` gives in pieces."""
        from kbchat.chat import collect

        stream = self.stream(
            messages, model=model, top_k=top_k, score_threshold=score_threshold, where=where, sampling=sampling
        )
        async with stream:
            return await collect(stream.batches())

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _retrieve(
        self, question: str, *, top_k: int, score_threshold: float | None, where: Filter | None
    ) -> Sequence[Reference]:
        parts = self._parts
        info = await self.refresh()
        if not await parts.fits(info.embedder):
            raise mismatch(info, await parts.pin())
        if info.chunk_count == 0:
            return ()
        await parts.see_writes(info)
        found = await parts.retriever.retrieve(
            info,
            question,
            store=parts.store(info.vector_type),
            embedder=parts.embedder,
            top_k=top_k,
            score_threshold=score_threshold,
            where=where,
        )
        return found.references

    async def _document(self, id_or_name: int | str, *, with_text: bool) -> Document:
        catalog = self._parts.catalog
        if isinstance(id_or_name, int):
            return await catalog.get_document(self.id, id_or_name, with_text=with_text)
        document = await catalog.find_document(self.id, id_or_name, with_text=with_text)
        if document is None:
            raise DocumentNotFoundError(id_or_name)
        return document

    async def _ingester(self, *, chunk_tokens: int | None = None, chunk_overlap: int | None = None) -> Ingester:
        """A writer for this space, whose collection is there and was made by the embedder in use."""
        from kbchat.ingest import Ingester
        from kbchat.preparing import Preparer

        parts, settings = self._parts, self._parts.settings
        pin = await parts.pin()
        info = await self.refresh()
        if not await parts.fits(await parts.catalog.pin_embedder(info.id, pin)):
            raise mismatch(info, pin)
        store = parts.store(info.vector_type)
        await parts.see_vectors(info)
        await store.create_collection(info.collection, dimension=pin.dimension)
        return Ingester(
            info,
            catalog=parts.catalog,
            store=store,
            lexical=parts.lexical,
            embedder=parts.embedder,
            threads=parts.threads,
            preparer=Preparer(
                threads=parts.threads,
                readers=parts.readers,
                static=parts.static,
                is_static=parts.embedder is parts.static,
                chunk_tokens=chunk_tokens or settings.chunk_tokens,
                chunk_overlap=settings.chunk_overlap if chunk_overlap is None else chunk_overlap,
                max_document_bytes=settings.max_document_bytes,
            ),
            writer=parts.writer,
        )


def checked_where(where: Where | None) -> Filter | None:
    """The filter, if there is one. Raises `InvalidInputError` for `where`."""
    return None if where is None else parse(where, field="where")


def open_answer(
    parts: Parts,
    turns: Sequence[Message],
    *,
    model: str | None,
    sampling: Sampling | None,
    retrieve: Callable[[str], Awaitable[Sequence[Reference]]] | None,
) -> AnswerStream:
    """An answer by the model asked for, grounded in what `retrieve` finds, or not at all when that is None."""
    from kbchat.chat import open_chat

    if model is None or model == DEFAULT_MODEL_ALIAS:
        model = next(iter(parts.generators))
    elif model not in parts.generators:
        if parts.settings.unknown_model == "error":
            raise ModelNotFoundError(model, list(parts.generators))
        model = next(iter(parts.generators))
    return AnswerStream(
        lambda: open_chat(
            turns,
            retrieve=retrieve,
            generator=parts.generators[model],
            sampling=sampling or Sampling(),
            budget_tokens=parts.settings.prompt_tokens,
            counter=parts.counter,
            threads=parts.threads,
        )
    )


def mismatch(info: SpaceInfo, pin: EmbedderPin) -> EmbedderMismatchError:
    """The error for a space that was embedded by another model than the one in use."""
    was = f"{info.embedder.name!r} ({info.embedder.dimension} dimensions)" if info.embedder else "another embedder"
    return EmbedderMismatchError(
        f"the space {info.name!r} was embedded by {was}, and the vectors of {pin.name!r} ({pin.dimension} dimensions) "
        f"that the settings ask for do not go with its own; set the embedder back, or embed the space "
        f"anew with `kbchat spaces reembed {info.name}`"
    )
