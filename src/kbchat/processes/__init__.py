"""Worker processes, for what takes long, needs a core of its own, or may misbehave. One that misbehaves is killed."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import suppress

import anyio
import msgspec

from kbchat.processes.worker import Answer, receive, send
from kbchat.threads import Threads

RENEWED_AFTER = 500
"""Calls after which a process is replaced, so that what libraries leak does not add up."""
ENDED_AFTER = 2.0
"""Seconds an idle process may take to end before it is killed."""
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from kbchat.processes.worker import main; main()"


class Processes:
    """A pool of worker processes, started when first needed and kept until `aclose`: as many as there are cores, eight
    at most, unless `limit` says so."""

    def __init__(self, *, threads: Threads, limit: int | None = None) -> None:
        self.limit = limit or min(os.cpu_count() or 1, 8)
        self._threads = threads
        self._turns = anyio.Semaphore(self.limit)
        self._idle: list[_Worker] = []

    @property
    def is_warm(self) -> bool:
        """Whether a process is waiting for work."""
        return bool(self._idle)

    async def call(self, function: str, argument: bytes, *, seconds: float) -> bytes | None:
        """What a function (`module:name`, a `worker.Function`) answers in a process; None when that died over it.

        Raises `TimeoutError` after so many seconds of work, to which no wait for a process or a thread counts. The
        process is then killed, and so when it is cancelled.
        """
        async with self._turns:
            while (worker := self._waiting()) is None:
                await self._threads.write(self._start)
            answer: Answer | None = None
            try:
                answer = await self._ask(worker, function, argument, seconds=seconds)
            finally:
                if answer is None or answer.broken or worker.asked >= RENEWED_AFTER:
                    with anyio.CancelScope(shield=True):
                        await self._threads.write(worker.kill)
                else:
                    self._idle.append(worker)
        return None if answer is None else answer.value

    async def _ask(self, worker: "_Worker", function: str, argument: bytes, *, seconds: float) -> Answer | None:
        loop = asyncio.get_running_loop()
        with anyio.fail_after(None) as limit:

            def begin() -> None:
                limit.deadline = loop.time() + seconds

            def ask() -> Answer | None:
                # Not before: where all threads are busy, it may be long until one is free to ask.
                loop.call_soon_threadsafe(begin)
                return worker.ask(function, argument)

            return await self._threads.read(ask)

    def _start(self) -> None:
        # Among the others from its first moment: whoever wanted it may be cancelled before it is there.
        self._idle.append(_Worker())

    def _waiting(self) -> "_Worker | None":
        """A process that waits for work. One that was killed while it waited is no loss."""
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            worker.kill()
        return None

    async def aclose(self) -> None:
        """End the processes. The pool can be used again; it then starts new ones."""
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

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, function: str, argument: bytes) -> Answer | None:
        """The answer; None when the process died over it."""
        self.asked += 1
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, function.encode())
            send(self._process.stdin, argument)
        except (BrokenPipeError, OSError, ValueError):
            return None
        answer = receive(self._process.stdout)
        return None if answer is None else msgspec.msgpack.decode(answer, type=Answer)

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
