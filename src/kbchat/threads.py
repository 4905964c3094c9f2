"""Where work runs: blocking calls in worker threads under one limiter a knowledge base, awaits side by side."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

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
    results: dict[int, T | U] = {}

    async def run(number: int, call: Callable[[], Awaitable[T | U]]) -> None:
        results[number] = await call()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(run, 1, second)
            results[0] = await first()
    except BaseExceptionGroup as errors:
        error = bare(errors)
        raise error from error.__cause__
    return results[0], results[1]  # type: ignore[return-value]  # 0 holds the first's, 1 the second's


def bare(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show of a group: its first leaf."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
