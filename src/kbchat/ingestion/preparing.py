"""From files and texts to chunks that are ready to be written.

What did not change is found out by a stat, or else by a hash; the rest is read, loaded and split, some documents at a
time. Text is loaded in a thread, every other format in a worker process. `making` does the splitting.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
from pydantic import JsonValue

from kbchat.catalog import FailedSource, NewChunk, NewGeneration, SourceState
from kbchat.chunking import Splitting
from kbchat.errors import MissingExtraError, UnreadableDocumentError
from kbchat.ingestion.content import ContentHash, Recipe
from kbchat.ingestion.items import NO_STAT, Failed, FileContent, Item, Part, Prepared, Source, Stat, Unchanged
from kbchat.ingestion.looking import is_untouched, size_of, stat_of, taken
from kbchat.ingestion.making import Made, Maker, vectors_of
from kbchat.loaders.files import FileSource, read
from kbchat.loaders.formats import Format, format_of, hinted
from kbchat.loaders.readers import DocumentReaders
from kbchat.models import DocumentFailure, DocumentStatus, LoadedDocument, Metadata, TextDocument
from kbchat.text.readable import can_be_kept, check_metadata, check_name, check_text, is_text, printable
from kbchat.text.splitting import chunk_key
from kbchat.threads import Threads

if TYPE_CHECKING:
    from kbchat.embedders.static import StaticEmbedder


STATE_NAMES = 10_000
"""Documents whose state is asked of the catalog at once: most folders take one question."""
GROUP_DOCUMENTS = 256
GROUP_WEIGHT = 750_000
"""Bytes of text, by guess, in a group: about a thousand chunks."""
GROUP_BYTES = 48 * 1024 * 1024
"""A group ends when it holds any of these, so that memory is bounded by a few groups, and one large document."""
LARGE_CHARS = 1_500_000
"""Characters of a document whose chunks are made and written some at a time."""
BYTES_A_TEXT_BYTE = 8
"""How much larger than its text a PDF, a Word document or a web page is, by guess."""


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
class _Loaded:
    """A document that is loaded and not split. Its generation still lacks its chunks."""

    generation: NewGeneration
    document: LoadedDocument
    known: SourceState | None


@dataclass(frozen=True, slots=True)
class _Todo:
    source: Source
    known: SourceState | None
    size: int
    weight: int
    """How long its text is, by guess."""


@dataclass(frozen=True, slots=True)
class Group:
    """Documents that go in together: those of which nothing is to be done any more, and the others."""

    settled: list[Item]
    todo: list[_Todo]


StatesOf = Callable[[Sequence[str]], Awaitable[tuple[Mapping[str, SourceState], Set[int]]]]
"""Gives the documents' states by name, and the ids of those that were uploaded."""


