"""Where work runs: blocking calls in worker threads under one limiter a knowledge base, awaits side by side."""

from collections.abc import Awaitable, Callable
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

    async def read(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a call without lasting effect. A cancelled caller leaves at once; the thread finishes unobserved."""
        return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True, limiter=self._limiter)

    async def write(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a call that changes something. A cancelled caller waits until it is over, so nothing is half done."""
        return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=False, limiter=self._limiter)


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
