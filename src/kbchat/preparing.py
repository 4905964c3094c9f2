"""From files and texts to chunks that are ready to be written.

What did not change is found out by a stat, or else by a hash; the rest is read, loaded and split, some documents at a
time. Text is loaded in a thread, every other format in a worker process.
"""

import hashlib
import json
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kbchat import analysis, loaders
from kbchat.catalog import NewChunk, NewGeneration, SourceState
from kbchat.embedders import Vectors
from kbchat.errors import InvalidInputError, MissingExtraError, UnreadableDocumentError
from kbchat.inputs import checked_name
from kbchat.loaders.files import FileSource, read
from kbchat.loaders.formats import Format, format_of
from kbchat.loaders.processes import Readers
from kbchat.models import DocumentFailure, DocumentStatus, LoadedDocument, Metadata, TextDocument
from kbchat.splitting import chunk_key, embedded_text, fingerprint, split
from kbchat.threads import Threads

if TYPE_CHECKING:
    from kbchat.embedders.static import StaticEmbedder


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file whose bytes are at hand. `path` says where it came from, for people only."""

    name: str
    data: bytes
    path: str | None = None


Source = FileSource | FileContent | TextDocument

STATE_NAMES = 1000
"""Documents whose state is asked of the catalog at once."""
GROUP_DOCUMENTS = 256
GROUP_WEIGHT = 1_500_000
"""Bytes of text, by guess, in a group: about two thousand chunks."""
GROUP_BYTES = 48 * 1024 * 1024
"""A group ends when it holds any of these, so that memory is bounded by two groups, or two documents if larger."""
PACKED_TEXTS = 256
"""Chunks whose vectors for scoring are made at once."""
BYTES_A_TEXT_BYTE = 8
"""How much larger than its text a PDF or a Word document is, by guess."""
RACY_NS = 2_000_000_000
"""A file changed this recently may change again within its clock's tick: its stat is not trusted next time."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What a file's state was when it was read; None where it may change again without a trace."""

    size: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to be written: its generation, and what is embedded and indexed for each of its chunks."""

    generation: NewGeneration
    texts: tuple[str, ...]
    known: SourceState | None
    vectors: Vectors | None = None
    """Of the texts, where the space's own embedder is the static one, which has embedded them anyway."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A document that need not be written. `stat` is what is to be remembered of its file from now on."""

    name: str
    document_id: int
    stat: Stat | None = None


@dataclass(frozen=True, slots=True)
class _Raw:
    """A document that is read and not loaded."""

    source: FileSource | FileContent
    known: SourceState | None
    data: bytes
    content_hash: str
    stat: Stat
    format: Format


@dataclass(frozen=True, slots=True)
class _Split:
    """A document that is split. Its chunks still lack their vectors for scoring."""

    generation: NewGeneration
    chunks: list[NewChunk]
    texts: list[str]
    known: SourceState | None


@dataclass(frozen=True, slots=True)
class _Todo:
    source: Source
    known: SourceState | None
    size: int


Item = Prepared | Unchanged | DocumentFailure
StatesOf = Callable[[Sequence[str]], Awaitable[Mapping[str, SourceState]]]


