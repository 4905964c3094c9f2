"""The data folder: made or refused with a reason, and written by one process at a time."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from kbchat.datafolder import DataFolder
from kbchat.errors import BusyError, CatalogUnavailableError
from kbchat.threads import Threads

HOLDER = """
import asyncio, sys
from kbchat.datafolder import DataFolder
from kbchat.threads import Threads

async def main():
    folder = DataFolder(sys.argv[1], threads=Threads())
    await folder.open()
    async with folder.writing(10) as foreign:
        print(foreign, flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""
"""Holds the lock until it is sent a line."""

Process = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Process]:
    """Starts another process that holds the lock of the folder `data`."""
    with ExitStack() as stack:

        def start() -> "subprocess.Popen[str]":
            pipe = subprocess.PIPE
            command = [sys.executable, "-c", HOLDER, str(tmp_path / "data")]
            running = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
            stack.enter_context(running)
            stack.callback(running.kill)
            assert running.stdout is not None
            assert running.stdout.readline() in ("True\n", "False\n")
            return running

        yield start


def let_go(running: "subprocess.Popen[str]") -> None:
    assert running.stdin is not None
    running.stdin.write("\n")
    running.stdin.flush()


async def opened(path: Path) -> DataFolder:
    folder = DataFolder(path, threads=Threads())
    await folder.open()
    return folder


@pytest.fixture
async def folder(tmp_path: Path) -> DataFolder:
    return await opened(tmp_path / "data")


# -- the folder -------------------------------------------------------------------------------------------------------


async def test_the_folder_is_made(tmp_path: Path) -> None:
    """With the folders above it; nothing but the lock's file is in it; making it again does nothing."""
    for _ in range(2):
        await opened(tmp_path / "a" / "员工 #?%" / "data")
    assert [path.name for path in (tmp_path / "a" / "员工 #?%" / "data").iterdir()] == ["write.lock"]


def test_paths_are_in_the_folder() -> None:
    """Each part has its own place. Naming them touches nothing."""
    folder = DataFolder("somewhere", threads=Threads())
    paths = {folder.catalog, folder.chroma, folder.milvus, folder.lexical}
    assert len(paths) == 4
    assert {path.parent for path in paths} == {Path("somewhere")}
    assert not Path("somewhere").exists()


