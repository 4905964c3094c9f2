"""The face of kbchat for programs without `await`. Written by tools/sync_face.py: change that instead.

import kbchat.sync

with kbchat.sync.KnowledgeBase("./kb-data") as kb:
    space = kb.create_space("handbook")
    space.ingest("docs/")
    print(space.chat("How are keys rotated?").text)
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Self

from kbchat import conversations, keys, knowledge, space
from kbchat.models import KeyRole, VectorType
from kbchat.sync.calls import AnswerStream, Loop, ReportStream, closed_at_exit

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Literal, Unpack

    from kbchat import intake
    from kbchat.chunking import Splitting
    from kbchat.embedders import Embedder
    from kbchat.generators import Generator
    from kbchat.inputs import DocumentHandle, Messages, SpaceHandle, Where
    from kbchat.maintenance.checking import CheckReport
    from kbchat.maintenance.moving import Agreement
    from kbchat.models import (
        Answer,
        Chunk,
        Citation,
        Document,
        IngestProgress,
        IngestReport,
        KeyInfo,
        Message,
        Metadata,
        Reference,
        Sampling,
        SpaceInfo,
    )
    from kbchat.rerankers import Reranker
    from kbchat.retrieval.explaining import Explanation
    from kbchat.settings import Settings
    from kbchat.stores import VectorStore
    from kbchat.strategies import Stages
    from kbchat.summaries import ConversationInfo, SpaceStats, Turn


class _Delegate:
    """What every object here has: the loop that its calls run in, and what it came from, which it keeps open."""

    def __init__(self, loop: Loop, parent: object = None) -> None:
        self._loop = loop
        self._parent = parent


class KnowledgeBase(_Delegate):
    """Knowledge spaces in a data folder (or wherever the settings say), opened when first used.

        with kbchat.sync.KnowledgeBase("./kb-data") as kb:
            space = kb.create_space("handbook")

    A notebook may leave out the `with`: the end of the program closes it too. Several threads may use one object.
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
        """See `kbchat.KnowledgeBase`."""
        super().__init__(Loop())
        self._face = knowledge.KnowledgeBase(
            data_dir, settings=settings, embedder=embedder, generator=generator, reranker=reranker, stores=stores
        )
        self._opening = threading.Lock()
        self._opened = False
        self._close = closed_at_exit(self, partial(_close, self._loop, self._face))

    def __enter__(self) -> Self:
        """Open the catalog. Raises `CatalogError` when it cannot be used."""
        _ = self._async
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every file, thread and connection. Closing twice does nothing."""
        self._close()

    @property
    def settings(self) -> Settings:
        """What it was opened with."""
        return self._face.settings

    @property
    def _async(self) -> knowledge.KnowledgeBase:
        with self._opening:
            if not self._opened:
                self._loop.call(self._face.__aenter__)
                self._opened = True
        return self._face

    def create_space(
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
        return KnowledgeSpace(
            self._loop,
            self._loop.call(
                self._async.create_space,
                name,
                vector_type=vector_type,
                desc=desc,
                owner=owner,
                context=context,
                splitting=splitting,
                exist_ok=exist_ok,
            ),
            self,
        )

    def get_space(self, name_or_id: SpaceHandle, *, owner: str | None = None) -> KnowledgeSpace:
        """The space of that name, or of that id: a text is a name, a number an id. Wherever these are taken, so is a
        space itself. With an owner, no other's spaces are seen.

        Raises `SpaceNotFoundError`, and `AmbiguousSpaceError` when several owners have one of that name.
        """
        return KnowledgeSpace(self._loop, self._loop.call(self._async.get_space, name_or_id, owner=owner), self)

    def list_spaces(
        self,
        *,
        owner: str | None = None,
        name: str | None = None,
        vector_type: VectorType | str | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[KnowledgeSpace]:
        """Spaces in the order they were made, those that match every filter given."""
        return [
            KnowledgeSpace(self._loop, it, self)
            for it in self._loop.call(
                self._async.list_spaces, owner=owner, name=name, vector_type=vector_type, offset=offset, limit=limit
            )
        ]

    def count_spaces(
        self, *, owner: str | None = None, name: str | None = None, vector_type: VectorType | str | None = None
    ) -> int:
        """How many spaces match every filter given."""
        return self._loop.call(self._async.count_spaces, owner=owner, name=name, vector_type=vector_type)

    def update_space(
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
        return KnowledgeSpace(
            self._loop,
            self._loop.call(
                self._async.update_space,
                name_or_id,
                name=name,
                owner=owner,
                vector_type=vector_type,
                desc=desc,
                context=context,
                splitting=splitting,
            ),
            self,
        )

    def import_space(
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
        return KnowledgeSpace(
            self._loop,
            self._loop.call(
                self._async.import_space, path, name=name, owner=owner, vector_type=vector_type, progress=progress
            ),
            self,
        )

    def delete_space(self, name_or_id: SpaceHandle) -> SpaceInfo:
        """Remove a space and every trace of it; returns it as it was.

        It is gone for every reader at once. Should the process die while its vectors are being removed, the next one
        to open the data finishes that.
        """
        return self._loop.call(self._async.delete_space, name_or_id)

    def get_document(
        self, document_id: int | Document, *, owner: str | None = None, with_text: bool = True
    ) -> Document:
        """The document of that id, in whatever space; with an owner, of no other's. Raises `DocumentNotFoundError`."""
        return self._loop.call(self._async.get_document, document_id, owner=owner, with_text=with_text)

    def get_documents(self, document_ids: Sequence[int | Document], *, owner: str | None = None) -> list[Document]:
        """Documents by their ids, in that order, in whatever spaces, without their texts. Raises
        `DocumentNotFoundError` for the first that is not there, or not of the owner's."""
        return self._loop.call(self._async.get_documents, document_ids, owner=owner)

    def list_documents(self, *, owner: str | None = None, offset: int = 0, limit: int | None = None) -> list[Document]:
        """The documents of all spaces in the order they came, without their texts; with an owner, of no other's."""
        return self._loop.call(self._async.list_documents, owner=owner, offset=offset, limit=limit)

    def count_documents(self, *, owner: str | None = None) -> int:
        """How many documents there are in all spaces; with an owner, in that one's."""
        return self._loop.call(self._async.count_documents, owner=owner)

    @property
    def keys(self) -> Keys:
        """The API keys of those who may ask over HTTP."""
        return Keys(self._loop, self._async.keys, self)

    @property
    def conversations(self) -> Conversations:
        """The conversations that are remembered."""
        return Conversations(self._loop, self._async.conversations, self)

    def models(self) -> list[str]:
        """Names of the configured models, the default one first."""
        return self._async.models()

    @property
    def default_model(self) -> str:
        """The model that answers when none is named."""
        return self._async.default_model

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
        return AnswerStream(
            self._loop,
            self._async.stream(
                messages,
                spaces=spaces,
                owner=owner,
                model=model,
                top_k=top_k,
                score_threshold=score_threshold,
                where=where,
                sampling=sampling,
                **stages,
            ),
            self,
        )

    def chat(
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
        return self._loop.call(
            self._async.chat,
            messages,
            spaces=spaces,
            owner=owner,
            model=model,
            top_k=top_k,
            score_threshold=score_threshold,
            where=where,
            sampling=sampling,
            **stages,
        )

    def retrieve(
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
        return self._loop.call(
            self._async.retrieve,
            query,
            spaces=spaces,
            owner=owner,
            top_k=top_k,
            score_threshold=score_threshold,
            where=where,
            **stages,
        )

    def warm(self) -> None:
        """Do beforehand what the first question would wait for, a second or more: load libraries, open stores and
        indexes, and ask the embedder and the reranker, of one space for each vector type (but Milvus Lite). Raises
        what that question would."""
        self._loop.call(self._async.warm)

    def ping(self) -> None:
        """Return when the catalog and the stores in use answer; else raise their error."""
        self._loop.call(self._async.ping)


class KnowledgeSpace(_Delegate):
    """One space: what goes in, what is found in it, and what is answered from it.

    `info` is how the catalog held the space when this object was made, or last changed it or was asked a question.
    What others did since, `watch` among them, `refresh` reads.
    """

    def __init__(self, loop: Loop, face: space.KnowledgeSpace, parent: object) -> None:
        super().__init__(loop, parent)
        self._async = face

    def __repr__(self) -> str:
        return repr(self._async)

    @property
    def info(self) -> SpaceInfo:
        return self._async.info

    @property
    def id(self) -> int:
        return self._async.id

    @property
    def name(self) -> str:
        return self._async.name

    @property
    def owner(self) -> str:
        return self._async.owner

    @property
    def vector_type(self) -> VectorType:
        return self._async.vector_type

    @property
    def desc(self) -> str:
        return self._async.desc

    @property
    def context(self) -> str | None:
        return self._async.context

    def refresh(self) -> SpaceInfo:
        """Read the space again. Raises `SpaceNotFoundError` when it was deleted."""
        return self._loop.call(self._async.refresh)

    def ingest(
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
        return self._loop.call(
            self._async.ingest,
            sources,
            include=include,
            exclude=exclude,
            gitignore=gitignore,
            splitting=splitting,
            progress=progress,
        )

    def sync(
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
        return self._loop.call(
            self._async.sync,
            paths,
            include=include,
            exclude=exclude,
            gitignore=gitignore,
            splitting=splitting,
            allow_empty=allow_empty,
            progress=progress,
        )

    def watch(
        self,
        paths: intake.Paths,
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        gitignore: bool = False,
        splitting: Splitting | None = None,
        progress: intake.Progress = None,
    ) -> ReportStream:
        """Sync folders now, and again whenever something changes in them, until the block is left.

            with space.watch("docs") as reports:
                for report in reports:
                    ...

        The first report comes always, later ones when something was added, updated, moved or removed, or fails that
        did not before. What goes away, or is empty of a sudden and another folder to the system (a disk that is not
        mounted), is waited for. Raises `InvalidInputError` for what is so from the beginning.
        """
        return ReportStream(
            self._loop,
            self._async.watch(
                paths, include=include, exclude=exclude, gitignore=gitignore, splitting=splitting, progress=progress
            ),
            self,
        )

    def add_document(
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
        return self._loop.call(
            self._async.add_document,
            name,
            data=data,
            text=text,
            source=source,
            metadata=metadata,
            file_name=file_name,
            replace=replace,
        )

    def index_documents(
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
        self._loop.call(self._async.index_documents, ids, splitting=splitting, progress=progress)

    def added_documents(self, ids: Sequence[int]) -> list[int]:
        """Those of the ids whose documents `add_document` brought, in any order; no others can be indexed again."""
        return self._loop.call(self._async.added_documents, ids)

    def documents(self, *, offset: int = 0, limit: int | None = None) -> list[Document]:
        """The space's documents in the order they came, without their texts."""
        return self._loop.call(self._async.documents, offset=offset, limit=limit)

    def count_documents(self) -> int:
        """How many documents the space holds."""
        return self._loop.call(self._async.count_documents)

    def get_document(self, id_or_name: DocumentHandle) -> Document:
        """A document with its text. Raises `DocumentNotFoundError`."""
        return self._loop.call(self._async.get_document, id_or_name)

    def delete_document(self, id_or_name: DocumentHandle) -> Document:
        """Remove a document, which nobody finds from then on; returns it as it was. Raises `DocumentNotFoundError`."""
        return self._loop.call(self._async.delete_document, id_or_name)

    def reembed(self, *, progress: Callable[[IngestProgress], None] | None = None) -> SpaceInfo:
        """Embed every chunk anew with the embedder in use, from the texts in the catalog.

        Readers keep the old vectors until all new ones are there. Cut short, it goes on when it is called again with
        the same embedder; whoever writes something else before removes what was made. `progress` counts chunks.
        """
        return self._loop.call(self._async.reembed, progress=progress)

    def update_document(
        self, id_or_name: DocumentHandle, *, name: str | None = None, metadata: Metadata | None = None
    ) -> Document:
        """Give a document another name or other metadata; its text and chunks stay. Raises `DocumentNotFoundError`,
        `DocumentExistsError`, and `InvalidInputError` naming the argument.

        When its content changes, the metadata is again what the document itself says. What was added with
        `add_document` keeps it until it is replaced, beside what the file says of itself.
        """
        return self._loop.call(self._async.update_document, id_or_name, name=name, metadata=metadata)

    def document_chunks(self, id_or_name: DocumentHandle) -> list[Chunk]:
        """The chunks of a document in reading order. Raises `DocumentNotFoundError`."""
        return self._loop.call(self._async.document_chunks, id_or_name)

    def check(self, *, repair: bool = False) -> CheckReport:
        """Compare the space's vectors, lexical index, texts and files with its catalog; with `repair` mend what can be
        mended. Raises `BusyError` while another process writes, and `EmbedderMismatchError`."""
        return self._loop.call(self._async.check, repair=repair)

    def migrate(
        self,
        to: VectorType | str,
        *,
        progress: intake.Progress = None,
        before_switch: Callable[[Agreement], None] | None = None,
    ) -> SpaceInfo:
        """Take the space to another kind of store: vectors are copied, and it answers all the while. Can be cut short
        anywhere and called again. `before_switch` is told how far the copy answers as the original does; at less than
        90 % it is a `StoreError`, and nothing is switched."""
        return self._loop.call(self._async.migrate, to, progress=progress, before_switch=before_switch)

    def export(self, path: str | os.PathLike[str], *, progress: intake.Progress = None) -> int:
        """Write the space to one file that `KnowledgeBase.import_space` reads, on whatever machine or store, without
        embedding again; returns the number of documents."""
        return self._loop.call(self._async.export, path, progress=progress)

    def stats(self) -> SpaceStats:
        """Count what is in the space. Tokens are estimated from every text, once for each change of the space."""
        return self._loop.call(self._async.stats)

    def retrieve(
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
        return self._loop.call(
            self._async.retrieve, query, top_k=top_k, score_threshold=score_threshold, where=where, **stages
        )

    def explain(
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
        return self._loop.call(
            self._async.explain, query, top_k=top_k, score_threshold=score_threshold, where=where, **stages
        )

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
        return AnswerStream(
            self._loop,
            self._async.stream(
                messages,
                model=model,
                top_k=top_k,
                score_threshold=score_threshold,
                where=where,
                sampling=sampling,
                **stages,
            ),
            self,
        )

    def chat(
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
        return self._loop.call(
            self._async.chat,
            messages,
            model=model,
            top_k=top_k,
            score_threshold=score_threshold,
            where=where,
            sampling=sampling,
            **stages,
        )


class Keys(_Delegate):
    """The keys of one knowledge base."""

    def __init__(self, loop: Loop, face: keys.Keys, parent: object) -> None:
        super().__init__(loop, parent)
        self._async = face

    def create(self, name: str, *, owner: str = "", role: KeyRole = KeyRole.READER) -> tuple[KeyInfo, str]:
        """Make a key; returns what is known of it and the key itself, which nobody can find out again.

        One that is not an admin's sees and touches only what belongs to its owner. Raises `KeyExistsError` while
        another one of that name is valid, and `InvalidInputError`.
        """
        return self._loop.call(self._async.create, name, owner=owner, role=role)

    def find(self, key: str) -> KeyInfo | None:
        """What is known of a key; None for one that is not known or was revoked."""
        return self._loop.call(self._async.find, key)

    def list(self) -> list[KeyInfo]:
        """All keys there ever were, in the order they were made."""
        return self._loop.call(self._async.list)

    def any(self) -> bool:
        """Whether a key was ever made. Revoking the last one does not open the doors again."""
        return self._loop.call(self._async.any)

    def revoke(self, name_or_id: str | int) -> KeyInfo:
        """Make a key worthless, at once and for ever: a text is its name, a number its id. Raises
        `KeyNotFoundError`."""
        return self._loop.call(self._async.revoke, name_or_id)


class Conversations(_Delegate):
    """The conversations of one knowledge base. Each belongs to an owner: the same name with another is another one."""

    def __init__(self, loop: Loop, face: conversations.Conversations, parent: object) -> None:
        super().__init__(loop, parent)
        self._async = face

    def turns(self, uid: str, *, owner: str = "") -> list[Message]:
        """What was said so far, in order; nothing in a conversation that is new."""
        return self._loop.call(self._async.turns, uid, owner=owner)

    def show(self, uid: str, *, owner: str = "", of_owner: str | None = None) -> list[Turn]:
        """What was said so far, with the passages that each answer was given and its checked citations. A passage that
        is no longer in the space, because its document was removed or has newer content, has an empty `content`; with
        `of_owner` so has each of a space that is not, or no longer, that owner's. Raises `ConversationNotFoundError`.
        """
        return self._loop.call(self._async.show, uid, owner=owner, of_owner=of_owner)

    def remember(
        self,
        uid: str,
        question: str,
        answer: str,
        *,
        owner: str = "",
        space_id: int | None = None,
        references: Sequence[Reference] = (),
        citations: Sequence[Citation] = (),
    ) -> None:
        """Keep a question with its answer and, where a space was asked, its references and citations."""
        self._loop.call(
            self._async.remember,
            uid,
            question,
            answer,
            owner=owner,
            space_id=space_id,
            references=references,
            citations=citations,
        )

    def get(self, uid: str, *, owner: str = "") -> ConversationInfo:
        """Raises `ConversationNotFoundError`."""
        return self._loop.call(self._async.get, uid, owner=owner)

    def list(
        self, *, owner: str = "", space_id: int | None = None, offset: int = 0, limit: int | None = None
    ) -> list[ConversationInfo]:
        """An owner's conversations, the newest first: those that asked the space last, where one is given."""
        return self._loop.call(self._async.list, owner=owner, space_id=space_id, offset=offset, limit=limit)

    def count(self, *, owner: str = "", space_id: int | None = None) -> int:
        """How many conversations `list` has in all."""
        return self._loop.call(self._async.count, owner=owner, space_id=space_id)

    def delete(self, uid: str, *, owner: str = "") -> ConversationInfo:
        """Forget a conversation; returns it as it was. Raises `ConversationNotFoundError`."""
        return self._loop.call(self._async.delete, uid, owner=owner)


def _close(loop: Loop, face: knowledge.KnowledgeBase) -> None:
    """Holds no reference to the object that is closed, so that dropping that is enough."""
    loop.close(face.aclose)
