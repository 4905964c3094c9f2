"""From documents to their chunks, with all that is kept of each for searching and scoring.

This is most of the work of an ingest, and depends on nothing but the document: little of it is done in a thread, much
of it in worker processes, so that every core is used and a server's own goes on answering.
"""

import functools
import gc
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import numpy as np

from kbchat.chunking import Splitting
from kbchat.ingestion.items import Part
from kbchat.models import Block, LoadedDocument, Markup, Span
from kbchat.processes import Processes
from kbchat.text.analysis import JoinedTerms, analyse
from kbchat.text.splitting import embedded_text, split
from kbchat.threads import Threads

if TYPE_CHECKING:
    from kbchat.embedders.static import StaticEmbedder

WORTH_A_PROCESS = 400_000
"""Characters that take longer to make chunks of than to start a process for it."""
WORTH_ASKING = 50_000
"""The same where a process is waiting for work."""
PACKED_TEXTS = 256
"""Chunks whose vectors are made at once. More take more memory and no less time."""
CHARS_A_DOCUMENT = 1_000_000
"""A document may take as long again for each so many characters."""


Place = tuple[int, int, tuple[str, ...], dict[str, Any]]
"""Of a chunk: start, end, headings above and metadata."""


class Made(msgspec.Struct, array_like=True):
    """A document's chunks, or some of them, and what is derived from each."""

    spans: list[Place]
    terms: list[JoinedTerms]
    packed: list[bytes]
    """What `embedders.passages` keeps of it."""
    vectors: bytes
    """Its vectors by the static embedder, one after the other, where they were asked for."""


class _Order(msgspec.Struct, array_like=True):
    documents: list[tuple[str, Markup, list[tuple[int, int, dict[str, Any]]]]]
    splitting: dict[str, Any]
    embeds: bool


class _Texts(msgspec.Struct, array_like=True):
    texts: list[str]
    embeds: bool


