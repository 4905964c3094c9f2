"""Worker threads: what a cancelled caller does about the call that is running."""

import asyncio
import threading

import anyio
import pytest

from kbchat.threads import Threads


class Call:
    """A blocking call that tells when it runs and ends when it is told to."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.may_end = threading.Event()
        self.ended = False

    def __call__(self) -> str:
        self.started.set()
        assert self.may_end.wait(10)
        self.ended = True
        return "done"

    async def has_started(self) -> None:
        await anyio.to_thread.run_sync(self.started.wait)


async def test_a_write_cancelled_by_asyncio_is_waited_for() -> None:
    """`Task.cancel`, also repeated, ends the caller only when its thread is done."""
    call, threads = Call(), Threads()
    task = asyncio.create_task(threads.write(call))
    await call.has_started()
    for _ in range(3):
        task.cancel()
        await anyio.wait_all_tasks_blocked()
    assert not task.done()
    call.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.ended


async def test_a_write_cancelled_by_a_scope_is_waited_for() -> None:
    """A cancel scope of anyio ends only when the thread is done."""
    call, threads = Call(), Threads()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(threads.write, call)
            await call.has_started()
            scope.cancel()
            threading.Timer(0.05, call.may_end.set).start()
    assert call.ended


async def test_a_failed_write_of_a_cancelled_caller_is_silent() -> None:
    """The caller gets its cancellation; the call's own error is nobody's."""
    call, threads = Call(), Threads()

    def fail() -> None:
        call()
        raise ValueError

    task = asyncio.create_task(threads.write(fail))
    await call.has_started()
    task.cancel()
    call.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_write_cancelled_before_its_turn_does_not_begin() -> None:
    """What waits for a free thread can be cancelled at once."""
    first, second, threads = Call(), Call(), Threads(limit=1)
    running = asyncio.create_task(threads.write(first))
    await first.has_started()
    waiting = asyncio.create_task(threads.write(second))
    await anyio.wait_all_tasks_blocked()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.may_end.set()
    assert await running == "done"
    assert not second.started.is_set()


async def test_a_cancelled_read_leaves_at_once() -> None:
    """A call without lasting effect goes on unobserved."""
    call, threads = Call(), Threads()
    task = asyncio.create_task(threads.read(call))
    await call.has_started()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not call.ended
    call.may_end.set()


async def test_errors_come_out_as_they_are() -> None:
    """What the function raises, the caller gets."""

    def fail() -> None:
        raise ValueError("so")

    for run in (Threads().read, Threads().write):
        with pytest.raises(ValueError, match="so"):
            await run(fail)
