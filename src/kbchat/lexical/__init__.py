"""Lexical indexes: the protocol every one obeys. Text comes analysed, so that all see the same terms."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

from kbchat.text.analysis import JoinedTerms, Terms
from kbchat.threads import undoing


class LexicalEntry(NamedTuple):
    """A chunk's id with the terms of its text (and of the headings above it)."""

    id: int
    terms: Terms | JoinedTerms


class LexicalHit(NamedTuple):
    """A chunk found. `score` is its BM25 divided by the most that BM25 could be for this question, in [0, 1)."""

    id: int
    score: float


class Weighted(NamedTuple):
    """A question's terms with their weight w(t) in this index, one mapping a field."""

    unigrams: dict[str, float]
    bigrams: dict[str, float]
    characters: dict[str, float]


class LexicalResult(NamedTuple):
    """The hits, best first (ties break by id), and the weights that the question's terms have in this index."""

    hits: list[LexicalHit]
    weights: Weighted


class LexicalIndex(Protocol):
    """Inverted indexes, one a space, named by `SpaceInfo.lexical_name`.

    Every method may raise `LexicalIndexError`, and those that write `BusyError` where another process does. An index
    that was never written to is empty, not an error. What a `commit` made lasting is seen by every later search of this
    object, and by those of others on the same folder or server after `refresh`; writes without a commit may be seen or
    not, and are not counted. What a dead process left of
    them can be written or deleted again.
    """

    async def upsert(self, name: str, entries: Sequence[LexicalEntry]) -> None:
        """Write entries, replacing those with the same id."""
        ...

    async def delete(self, name: str, ids: Sequence[int]) -> None:
        """Remove entries. Ids that are not there are ignored."""
        ...

    async def commit(self, name: str, *, more: bool = False) -> None:
        """Make lasting and searchable what was written since the last commit.

        With `more` the caller goes on writing: what is held for that is kept, until a commit without, or `release`.
        """
        ...

    async def release(self, name: str) -> None:
        """Let go at once of what is held for writing. What was written since the last commit may be lost."""
        ...

    async def search(
        self, name: str, question: Terms, *, limit: int, among: Sequence[int] | None = None
    ) -> LexicalResult:
        """The `limit` best entries that share at least one term with the question; of those ids alone where `among` is
        given, which may be any number, with the scores that they have without it."""
        ...

    async def count(self, name: str) -> int:
        """How many entries are committed."""
        ...

    def iterate(self, name: str, *, batch: int = 1000) -> AsyncIterator[list[int]]:
        """All committed ids, in unspecified order."""
        ...

    async def drop(self, name: str) -> None:
        """Remove the index and every trace of it. Does nothing when there is none."""
        ...

    async def refresh(self, name: str) -> None:
        """Let what others committed be seen. Where that is seen anyway it costs nothing."""
        ...

    async def aclose(self) -> None:
        """Let go of files. Uncommitted writes are lost. Closing twice does nothing."""
        ...


@asynccontextmanager
async def releasing(index: LexicalIndex, name: str) -> AsyncIterator[None]:
    """Write to an index within. When that fails or is cancelled, what is held for it is let go of: other processes wait
    for it."""
    async with undoing(lambda _: index.release(name), otherwise=f"the index {name} is held until this process ends"):
        yield
