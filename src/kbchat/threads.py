"""Where work runs: blocking calls in worker threads under one limiter a knowledge base, awaits side by side, and what
undoes them."""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from kbchat.errors import KbchatError

_log = logging.getLogger("kbchat.threads")

MOST_TOGETHER = 16
"""Calls that are made in one batch."""

T = TypeVar("T")
U = TypeVar("U")
Ts = TypeVarTuple("Ts")


class Threads:
    """Runs blocking functions in worker threads, at most `limit` at a time."""

    def __init__(self, limit: int = 16) -> None:
        self._limiter = anyio.CapacityLimiter(limit)
        self._unlimited = anyio.CapacityLimiter(math.inf)

    async def read(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a call without lasting effect. A cancelled caller leaves at once; the thread finishes unobserved."""
        return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True, limiter=self._limiter)

    async def write(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a call that changes something. A cancelled caller waits until it is over, so nothing is half done and no
        lock is let go too early. Cancelled while it waits for its turn, the call is not begun."""
        async with self._limiter:
            # A task of its own: `Task.cancel` reaches through anyio's shield, and would leave the thread unobserved.
            call = asyncio.ensure_future(anyio.to_thread.run_sync(function, *args, limiter=self._unlimited))
            try:
                return await asyncio.shield(call)
            except asyncio.CancelledError:
                with anyio.CancelScope(shield=True):
                    while not call.done():
                        with suppress(asyncio.CancelledError):
                            await asyncio.wait([call])
                call.cancelled() or call.exception()  # Looked at, lest asyncio complains that nobody did.
                raise


async def together(first: Callable[[], Awaitable[T]], second: Callable[[], Awaitable[U]]) -> tuple[T, U]:
    """Await two calls at the same time. When one raises, the other is cancelled and the error comes out bare."""
    one, other = await side_by_side([first, second])
    return one, other  # type: ignore[return-value]  # The first's and the second's.


async def side_by_side(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Await any number of calls at the same time; their results in the same order. Errors as with `together`."""
    results: dict[int, T] = {}

    async def run(number: int) -> None:
        results[number] = await calls[number]()

    try:
        async with anyio.create_task_group() as group:
            for number in range(1, len(calls)):
                group.start_soon(run, number)
            if calls:  # The first needs no task of its own.
                await run(0)
    except BaseExceptionGroup as errors:
        error = bare(errors)
        raise error from error.__cause__
    return [results[number] for number in range(len(calls))]


@asynccontextmanager
async def undoing(undo: Callable[[BaseException], Awaitable[object]], *, otherwise: str) -> AsyncIterator[None]:
    """Do something within that is to be undone when it fails or is cancelled. `undo` is told by what.

    No cancel scope stops it, and what went wrong first comes out, whatever becomes of it. Should it fail, `otherwise`
    says in the log what is left; that is to name nothing of a document.
    """
    try:
        yield
    except BaseException as first:
        try:
            with anyio.CancelScope(shield=True):
                await undo(first)
        except KbchatError as error:
            _log.warning("%s: %s", otherwise, error.message)
        except Exception:
            _log.exception("%s", otherwise)
        raise


def bare(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show of a group: its first leaf."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Batches(Generic[T, U]):
    """Calls that go in company: those that come while others are under way wait and are then made together, in one
    thread. Under load that spares most of the ways to a thread and back; a call that comes alone goes at once.

    `make` takes what is asked, at most `most` at a time and the oldest first, and gives an answer or an error for each,
    in that order. Only for what is done on this machine: who waits for a server would hold up all who come after. Used
    from one event loop.
    """

    def __init__(
        self,
        make: Callable[[list[T]], Sequence[U | Exception]],
        *,
        threads: Threads,
        lanes: int,
        most: int = MOST_TOGETHER,
    ) -> None:
        """`lanes` is how many batches may be under way at once."""
        self._make = make
        self._threads = threads
        self._most = most
        self._free = lanes
        self._waiting: dict[asyncio.Future[U | Exception | None], T] = {}

    async def __call__(self, asked: T) -> U:
        if self._free:
            self._free -= 1
        elif (answer := await self._queue(asked)) is not None:
            return _unwrapped(answer)
        company = {other: self._waiting.pop(other) for other in list(self._waiting)[: self._most - 1]}
        try:
            first, *others = await self._threads.read(self._make, [asked, *company.values()])
        except asyncio.CancelledError:
            # The thread is left alone with what it does; those who came along go again, before all others.
            self._waiting = {other: it for other, it in company.items() if not other.done()} | self._waiting
            raise
        except Exception as error:
            _answer(company, [error] * len(company))
            raise
        else:
            _answer(company, others)
        finally:
            self._pass_on()
        return _unwrapped(first)

    async def _queue(self, asked: T) -> U | Exception | None:
        """The answer, when others have taken the call along; None when it is its turn to go, with those behind it."""
        place: asyncio.Future[U | Exception | None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = asked
        try:
            return await place
        except asyncio.CancelledError:
            self._waiting.pop(place, None)
            if place.done() and not place.cancelled() and place.result() is None:
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Let the oldest of those who wait go; where nobody waits the lane is free."""
        while self._waiting:
            place = next(iter(self._waiting))
            del self._waiting[place]
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


def _answer(company: Iterable[asyncio.Future[U | Exception | None]], answers: Iterable[U | Exception]) -> None:
    for place, answer in zip(company, answers, strict=True):
        if not place.done():
            place.set_result(answer)


def _unwrapped(answer: U | Exception) -> U:
    if isinstance(answer, Exception):
        raise answer
    return answer


def lanes() -> int:
    """How many batches of work are worth doing at once: one core is the event loop's."""
    return max(1, (os.cpu_count() or 1) - 1)
