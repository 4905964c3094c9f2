"""The catalog's async face. Each method is one transaction, run in a worker thread."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import anyio
from sqlalchemy import Connection

from kbchat.catalog import chunks, documents, lives, locks, moves, spaces
from kbchat.catalog import generations as generation_sql
from kbchat.catalog import uploads as upload_sql
from kbchat.catalog.database import Database, database_url
from kbchat.catalog.narrowing import All
from kbchat.catalog.places import Places
from kbchat.catalog.records import (
    DocumentEdit,
    FailedSource,
    KeptUpload,
    LiveVectors,
    NewChunk,
    NewGeneration,
    PendingGeneration,
    SourceState,
    Surroundings,
    Upload,
)
from kbchat.chunking import Splitting
from kbchat.models import (
    Chunk,
    Document,
    DocumentStatus,
    Metadata,
    SpaceInfo,
    VectorType,
)
from kbchat.threads import Threads

NO_SOURCES: Mapping[int, str] = MappingProxyType({})
FEW = 100
"""Number of chunks, at most, that are read in one batch with what others ask for."""


def _now() -> datetime:
    return datetime.now(UTC)


class Catalog(Places):
    """Spaces, documents, generations and chunks, keys and conversations, in SQLite or PostgreSQL.

    `url` is `sqlite:///PATH`, `postgresql://…` or the path of a SQLite file. `timeout` is how many seconds to wait for
    another process's write, for a connection and for a statement of PostgreSQL; one that says nothing at all is given
    up after twice as long and a second. Raises `SettingsError` for another URL
    and `MissingExtraError` without PostgreSQL's driver.

    Texts may hold any character but NUL and lone surrogates, which are `InvalidInputError` at the latest here.

    Every method may raise `CatalogUnavailableError` (no connection, no right, no room), `CatalogCorruptError` and
    `BusyError`; one that changes something and raises has changed nothing. Methods on one space raise
    `SpaceNotFoundError` when it is not there or hidden. Readers never wait for a writer and see one state of the
    catalog a call. Every await can be cancelled: a change then happened wholly or not at all.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        threads: Threads,
        timeout: float = 10.0,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        super().__init__(Database(database_url(url), timeout=timeout), threads=threads, clock=clock)

    async def open(self) -> None:
        """Connect and bring the schema up to date. Must be called once before any other method."""
        await self._threads.write(self._database.open)

    async def aclose(self) -> None:
        """Let go of all connections, after the calls that are running. Closing twice does nothing."""
        with anyio.CancelScope(shield=True):
            await self._threads.write(self._database.close)

    async def ping(self) -> None:
        """Return when the catalog answers."""
        # A small query that nothing but the database itself can answer.
        await self._read(spaces.deleted)

    @property
    def is_shared(self) -> bool:
        """Whether servers on several machines may use it: it is not a file."""
        return not self._database.is_sqlite

    @asynccontextmanager
    async def writing(self, space_id: int, *, timeout: float) -> AsyncIterator[None]:
        """Be the only server to write to a space: `async with catalog.writing(7, timeout=10): …`.

        On PostgreSQL it waits up to `timeout` seconds (0: one attempt) for other servers and for other objects on the
        same database, then raises `BusyError`. Tasks that share this object must take turns themselves: it is not
        reentrant. When the connection that held the lock was lost it raises `CatalogUnavailableError` at the end. From
        the moment another server has taken the lock, what is begun, published, abandoned, collected or moved within is
        refused with `BusyError`, so that nothing becomes live whose vectors the other may have removed. On SQLite,
        which one data folder's lock guards, it does nothing.
        """
        if not self.is_shared:
            yield
            return
        async with locks.writing(self._database, self._threads, space_id, timeout) as turn:
            if turn is not None:
                self._turns[space_id] = turn
            try:
                yield
            finally:
                self._turns.pop(space_id, None)

    # -- spaces ------------------------------------------------------------------------------------------------------

    async def create_space(
        self,
        *,
        name: str,
        owner: str,
        vector_type: VectorType,
        desc: str,
        context: str | None,
        splitting: Splitting | None = None,
        hidden: bool = False,
    ) -> SpaceInfo:
        """Make an empty space. Its id is never given to another one. Raises `SpaceExistsError`. A `hidden` one is found
        by its id alone until it is revealed, and takes no name."""
        now = self._clock()
        new = spaces.NewSpace(name, owner, vector_type, desc, context, splitting)
        return await self._write(lambda connection: spaces.create(connection, new, hidden=hidden, now=now))

    async def get_space(self, space_id: int) -> SpaceInfo:
        """With counts, which are kept, not counted."""
        return await self._glance(("space", space_id), lambda connection: spaces.get(connection, space_id))

    async def find_spaces(self, name: str, *, owner: str | None = None) -> list[SpaceInfo]:
        """Spaces of that exact name by id: at most one an owner."""
        return await self._glance(("name", name, owner), lambda connection: spaces.find(connection, name, owner))

    async def list_spaces(
        self,
        *,
        owner: str | None = None,
        name: str | None = None,
        vector_type: VectorType | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> tuple[list[SpaceInfo], int]:
        """A page of spaces by id, and how many there are in all."""
        where = spaces.SpaceFilter(owner=owner, name=name, vector_type=vector_type)
        return await self._read(lambda connection: spaces.page(connection, where, offset=offset, limit=limit))

    async def update_space(
        self,
        space_id: int,
        *,
        name: str | None = None,
        owner: str | None = None,
        vector_type: VectorType | None = None,
        desc: str | None = None,
        context: str | None = None,
        splitting: Splitting | Literal["default"] | None = None,
    ) -> SpaceInfo:
        """Change what is not None; with the splitting "default" it has none of its own any more. Raises
        `SpaceExistsError`, and `SpaceInUseError` for another vector type once the space holds documents or vectors that
        are not collected."""
        now = self._clock()
        change = spaces.SpaceChange(name, owner, vector_type, desc, context, splitting)
        return await self._write(lambda connection: moves.update(connection, space_id, change, now=now))

    async def begin_space_deletion(self, space_id: int) -> SpaceInfo:
        """Hide the space from every other method and free its name; returns it as it was."""
        now = self._clock()
        return await self._write(lambda connection: spaces.begin_deletion(connection, space_id, now=now))

    async def deleted_spaces(self) -> list[SpaceInfo]:
        """Spaces whose deletion, or whose making, was begun and not finished."""
        return await self._read(spaces.deleted)

    async def finish_space_deletion(self, space_id: int) -> None:
        """Remove every row of a hidden space, in several transactions so that other writers get their turn. Does
        nothing for a space that is not hidden or not there. Cut short, it can be called again."""
        while await self._write(lambda connection: spaces.finish_deletion(connection, space_id)):
            pass

    # -- documents ---------------------------------------------------------------------------------------------------

    async def source_states(self, space_id: int, names: Sequence[str]) -> dict[str, SourceState]:
        """The state of those documents that are there, by name. Any number of names."""
        return await self._read(lambda connection: documents.states(connection, space_id, names))

    async def sources_beneath(self, space_id: int, prefix: str) -> dict[str, SourceState]:
        """The state of the documents whose source begins with a folder's path, by name."""
        return await self._read(lambda connection: lives.beneath(connection, space_id, prefix))

    async def touch(
        self,
        space_id: int,
        stats: Mapping[int, tuple[int | None, int | None]],
        *,
        sources: Mapping[int, str] = NO_SOURCES,
    ) -> None:
        """Keep other sizes and modification times (ns) with documents, by id, and with some of them another source.
        What is found stays the same."""
        await self._write(lambda connection: lives.touch(connection, space_id, stats, sources))

    async def fail(self, space_id: int, failures: Sequence[FailedSource], *, writer: str) -> None:
        """Make documents FAILED with their reasons, and those that are not there appear so. What was live stays."""
        now = self._clock()
        await self._write(lambda connection: lives.fail(connection, space_id, failures, writer=writer, now=now))

    async def edit_document(self, space_id: int, document_id: int, edit: DocumentEdit) -> Document:
        """Change what the edit says; text and chunks stay. Raises `DocumentNotFoundError`, `DocumentExistsError`."""
        now = self._clock()
        return await self._write(lambda connection: lives.edit(connection, space_id, document_id, edit, now=now))

    async def awaited(self, space_id: int, document_ids: Sequence[int]) -> set[int]:
        """Those of the documents that were uploaded and are not, or could not be, indexed."""
        return await self._read(lambda connection: lives.awaited(connection, space_id, document_ids))

    async def recount(self, space_id: int, *, repair: bool) -> bool:
        """Whether the counts that are kept with a space are wrong; with `repair` they are put right."""
        return await self._write(lambda connection: lives.recount(connection, space_id, repair=repair))

    async def delete_documents(self, space_id: int, document_ids: Sequence[int], *, writer: str) -> int:
        """Remove those documents that are there, as `delete_document` does, but for those that are awaited; returns how
        many there were."""
        now = self._clock()
        return await self._write(
            lambda connection: lives.delete(connection, space_id, document_ids, writer=writer, now=now)
        )

    async def get_document(self, space_id: int, document_id: int, *, with_text: bool = False) -> Document:
        """Raises `DocumentNotFoundError`. The text is None for a document that never was FINISHED."""
        return await self._read(
            lambda connection: documents.get(connection, space_id, document_id, with_text=with_text)
        )

    async def find_document(self, space_id: int, name: str, *, with_text: bool = False) -> Document | None:
        """The document of that exact name."""
        return await self._read(lambda connection: documents.find(connection, space_id, name, with_text=with_text))

    async def list_documents(
        self, space_id: int, *, offset: int = 0, limit: int | None = None
    ) -> tuple[list[Document], int]:
        """A page of documents by id, and how many there are in all."""
        return await self._read(lambda connection: documents.page(connection, space_id, offset=offset, limit=limit))

    async def matching_documents(
        self, space_id: int, test: Callable[[Metadata], bool], *, must: All
    ) -> list[tuple[int, int | None]]:
        """The id of each document whose metadata passes, and its live generation's if it has one; in unspecified order.

        Only those are tested whose metadata holds what it must; `test` is called in a worker thread.
        """
        return await self._read(lambda connection: documents.matching(connection, space_id, test, must))

    async def count_documents(self, space_id: int) -> dict[DocumentStatus, int]:
        """How many documents of each status there are."""
        return await self._read(lambda connection: documents.count(connection, space_id))

    async def delete_document(self, space_id: int, document_id: int, *, writer: str) -> Document:
        """Remove a document: it is gone for every reader at once, all its generations are dead (an ingest of it that
        is under way will not bring it back), the space's revision rises. Returns it as it was, without text. Raises
        `DocumentNotFoundError`."""
        now = self._clock()
        return await self._write(
            lambda connection: documents.delete(connection, space_id, document_id, writer=writer, now=now)
        )

    async def find_document_anywhere(
        self, document_id: int, *, owner: str | None = None, with_text: bool = False
    ) -> Document:
        """The document of that id, in whatever space of the owner's. Raises `DocumentNotFoundError`."""
        return await self._read(
            lambda connection: documents.anywhere(connection, document_id, owner=owner, with_text=with_text)
        )

    async def find_documents_anywhere(self, document_ids: Sequence[int], *, owner: str | None = None) -> list[Document]:
        """The documents of those ids, in that order. Raises `DocumentNotFoundError`."""
        return await self._read(lambda connection: documents.all_anywhere(connection, document_ids, owner=owner))

    async def list_all_documents(
        self, *, owner: str | None = None, offset: int = 0, limit: int | None = None
    ) -> tuple[list[Document], int]:
        """A page of the documents of all spaces by id, and how many there are in all."""
        return await self._read(
            lambda connection: documents.page_of_all(connection, owner=owner, offset=offset, limit=limit)
        )

    # -- uploads -----------------------------------------------------------------------------------------------------

    async def keep_upload(self, space_id: int, upload: Upload, *, replace: bool) -> tuple[Document, SpaceInfo]:
        """Keep a document that is to be indexed later: it is TODO from now on, also when it was FINISHED before, and
        what readers find of it stays until then. Returns it and the space, as they are then. Raises
        `DocumentExistsError` unless it may `replace` one."""
        now = self._clock()
        return await self._write_in_company(
            lambda connection: upload_sql.keep(connection, space_id, upload, replace=replace, now=now)
        )

    async def upload_states(self, space_id: int, ids: Sequence[int]) -> dict[int, KeptUpload]:
        """What is kept of those of the documents that were uploaded."""
        return await self._read(lambda connection: upload_sql.states(connection, space_id, ids))

    async def uploads(self, space_id: int, ids: Sequence[int]) -> dict[int, Upload]:
        """Those of the documents that were uploaded, as they were."""
        return await self._read(lambda connection: upload_sql.kept(connection, space_id, ids))

    async def mark_documents(
        self,
        space_id: int,
        states: Mapping[int, tuple[DocumentStatus, str | None]],
        *,
        uploads: Mapping[int, int],
    ) -> None:
        """Set status and error that are true of the `uploads` with these ids. A document that was uploaded anew since
        is TODO, one that is not there is passed over."""
        now = self._clock()
        await self._write(lambda connection: upload_sql.mark(connection, space_id, states, uploads=uploads, now=now))

    # -- generations -------------------------------------------------------------------------------------------------

    async def begin_generations(self, space_id: int, generations: Sequence[NewGeneration]) -> list[PendingGeneration]:
        """Write new generations beside the live ones, all in one transaction. Documents that are new appear with no
        live generation and are not seen by any reader before `publish`."""
        now = self._clock()
        return await self._write_in_turn(
            space_id, lambda connection: generation_sql.begin(connection, space_id, generations, now=now)
        )

    async def extend_generation(self, space_id: int, generation_id: int, chunks: Sequence[NewChunk]) -> list[int]:
        """Write more chunks of a generation that was begun, after those that it has. Returns their ids; none where it
        waits to be published no more, and nothing is written then."""
        return await self._write_in_turn(
            space_id, lambda connection: generation_sql.extend(connection, space_id, generation_id, chunks)
        )

    async def publish(self, space_id: int, generation_ids: Sequence[int], *, writer: str) -> list[int]:
        """In one transaction: make these live, those they replace dead, their documents FINISHED, and raise the
        space's revision, with `writer` as its last writer.

        Returns those that are live now: generations of a document that was deleted since are not, nor is any but the
        last of several of one document.
        """
        now = self._clock()
        return await self._write_in_turn(
            space_id,
            lambda connection: generation_sql.publish(connection, space_id, generation_ids, writer=writer, now=now),
        )

    async def abandon(self, space_id: int) -> None:
        """Make dead what was begun and never published: nobody can publish it any more, not even a process that lost
        the writer's lock without knowing, and so it can be removed from the indexes."""
        await self._write_in_turn(space_id, lambda connection: generation_sql.abandon(connection, space_id))

    async def collectable(self, space_id: int, *, pending: bool) -> dict[int, list[int]]:
        """Chunk ids by generation of the dead generations, and with `pending` also of those never published (the
        caller holds the writer's lock, so nobody is about to publish them)."""
        return await self._read(lambda connection: generation_sql.collectable(connection, space_id, pending=pending))

    async def collect(self, space_id: int, generation_ids: Sequence[int]) -> None:
        """Remove the rows of dead or pending generations, after the indexes have forgotten their chunks; live ones
        stay. Documents that never had a live generation go with them. Large ones are removed in several transactions;
        cut short, what is left is collectable still."""
        collect = partial(generation_sql.collect, space_id=space_id, generation_ids=generation_ids)
        while await self._write_in_turn(space_id, collect):
            pass

    # -- chunks ------------------------------------------------------------------------------------------------------

    async def live_chunks(self, space_id: int, ids: Sequence[int]) -> dict[int, Chunk]:
        """Those of the chunks that belong to a live generation of the space, by id. Any number of ids."""
        return await self._read(lambda connection: chunks.live(connection, space_id, ids))

    async def live_vectors(self, space_id: int, ids: Sequence[int]) -> LiveVectors:
        """The same as `live_chunks`, with what was kept with each chunk, and the space as it was at that moment."""

        def read(connection: Connection) -> LiveVectors:
            return chunks.live_vectors(connection, space_id, ids)

        return await (self._glance(("vectors", space_id, *ids), read) if len(ids) <= FEW else self._read(read))

    async def surroundings(self, space_id: int, ids: Sequence[int], *, reach: int) -> dict[int, Surroundings]:
        """What stands around those of the chunks that are live, up to `reach` chunks to each side."""
        return await self._read(lambda connection: chunks.surroundings(connection, space_id, ids, reach=reach))

    async def live_chunk_ids(self, space_id: int) -> tuple[int, list[int]]:
        """The space's revision, and the ids of the chunks that were live in it, ascending."""
        return await self._read(lambda connection: chunks.live_ids(connection, space_id))

    async def chunks_of(self, generation_ids: Sequence[int]) -> list[int]:
        """The ids of those generations' chunks, in unspecified order."""
        return await self._read(lambda connection: chunks.of_generations(connection, generation_ids))

    async def chunk_owners(self, ids: Sequence[int]) -> dict[int, int]:
        """The document of each chunk, live or not, that is there."""
        return await self._read(lambda connection: chunks.owners(connection, ids))

    async def document_chunks(self, document_id: int) -> list[Chunk]:
        """The live chunks of a document in order; none for a document that is not there."""
        return await self._read(lambda connection: chunks.of_document(connection, document_id))

    async def reusable_chunks(self, document_ids: Sequence[int]) -> dict[int, dict[str, int]]:
        """For each document the live chunks' ids by `key` (of equal ones the lowest id), so that an unchanged chunk
        keeps its vector."""
        return await self._read(lambda connection: chunks.reusable(connection, document_ids))

    async def embedding_fields(self, space_id: int, *, after: int = 0, limit: int = 1000) -> list[Chunk]:
        """Live chunks of a space by id, from the one after `after` (for rebuilding an index from the catalog)."""
        return await self._read(lambda connection: chunks.after(connection, space_id, after=after, limit=limit))
