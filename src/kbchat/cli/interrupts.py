"""Ctrl-C while an event loop runs."""

import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")


def run(action: Callable[[], Awaitable[Result]]) -> Result:
    """`anyio.run`, but the first Ctrl-C cancels the action between two steps of the event loop.

    asyncio itself cancels within the signal's handler, so in the midst of whatever runs. A callback that just saw its
    future waiting, such as `sock_connect`'s, then cannot set the result any more, and its failure is printed.
    A second Ctrl-C is raised at once. Raises `KeyboardInterrupt` once the action was cancelled.
    """
    import asyncio

    import anyio

    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    is_ours = is_default and threading.current_thread() is threading.main_thread()

    async def interruptible() -> Result:
        asyncios = signal.getsignal(signal.SIGINT)
        if not is_ours or not callable(asyncios):
            return await action()
        with _called_by_the_loop(asyncios):
            try:
                return await action()
            finally:
                # One that came in the last step is dealt with now: later there is nothing left to cancel.
                await asyncio.sleep(0)

    try:
        return anyio.run(interruptible)
    finally:
        if is_ours:  # asyncio does not see to it where the second one ended its loop.
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _called_by_the_loop(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """While the block runs, Ctrl-C has the event loop call asyncio's own handler."""
    import asyncio

    loop = asyncio.get_running_loop()

    def first(number: int, frame: FrameType | None) -> None:
        called = loop.call_soon_threadsafe(partial(handler, number, frame))

        def second(*_: object) -> None:
            called.cancel()
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, second)

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