class Preparer:
    """Prepares documents for one space. Nothing that it does has an effect."""

    def __init__(
        self,
        *,
        threads: Threads,
        readers: Readers,
        static: "StaticEmbedder",
        is_static: bool,
        chunk_tokens: int,
        chunk_overlap: int,
        max_document_bytes: int,
    ) -> None:
        """`static` makes the vectors for scoring; `is_static` says that it is the space's own embedder too."""
        self._threads = threads
        self._static = static
        self._is_static = is_static
        self._readers = readers
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap = chunk_overlap
        self._max_bytes = max_document_bytes
        # What was read, split or analysed in another way is written anew, though the document is the same.
        how = fingerprint(max_tokens=chunk_tokens, overlap=chunk_overlap)
        self._recipe = f"{how}:{analysis.VERSION}.{loaders.VERSION}"

    async def groups(self, sources: Sequence[Source], states_of: StatesOf) -> AsyncGenerator[list[Item], None]:
        """The documents, a group at a time, in the order of the sources but for those that did not change."""
        seen: set[str] = set()
        for first in range(0, len(sources), STATE_NAMES):
            part = sources[first : first + STATE_NAMES]
            states = await states_of([source.name for source in part if is_text(source.name)])
            settled, todo = await self._threads.read(self._screen, part, states, seen)
            if settled:
                yield settled
            for group in _grouped(todo):
                yield await self._prepare(group)

    def _screen(
        self, sources: Sequence[Source], states: Mapping[str, SourceState], seen: set[str]
    ) -> tuple[list[Item], list[_Todo]]:
        """What a look at the files' stats settles, and what is to be read."""
        settled: list[Item] = []
        todo: list[_Todo] = []
        for source in sources:
            if source.name in seen:
                settled.append(_failed(source, "given twice; names are unique in a space"))
                continue
            seen.add(source.name)
            known = states.get(source.name)
            try:
                stat = _stat(source)
                if isinstance(source, FileSource) and known is not None and self._is_untouched(source, known, stat):
                    settled.append(Unchanged(source.name, known.document_id))
                    continue
                if known is None:
                    check_name(source.name)
            except UnreadableDocumentError as error:
                settled.append(_failed(source, error.message))
                continue
            todo.append(_Todo(source, known, min(_size(source, stat), self._max_bytes)))
        return settled, todo

    def _is_untouched(self, source: FileSource, known: SourceState, stat: os.stat_result | None) -> bool:
        """Whether the file is as it was by its stat alone. Raises when the name belongs to another file."""
        if known.source is not None and known.source != source.path and Path(known.source).exists():
            reason = f"its name is taken by {known.source!r}; rename one of the folders, or delete that document first"
            raise UnreadableDocumentError(source.name, reason)
        if known.size is None or stat is None or known.status is not DocumentStatus.FINISHED:
            return False
        same = (stat.st_size, stat.st_mtime_ns) == (known.size, known.mtime_ns)
        return same and known.source == source.path and known.content_hash.startswith(f"{self._recipe}:")

    async def _prepare(self, group: Sequence[_Todo]) -> list[Item]:
        """Read, load and split some documents."""
        items = await self._threads.read(self._read, group)
        heavy = [(place, item) for place, item in enumerate(items) if isinstance(item, _Raw)]

        async def load(place: int, raw: _Raw) -> None:
            try:
                document = await self._readers.load(raw.format, raw.data, name=raw.source.name)
                items[place] = await self._threads.read(self._finish, document, raw)
            except (UnreadableDocumentError, MissingExtraError) as error:
                items[place] = _failed(raw.source, error.message)

        async with anyio.create_task_group() as tasks:
            for place, raw in heavy:
                tasks.start_soon(load, place, raw)
        return await self._threads.read(self._pack, items)

    def _pack(self, items: Sequence[Item | _Raw | _Split]) -> list[Item]:
        """Give the chunks their vectors for scoring, many at a time."""
        from kbchat.embedders import passages

        texts = [text for item in items if isinstance(item, _Split) for text in item.texts]
        own: list[Vectors] = []
        packed: list[bytes] = []
        for first in range(0, len(texts), PACKED_TEXTS):
            vectors, some = passages.embed_and_pack(self._static, texts[first : first + PACKED_TEXTS])
            packed += some
            if self._is_static:
                own.append(vectors)
        done: list[Item] = []
        first = 0
        for item in items:
            if isinstance(item, _Split):
                last = first + len(item.texts)
                done.append(_finished(item, packed[first:last], _rows(own, first, last)))
                first = last
            elif not isinstance(item, _Raw):
                done.append(item)
        return done

    def _read(self, group: Sequence[_Todo]) -> list[Item | _Raw | _Split]:
        items: list[Item | _Raw | _Split] = []
        for todo in group:
            try:
                if isinstance(todo.source, TextDocument):
                    items.append(self._take_text(todo.source, todo.known))
                else:
                    items.append(self._read_file(todo.source, todo.known))
            except (UnreadableDocumentError, MissingExtraError) as error:
                items.append(_failed(todo.source, error.message))
        return items

    def _take_text(self, source: TextDocument, known: SourceState | None) -> _Split | Unchanged:
        check_text(source.text, name=source.name)
        facts = json.dumps([source.metadata, source.source], sort_keys=True, ensure_ascii=False)
        content_hash = self.hash(source.text.encode(), facts.encode())
        if known is not None and is_current(known, content_hash):
            return Unchanged(source.name, known.document_id)
        metadata = source.metadata
        if source.source is not None:
            metadata = {"source": source.source, **metadata}
        document = LoadedDocument(source.text, metadata=metadata, markup="markdown")
        return self._split(document, source.name, known, content_hash=content_hash, source=source.source)

    def _read_file(self, source: FileSource | FileContent, known: SourceState | None) -> _Split | Unchanged | _Raw:
        if isinstance(source, FileContent):
            data, stat = source.data, Stat()
        else:
            data, state = read(source, max_bytes=self._max_bytes)
            racy = time.time_ns() - state.st_mtime_ns < RACY_NS
            stat = Stat() if racy else Stat(state.st_size, state.st_mtime_ns)
        content_hash = self.hash(data)
        if known is not None and is_current(known, content_hash):
            return Unchanged(source.name, known.document_id, stat)
        if not data.strip():
            raise UnreadableDocumentError(source.name, "the document is empty")
        raw = _Raw(source, known, data, content_hash, stat, format_of(data, name=source.name))
        if raw.format.heavy:
            return raw
        return self._finish(raw.format.load(data, name=source.name), raw)

    def _finish(self, document: LoadedDocument, raw: _Raw) -> _Split:
        name = raw.source.name
        if len(document.text) > self._max_bytes:
            reason = f"its text of {len(document.text):,} characters is larger than the limit (max_document_bytes)"
            raise UnreadableDocumentError(name, reason)
        check_text(document.text, name=name)
        return self._split(
            document,
            name,
            raw.known,
            content_hash=raw.content_hash,
            source=raw.source.path,
            doc_type="DOCUMENT",
            stat=raw.stat,
        )

    def _split(
        self,
        document: LoadedDocument,
        name: str,
        known: SourceState | None,
        *,
        content_hash: str,
        source: str | None,
        doc_type: str = "TEXT",
        stat: Stat = Stat(),
    ) -> _Split:
        spans = split(document, max_tokens=self._chunk_tokens, overlap=self._chunk_overlap)
        chunks: list[NewChunk] = []
        texts: list[str] = []
        for span in spans:
            content = document.text[span.start : span.end]
            metadata: Metadata = dict(span.metadata)
            if span.headings:
                metadata["headings"] = list(span.headings)
            chunks.append(NewChunk(span.start, span.end, content, metadata, chunk_key(span.headings, content)))
            texts.append(embedded_text(span.headings, content))
        generation = NewGeneration(
            name=name,
            text=document.text,
            content_hash=content_hash,
            metadata=dict(document.metadata),
            chunks=(),
            doc_type=doc_type,
            source=source,
            size=stat.size,
            mtime_ns=stat.mtime_ns,
        )
        return _Split(generation, chunks, texts, known)

    def hash(self, *parts: bytes) -> str:
        """What tells one content from another, and one way of taking it in from another."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return f"{self._recipe}:{digest.hexdigest()}"


def _finished(item: _Split, packed: Sequence[bytes], vectors: Vectors | None) -> Prepared:
    chunks = [replace(chunk, vectors=each) for chunk, each in zip(item.chunks, packed, strict=True)]
    return Prepared(replace(item.generation, chunks=chunks), tuple(item.texts), item.known, vectors)


def _rows(parts: Sequence[Vectors], first: int, last: int) -> Vectors | None:
    """Rows of what was embedded in parts; None where nothing was kept."""
    import numpy as np

    if not parts:
        return None
    touched = parts[first // PACKED_TEXTS : -(-last // PACKED_TEXTS)]
    offset = first - first // PACKED_TEXTS * PACKED_TEXTS
    return np.concatenate(touched)[offset : offset + last - first] if touched else parts[0][:0]


def _grouped(todo: Iterable[_Todo]) -> Iterator[list[_Todo]]:
    """Documents that are prepared together."""
    group: list[_Todo] = []
    weight = size = 0
    for item in todo:
        light = isinstance(item.source, TextDocument) or item.source.name.endswith((".md", ".mdx", ".txt"))
        weighs = item.size if light else item.size // BYTES_A_TEXT_BYTE
        full = weight + weighs > GROUP_WEIGHT or size + item.size > GROUP_BYTES or len(group) >= GROUP_DOCUMENTS
        if group and full:
            yield group
            group, weight, size = [], 0, 0
        group.append(item)
        weight, size = weight + weighs, size + item.size
    if group:
        yield group


def _size(source: Source, stat: os.stat_result | None) -> int:
    match source:
        case TextDocument():
            return len(source.text)
        case FileContent():
            return len(source.data)
        case FileSource():
            return stat.st_size if stat else 0


def _stat(source: Source) -> os.stat_result | None:
    if not isinstance(source, FileSource):
        return None
    try:
        return os.stat(source.path)  # noqa: PTH116 (a folder may hold very many)
    except OSError:
        return None  # Reading it will say why.


def _failed(source: Source, reason: str) -> DocumentFailure:
    return DocumentFailure(name=printable(source.name), reason=reason)


def is_current(known: SourceState, content_hash: str) -> bool:
    """Whether a document's live generation has this content."""
    return known.status is DocumentStatus.FINISHED and known.content_hash == content_hash


def is_text(name: str) -> bool:
    """Whether a name is text: file systems also hold names that are only bytes."""
    return printable(name) == name


def printable(name: str) -> str:
    """The name with bytes that are no text written as escapes."""
    return name.encode(errors="backslashreplace").decode()


def check_name(name: str) -> None:
    """Raise `UnreadableDocumentError` for a name that cannot be kept."""
    try:
        checked_name(name, field="name")
    except InvalidInputError as error:
        raise UnreadableDocumentError(name, error.message) from None


def check_text(text: str, *, name: str) -> None:
    """Raise `UnreadableDocumentError` for a text that cannot be kept or found."""
    if not text or text.isspace():
        raise UnreadableDocumentError(name, "the document is empty")
    if "\x00" in text:
        raise UnreadableDocumentError(name, f"a NUL character at offset {text.index(chr(0))}; remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        reason = f"a lone surrogate at offset {error.start}: text that was decoded wrongly; decode it again"
        raise UnreadableDocumentError(name, reason) from None
