"""Keeping a server's own lexical index level with a catalog that other servers write to as well.

The index is scratch: what it holds is compared with the catalog's live chunks, and only the difference is written. So
it does not matter who wrote last, what was missed, or whether the folder is still there.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import anyio
import msgspec

from kbchat.catalog import Catalog
from kbchat.errors import BusyError, LexicalIndexError
from kbchat.lexical import LexicalEntry, LexicalIndex, releasing
from kbchat.maintenance import BATCH_CHUNKS
from kbchat.models import Chunk, SpaceInfo
from kbchat.text.analysis import Terms, analyse
from kbchat.text.splitting import text_of
from kbchat.threads import Threads

Writing = Callable[[float], AbstractAsyncContextManager[object]]
"""Keeps other processes from writing to the folder; waits so many seconds for them, then raises `BusyError`."""
_NAME = re.compile(r"space-([0-9]+)")
MARK = "replica.json"
"""In an index's folder, so that it is lost with it."""


class _Mark(msgspec.Struct, frozen=True):
    """Which state of which space an index holds."""

    revision: int
    space: str
    """Its moment of birth: another catalog has other spaces of the same id."""


class Replica:
    """Brings the lexical indexes below `folder` up to date, one space at a time. Used from one event loop."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        lexical: LexicalIndex,
        folder: Path,
        threads: Threads,
        writing: Writing,
        timeout: float,
    ) -> None:
        self._catalog = catalog
        self._lexical = lexical
        self._folder = folder
        self._threads = threads
        self._writing = writing
        self._timeout = timeout
        self._locks: dict[int, anyio.Lock] = {}

    async def catch_up(self, space: SpaceInfo) -> None:
        """Return when the space's index holds at least what `space.revision` says.

        Costs a look at a small file where it does already, else a listing of the space's chunk ids, and the analysis of
        those that are new. Cut short, the next call goes on where this one was. Raises `BusyError` when it has to write
        and another process that shares the folder writes there for too long.
        """
        wanted = _Mark(space.revision, space.created_at.isoformat())
        if _holds(await self._threads.read(self._read, space), wanted):
            return
        async with self._locks.setdefault(space.id, anyio.Lock()):
            try:
                async with self._writing(0.0):
                    await self._level(space, wanted)
                return
            except BusyError:
                # A process that shares the folder and takes documents in writes their terms before it publishes them.
                if not await self._lacks(space, wanted):
                    return
            async with self._writing(self._timeout):
                await self._level(space, wanted)

    async def _level(self, space: SpaceInfo, wanted: _Mark) -> None:
        found = await self._threads.read(self._read, space)
        if _holds(found, wanted):
            return
        if found is None or found.space != wanted.space:
            await self._lexical.drop(space.lexical_name)
        revision = await level(space, catalog=self._catalog, lexical=self._lexical, threads=self._threads)
        await self._threads.write(self._write, space, _Mark(revision, wanted.space))
        await self._sweep()

    async def sweep(self) -> None:
        """Remove the indexes of spaces that other servers deleted. Where another process writes here now, it waits for
        the next time."""
        with suppress(BusyError):
            async with self._writing(0.0):
                await self._sweep()

    async def _sweep(self) -> None:
        # Before the catalog is asked: an index comes after its space.
        there = await self._threads.read(self._named)
        gone = there.keys() - await self._catalog.space_ids()
        for space_id in sorted(gone):
            await self._lexical.drop(there[space_id])

    def _named(self) -> dict[int, str]:
        """The names of the indexes that are here, by their spaces' ids."""
        found = [_NAME.fullmatch(path.name) for path in self._folder.glob("space-*")]
        return {int(name[1]): name[0] for name in found if name is not None}

    async def _lacks(self, space: SpaceInfo, wanted: _Mark) -> bool:
        """Whether a question would miss something that is live."""
        found = await self._threads.read(self._read, space)
        if found is None or found.space != wanted.space:
            return True
        _, live = await self._catalog.live_chunk_ids(space.id)
        held = {key async for part in self._lexical.iterate(space.lexical_name) for key in part}
        return not held.issuperset(live)

    def _read(self, space: SpaceInfo) -> _Mark | None:
        try:
            return msgspec.json.decode((self._folder / space.lexical_name / MARK).read_bytes(), type=_Mark)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        except OSError as error:
            raise self._unusable(space, error) from error

    def _write(self, space: SpaceInfo, mark: _Mark) -> None:
        path = self._folder / space.lexical_name / MARK
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".new")
            draft.write_bytes(msgspec.json.encode(mark))
            draft.replace(path)
        except OSError as error:
            raise self._unusable(space, error) from error

    def _unusable(self, space: SpaceInfo, error: OSError) -> LexicalIndexError:
        return LexicalIndexError(
            f"the lexical index in {self._folder / space.lexical_name} cannot be read or written: {error}"
        )


async def level(space: SpaceInfo, *, catalog: Catalog, lexical: LexicalIndex, threads: Threads) -> int:
    """Write to a space's index what it lacks, delete what is not live; returns the revision that it holds then."""
    name = space.lexical_name
    revision, ids = await catalog.live_chunk_ids(space.id)
    live, held = set(ids), set[int]()
    async for part in lexical.iterate(name):
        held.update(part)
    missing = sorted(live - held)
    async with releasing(lexical, name):
        await lexical.delete(name, sorted(held - live))
        for first in range(0, len(missing), BATCH_CHUNKS):
            chunks = await catalog.live_chunks(space.id, missing[first : first + BATCH_CHUNKS])
            terms = await threads.read(_analysed, list(chunks.values()))
            await lexical.upsert(name, [LexicalEntry(*entry) for entry in zip(chunks, terms, strict=True)])
        await lexical.commit(name)
    return revision


def _holds(found: _Mark | None, wanted: _Mark) -> bool:
    return found is not None and found.space == wanted.space and found.revision >= wanted.revision


def _analysed(chunks: Sequence[Chunk]) -> list[Terms]:
    return [analyse(text_of(chunk)) for chunk in chunks]
