"""Worker processes that read files which may be slow, huge or hostile. One that misbehaves is killed."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
import msgspec

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.formats import Format
from kbchat.loaders.worker import Reply, Request, receive, send
from kbchat.models import LoadedDocument
from kbchat.threads import Threads

RENEWED_AFTER = 500
"""Documents after which a worker is replaced, so that what libraries leak does not add up."""
ENDED_AFTER = 2.0
"""Seconds an idle worker may take to end before it is killed."""
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from kbchat.loaders.worker import main; main()"


class Readers:
    """A pool of worker processes, started when first needed and kept until `aclose`.

    `seconds` and `memory` (bytes) bound what one document may take.
    """

    def __init__(self, *, threads: Threads, seconds: float, memory: int, limit: int | None = None) -> None:
        self._threads = threads
        self.seconds = seconds
        self._memory = memory
        self._turns = anyio.Semaphore(limit or min(os.cpu_count() or 1, 8))
        self._idle: list[_Worker] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def load(self, known: Format, data: bytes, *, name: str) -> LoadedDocument:
        """The text of a file's bytes. Raises `UnreadableDocumentError`. When it is cancelled, its worker is killed."""
        request = msgspec.msgpack.encode(Request(known.name, name, data, self._memory))
        async with self._turns:
            worker = self._idle.pop() if self._idle else await self._threads.write(_Worker)
            reply: Reply | None = None
            try:
                with anyio.fail_after(self.seconds):
                    reply = await self._threads.read(worker.ask, request)
            except TimeoutError:
                reason = f"reading it took longer than {self.seconds:g} s (document_seconds)"
                raise UnreadableDocumentError(name, reason) from None
            finally:
                if reply is None or reply.broken or worker.asked >= RENEWED_AFTER:
                    with anyio.CancelScope(shield=True):
                        await self._threads.write(worker.kill)
                else:
                    self._idle.append(worker)
        if reply is None:
            raise UnreadableDocumentError(name, "its reader crashed; the file is damaged or needs too much memory")
        if reply.reason is not None:
            raise UnreadableDocumentError(name, reply.reason)
        return reply.document()

    async def aclose(self) -> None:
        """End the workers. The pool can be used again; it then starts new ones."""
        idle, self._idle = self._idle, []
        with anyio.CancelScope(shield=True):
            for worker in idle:
                await self._threads.write(worker.end)


class _Worker:
    """One process. Its methods block."""

    def __init__(self) -> None:
        self.asked = 0
        self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and code)
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for us: we end the workers, in the midst of a document if need be.
            start_new_session=True,
        )

    def ask(self, request: bytes) -> Reply | None:
        """The reply; None when the process died over it."""
        self.asked += 1
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, request)
        except (BrokenPipeError, OSError, ValueError):
            return None
        message = receive(self._process.stdout)
        return None if message is None else msgspec.msgpack.decode(message, type=Reply)

    def end(self) -> None:
        """Let an idle process end by itself, which it does when nobody can ask it any more."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError, subprocess.TimeoutExpired):
            self._process.stdin.close()
            self._process.wait(timeout=ENDED_AFTER)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except (BrokenPipeError, ValueError):
                    continue
