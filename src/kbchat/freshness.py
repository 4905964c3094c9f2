"""Whether the indexes that a question is put to hold what the catalog says, and bringing them there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from kbchat.models import SpaceInfo, VectorType

if TYPE_CHECKING:
    from kbchat.lexical.chosen import ChosenIndex
    from kbchat.maintenance.replica import Replica
    from kbchat.stores import VectorStore
    from kbchat.word_indexes import WordIndexes


class IndexFreshness:
    """A space's row in the catalog says what its indexes hold, and who wrote that last. Others write to them too: other
    processes to the same files, other servers to the same stores, and to none of our files.

    `replica` keeps the index of words in this folder level with a catalog that other servers write to; None where the
    catalog is this folder's alone.
    """

    def __init__(
        self,
        *,
        writer: str,
        words: WordIndexes,
        lexical: ChosenIndex,
        replica: Replica | None,
        store: Callable[[VectorType], VectorStore],
        writing: Callable[[int], AbstractAsyncContextManager[None]],
    ) -> None:
        """`writer` tells our own changes from those of others, `store` gives the store of such spaces, and `writing`
        makes one the only writer to a space."""
        self._writer = writer
        self._words = words
        self._lexical = lexical
        self._replica = replica
        self._store = store
        self._writing = writing
        self._seen: dict[int, int] = {}
        """By space the revision that its indexes were last seen at."""
        self._levelled: dict[int, int] = {}
        """The revision at which an index of words that servers share lacked nothing."""

    def is_in_step(self, info: SpaceInfo) -> bool:
        """Whether a space that is still as its row says can be asked at once: there is something in it, the indexes
        were seen at that revision, and are ours alone."""
        own = self._replica is None and not self._lexical.is_chosen(info.lexical_name)
        return own and info.chunk_count > 0 and self._seen.get(info.id) == info.revision

    async def see_vectors(self, info: SpaceInfo) -> None:
        """Let a space's indexes be used as its catalog row says they are."""
        await self._words.choose(info)
        if info.last_writer != self._writer and self._seen.get(info.id) != info.revision:
            await self._store(info.vector_type).refresh()
            await self._lexical.refresh(info.lexical_name)
        self._seen[info.id] = info.revision

    async def see_writes(self, info: SpaceInfo) -> None:
        """Let a space be read as its catalog row says it is, also where another process or server made the last
        change."""
        await self.see_vectors(info)
        if not info.chunk_count:
            return
        if self._lexical.is_chosen(info.lexical_name):
            await self._level(info)
        else:
            await self.follow(info)

    async def follow(self, info: SpaceInfo) -> None:
        """Let this folder's own index of a space's words hold what other servers wrote, where it has one beside
        theirs."""
        if self._replica is not None and not self._lexical.is_chosen(info.lexical_name):
            await self._replica.catch_up(info)

    async def forget_deleted(self) -> None:
        """Remove from this folder's own indexes the words of spaces that other servers deleted."""
        if self._replica is not None:
            await self._replica.sweep()

    async def _level(self, info: SpaceInfo) -> None:
        """Write to a space's index what it lacks because it was not there, or not in use, when that was taken in."""
        if self._levelled.get(info.id) == info.revision:
            return
        if await self._lexical.count(info.lexical_name) < info.chunk_count:
            async with self._writing(info.id):
                await self._words.level(info)
        self._levelled[info.id] = info.revision
