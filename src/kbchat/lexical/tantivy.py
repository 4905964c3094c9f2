"""Lexical indexes in tantivy, embedded: a folder a space, fed with terms that are already analysed.

Every search asks the index itself how rare each term is, so nothing need be kept in step. Deleted chunks count until
tantivy merges them away, in a term's frequency and in the total alike: their ratio, which is all that counts, stays.
"""

import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio

from kbchat import fusion
from kbchat.errors import BusyError, LexicalIndexError
from kbchat.lexical import LexicalEntry, LexicalHit, LexicalResult, Weighted
from kbchat.stores.among import Ids, look_deeper
from kbchat.text.analysis import JoinedTerms, Terms
from kbchat.threads import Batches, Threads, lanes

if TYPE_CHECKING:
    from tantivy import Index, IndexWriter, Query, Schema, Searcher

T = TypeVar("T")

FIELDS = ("unigrams", "bigrams", "characters")
WRITER_BYTES = 32_000_000
"""What a writer gathers in memory before it writes a segment. tantivy's least is 15 MB."""
MAX_TERMS = 512
"""Of a question with more known terms in one field only the rarest are looked up, which weigh most."""


A_HIT = 8
"""To find one more hit takes as long as to tell tantivy so many ids more that it may find."""
_PAUSE = 0.1
"""Seconds between attempts to open a writer."""
_Asked = tuple[str, Terms, int, Sequence[int] | None]


