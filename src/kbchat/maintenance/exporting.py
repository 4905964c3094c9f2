"""Writing a space to an archive (`archive`), which appears when it is whole."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import anyio
import msgspec

from kbchat.datafolder import take
from kbchat.errors import InvalidInputError
from kbchat.maintenance.archive import ABOUT, DOCUMENTS, PACKED, VECTORS, VERSION, About, Line, Place, sha256
from kbchat.models import IngestProgress, SpaceInfo

if TYPE_CHECKING:
    from kbchat.catalog import Catalog
    from kbchat.models import Chunk, Document
    from kbchat.stores import VectorStore
    from kbchat.threads import Threads

_BESIDE, _LOCK = ".kbchat-export-", "lock"
"""The folder in which an archive is made, and the file in it that tells that somebody is at it."""


async def export(
    space: SpaceInfo,
    path: Path,
    *,
    catalog: Catalog,
    store: VectorStore,
    threads: Threads,
    dimension: int,
    progress: Callable[[IngestProgress], None] | None,
) -> int:
    """Write a space to a file, which appears when it is whole; returns the number of documents.

    Documents that never were indexed are left out. The caller holds the writer's lock, so that it is one state of them.
    """
    listed, _ = await catalog.list_documents(space.id)
    writer = _Writing(path, dimension)
    try:
        await threads.write(writer.open)
        for done, document in enumerate(listed, 1):
            whole = await catalog.get_document(space.id, document.id, with_text=True)
            if whole.text is None:
                continue
            chunks = await catalog.document_chunks(document.id)
            ids = [chunk.id for chunk in chunks]
            vectors = await store.fetch(space.collection, ids)
            packed = (await catalog.live_vectors(space.id, ids)).chunks
            await threads.write(writer.add, whole, chunks, vectors, [packed[key][1] for key in ids])
            if progress is not None:
                progress(IngestProgress(done=done, total=len(listed), chunks=writer.chunks, name=document.name))
        await threads.write(writer.finish, space)
    finally:
        with anyio.CancelScope(shield=True):
            await threads.write(writer.close)
    return writer.documents


class _Writing:
    """An archive while it is written. Blocks."""

    def __init__(self, path: Path, dimension: int) -> None:
        self._path = path
        self._given = str(path)
        self._dimension = dimension
        self.documents = self.chunks = 0
        self._mode: int | None = None
        self._made = ExitStack()
        self._files: dict[str, IO[bytes]] = {}

    def open(self) -> None:
        """Begin, beside where the archive is to be. Raises `InvalidInputError` where there can be none."""
        with self._told():
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file in it")
            try:
                self._path = self._path.resolve()  # What a link stands for may be on another disk.
            except (ValueError, RuntimeError) as error:  # A NUL, or links in a circle.
                raise OSError(errno.EINVAL, str(error)) from None
            if self._path.is_symlink():  # Such links again: from Python 3.13 on they are no error.
                raise OSError(errno.ELOOP, "it is a link to itself")
            if self._path.exists():
                if not self._path.is_file():
                    raise OSError(errno.EINVAL, "it is no file but a device or a pipe; name a file")
                self._mode = stat.S_IMODE(self._path.stat().st_mode)
            _clear(self._path.parent)
            beside = tempfile.TemporaryDirectory(dir=self._path.parent, prefix=_BESIDE)
            self._folder = Path(self._made.enter_context(beside))
            with suppress(OSError):  # Where nothing can be locked, nobody clears away either.
                take(self._made.enter_context(self._folder.joinpath(_LOCK).open("wb")).fileno())
            for name in (DOCUMENTS, VECTORS, PACKED):
                self._files[name] = self._made.enter_context(self._folder.joinpath(name).open("wb"))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what the disk fails in as `InvalidInputError`."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise InvalidInputError("path", f"{self._given!r} cannot be written: {reason}") from None

    def add(
        self, document: Document, chunks: Sequence[Chunk], vectors: dict[int, Any], packed: Sequence[bytes]
    ) -> None:
        """Write a document, with its chunks' vectors by id and what is kept of each for scoring."""
        import numpy as np

        own = [
            {key: value for key, value in chunk.metadata.items() if document.metadata.get(key) != value}
            for chunk in chunks
        ]
        places = [Place(chunk.start, chunk.end, metadata) for chunk, metadata in zip(chunks, own, strict=True)]
        line = Line(
            document.name,
            document.text or "",
            document.doc_type,
            document.source,
            document.content_hash,
            document.metadata,
            places,
        )
        zero = np.zeros(self._dimension, dtype="<f4")
        with self._told():
            self._files[DOCUMENTS].write(msgspec.json.encode(line) + b"\n")
            for chunk in chunks:
                self._files[VECTORS].write(np.asarray(vectors.get(chunk.id, zero), dtype="<f4").tobytes())
            for each in packed:
                self._files[PACKED].write(len(each).to_bytes(4, "little") + each)
        self.documents += 1
        self.chunks += len(chunks)

    def finish(self, space: SpaceInfo) -> None:
        """Put the archive together and in its place."""
        with self._told():
            for file in self._files.values():
                file.close()
            whole = self._folder / "archive.zip"
            self._zip(space, whole)
            with whole.open("rb+") as file:
                os.fsync(file.fileno())
            if self._mode is not None:  # Who may not read the old one may not read the new one.
                whole.chmod(self._mode)
            whole.replace(self._path)

    def _zip(self, space: SpaceInfo, whole: Path) -> None:
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            digests = {name: sha256(self._folder / name) for name in self._files}
            keep = {"name", "owner", "vector_type", "desc", "context", "embedder", "splitting"}
            about = About(
                VERSION,
                space.model_dump(mode="json", include=keep),
                self._dimension,
                self.documents,
                self.chunks,
                digests,
            )
            archive.writestr(ABOUT, msgspec.json.format(msgspec.json.encode(about)))
            for name in self._files:
                archive.write(self._folder / name, name)

    def close(self) -> None:
        """Leave nothing but the archive. What a full disk does not take of the files any more is not wanted either."""
        with suppress(OSError):
            self._made.close()


def _clear(parent: Path) -> None:
    """Remove what processes that died left of archives that they were writing there. Who lives holds the lock of its
    folder."""
    for left in parent.glob(f"{_BESIDE}*"):
        try:
            with left.joinpath(_LOCK).open("rb+") as lock:
                take(lock.fileno())
        except OSError:
            continue  # It is being written, or is not ours to remove.
        shutil.rmtree(left, ignore_errors=True)
