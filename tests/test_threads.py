"""Worker threads: what a cancelled caller does about the call that is running."""

import asyncio
import threading

import anyio
import anyio.lowlevel
import pytest

from kbchat.errors import KbchatError, StoreError
from kbchat.threads import Batches, Threads, undoing


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


@pytest.mark.parametrize("failure", [StoreError("away"), ValueError("a mistake")])
async def test_what_went_wrong_first_comes_out(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Undoing is told of it, and when that fails too, it is in the log."""
    told: list[BaseException] = []

    async def undo(error: BaseException) -> None:
        told.append(error)
        await anyio.lowlevel.checkpoint()
        raise failure

    first = OSError("pulled the plug")
    with pytest.raises(OSError, match="pulled the plug") as caught:
        async with undoing(undo, otherwise="it stays"):
            raise first
    assert caught.value is first
    with anyio.CancelScope() as scope:
        async with undoing(undo, otherwise="it stays"):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert [type(error) for error in told] == [OSError, asyncio.CancelledError]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["it stays"] * 2


async def test_what_succeeds_is_not_undone() -> None:
    """Nor is anything said."""
    async with undoing(lambda _: pytest.fail("undone"), otherwise="it stays"):
        await anyio.lowlevel.checkpoint()


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


class Desk:
    """Answers in batches, each of which waits until it is let through."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.through = threading.Semaphore(0), threading.Semaphore(0)
        self.batched = Batches(self.answer, threads=Threads(), most=3, lanes=1)

    def answer(self, asked: list[int]) -> list[int | Exception]:
        self.batches.append(asked)
        self.begun.release()
        assert self.through.acquire(timeout=10)
        if asked == [666]:
            raise KbchatError("all of it")
        return [KbchatError("odd") if number % 2 else number * 10 for number in asked]

    async def has_begun(self) -> None:
        """Return when one more batch is under way."""
        await anyio.to_thread.run_sync(self.begun.acquire)


async def test_calls_go_in_company() -> None:
    """The first goes at once; those that come meanwhile go together, the oldest first, as many as may; each hears its
    own answer or error."""
    desk, heard = Desk(), dict[int, object]()

    async def ask(number: int) -> None:
        try:
            heard[number] = await desk.batched(number)
        except KbchatError as error:
            heard[number] = error.message

    async with anyio.create_task_group() as group:
        group.start_soon(ask, 2)
        await desk.has_begun()
        for number in (4, 5, 6, 8):
            group.start_soon(ask, number)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            desk.through.release()
    assert desk.batches == [[2], [4, 5, 6], [8]]
    assert heard == {2: 20, 4: 40, 5: "odd", 6: 60, 8: 80}
    desk.through.release()
    assert await desk.batched(10) == 100


async def test_who_leads_a_batch_and_leaves_takes_nobody_along() -> None:
    """The others' calls are made again at once; whoever left while waiting is not asked for."""
    desk, heard = Desk(), list[int]()

    async def ask(number: int) -> None:
        heard.append(await desk.batched(number))

    async with anyio.create_task_group() as group:
        group.start_soon(ask, 2)
        await desk.has_begun()
        leader = asyncio.ensure_future(desk.batched(4))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(ask, 6)
        await anyio.wait_all_tasks_blocked()
        waiting = asyncio.ensure_future(desk.batched(12))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(ask, 8)
        await anyio.wait_all_tasks_blocked()
        waiting.cancel()
        desk.through.release()
        await desk.has_begun()
        leader.cancel()
        await desk.has_begun()
        for _ in range(2):
            desk.through.release()
    assert desk.batches == [[2], [4, 6, 8], [6, 8]]
    assert sorted(heard) == [20, 60, 80]
    desk.through.release()
    assert await desk.batched(10) == 100


async def test_who_is_called_and_leaves_passes_it_on() -> None:
    """Cancelled in the moment it becomes its turn, a call hands it to the next."""
    desk = Desk()
    first, second, third = (asyncio.ensure_future(desk.batched(number)) for number in (2, 4, 6))
    await desk.has_begun()
    first.add_done_callback(lambda _: second.cancel())
    desk.through.release()
    await desk.has_begun()
    desk.through.release()
    assert await third == 60
    assert desk.batches in ([[2], [6]], [[2], [4, 6], [6]])
    assert second.cancelled()


async def test_a_batch_that_fails_fails_for_all() -> None:
    """And the next one goes all the same."""
    desk = Desk()
    first = asyncio.ensure_future(desk.batched(666))
    await desk.has_begun()
    desk.through.release()
    with pytest.raises(KbchatError, match="all of it"):
        await first
    desk.through.release()
    assert await desk.batched(2) == 20
