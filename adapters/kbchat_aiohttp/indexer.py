"""Indexing that goes on after the request that asked for it was answered."""

import asyncio
import logging

from kbchat.chunking import Splitting
from kbchat.errors import KbchatError, SpaceNotFoundError
from kbchat.knowledge import KnowledgeBase

logger = logging.getLogger("kbchat.http")

SPACES_AT_ONCE = 2
"""Each takes memory for what it reads."""


class Indexer:
    """Indexes documents in the background, those of a space one run after the other.

    What is asked for while a run is under way is taken together in the next one. What becomes of each document is in
    its status; what is not begun when the server stops stays TODO.
    """

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb
        self._asked: dict[int, dict[Splitting | None, dict[int, None]]] = {}
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(SPACES_AT_ONCE)

    def submit(self, space_id: int, document_ids: list[int], splitting: Splitting | None) -> None:
        """Have documents of a space indexed soon, split as said (None: as the space and the settings say)."""
        asked = self._asked.setdefault(space_id, {})
        asked.setdefault(splitting, {}).update(dict.fromkeys(document_ids))
        if space_id not in self._runs:
            self._runs[space_id] = asyncio.create_task(self._run(space_id))

    async def close(self) -> None:
        """Stop what is under way; it can be asked for again."""
        self._asked.clear()
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    async def _run(self, space_id: int) -> None:
        try:
            while asked := self._asked.pop(space_id, None):
                async with self._room:
                    for splitting, document_ids in asked.items():
                        await self._index(space_id, list(document_ids), splitting)
        finally:
            del self._runs[space_id]

    async def _index(self, space_id: int, document_ids: list[int], splitting: Splitting | None) -> None:
        try:
            space = await self._kb.get_space(space_id)
            await space.index_documents(document_ids, splitting=splitting)
        except SpaceNotFoundError:
            pass  # deleted meanwhile, with its documents
        except KbchatError as error:
            logger.warning("indexing of %d documents failed: %s", len(document_ids), error.message)
        except Exception:
            logger.exception("indexing failed unexpectedly")