class Maker:
    """Makes the chunks of documents. `embeds` says whether the static vectors are wanted.

    `seconds` bounds what a document of a million characters may take in a process.
    """

    def __init__(
        self,
        *,
        threads: Threads,
        processes: Processes,
        static: "StaticEmbedder",
        splitting: Splitting,
        embeds: bool,
        seconds: float,
    ) -> None:
        self._threads = threads
        self._processes = processes
        self._static = static
        self._splitting = splitting
        self._embeds = embeds
        self._seconds = seconds

    async def make(self, documents: Sequence[LoadedDocument]) -> list[Made | str]:
        """The chunks of each document, or why there are none."""
        size = sum(len(document.text) for document in documents)
        if size < (WORTH_ASKING if self._processes.is_warm else WORTH_A_PROCESS):
            return [*await self._threads.read(make, self._static, documents, self._splitting, self._embeds)]
        made: dict[int, list[Made | str]] = {}

        async def one(first: int, some: Sequence[LoadedDocument]) -> None:
            made[first] = await self._ask(some)

        async with anyio.create_task_group() as tasks:
            first = 0
            for some in _shares(documents, size / self._processes.limit):
                tasks.start_soon(one, first, some)
                first += len(some)
        return [each for first in sorted(made) for each in made[first]]

    async def parts(
        self, document: LoadedDocument, size: int
    ) -> AsyncGenerator[tuple[Part, Made] | tuple[None, str], None]:
        """The chunks of a large document, those of some `size` characters at a time; or why there are no more."""
        order = await self._threads.read(self._order, [document])
        answer = await self._answer("kbchat.ingestion.making:serve_places", order, len(document.text))
        del order
        if isinstance(answer, str):
            yield None, answer
            return
        places = await self._threads.read(_PLACES.decode, answer)
        for first, last in _stretches(places, size):
            made = await self._derive(document.text, places[first:last])
            if isinstance(made, str):
                yield None, made
                return
            yield Part(first, len(places)), made

    async def _derive(self, text: str, places: Sequence[Place]) -> Made | str:
        """Some chunks of a text, or why there are none."""
        parts: dict[int, Made | str] = {}

        async def one(first: int, some: Sequence[Place]) -> None:
            order = await self._threads.read(_texts_order, text, some, self._embeds)
            size = some[-1][1] - some[0][0]
            answer = await self._answer("kbchat.ingestion.making:serve_texts", order, size)
            parts[first] = answer if isinstance(answer, str) else await self._threads.read(_ONE.decode, answer)

        share = -(-len(places) // self._processes.limit)
        async with anyio.create_task_group() as tasks:
            for first in range(0, len(places), max(1, share)):
                tasks.start_soon(one, first, places[first : first + share])
        whole = Made([*places], [], [], b"")
        for first in sorted(parts):
            part = parts[first]
            if isinstance(part, str):
                return part
            whole.terms += part.terms
            whole.packed += part.packed
            whole.vectors += part.vectors
        return whole

    async def _ask(self, documents: Sequence[LoadedDocument], *, tries: int = 2) -> list[Made | str]:
        """Have them made in a process. When it fails at several, each is tried alone, so that only one is lost."""
        order = await self._threads.read(self._order, documents)
        sizes = [len(document.text) for document in documents]
        is_one = len(documents) == 1
        answer = await self._answer("kbchat.ingestion.making:serve", order, *sizes, tries=tries if is_one else 1)
        if not isinstance(answer, str):
            return [*await self._threads.read(_MADE.decode, answer)]
        if is_one:
            return [answer]
        return [each for document in documents for each in await self._ask([document], tries=1)]

    async def _answer(self, function: str, order: bytes, *sizes: int, tries: int = 2) -> bytes | str:
        """What a process answers to an order about documents of so many characters, or why it does not. Asked again
        where it died over them."""
        seconds = self._seconds * sum(1 + size / CHARS_A_DOCUMENT for size in sizes)
        for _ in range(tries):
            try:
                answer = await self._processes.call(function, order, seconds=seconds)
            except TimeoutError:
                return f"splitting it took longer than {seconds:.3g} s (document_timeout)"
            if answer is not None:
                return answer
        return "splitting it took too much memory, or its process was killed"

    def _order(self, documents: Sequence[LoadedDocument]) -> bytes:
        given = [
            (document.text, document.markup, [(it.start, it.end, dict(it.metadata)) for it in document.blocks])
            for document in documents
        ]
        return msgspec.msgpack.encode(_Order(given, self._splitting.model_dump(mode="json"), self._embeds))


def _texts_order(text: str, places: Sequence[Place], embeds: bool) -> bytes:
    texts = [embedded_text(headings, text[start:end]) for start, end, headings, _ in places]
    return msgspec.msgpack.encode(_Texts(texts, embeds))


_ORDERS = msgspec.msgpack.Decoder(_Order)
_TEXTS = msgspec.msgpack.Decoder(_Texts)
_MADE = msgspec.msgpack.Decoder(list[Made])
_ONE = msgspec.msgpack.Decoder(Made)
_PLACES = msgspec.msgpack.Decoder(list[Place])


def serve(argument: bytes) -> tuple[bytes, bool]:
    """What a worker process answers to an order: the chunks of its documents."""
    order = _ORDERS.decode(argument)
    splitting = Splitting.model_validate(order.splitting)
    with _without_collector():
        return msgspec.msgpack.encode(make(_static(), _documents(order), splitting, order.embeds)), False


def serve_places(argument: bytes) -> tuple[bytes, bool]:
    """Where the chunks of an order's only document are."""
    order = _ORDERS.decode(argument)
    del argument  # As large as the document.
    [document] = _documents(order)
    splitting = Splitting.model_validate(order.splitting)
    with _without_collector():
        return msgspec.msgpack.encode([_place(it) for it in split(document, splitting)]), False


def serve_texts(argument: bytes) -> tuple[bytes, bool]:
    """What is derived from texts of chunks."""
    order = _TEXTS.decode(argument)
    with _without_collector():
        terms = [analyse(text).joined() for text in order.texts]
        packed, vectors = _embedded(_static(), order.texts, order.embeds)
        return msgspec.msgpack.encode(Made([], terms, packed, b"".join(vectors))), False


@contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing here refers to itself, and there is much of it to look through."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _documents(order: _Order) -> list[LoadedDocument]:
    return [
        LoadedDocument(text, metadata={}, blocks=tuple(Block(*it) for it in blocks), markup=markup)
        for text, markup, blocks in order.documents
    ]


def _place(span: Span) -> Place:
    return span.start, span.end, span.headings, dict(span.metadata)


@functools.cache
def _static() -> "StaticEmbedder":
    from kbchat.embedders.static import StaticEmbedder

    return StaticEmbedder(threads=Threads())


def make(
    static: "StaticEmbedder", documents: Sequence[LoadedDocument], splitting: Splitting, embeds: bool
) -> list[Made]:
    """The chunks of each document. Blocks, so call it in a worker thread."""
    made: list[Made] = []
    texts: list[str] = []
    for document in documents:
        spans = split(document, splitting)
        some = [embedded_text(span.headings, document.text[span.start : span.end]) for span in spans]
        terms = [analyse(text).joined() for text in some]
        made.append(Made([_place(it) for it in spans], terms, [], b""))
        texts += some
    packed, vectors = _embedded(static, texts, embeds)
    first = 0
    for each in made:
        last = first + len(each.spans)
        each.packed = packed[first:last]
        each.vectors = b"".join(vectors[first:last])
        first = last
    return made


def _embedded(static: "StaticEmbedder", texts: Sequence[str], embeds: bool) -> tuple[list[bytes], list[bytes]]:
    """What is kept of each text for scoring, and the vectors where they are asked for."""
    from kbchat.embedders import passages

    packed: list[bytes] = []
    vectors: list[bytes] = []
    for first in range(0, len(texts), PACKED_TEXTS):
        rows, some_packed = passages.embed_and_pack(static, texts[first : first + PACKED_TEXTS])
        packed += some_packed
        if embeds:
            vectors += [row.tobytes() for row in rows]
    return packed, vectors


def vectors_of(made: Made) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The vectors of its chunks, a row each."""
    return np.frombuffer(made.vectors, dtype=np.float32).reshape(len(made.spans), -1)


def _stretches(places: Sequence[Place], size: int) -> Iterator[tuple[int, int]]:
    """From which to which chunk the parts are that have about so many characters."""
    first = chars = 0
    for number, (start, end, _, _) in enumerate(places):
        if chars >= size:
            yield first, number
            first, chars = number, 0
        chars += end - start
    yield first, len(places)


def _shares(documents: Sequence[LoadedDocument], size: float) -> Iterator[list[LoadedDocument]]:
    """The documents in their order, in shares of about so many characters."""
    share: list[LoadedDocument] = []
    chars = 0
    for document in documents:
        share.append(document)
        chars += len(document.text)
        if chars >= size:
            yield share
            share, chars = [], 0
    if share:
        yield share
