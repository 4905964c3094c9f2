"""A space in one file, to be taken to another machine or store without being embedded again: its form, and reading it.

The file is a ZIP archive. `kbchat.json` says the version, what the space is and the SHA-256 of the other members;
`documents.jsonl` has a document a line, with its text and where its chunks are; `vectors.f32` has a row of floats (the
lowest byte first) for each chunk in the same order, zeros where a chunk has no vector; `packed.bin` has what is kept of
each chunk for scoring, after its length in four bytes.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
from pydantic import ValidationError

from kbchat.catalog import NewChunk, NewGeneration
from kbchat.embedders import passages
from kbchat.errors import InvalidInputError
from kbchat.ingestion.items import Prepared
from kbchat.inputs import checked_metadata, checked_name, checked_text
from kbchat.models import IngestProgress, SpaceInfo
from kbchat.text.splitting import chunk_key, headings_of

if TYPE_CHECKING:
    from kbchat.ingestion.writing import GenerationWriter
    from kbchat.threads import Threads

VERSION = 1
ABOUT, DOCUMENTS, VECTORS, PACKED = "kbchat.json", "documents.jsonl", "vectors.f32", "packed.bin"
BATCH_DOCUMENTS = 128
BATCH_CHARS = 750_000
"""A batch ends when it holds either, so that memory is bounded by a batch and one document; about as in an ingest."""
MAX_ABOUT = 4 * 1024 * 1024
"""Bytes of what an archive says of itself: far more than its texts may have."""
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Those that take no more memory than is read."""

_DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, KeyError, OSError, EOFError, ValueError, RuntimeError)
"""What reading a damaged archive raises: the last two for nonsense in its headers, such as a version that is none."""


class Place(msgspec.Struct, array_like=True):
    """A chunk in its document."""

    start: int
    end: int
    metadata: dict[str, Any]


class Line(msgspec.Struct):
    """A document."""

    name: str
    text: str
    doc_type: str
    source: str | None
    content_hash: str
    metadata: dict[str, Any]
    chunks: list[Place]


class About(msgspec.Struct):
    """What an archive says of itself."""

    version: int
    space: dict[str, Any]
    dimension: int
    documents: int
    chunks: int
    sha256: dict[str, str]


class Archive:
    """An archive to be read. Its methods block. Raises `InvalidInputError` for what is none, or is damaged."""

    def __init__(self, path: Path, *, longest: int) -> None:
        """`longest` is how many bytes a document may have in the archive."""
        self._longest = longest
        with ExitStack() as unless_sound:
            try:
                self._archive = unless_sound.enter_context(zipfile.ZipFile(path))
                self.about = self._read_about()
                self.space = _space(self.about)
            except OSError as error:
                raise InvalidInputError("path", f"{str(path)!r} cannot be read: {error.strerror or error}") from None
            except (*_DAMAGES, msgspec.MsgspecError) as error:
                reason = f"is no archive of a space, or damaged ({error})"
                raise InvalidInputError("path", f"{str(path)!r} {reason}") from None
            if (version := self.about.version) > VERSION:
                raise InvalidInputError("path", f"the archive is of version {version}; update kbchat to read it")
            unless_sound.pop_all()

    def _read_about(self) -> About:
        for about in self._archive.infolist():
            if about.compress_type not in _COMPRESSIONS:
                raise ValueError(f"{about.filename} is compressed in a way that kbchat does not write")
        with self._archive.open(ABOUT) as member:
            data = member.read(MAX_ABOUT + 1)
        if len(data) > MAX_ABOUT:
            raise ValueError(f"{ABOUT} is larger than {MAX_ABOUT:,} bytes")
        return msgspec.json.decode(data, type=About)

    def check(self) -> None:
        """Read every member once and compare it with its checksum, before anything is imported."""
        for name in (DOCUMENTS, VECTORS, PACKED):
            try:
                digest = sha256(zipfile.Path(self._archive, name))
            except _DAMAGES as error:
                raise InvalidInputError("path", f"the archive's {name} is damaged ({error})") from None
            if digest != self.about.sha256.get(name):
                raise InvalidInputError("path", f"the archive's {name} is damaged: its checksum does not fit")

    def batches(self) -> Iterator[list[Prepared]]:
        """The documents, ready to be written."""
        batch: list[Prepared] = []
        size = 0
        with (
            self._archive.open(DOCUMENTS) as lines,
            self._archive.open(VECTORS) as vectors,
            self._archive.open(PACKED) as packed,
        ):
            whole = io.BufferedReader(lines, 1 << 20)  # type: ignore[type-var]
            while line := whole.readline(self._longest + 1):
                if len(line) > self._longest:
                    raise InvalidInputError(
                        "path",
                        f"the archive has a document of more than {self._longest:,} bytes; raise max_document_bytes",
                    )
                if self.space.embedder is None:
                    raise InvalidInputError("path", "the archive does not say by whom its documents are embedded")
                batch.append(self._prepared(_read(line), vectors, packed))
                size += len(batch[-1].generation.text)
                if len(batch) == BATCH_DOCUMENTS or size >= BATCH_CHARS:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def _prepared(self, line: Line, vectors: IO[bytes], packed: IO[bytes]) -> Prepared:
        import numpy as np

        count, width = len(line.chunks), self.about.dimension
        if count > len(line.text):
            raise InvalidInputError("path", f"the archive's document {line.name!r} has more chunks than characters")
        rows = np.frombuffer(_exactly(vectors, 4 * count * width), dtype="<f4").reshape(count, width).astype(np.float32)
        chunks = []
        for place in line.chunks:
            if not 0 <= place.start < place.end <= len(line.text):
                raise InvalidInputError("path", f"the archive's document {line.name!r} has a chunk beyond its text")
            content = line.text[place.start : place.end]
            headings = headings_of(place.metadata)
            kept = _packed(packed)
            key = chunk_key(headings, content)
            chunks.append(NewChunk(place.start, place.end, content, place.metadata, key, kept))
        generation = NewGeneration(
            name=line.name,
            text=line.text,
            content_hash=line.content_hash,
            metadata=line.metadata,
            chunks=chunks,
            doc_type=line.doc_type,
            source=line.source,
        )
        return Prepared(generation, None, rows)

    def close(self) -> None:
        self._archive.close()


