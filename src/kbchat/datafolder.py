"""The data folder: where the embedded parts keep their files, and who may write there."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import anyio

from kbchat.errors import BusyError, CatalogUnavailableError
from kbchat.threads import Threads

_PAUSES = (0.01, 0.02, 0.05, 0.1)
"""Seconds between attempts to take the lock; the last one repeats."""

if sys.platform == "win32":
    import msvcrt

    def take(fd: int) -> None:
        """Lock an open file without waiting. Raises `OSError` when another one has."""
        # Windows forbids to read what is locked, so the byte lies beyond what the file will ever hold.
        os.lseek(fd, 1 << 20, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def take(fd: int) -> None:
        """Lock an open file without waiting. Raises `OSError` when another one has."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class _Holder(NamedTuple):
    """What the lock's file says of who holds it, or held it last."""

    pid: str
    turn: str
    """Unlike in any other turn of any process."""


class DataFolder:
    """Paths of a data folder and its writer's lock, which one process at a time may hold.

    A process that dies loses the lock at once, however it dies. Used from one event loop.
    """

    def __init__(self, path: str | Path, *, threads: Threads) -> None:
        self.path = Path(path)
        self._threads = threads
        self._gate = anyio.Lock()
        self._holders = 0
        self._fd = -1
        self._seen = ""

    @property
    def catalog(self) -> Path:
        """The SQLite catalog's file."""
        return self.path / "catalog.sqlite"

    @property
    def chroma(self) -> Path:
        """The folder of embedded Chroma."""
        return self.path / "chroma"

    @property
    def milvus(self) -> Path:
        """The file of Milvus Lite."""
        return self.path / "milvus.db"

    @property
    def lexical(self) -> Path:
        """The folder of the lexical indexes."""
        return self.path / "lexical"

    @property
    def _lock(self) -> Path:
        return self.path / "write.lock"

    async def open(self) -> None:
        """Make the folder where it is not there. Call it before its stores are opened: what another process writes
        from now on is noticed. Raises `CatalogUnavailableError` when the folder cannot be made or written."""
        self._seen = (await self._threads.write(self._make)).turn

    def _make(self) -> _Holder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                return _read(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> CatalogUnavailableError:
        match error:
            case PermissionError():
                remedy = "this user has no right to write there; grant it or choose another folder"
            case FileExistsError() | NotADirectoryError():
                remedy = "a file is in the way; move it or choose another folder"
            case _:
                remedy = f"{error.strerror or error}; mend that or choose another folder (--data-dir)"
        return CatalogUnavailableError(f"data folder '{self.path}' cannot be used: {remedy}", place=str(self.path))

    @asynccontextmanager
    async def writing(
        self, timeout: float, *, prepare: Callable[[bool], Awaitable[None]] | None = None
    ) -> AsyncIterator[bool]:
        """Hold the writer's lock: `async with folder.writing(10) as foreign: …`.

        Waits up to `timeout` seconds (0: one attempt) for another process, then raises `BusyError`. Within this object
        any number of tasks may hold it together; the last one to leave lets it go. Another object on the same folder
        is kept out like another process.

        `foreign` tells whether somebody else held the lock since this object last did (or was opened): what is cached
        of local files is stale then. It is True for the task that took the lock; those that join it get False. Give
        `prepare` where several may join: it is awaited with `foreign` each time the lock is taken, before anybody goes
        on, while nobody else in this process writes. When it raises, the lock is let go and the next one to take it
        is told the same.
        """
        foreign = await self._enter(timeout, prepare)
        try:
            yield foreign
        finally:
            self._leave()

    async def _enter(self, timeout: float, prepare: Callable[[bool], Awaitable[None]] | None) -> bool:
        deadline = anyio.current_time() + timeout
        await self._enter_gate(timeout)
        try:
            foreign = False
            if self._holders == 0:
                try:
                    foreign, turn = await self._acquire(deadline)
                    if prepare is not None:
                        await prepare(foreign)
                except BaseException:
                    # Also where the wait was cancelled at the moment in which the lock was taken.
                    self._release()
                    raise
                self._seen = turn
            self._holders += 1
            return foreign
        finally:
            self._gate.release()

    async def _enter_gate(self, timeout: float) -> None:
        try:
            self._gate.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(timeout):
                await self._gate.acquire()
                return
            message = f"another task is waiting to write to '{self.path}'; try again later"
            raise BusyError(message, place=str(self.path)) from None

    async def _acquire(self, deadline: float) -> tuple[bool, str]:
        """Take the lock from other processes: whether one of them held it meanwhile, and the name of our turn."""
        attempt = 0
        while True:
            turn = uuid4().hex
            before = await self._threads.write(self._try, turn)
            if self._fd >= 0:
                return before.turn != self._seen, turn
            left = deadline - anyio.current_time()
            if left <= 0:
                raise BusyError(
                    f"another process (pid {before.pid or 'unknown'}) is writing to '{self.path}'; wait until it has "
                    "finished, or stop it",
                    place=str(self.path),
                )
            await anyio.sleep(min(left, _PAUSES[min(attempt, len(_PAUSES) - 1)]))
            attempt += 1

    def _try(self, turn: str) -> _Holder:
        """Take the lock if it is free: `_fd` tells. Returns who held it before us, or holds it now."""
        try:
            fd = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._unavailable(error) from error
        try:
            before = _read(fd)
            try:
                take(fd)
            except (BlockingIOError, PermissionError):
                os.close(fd)
                return before
            # Read again: somebody may have come and gone between.
            before = _read(fd)
            os.lseek(fd, 0, os.SEEK_SET)
            # Of one length, so that nothing of the last line is left.
            os.write(fd, f"{os.getpid():>10} {turn}\n".encode())
        except OSError as error:
            os.close(fd)
            raise self._unavailable(error) from error
        self._fd = fd
        return before

    def _leave(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            self._release()

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _read(fd: int) -> _Holder:
    os.lseek(fd, 0, os.SEEK_SET)
    pid, _, turn = os.read(fd, 100).decode("ascii", "replace").strip().partition(" ")
    return _Holder(pid, turn)
