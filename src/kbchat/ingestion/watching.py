"""Following folders while they change: when to look again, and which of them are only away."""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import anyio

from kbchat.errors import InvalidInputError
from kbchat.loaders.files import Found, Root, with_end
from kbchat.models import IngestReport
from kbchat.threads import Threads, bare

_log = logging.getLogger("kbchat.ingestion")

WATCH_MS = 400
"""Changes that follow each other this closely are taken in together."""
PEEK_MS = 1_000
"""What a path leads to is looked up so often: a disk that is mounted and a link that is turned are no change below."""
LOOK_MS = 60_000
"""A look without any sign of change: not every file system tells of all."""

Identities = list[tuple[int, int]]


class Presence:
    """Tells folders that were emptied from those that are empty because what stood there is away, such as a disk."""

    def __init__(self, holds: Callable[[str], Awaitable[bool]]) -> None:
        """`holds` says whether the space has documents from below a folder."""
        self._holds = holds
        self._seen: dict[str, tuple[int, int] | None] = {}
        self._away: frozenset[str] = frozenset()

    async def missing(self, found: Found) -> list[Root]:
        """The folders that hold nothing, though the space has documents of theirs; but for those that held something
        when they were last looked at, and are the same folders to the system."""
        missing = []
        for root in found.roots:
            if root.holds:
                self._seen[root.path] = root.identity
                continue
            is_same = root.identity is not None and self._seen.get(root.path) == root.identity
            if not is_same and await self._holds(root.path):
                missing.append(root)
        return missing

    async def without_missing(self, found: Found) -> Found:
        """What was found, and nothing said of the folders that are away."""
        missing = await self.missing(found)
        away = frozenset(root.path for root in missing)
        for path in sorted(away - self._away):
            _log.warning("%s is empty of a sudden, as where a disk is not mounted; its documents stay", path)
        self._away = away
        return replace(found, roots=tuple(root for root in found.roots if root.path not in away))


@asynccontextmanager
async def following(
    *,
    find: Callable[[], Awaitable[Found]],
    holds: Callable[[str], Awaitable[bool]],
    sync: Callable[[Found], Awaitable[IngestReport]],
    own: str,
    threads: Threads,
) -> AsyncIterator[AsyncIterator[IngestReport]]:
    """Sync what is found, and again whenever it changes; the reports of all that changed anything or of which another
    document fails, the first one always. What changes below `own` is no change.

    A path that goes away (a build, a checkout, a disk) is waited for: nothing changes in the space until it is back.
    Raises `InvalidInputError` for one that is away from the beginning.
    """
    presence = Presence(holds)
    found = await find()
    if missing := await presence.missing(found):
        reason = "holds no readable documents, and the space holds some that came from there"
        remedy = "mount the disk, or sync the folder with allow_empty=True if they are to go"
        raise InvalidInputError("paths", f"{missing[0].path!r} {reason}; {remedy}")
    roots = tuple(root.path for root in found.roots)
    watched = [*roots, *(file.path for file in found.files if not file.path.startswith(roots))]
    # A change may be told of by the path that is watched, or by the one that a link in it leads to.
    changes = Changes(watched, without=(own, *map(with_end, found.passed)), threads=threads)
    there = await changes.identities()

    async def look() -> IngestReport:
        return await sync(await presence.without_missing(await find()))

    async def reports() -> AsyncIterator[IngestReport]:
        report = await look()
        yield report
        while True:
            told = set(report.failed)
            await changes.wait()
            try:
                report = await look()
            except InvalidInputError as error:
                if error.field != "paths":
                    raise
                continue  # A path is not there; when it is back, that is a change.
            if report.added or report.updated or report.moved or report.removed or not told.issuperset(report.failed):
                yield report

    try:
        async with anyio.create_task_group() as tasks:
            # Begins before the first look, so that no change falls in between.
            tasks.start_soon(changes.notice, there)
            try:
                yield reports()
            finally:
                # The watcher's thread looks at this, and at no cancellation.
                changes.stop.set()
    except BaseExceptionGroup as errors:
        raise bare(errors) from None


class Changes:
    """Whether something changed in paths, or below them, since it was last asked. What is below `without` is ours."""

    def __init__(self, paths: Sequence[str], *, without: tuple[str, ...], threads: Threads) -> None:
        self._paths = paths
        self._without = without
        self._threads = threads
        self._changed = anyio.Event()
        self.stop = anyio.Event()

    async def notice(self, there: Identities | None) -> None:
        """Watch until told to stop. A path that is made anew is another one to the system: it is watched anew."""
        while not self.stop.is_set():
            if there is not None:
                await self._follow(there)
            with anyio.move_on_after(WATCH_MS / 1000):
                await self.stop.wait()
            if (there := await self.identities()) is not None:
                self._changed.set()  # Whoever waits wakes when the watching has begun, which is the next step here.

    async def _follow(self, there: Identities) -> None:
        """Watch paths for as long as they are the same ones."""
        from watchfiles import awatch

        def counts(_: object, path: str) -> bool:
            return not path.startswith(self._without)

        watching = awatch(
            *self._paths,
            debounce=WATCH_MS,
            watch_filter=counts,
            rust_timeout=PEEK_MS,
            yield_on_timeout=True,
            stop_event=self.stop,
            # What lies behind a folder that may not be listed, the look that comes now and then finds.
            ignore_permission_denied=True,
        )
        silent = 0
        try:
            async with aclosing(watching):
                async for changes in watching:
                    silent = 0 if changes else silent + PEEK_MS
                    if changes or silent >= LOOK_MS:
                        self._changed.set()
                        silent = 0
                    if await self.identities() != there:
                        return
        except FileNotFoundError:
            return  # Gone before it was watched.
        except OSError:  # It cannot be watched, or the system watches no more: then a look now and then must do.
            with anyio.move_on_after(LOOK_MS / 1000):
                await self.stop.wait()

    async def identities(self) -> Identities | None:
        """What the system knows the paths by; None while one is missing."""

        def read() -> Identities:
            return [(found.st_dev, found.st_ino) for found in map(os.stat, self._paths)]

        try:
            return await self._threads.read(read)
        except OSError:
            return None

    async def wait(self) -> None:
        await self._changed.wait()
        self._changed = anyio.Event()
