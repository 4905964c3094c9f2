"""Where blocking calls go: worker threads under one limiter a knowledge base."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

T = TypeVar("T")
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
