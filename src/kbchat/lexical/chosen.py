"""Which lexical index a space has: one for all, but for the spaces that were given another."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from kbchat.lexical import LexicalEntry, LexicalIndex, LexicalResult
from kbchat.text.analysis import Terms


class _Choice(NamedTuple):
    lexical: LexicalIndex
    name: str


class ChosenIndex:
    """A `LexicalIndex` that passes each space on to its own."""

    def __init__(self, usual: LexicalIndex) -> None:
        self.usual = usual
        self._choices: dict[str, _Choice] = {}

    def choose(self, name: str, index: LexicalIndex, *, there: str) -> None:
        """Let a space's terms be in another index, under another name."""
        self._choices[name] = _Choice(index, there)

    def forget(self, name: str) -> None:
        """Let a space's terms be in the usual index again."""
        self._choices.pop(name, None)

    def is_chosen(self, name: str) -> bool:
        return name in self._choices

    async def upsert(self, name: str, entries: Sequence[LexicalEntry]) -> None:
        index, there = self._of(name)
        await index.upsert(there, entries)

    async def delete(self, name: str, ids: Sequence[int]) -> None:
        index, there = self._of(name)
        await index.delete(there, ids)

    async def commit(self, name: str, *, more: bool = False) -> None:
        index, there = self._of(name)
        await index.commit(there, more=more)

    async def release(self, name: str) -> None:
        index, there = self._of(name)
        await index.release(there)

    async def search(
        self, name: str, question: Terms, *, limit: int, among: Sequence[int] | None = None
    ) -> LexicalResult:
        index, there = self._of(name)
        return await index.search(there, question, limit=limit, among=among)

    async def count(self, name: str) -> int:
        index, there = self._of(name)
        return await index.count(there)

    async def iterate(self, name: str, *, batch: int = 1000) -> AsyncIterator[list[int]]:
        index, there = self._of(name)
        async for ids in index.iterate(there, batch=batch):
            yield ids

    async def drop(self, name: str) -> None:
        """Also what the usual index may hold of a space from before it was given another."""
        if (choice := self._choices.get(name)) is not None:
            await choice.lexical.drop(choice.name)
        await self.usual.drop(name)

    async def refresh(self, name: str) -> None:
        index, there = self._of(name)
        await index.refresh(there)

    async def aclose(self) -> None:
        """Close the usual one; who made the others closes them."""
        await self.usual.aclose()

    def _of(self, name: str) -> _Choice:
        return self._choices.get(name) or _Choice(self.usual, name)