async def read_into(
    archive: Archive,
    writer: GenerationWriter,
    *,
    threads: Threads,
    progress: Callable[[IngestProgress], None] | None,
) -> None:
    """Write an archive's documents into a space that is empty."""
    batches = archive.batches()
    done = chunks = 0
    while (batch := await threads.read(next, batches, None)) is not None:
        await writer.write(batch)
        done, chunks = done + len(batch), chunks + sum(len(item.chunks) for item in batch)
        if progress is not None:
            progress(IngestProgress(done=done, total=archive.about.documents, chunks=chunks))
        del batch  # Else it would be there still while the next one is read.


def _read(line: bytes) -> Line:
    """A document, checked as if it came from anywhere else. Raises `InvalidInputError`."""
    try:
        found = msgspec.json.decode(line, type=Line)
        found.name = checked_name(found.name, field="name")
        for field in ("text", "doc_type", "source", "content_hash"):
            checked_text(getattr(found, field) or "", field=field)
        for metadata in (found.metadata, *(place.metadata for place in found.chunks)):
            checked_metadata(metadata, field="metadata")
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInputError("path", f"the archive's {DOCUMENTS} is damaged ({error})") from None
    except InvalidInputError as error:
        raise InvalidInputError("path", f"the archive has a document that cannot be: {error.message}") from None
    return found


def _exactly(member: IO[bytes], size: int) -> bytes:
    """The next `size` bytes of a member. Raises `InvalidInputError` where it has less."""
    data = member.read(size)
    if len(data) < size:
        raise InvalidInputError("path", f"the archive's {member.name} is shorter than its documents' chunks need")
    return data


def _packed(member: IO[bytes]) -> bytes:
    """What is kept of the next chunk for scoring. Raises `InvalidInputError` for what cannot be that."""
    size = int.from_bytes(_exactly(member, 4), "little")
    if size == 0:
        return b""
    kept = _exactly(member, min(size, passages.MAX_BYTES + 1))
    if not passages.is_packed(kept):
        raise InvalidInputError("path", f"the archive's {PACKED} is damaged: it holds what no chunk is scored by")
    return kept


def _space(about: About) -> SpaceInfo:
    """What it says of the space. Raises `ValueError`."""
    try:
        space = SpaceInfo.model_validate({**about.space, **_UNKNOWN})
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ValueError(f"what it says of the space's {where} cannot be") from None
    known = about.dimension if space.embedder is None else space.embedder.dimension
    if about.dimension < 1 or about.dimension != known:
        raise ValueError(f"vectors of {about.dimension} dimensions, by an embedder of {known}")
    return space


_UNKNOWN = {"id": 0, "collection": "", "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z"}


def sha256(path: Path | zipfile.Path) -> str:
    """What a member's checksum is to be."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