class TantivyIndex:
    """A `LexicalIndex` over a folder of this object's own; the index of a space is the folder `name` within it.

    Any number of processes may read while one writes. A writer is held from the first write to the last commit; opening
    one while another process holds it waits `timeout` seconds, then raises `BusyError`. While it is held, segments are
    merged beside the writing; the last commit waits for that.
    """

    def __init__(self, folder: Path, *, threads: Threads, timeout: float = 0.0) -> None:
        self._timeout = timeout
        self._folder = folder
        self._threads = threads
        self._spaces: dict[str, _Space] = {}
        self._changing = threading.Lock()
        self._closed = False
        self._searches = Batches(self._search_together, threads=threads, lanes=lanes())

    async def upsert(self, name: str, entries: Sequence[LexicalEntry]) -> None:
        if entries:
            await self._write(self._space(name).upsert, entries)

    async def delete(self, name: str, ids: Sequence[int]) -> None:
        if ids:
            await self._write(self._space(name).delete, ids)

    async def commit(self, name: str, *, more: bool = False) -> None:
        await self._threads.write(self._space(name).commit)
        if not more:
            # Nothing depends on its end: who is cancelled meanwhile need not wait for it.
            await self._threads.read(self._space(name).finish)

    async def release(self, name: str) -> None:
        await self._threads.write(self._space(name).release)

    async def search(
        self, name: str, question: Terms, *, limit: int, among: Sequence[int] | None = None
    ) -> LexicalResult:
        ids = None if among is None else Ids.of(among)
        if ids is None or len(ids) // A_HIT < limit:
            return await self._searches((name, question, limit, ids))
        weights = Weighted({}, {}, {})

        async def first(depth: int) -> list[LexicalHit]:
            nonlocal weights
            hits, weights = await self._searches((name, question, depth, None))
            return hits

        size = await self.count(name)
        found = await look_deeper(first, ids, limit=limit, size=size, most=len(ids) // A_HIT)
        if found is None:
            return await self._searches((name, question, limit, ids))
        # The search is exact: where it has no more to give there is no more.
        return LexicalResult(found, weights)

    async def count(self, name: str) -> int:
        return await self._threads.read(self._space(name).count)

    async def iterate(self, name: str, *, batch: int = 1000) -> AsyncIterator[list[int]]:
        ids = await self._threads.read(self._space(name).ids)
        for first in range(0, len(ids), batch):
            yield ids[first : first + batch]

    async def drop(self, name: str) -> None:
        await self._threads.write(self._space(name).drop)

    async def refresh(self, name: str) -> None:
        """Nothing to do: every search looks whether there was a commit."""

    async def aclose(self) -> None:
        self._closed = True
        await self._threads.write(self._close)

    async def _write(self, write: Callable[[Sequence[T]], None], what: Sequence[T]) -> None:
        """Begin to write, or go on, as soon as no other process does. Whose merges are not done holds its writer for
        longer than the lock of the data."""
        deadline = anyio.current_time() + self._timeout
        while True:
            try:
                return await self._threads.write(write, what)
            except BusyError:
                if anyio.current_time() >= deadline:
                    raise
            await anyio.sleep(_PAUSE)

    def _search_together(self, asked: "list[_Asked]") -> list[LexicalResult | Exception]:
        answers: list[LexicalResult | Exception] = []
        if any(name not in self._spaces for name, *_ in asked):
            for known in list(self._spaces.values()):
                known.let_go_of_what_is_gone()
        for name, question, limit, among in asked:
            try:
                answers.append(self._space(name).search(question, limit, among))
            except LexicalIndexError as error:
                answers.append(error)
        return answers

    def _space(self, name: str) -> "_Space":
        with self._changing:
            if self._closed:
                raise LexicalIndexError("this lexical index is closed")
            if name not in self._spaces:
                self._spaces[name] = _Space(self._folder / name)
            return self._spaces[name]

    def _close(self) -> None:
        with self._changing:
            while self._spaces:
                self._spaces.popitem()[1].close()


class _Space:
    """One space's index. Everything here blocks and runs in worker threads, several at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._meta = folder / "meta.json"
        # Held by whoever opens or closes, or looks whether another process committed; never during a search.
        self._lock = threading.RLock()
        # Held by whoever writes, and by whom a writer is waited for that has its merges to finish.
        self._writes = threading.RLock()
        self._merging = threading.Lock()
        self._index: Index | None = None
        self._searcher: Searcher | None = None
        self._seen: tuple[int, int, int] | None = None
        self._writer: IndexWriter | None = None
        self._pending: set[int] = set()

    def upsert(self, entries: Sequence[LexicalEntry]) -> None:
        from tantivy import Document

        with self._writing():
            writer = self._open_writer()
            known = self._searcher
            for entry in entries:
                # A delete costs as much as a document, so it is spared where there is nothing to delete.
                if entry.id in self._pending or (known is not None and known.doc_freq("id", entry.id)):
                    writer.delete_documents_by_term("id", entry.id)
                self._pending.add(entry.id)
                document = Document()
                document.add_integer("id", entry.id)
                document.add_integer("every", 1)
                terms = entry.terms if isinstance(entry.terms, JoinedTerms) else entry.terms.joined()
                for field, text in zip(FIELDS, terms, strict=True):
                    if text:
                        document.add_text(field, text)
                writer.add_document(document)

    def delete(self, ids: Sequence[int]) -> None:
        with self._writing():
            if not self._meta.exists() and self._writer is None:
                return
            writer = self._open_writer()
            for key in ids:
                writer.delete_documents_by_term("id", key)

    def commit(self) -> None:
        with self._writing():
            if self._writer is not None:
                self._writer.commit()
                self._pending = set()
                self._reader()

    def finish(self) -> None:
        """Let go of the writer, and so of tantivy's lock, when it has finished its merges."""
        with self._writes:
            writer = self._forget_writer()
            if writer is None:
                return
            self._merging.acquire()
        try:
            _wait_for(writer)
        finally:
            self._merging.release()

    def release(self) -> None:
        """Let go of the writer as it is: merges are given up, and begun again by the next one."""
        with self._writes:
            self._forget_writer()

    def search(self, question: Terms, limit: int, among: Sequence[int] | None) -> LexicalResult:
        with self._errors():
            searcher = self._reader()
            weights, query = self._question(searcher, question)
            if searcher is None or query is None or limit < 1:
                return LexicalResult([], weights)
            if among is not None:
                query = _restricted(query, among)
            top = fusion.lexical_top(weights._asdict())
            wanted = limit
            while True:
                found = searcher.search(query, wanted + 1, count=False).hits
                # Hits that tie with the last one wanted are all looked at: which of them come first is not tantivy's
                # choice, who orders ties by where they happen to be stored.
                if len(found) <= wanted or found[-1][0] < found[limit - 1][0]:
                    break
                wanted *= 4
            ids = searcher.fast_field_values("id", [address for _, address in found])
            ordered = sorted(zip([-round(score / top, 7) for score, _ in found], ids, strict=True))
            return LexicalResult([LexicalHit(int(key or 0), -score) for score, key in ordered[:limit]], weights)

    def _question(self, searcher: "Searcher | None", question: Terms) -> "tuple[Weighted, Query | None]":
        """What the question's terms weigh in this index, and the query that adds them up."""
        from tantivy import Occur, Query

        total = searcher.doc_freq("every", 1) if searcher is not None else 0
        schema = _schema()
        weights: dict[str, dict[str, float]] = {}
        clauses: list[tuple[Occur, Query]] = []
        for field, terms in question._asdict().items():
            holding = {
                term: searcher.doc_freq(field, term) if searcher is not None else 0 for term in dict.fromkeys(terms)
            }
            weights[field] = {term: fusion.term_weight(total, count) for term, count in holding.items()}
            known = sorted((count, term) for term, count in holding.items() if count)[:MAX_TERMS]
            for count, term in known:
                # tantivy multiplies by idf itself.
                boost = fusion.FIELD_WEIGHTS[field] * weights[field][term] / fusion.idf(total, count)
                clauses.append((Occur.Should, Query.boost_query(Query.term_query(schema, field, term, "freq"), boost)))
        return Weighted(**weights), Query.boolean_query(clauses) if clauses else None

    def count(self) -> int:
        with self._errors():
            searcher = self._reader()
            return searcher.num_docs if searcher is not None else 0

    def ids(self) -> list[int]:
        from tantivy import Query

        with self._errors():
            searcher = self._reader()
            if searcher is None or not searcher.num_docs:
                return []
            hits = searcher.search(Query.all_query(), searcher.num_docs, count=False).hits
            return [int(key or 0) for key in searcher.fast_field_values("id", [address for _, address in hits])]

    def drop(self) -> None:
        with self._writes, self._merging, self._lock, self._errors():
            self.close()
            if self._folder.exists():
                shutil.rmtree(self._folder)

    def let_go_of_what_is_gone(self) -> None:
        """Another process dropped the index: its files would stay on the disk for as long as they are held."""
        if self._searcher is not None and not self._meta.exists():
            with self._lock:
                self._index = self._searcher = self._seen = None

    def close(self) -> None:
        with self._writes, self._lock:
            self._forget_writer()
            self._index = self._searcher = self._seen = None

    def _forget_writer(self) -> "IndexWriter | None":
        writer, self._writer = self._writer, None
        self._pending = set()
        return writer

    def _reader(self) -> "Searcher | None":
        """The state of the last commit of any process; None where there was none."""
        try:
            stat = self._meta.stat()
        except FileNotFoundError:
            return None
        now = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if now != self._seen:
            with self._lock:
                index = self._open()
                index.reload()
                self._searcher = index.searcher()
                self._seen = now
        return self._searcher

    def _open(self) -> "Index":
        from tantivy import Index

        if self._index is None or not self._meta.exists():  # Another may have dropped it.
            self._folder.mkdir(parents=True, exist_ok=True)
            self._index = Index(_schema(), path=str(self._folder))
            # By ourselves when a search finds a new commit: tantivy's own way is a thread that looks twice a second.
            self._index.config_reader("manual")
        return self._index

    def _open_writer(self) -> "IndexWriter":
        if self._writer is None:
            with self._merging, self._lock:
                # Opened anew, because it reads only then what files others have made.
                self._index = None
                writer = self._open().writer(WRITER_BYTES, 1)
                # A process that died in a commit may have left files that ours would make under the same name.
                writer.garbage_collect_files()
                self._writer = writer
                self._seen = None
            self._reader()
        return self._writer

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:  # tantivy raises ValueError for everything
            raise _ours(error, self._folder) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the one that writes. A writer that failed is not used again."""
        with self._writes, self._errors():
            try:
                yield
            except BaseException:
                if (writer := self._forget_writer()) is not None:
                    # Dropping the reference would not do: the error's traceback may hold another one.
                    _wait_for(writer)
                raise


def _wait_for(writer: "IndexWriter") -> None:
    """Let a writer finish its merges and let go of tantivy's lock, whatever is left of it."""
    with suppress(ValueError, OSError):
        writer.wait_merging_threads()


def _ours(error: Exception, folder: Path) -> LexicalIndexError | BusyError:
    text = str(error)
    if "LockBusy" in text:
        message = f"another process is writing to the lexical index in {folder}; try again when it is done"
        return BusyError(message, place=str(folder))
    if isinstance(error, OSError) or "os error" in text:
        return LexicalIndexError(f"the lexical index in {folder} cannot be read or written: {text}")
    return LexicalIndexError(
        f"the lexical index in {folder} is damaged or of another version ({text}); `kbchat fsck --repair` rebuilds it"
    )


def _restricted(query: "Query", ids: Sequence[int]) -> "Query":
    """The query for those entries alone, whose scores it leaves as they are."""
    from tantivy import Occur, Query

    # A constant 0, for a set of terms would add its own 1 to each score.
    chosen = Query.const_score_query(Query.term_set_query(_schema(), "id", list(ids)), 0.0)
    return Query.boolean_query([(Occur.Must, query), (Occur.Must, chosen)])


_SCHEMA: "list[Schema]" = []


def _schema() -> "Schema":
    """Terms as they come, with their frequencies; ids to delete by and to read; `every` counts all, even deleted."""
    if not _SCHEMA:
        from tantivy import SchemaBuilder

        builder = SchemaBuilder()
        for field in FIELDS:
            builder.add_text_field(field, stored=False, tokenizer_name="whitespace", index_option="freq")
        builder.add_integer_field("id", indexed=True, fast=True)
        builder.add_integer_field("every", indexed=True)
        _SCHEMA.append(builder.build())
    return _SCHEMA[0]