class Preparer:
    """Prepares documents for one space. Nothing that it does has an effect."""

    def __init__(
        self,
        *,
        threads: Threads,
        readers: DocumentReaders,
        static: "StaticEmbedder",
        is_static: bool,
        splitting: Splitting,
        max_document_bytes: int,
    ) -> None:
        """`static` makes the vectors for scoring; `is_static` says that it is the space's own embedder too."""
        self._threads = threads
        self._readers = readers
        self._maker = Maker(
            threads=threads,
            processes=readers.processes,
            static=static,
            splitting=splitting,
            embeds=is_static,
            seconds=readers.seconds,
        )
        self._max_bytes = max_document_bytes
        # One group after the other: read side by side, all would be ready late, and the first not first.
        self._reading = anyio.Lock()
        self._large = anyio.Lock()
        self._recipe = Recipe.by(splitting)

    async def groups(self, sources: Sequence[Source], states_of: StatesOf) -> AsyncGenerator[Group, None]:
        """The documents, a group at a time, in the order of the sources but for those that did not change.

        Each group is to be given to `prepare`; several may be prepared at a time.
        """
        seen: set[str] = set()
        for first in range(0, len(sources), STATE_NAMES):
            part = sources[first : first + STATE_NAMES]
            names = [name for source in part if (name := source.name).isascii() or is_text(name)]
            states, uploaded = await states_of(names)
            settled, todo = await self._threads.read(self._screen, part, states, uploaded, seen)
            if settled:
                yield Group(settled, [])
            for group in _grouped(todo):
                yield Group([], group)

    def _screen(
        self, sources: Sequence[Source], states: Mapping[str, SourceState], uploaded: Set[int], seen: set[str]
    ) -> tuple[list[Item], list[_Todo]]:
        """What a look at the files' stats settles, and what is to be read."""
        settled: list[Item] = []
        todo: list[_Todo] = []
        made = self._recipe.prefix
        for source in sources:
            name = source.name
            known = states.get(name)
            stat = stat_of(source)
            if (
                known is not None
                and stat is not None
                and is_untouched(source, known, stat)
                and known.content_hash.startswith(made)
                and name not in seen
            ):
                seen.add(name)
                settled.append(Unchanged(name, known.document_id))
                continue
            if reason := taken(source, known, uploaded, seen):
                settled.append(Failed(DocumentFailure(name=printable(source.name), reason=reason), None))
                continue
            seen.add(name)
            size = min(size_of(source, stat), self._max_bytes)
            is_as_long = isinstance(source, TextDocument) or hinted(name).is_text
            todo.append(_Todo(source, known, size, size if is_as_long else size // BYTES_A_TEXT_BYTE))
        return settled, todo

    async def prepare(
        self, group: Group, *, split: Callable[[str], None] | None = None
    ) -> AsyncGenerator[list[Item], None]:
        """Read, load and split the documents of a group. `split` is told the names of those about to be split.

        All come together, but a large document comes after them in parts; of such there is one at a time in memory.
        """
        if not group.todo:
            yield group.settled
            return
        is_large = any(todo.weight > LARGE_CHARS for todo in group.todo)
        async with self._large if is_large else nullcontext():
            loaded = await self._load(group, split)
            whole, large = _apart(loaded)
            if whole:
                made = await self._maker.make([item.document for item in whole if isinstance(item, _Loaded)])
                yield await self._threads.read(_joined, whole, iter(made))
            del loaded, whole
            for item in large:
                async with aclosing(self._parts(item)) as parts:
                    async for some in parts:
                        yield [some]

    async def _parts(self, item: _Loaded) -> AsyncGenerator[Prepared | Failed, None]:
        """A large document, some of its chunks at a time."""
        async with aclosing(self._maker.parts(item.document, GROUP_WEIGHT)) as parts:
            async for part, made in parts:
                if isinstance(made, str):
                    yield _lost(item, made)
                    return
                yield await self._threads.read(_prepared, item, made, part)

    async def _load(self, group: Group, split: Callable[[str], None] | None) -> list[Item | _Loaded]:
        async with self._reading:
            read = await self._threads.read(self._read, group.todo)
        items: dict[int, Item | _Loaded] = {}

        async def load(place: int, raw: _Raw) -> None:
            try:
                document = await self._readers.load(raw.format, raw.data, name=raw.source.name)
                items[place] = await self._threads.read(self._checked, document, raw)
            except (UnreadableDocumentError, MissingExtraError) as error:
                items[place] = _failed(error, raw.source)

        async with anyio.create_task_group() as tasks:
            for place, item in enumerate(read):
                if isinstance(item, _Raw):
                    tasks.start_soon(load, place, item)
                else:
                    items[place] = item
            read.clear()  # Whoever loads a file holds its bytes, and lets go of them when it is loaded.
        loaded = [items[place] for place in sorted(items)]
        if split is not None:
            for each in loaded:
                if isinstance(each, _Loaded):
                    split(each.generation.name)
        return loaded

    def _read(self, group: Sequence[_Todo]) -> list[Item | _Raw | _Loaded]:
        items: list[Item | _Raw | _Loaded] = []
        for todo in group:
            try:
                if todo.known is None:
                    check_name(todo.source.name)
                if isinstance(todo.source, TextDocument):
                    items.append(self._take_text(todo.source, todo.known))
                else:
                    items.append(self._read_file(todo.source, todo.known))
            except (UnreadableDocumentError, MissingExtraError) as error:
                items.append(_failed(error, todo.source))
        return items

    def _take_text(self, source: TextDocument, known: SourceState | None) -> _Loaded | Unchanged:
        check_text(source.text, name=source.name)
        check_metadata({**source.metadata, "source": source.source}, name=source.name)
        content_hash = self.hash(source.text.encode(), _facts([source.metadata, source.source]))
        if known is not None and is_current(known, content_hash):
            return Unchanged(source.name, known.document_id)
        metadata = source.metadata
        if source.source is not None:
            metadata = {"source": source.source, **metadata}
        document = LoadedDocument(source.text, metadata=metadata, markup="markdown")
        return self._loaded(document, source.name, known, content_hash=content_hash, source=source.source)

    def _read_file(self, source: FileSource | FileContent, known: SourceState | None) -> _Loaded | Unchanged | _Raw:
        given: Mapping[str, JsonValue] = {}
        if isinstance(source, FileContent):
            data, stat, given = source.data, NO_STAT, source.metadata
        else:
            data, state = read(source, max_bytes=self._max_bytes)
            stat = Stat.of(state)
        content_hash = self.hash(data, given=_facts(dict(given)) if given else b"")
        if known is not None and is_current(known, content_hash):
            has_moved = isinstance(source, FileSource) and source.path != known.source and is_text(source.path)
            return Unchanged(source.name, known.document_id, stat, source.path if has_moved else None)
        if not data or data.isspace():
            raise UnreadableDocumentError(source.name, "the document is empty")
        suffixes = source.suffixes if isinstance(source, FileContent) else ()
        known_as = format_of(data, name=source.name, suffixes=suffixes)
        raw = _Raw(source, known, data, content_hash, stat, known_as)
        if raw.format.heavy:
            return raw
        return self._checked(raw.format.load(data, name=source.name), raw)

    def _checked(self, document: LoadedDocument, raw: _Raw) -> _Loaded:
        name = raw.source.name
        if len(document.text) > self._max_bytes:
            reason = f"its text of {len(document.text):,} characters is larger than the limit (max_document_bytes)"
            raise UnreadableDocumentError(name, reason)
        check_text(document.text, name=name)
        if isinstance(raw.source, FileContent) and raw.source.metadata:
            document = replace(document, metadata={**document.metadata, **raw.source.metadata})
        # The folders above may have names that are no text.
        path, how = raw.source.path and printable(raw.source.path), raw.content_hash
        return self._loaded(
            document, name, raw.known, content_hash=how, source=path, doc_type="DOCUMENT", stat=raw.stat
        )

    def _loaded(
        self,
        document: LoadedDocument,
        name: str,
        known: SourceState | None,
        *,
        content_hash: str,
        source: str | None,
        doc_type: str = "TEXT",
        stat: Stat = NO_STAT,
    ) -> _Loaded:
        generation = NewGeneration(
            name=name,
            text=document.text,
            content_hash=content_hash,
            metadata=None if _was_taken(known, content_hash) else dict(document.metadata),
            chunks=(),
            doc_type=doc_type,
            source=source,
            size=stat.size,
            mtime_ns=stat.mtime_ns,
        )
        return _Loaded(generation, document, known)

    def hash(self, *parts: bytes, given: bytes = b"") -> str:
        """The `ContentHash` of a document that is taken in now, as the catalog keeps it."""
        return str(ContentHash.of(*parts, recipe=self._recipe, given=given))


def _joined(items: Iterable[Item | _Loaded], made: Iterator[Made | str]) -> list[Item]:
    """The items, those that were loaded with what was made of them."""
    joined: list[Item] = []
    for item in items:
        if isinstance(item, _Loaded):
            each = next(made)
            joined.append(_prepared(item, each) if isinstance(each, Made) else _lost(item, each))
        else:
            joined.append(item)
    return joined


def _apart(items: Iterable[Item | _Loaded]) -> tuple[list[Item | _Loaded], list[_Loaded]]:
    """The items, and those of them apart that are large."""
    whole: list[Item | _Loaded] = []
    large: list[_Loaded] = []
    for item in items:
        if isinstance(item, _Loaded) and len(item.document.text) > LARGE_CHARS:
            large.append(item)
        else:
            whole.append(item)
    return whole, large


def _prepared(item: _Loaded, made: Made, part: Part | None = None) -> Prepared:
    text = item.document.text
    chunks: list[NewChunk] = []
    for (start, end, headings, own), packed in zip(made.spans, made.packed, strict=True):
        content = text[start:end]
        metadata: Metadata = {**own, "headings": list(headings)} if headings else own
        chunks.append(NewChunk(start, end, content, metadata, chunk_key(headings, content), packed))
    vectors = vectors_of(made) if made.vectors else None
    kept = "" if part is not None and part.first else text
    return Prepared(replace(item.generation, text=kept, chunks=chunks), item.known, vectors, made.terms, part)


def _lost(item: _Loaded, reason: str) -> Failed:
    new = item.generation
    failed = FailedSource(new.name, reason, new.source, new.doc_type)
    return Failed(DocumentFailure(name=printable(new.name), reason=reason), failed)


def _grouped(todo: Iterable[_Todo]) -> Iterator[list[_Todo]]:
    """Documents that are prepared together."""
    group: list[_Todo] = []
    weight = size = 0
    for item in todo:
        weighs = item.weight
        full = weight + weighs > GROUP_WEIGHT or size + item.size > GROUP_BYTES or len(group) >= GROUP_DOCUMENTS
        if group and full:
            yield group
            group, weight, size = [], 0, 0
        group.append(item)
        weight, size = weight + weighs, size + item.size
    if group:
        yield group


def _failed(error: UnreadableDocumentError | MissingExtraError, source: Source) -> Failed:
    failure = DocumentFailure(name=printable(source.name), reason=error.message)
    if not can_be_kept(source.name):
        return Failed(failure, None)
    kind, place = ("TEXT", source.source) if isinstance(source, TextDocument) else ("DOCUMENT", source.path)
    place = None if place is None else printable(place)
    return Failed(failure, FailedSource(source.name, error.message, place, kind))


def _facts(facts: object) -> bytes:
    return json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()


def _was_taken(known: SourceState | None, content_hash: str) -> bool:
    """Whether a document was taken in with this content before, and is only to be split in another way.

    Its metadata is then not taken again: the document says the same of itself as before, and somebody may have edited
    that since. Of an upload that waits to be indexed it is taken, because nothing of it was yet.
    """
    if known is None or known.status not in (DocumentStatus.FINISHED, DocumentStatus.FAILED):
        return False
    return ContentHash.parse(known.content_hash).same_content(ContentHash.parse(content_hash))


def is_current(known: SourceState, content_hash: str) -> bool:
    """Whether a document's live generation has this content."""
    return known.status is DocumentStatus.FINISHED and known.content_hash == content_hash