@pytest.mark.parametrize("name", ["file", "file/below"])
async def test_a_file_in_the_way(tmp_path: Path, name: str) -> None:
    """A file where the folder or one above it should be is an error that names the path and the remedy."""
    (tmp_path / "file").touch()
    with pytest.raises(CatalogUnavailableError, match="a file is in the way") as caught:
        await opened(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


async def test_a_folder_in_the_locks_way(tmp_path: Path) -> None:
    """What cannot be opened is said as the system says it."""
    (tmp_path / "write.lock").mkdir()
    with pytest.raises(CatalogUnavailableError, match="directory"):
        await opened(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small file system")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


async def test_a_read_only_disk(small_disk: Path) -> None:
    """A folder on it can neither be made nor used."""
    (small_disk / "data").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for name in ("data", "new"):
        with pytest.raises(CatalogUnavailableError, match=r"(?i)read-only.*choose another folder"):
            await opened(small_disk / name)


async def test_a_full_disk(small_disk: Path) -> None:
    """Where even the lock's few bytes find no room, writing is refused, and possible when there is room."""
    folder = await opened(small_disk)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * 128 * 1024)
    with pytest.raises(CatalogUnavailableError, match="No space left"):
        async with folder.writing(0):
            pass
    filler.unlink()
    async with folder.writing(0):
        pass


NO_RIGHT = """
import asyncio, os, sys
from kbchat.datafolder import DataFolder
from kbchat.errors import CatalogUnavailableError
from kbchat.threads import Threads

def open_folder(name):
    try:
        asyncio.run(DataFolder(sys.argv[1] + name, threads=Threads()).open())
    except CatalogUnavailableError as error:
        print(error)

open_folder("/allowed")  # Loads what another user may not be able to load.
os.chmod(sys.argv[1], 0o555)
if os.geteuid() == 0:
    os.setuid(65534)
open_folder("/data")
"""


def test_no_right_to_the_folder(tmp_path: Path) -> None:
    """A user who may not write there is told so."""
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(0o755)
    command = [sys.executable, "-c", NO_RIGHT, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.stderr == ""
    assert f"'{tmp_path}/data' cannot be used: this user has no right" in ran.stdout


# -- the lock, within a process ---------------------------------------------------------------------------------------


async def test_tasks_hold_it_together(folder: DataFolder) -> None:
    """Any number of tasks, also one within itself; the last one to leave lets it go."""
    other = await opened(folder.path)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(folder.writing(0))
    async with folder.writing(0):
        async with folder.writing(0):
            pass
        with pytest.raises(BusyError):
            async with other.writing(0):
                pass
    async with other.writing(0):
        pass


async def test_another_object_is_another_writer(folder: DataFolder) -> None:
    """Two objects on one folder keep each other out, and hear of each other's turns."""
    other = await opened(folder.path)
    async with folder.writing(0) as foreign:
        assert not foreign
    async with folder.writing(0) as foreign:
        assert not foreign, "it was ourselves"
    async with other.writing(0) as foreign:
        assert foreign
    async with other.writing(0) as foreign:
        assert not foreign
    async with folder.writing(0) as foreign:
        assert foreign
        with pytest.raises(BusyError, match=f"pid {os.getpid()}"):
            async with other.writing(0.01):
                pass


async def test_what_was_written_before_opening_is_not_foreign(folder: DataFolder) -> None:
    """Nothing is stale of what was not yet read."""
    async with folder.writing(0):
        pass
    later = await opened(folder.path)
    async with later.writing(0) as foreign:
        assert not foreign


async def test_an_error_inside_lets_it_go(folder: DataFolder) -> None:
    """So does a cancellation."""
    with pytest.raises(ZeroDivisionError):
        async with folder.writing(0):
            raise ZeroDivisionError
    with anyio.move_on_after(0.01):
        async with folder.writing(0):
            await anyio.sleep_forever()
    async with (await opened(folder.path)).writing(0):
        pass


async def test_prepare_comes_first(folder: DataFolder) -> None:
    """Each time the lock is taken, and before anybody goes on, also those that join."""
    other = await opened(folder.path)
    async with other.writing(0):
        pass
    told: list[bool] = []
    inside: list[int] = []

    async def prepare(foreign: bool) -> None:
        for _ in range(10):
            await checkpoint()
        assert inside == []
        told.append(foreign)

    async def write(number: int) -> None:
        async with folder.writing(10, prepare=prepare):
            assert told
            inside.append(number)
            await started.wait()

    started = anyio.Event()
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(write, number)
        await anyio.wait_all_tasks_blocked()
        started.set()
    assert (told, sorted(inside)) == ([True], [0, 1, 2])
    inside.clear()
    async with folder.writing(0, prepare=prepare):
        assert told == [True, False]


async def test_a_failed_prepare_is_tried_again(folder: DataFolder) -> None:
    """The lock is let go, and the next one to take it is told the same."""
    other = await opened(folder.path)
    async with other.writing(0):
        pass

    async def fail(foreign: bool) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with folder.writing(0, prepare=fail):
            pass
    async with folder.writing(0) as foreign:
        assert foreign


async def test_a_task_that_cannot_wait_for_another_one(folder: DataFolder) -> None:
    """While one task waits for the lock, another one's own time-out still holds."""
    other = await opened(folder.path)
    async with other.writing(0), anyio.create_task_group() as group:

        async def wait() -> None:
            async with folder.writing(10):
                pass

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(BusyError):
            async with folder.writing(0.01):
                pass
        with pytest.raises(BusyError):
            async with folder.writing(0):
                pass
        group.cancel_scope.cancel()
    async with folder.writing(0):
        pass


async def test_waiting_can_be_cancelled_anywhere(folder: DataFolder) -> None:
    """Wherever it is cut, the lock is not left behind."""
    for number in range(30):
        with anyio.move_on_after(number / 10_000):
            async with folder.writing(1):
                await checkpoint()
    async with (await opened(folder.path)).writing(0):
        pass


# -- the lock, between processes --------------------------------------------------------------------------------------


async def test_another_process_is_waited_for(folder: DataFolder, holder: Process) -> None:
    """The second one goes on when the first has finished, and hears that it wrote; the loop runs on meanwhile."""
    running = await anyio.to_thread.run_sync(holder)
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        threading.Timer(0.1, let_go, [running]).start()
        async with folder.writing(20) as foreign:
            assert foreign
        group.cancel_scope.cancel()
    assert turns > 5


async def test_another_process_that_does_not_finish(folder: DataFolder, holder: Process) -> None:
    """After the time-out the error says who holds the lock."""
    running = await anyio.to_thread.run_sync(holder)
    with pytest.raises(BusyError, match=rf"pid {running.pid}\) is writing"):
        async with folder.writing(0.05):
            pass
    await anyio.to_thread.run_sync(let_go, running)


async def test_a_killed_process_loses_the_lock(folder: DataFolder, holder: Process) -> None:
    """SIGKILL frees it at once, and what the dead one may have written is foreign."""
    running = await anyio.to_thread.run_sync(holder)
    running.kill()
    await anyio.to_thread.run_sync(running.wait)
    async with folder.writing(0) as foreign:
        assert foreign


async def test_a_child_process_does_not_keep_the_lock(folder: DataFolder) -> None:
    """A program started while the lock is held does not inherit it."""
    async with folder.writing(0):
        child = await anyio.to_thread.run_sync(
            lambda: subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        )
    async with (await opened(folder.path)).writing(0):
        pass
    await anyio.to_thread.run_sync(child.communicate, b"\n")
