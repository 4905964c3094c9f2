"""The face: `KnowledgeBase` holds spaces, `KnowledgeSpace` holds documents and answers questions about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, Unpack

import anyio
import anyio.to_thread

from kbchat import inputs, several
from kbchat.answers import AnswerStream, open_answer, whole
from kbchat.chunking import Splitting
from kbchat.errors import DocumentNotFoundError, SpaceExistsError
from kbchat.finding import find_space, warm
from kbchat.inputs import Messages, RetrievalOptions, SpaceHandle, Where
from kbchat.models import Answer, Document, IngestProgress, Reference, Sampling, SpaceInfo, VectorType
from kbchat.space import KnowledgeSpace
from kbchat.strategies import Stages

if TYPE_CHECKING:
    from kbchat.conversations import Conversations
    from kbchat.embedders import Embedder
    from kbchat.generators import Generator
    from kbchat.keys import Keys
    from kbchat.rerankers import Reranker
    from kbchat.settings import Settings
    from kbchat.stores import VectorStore
    from kbchat.wiring import Parts


class KnowledgeBase:
    """Knowledge spaces in a data folder (or wherever the settings say).

        async with kbchat.KnowledgeBase("./kb-data") as kb:
            space = await kb.create_space("handbook")

    Several tasks may use one object at once. Several processes may use one folder at once: all may read, one writes
    and the others wait for it, or get a `BusyError`. Spaces on Milvus Lite are open to one process alone.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        generator: Generator | None = None,
        reranker: Reranker | None = None,
        stores: Mapping[VectorType | str, VectorStore] | None = None,
    ) -> None:
        """Without settings they are read from `KBCHAT_*` variables and `kbchat.toml`; `data_dir` overrules them.

        Parts of one's own overrule them as well: the embedder of all spaces, a generator that answers where no model
        is named, the reranker, the store behind a vector type. They are closed with the knowledge base. Raises
        `SettingsError` for settings that cannot be used.
        """
        from kbchat.settings import given_or_read
        from kbchat.wiring import OwnParts

        self.settings = given_or_read(settings, data_dir)
        behind = {inputs.checked_vector_type(word): store for word, store in (stores or {}).items()}
        self._own = OwnParts(embedder=embedder, generator=generator, reranker=reranker, stores=behind)
        self._parts: Parts | None = None
        self._entered = False
        self._conversations: Conversations | None = None

    async def __aenter__(self) -> Self:
        """Open the catalog. Raises `CatalogError` when it cannot be used, `RuntimeError` when it is open already."""
        from kbchat.upkeep import finish_deletions
        from kbchat.wiring import Parts

        if self._entered:
            raise RuntimeError("the knowledge base is open already; make another one, or share this one")
        self._entered = True
        try:
            # In a thread, because the parts' libraries take a second to import.
            parts = await anyio.to_thread.run_sync(Parts, self.settings, self._own)
        except BaseException:
            self._entered = False
            raise
        try:
            await parts.folder.open()
            await parts.catalog.open()
            await finish_deletions(parts)
        except BaseException:
            self._entered = False
            await parts.aclose()
            raise
        self._parts = parts
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of every file, thread and connection. Closing twice does nothing."""
        parts, self._parts = self._parts, None
        self._conversations = None
        if parts is not None:
            self._entered = False
            await parts.aclose()

    # -- spaces ------------------------------------------------------------------------------------------------------

    async def create_space(
        self,
        name: str,
        *,
        vector_type: VectorType | str = VectorType.CHROMA,
        desc: str = "",
        owner: str = "",
        context: str | None = None,
        splitting: Splitting | None = None,
        exist_ok: bool = False,
    ) -> KnowledgeSpace:
        """Make an empty space. Its name may be of any script and is unique to its owner.

        Its documents are split as `splitting` says, or else as the settings do. `context` is kept for clients of the
        HTTP interface and has no effect. With `exist_ok`, a space of that name and owner that is already there is
        returned as it is. Raises `SpaceExistsError`, or `InvalidInputError` naming the argument.
        """
        try:
            info = await self._open.catalog.create_space(
                name=inputs.checked_name(name, field="name"),
                owner=inputs.checked_owner(owner),
                vector_type=inputs.checked_vector_type(vector_type),
                desc=inputs.checked_prose(desc, field="desc"),
                context=None if context is None else inputs.checked_prose(context, field="context"),
                splitting=inputs.checked_splitting(splitting),
            )
        except SpaceExistsError:
            if not exist_ok:
                raise
            return await self.get_space(name, owner=owner)
        return KnowledgeSpace(self._open, info)

    async def get_space(self, name_or_id: SpaceHandle, *, owner: str | None = None) -> KnowledgeSpace:
        """The space of that name, or of that id: a text is a name, a number an id. Wherever these are taken, so is a
        space itself. With an owner, no other's spaces are seen.

        Raises `SpaceNotFoundError`, and `AmbiguousSpaceError` when several owners have one of that name.
        """
        return KnowledgeSpace(self._open, await self._find(name_or_id, owner=owner))

    async def list_spaces(
        self,
        *,
        owner: str | None = None,
        name: str | None = None,
        vector_type: VectorType | str | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[KnowledgeSpace]:
        """Spaces in the order they were made, those that match every filter given."""
        kind = None if vector_type is None else inputs.checked_vector_type(vector_type)
        offset, limit = inputs.checked_page(offset, limit)
        named = inputs.asked_name(name)
        infos, _ = await self._open.catalog.list_spaces(
            owner=inputs.asked_owner(owner), name=named, vector_type=kind, offset=offset, limit=limit
        )
        return [KnowledgeSpace(self._open, info) for info in infos]

    async def count_spaces(
        self, *, owner: str | None = None, name: str | None = None, vector_type: VectorType | str | None = None
    ) -> int:
        """How many spaces match every filter given."""
        kind = None if vector_type is None else inputs.checked_vector_type(vector_type)
        named = inputs.asked_name(name)
        owner = inputs.asked_owner(owner)
        _, total = await self._open.catalog.list_spaces(owner=owner, name=named, vector_type=kind, limit=0)
        return total

    async def update_space(
        self,
        name_or_id: SpaceHandle,
        *,
        name: str | None = None,
        owner: str | None = None,
        vector_type: VectorType | str | None = None,
        desc: str | None = None,
        context: str | None = None,
        splitting: Splitting | Literal["default"] | None = None,
    ) -> KnowledgeSpace:
        """Change what is given. The vector type can only change while the space is empty (`SpaceInUseError`) and
        nobody writes to it, which is waited for (`BusyError`). With another splitting each document is split anew when
        it is next ingested; `"default"` is as the settings say."""
        parts, found = self._open, await self._find(name_or_id)
        kind = None if vector_type is None else inputs.checked_vector_type(vector_type)
        if kind is found.vector_type:
            kind = None
        change = partial(
            parts.catalog.update_space,
            found.id,
            name=None if name is None else inputs.checked_name(name, field="name"),
            owner=None if owner is None else inputs.checked_owner(owner),
            vector_type=kind,
            desc=None if desc is None else inputs.checked_prose(desc, field="desc"),
            context=None if context is None else inputs.checked_prose(context, field="context"),
            splitting="default" if splitting == "default" else inputs.checked_splitting(splitting),
        )
        if kind is None:
            return KnowledgeSpace(parts, await change())
        # Not while somebody writes to the store that it is on.
        async with parts.writing(found.id):
            return KnowledgeSpace(parts, await change())

    async def import_space(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        owner: str | None = None,
        vector_type: VectorType | str | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> KnowledgeSpace:
        """Make a space of a file that `KnowledgeSpace.export` wrote, under its own name unless another one is given.

        Its checksums are compared before anything is made. Raises `InvalidInputError` for a file that is damaged or
        none of ours, `SpaceExistsError`, and `EmbedderMismatchError` when other vectors are in use here.
        """
        from kbchat.upkeep import import_space

        info = await import_space(self._open, path, name=name, owner=owner, vector_type=vector_type, progress=progress)
        return KnowledgeSpace(self._open, info)

    async def delete_space(self, name_or_id: SpaceHandle) -> SpaceInfo:
        """Remove a space and every trace of it; returns it as it was.

        It is gone for every reader at once. Should the process die while its vectors are being removed, the next one
        to open the data finishes that.
        """
        from kbchat.upkeep import delete

        return await delete(self._open, await self._find(name_or_id))

    # -- documents of all spaces -------------------------------------------------------------------------------------

    async def get_document(
        self, document_id: int | Document, *, owner: str | None = None, with_text: bool = True
    ) -> Document:
        """The document of that id, in whatever space; with an owner, of no other's. Raises `DocumentNotFoundError`."""
        handle, owner = inputs.checked_handle(document_id, field="document_id", of=Document), inputs.asked_owner(owner)
        if not isinstance(handle, int) or not handle:
            raise DocumentNotFoundError(document_id if isinstance(document_id, str | int) else handle)
        return await self._open.catalog.find_document_anywhere(handle, owner=owner, with_text=with_text)

    async def get_documents(
        self, document_ids: Sequence[int | Document], *, owner: str | None = None
    ) -> list[Document]:
        """Documents by their ids, in that order, in whatever spaces, without their texts. Raises
        `DocumentNotFoundError` for the first that is not there, or not of the owner's."""
        ids = inputs.checked_ids(document_ids, field="document_ids")
        return await self._open.catalog.find_documents_anywhere(ids, owner=inputs.asked_owner(owner))

    async def list_documents(
        self, *, owner: str | None = None, offset: int = 0, limit: int | None = None
    ) -> list[Document]:
        """The documents of all spaces in the order they came, without their texts; with an owner, of no other's."""
        offset, limit = inputs.checked_page(offset, limit)
        owner = inputs.asked_owner(owner)
        found, _ = await self._open.catalog.list_all_documents(owner=owner, offset=offset, limit=limit)
        return found

    async def count_documents(self, *, owner: str | None = None) -> int:
        """How many documents there are in all spaces; with an owner, in that one's."""
        return (await self._open.catalog.list_all_documents(owner=inputs.asked_owner(owner), limit=0))[1]

    # -- keys --------------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> Keys:
        """The API keys of those who may ask over HTTP."""
        from kbchat.keys import Keys

        return Keys(self._open.catalog)

    @property
    def conversations(self) -> Conversations:
        """The conversations that are remembered."""
        if self._conversations is None:
            from kbchat.conversations import Conversations

            self._conversations = Conversations(self._open.catalog, self.settings)
        return self._conversations

    # -- models ------------------------------------------------------------------------------------------------------

    def models(self) -> list[str]:
        """Names of the configured models, the default one first."""
        return list(self._open.generators)

    @property
    def default_model(self) -> str:
        """The model that answers when none is named."""
        return self.models()[0]

    def stream(
        self,
        messages: Messages,
        *,
        spaces: Iterable[SpaceHandle] | None,
        owner: str | None = None,
        model: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
        sampling: Sampling | None = None,
        **stages: Unpack[Stages],
    ) -> AnswerStream:
        """Answer from several spaces, by name or id. `spaces=None` asks the model alone: nothing is retrieved, and the
        answer is from no document. The rest is as in `retrieve` and `KnowledgeSpace.stream`. Raises
        `ModelNotFoundError` or `InvalidInputError`; spaces are looked up while it is iterated."""
        options = self._open.options(top_k, score_threshold, where, stages, caller="stream()")
        return self._answer(messages, spaces, owner, model, sampling, options)

    async def chat(
        self,
        messages: Messages,
        *,
        spaces: Iterable[SpaceHandle] | None,
        owner: str | None = None,
        model: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
        sampling: Sampling | None = None,
        **stages: Unpack[Stages],
    ) -> Answer:
        """The whole answer that `stream` gives in pieces, as it does: by the model that `model` names, one of
        `models()`, or else the first of them, which chooses its words as `sampling` says."""
        options = self._open.options(top_k, score_threshold, where, stages, caller="chat()")
        return await whole(self._answer(messages, spaces, owner, model, sampling, options))

    # -- several spaces ----------------------------------------------------------------------------------------------

    async def retrieve(
        self,
        query: str,
        *,
        spaces: Iterable[SpaceHandle],
        owner: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        where: Where | None = None,
        **stages: Unpack[Stages],
    ) -> list[Reference]:
        """The chunks of several spaces, by name or id, that fit a question best, best first; each says its `space`.

        With an owner, no other's spaces are seen. The rest is as in `KnowledgeSpace.retrieve`: scores mean the same in
        every space. Raises `SpaceNotFoundError` or `AmbiguousSpaceError` when one of them is not there.
        """
        question = inputs.checked_question(query, field="query", limit=self.settings.max_question_chars)
        options = self._open.options(top_k, score_threshold, where, stages, caller="retrieve()")
        return await several.retrieve(await self._spaces(spaces, owner), question, options)

    async def warm(self) -> None:
        """Do beforehand what the first question would wait for, a second or more: load libraries, open stores and
        indexes, and ask the embedder and the reranker, of one space for each vector type (but Milvus Lite). Raises
        what that question would."""
        await warm(self._open)

    async def ping(self) -> None:
        """Return when the catalog and the stores in use answer; else raise their error."""
        parts = self._open
        await parts.catalog.ping()
        for store in parts.open_stores():
            await store.ping()

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _open(self) -> Parts:
        if self._parts is None:
            raise RuntimeError("the knowledge base is not open; use `async with kbchat.KnowledgeBase(…) as kb`")
        return self._parts

    def _answer(
        self,
        messages: Messages,
        spaces: Iterable[SpaceHandle] | None,
        owner: str | None,
        model: str | None,
        sampling: Sampling | None,
        options: RetrievalOptions,
    ) -> AnswerStream:
        parts = self._open
        turns = inputs.checked_messages(messages, limit=self.settings.max_question_chars)
        if spaces is None:
            return open_answer(parts, turns, model=model, sampling=sampling, retrieve=None)
        names, owner = several.checked(spaces), inputs.asked_owner(owner)

        async def retrieve(question: str) -> Sequence[Reference]:
            return await several.retrieve(await self._spaces(names, owner), question, options)

        return open_answer(parts, turns, model=model, sampling=sampling, retrieve=retrieve)

    async def _find(self, asked: SpaceHandle, *, owner: str | None = None) -> SpaceInfo:
        return await find_space(self._open.catalog, asked, owner=owner)

    async def _spaces(self, names: Iterable[SpaceHandle], owner: str | None) -> list[KnowledgeSpace]:
        """Each once, whether it was named by name or id."""
        found = [await self._find(name, owner=owner) for name in several.checked(names)]
        return [KnowledgeSpace(self._open, info) for info in {info.id: info for info in found}.values()]
