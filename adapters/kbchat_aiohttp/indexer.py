"""Indexing that goes on after the request that asked for it was answered."""

import asyncio
import logging

from kbchat.chunking import Splitting
from kbchat.errors import BusyError, CatalogUnavailableError, KbchatError, SpaceNotFoundError
from kbchat.knowledge import KnowledgeBase
from kbchat.models import IngestProgress

logger = logging.getLogger("kbchat.http")

SPACES_AT_ONCE = 2
"""Each takes memory for what it reads."""
DOCUMENTS_A_TURN = 256
"""After so many of one space it is the turn of the next one that waits."""
AGAIN_SECONDS = 1.0
"""After so long it is tried again, where the catalog was away or another one wrote."""


class Indexer:
    """Indexes documents in the background, those of a space one run after the other, spaces by turns.

    What is asked for while a run is under way is taken together in the next one. What becomes of each document is in
    its status; what is not begun when the server stops stays TODO. How far each is by now is known here alone. While
    the catalog is away, where statuses are, or another process or server writes, nothing is given up: it is done after
    that.
    """

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb
        self._asked: dict[int, dict[Splitting | None, dict[int, None]]] = {}
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._told: dict[int, dict[str, IngestProgress]] = {}
        self._room = asyncio.Semaphore(SPACES_AT_ONCE)

    def submit(self, space_id: int, document_id: int, splitting: Splitting | None) -> None:
        """Have a document of a space indexed soon, with all others of it that wait; None: split as the space says. Of
        several ways to split one that were asked for while it waited the last counts."""
        asked = self._asked.setdefault(space_id, {})
        for others in asked.values():
            others.pop(document_id, None)
        asked.setdefault(splitting, {})[document_id] = None
        if space_id not in self._runs:
            self._runs[space_id] = asyncio.create_task(self._run(space_id))

    def progress(self, space_id: int, name: str) -> IngestProgress | None:
        """How far a document is that is being indexed by this server."""
        return self._told.get(space_id, {}).get(name)

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
                for splitting, document_ids in asked.items():
                    left = list(document_ids)
                    while left:
                        async with self._room:
                            is_over = await self._index(space_id, left[:DOCUMENTS_A_TURN], splitting)
                        if is_over:
                            left = left[DOCUMENTS_A_TURN:]
                        else:
                            await asyncio.sleep(AGAIN_SECONDS)
        finally:
            del self._runs[space_id]

    async def _index(self, space_id: int, document_ids: list[int], splitting: Splitting | None) -> bool:
        """Whether it came to an end, be it a bad one."""
        told = self._told[space_id] = {}

        def tell(state: IngestProgress) -> None:
            told[state.name] = state

        try:
            space = await self._kb.get_space(space_id)
            await space.index_documents(document_ids, splitting=splitting, progress=tell)
        except SpaceNotFoundError:
            pass  # deleted meanwhile, with its documents
        except (BusyError, CatalogUnavailableError) as error:
            logger.warning("indexing of %d documents waits: %s", len(document_ids), error.message)
            return False
        except KbchatError as error:
            logger.warning("indexing of %d documents failed: %s", len(document_ids), error.message)
        except Exception:
            logger.exception("indexing failed unexpectedly")
        finally:
            del self._told[space_id]
        return True
