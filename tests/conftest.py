"""What every test shares: one event loop library, no blocking call in the loop, nothing left behind."""

import asyncio
import gc
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from blockbuster import blockbuster_ctx

import kbchat
from postgresql import PostgresqlServer, run
from servers import ChromaServer, MilvusEngineServer, MilvusServer

pytest.register_assert_rewrite("kbchat.testing")  # The suites there are tests, though they ship with the package.

collect_ignore = ["neighbours"]
"""Run in environments of their own, by `e2e/test_neighbours.py`."""

SHARED_THREADS = re.compile(
    r"AnyIO worker thread"  # they wait for more work until their loop ends
    r"|asyncio_\d+"  # the loop's own executor, likewise
    r"|pytest_timeout|MainThread"
)
GRACE = 2.0
"""Seconds in which what is already ending may end."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def kb(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeBase]:
    """An embedded knowledge base, in `data`."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        yield kb


@pytest.fixture
async def space(kb: kbchat.KnowledgeBase) -> kbchat.KnowledgeSpace:
    """An empty space of it."""
    return await kb.create_space("handbook")


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    """A real Chroma server, shared: use names of collections that no other test uses."""
    with ChromaServer(tmp_path_factory.mktemp("chroma")) as server:
        yield server


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A real Milvus server, shared like the other."""
    with MilvusServer(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture(scope="session")
def milvus_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusEngineServer]:
    """Milvus's engine of 2.5 in a small server, shared like the others."""
    with MilvusEngineServer(tmp_path_factory.mktemp("engine")) as server:
        yield server


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgresqlServer]:
    """A real PostgreSQL, one for each file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It looks for a folder of the desktop at import.
        # Started by root it runs as a user of its own, who must be able to enter the folder.
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        folder.chmod(0o755)
        server = PostgresqlServer(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> str:
    """A schema of its own: as good as a database and quicker."""
    name = f"test_{uuid.uuid4().hex}"
    run(postgresql.url, f"CREATE SCHEMA {name}")
    return f"{postgresql.url}&options=-csearch_path%3D{name}"


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in [name for name in os.environ if name.startswith("KBCHAT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _no_blocking_calls() -> Iterator[None]:
    """A blocking call that kbchat makes in the event loop's thread raises `BlockingError`.

    But for what happens once: a module is imported when it is first used, settings are read when a program starts.
    """
    with blockbuster_ctx([_unloaded("kbchat"), _unloaded("kbchat_aiohttp")]) as blockbuster:
        for function in blockbuster.functions.values():
            function.can_block_in("<frozen importlib._bootstrap>", "_find_and_load")
            function.can_block_in("pydantic_settings/main.py", "__init__")
            function.can_block_in("coverage/collector.py", "lock_data")  # When a new thread begins to be measured.
        yield


def _unloaded(package: str) -> ModuleType:
    """Stands for a package where only its folder is asked for, so that tests load it when they need it."""
    stand_in = ModuleType(package)
    spec = importlib.util.find_spec(package)
    assert spec is not None
    stand_in.__path__ = spec.submodule_search_locations or []
    return stand_in


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test ends the threads it started and closes the sockets it opened.

    `@pytest.mark.leaves("why")` is for tests of a library that cannot be made to.
    """
    if request.node.get_closest_marker("leaves"):
        yield
        return
    threads, sockets = _threads(), _sockets()
    yield
    deadline = time.monotonic() + GRACE
    while (left := (_threads() - threads, _sockets() - sockets)) != (set(), set()):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: threads {sorted(t.name for t in left[0])}, sockets {sorted(left[1])}")
        gc.collect()
        time.sleep(0.02)


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """An async test ends the tasks it started. Every async test uses this."""
    before = asyncio.all_tasks()
    yield
    deadline = time.monotonic() + GRACE
    while left := {task for task in asyncio.all_tasks() - before if not _is_the_runners(task)}:
        assert time.monotonic() < deadline, f"left behind: {left}"
        await asyncio.sleep(0.01)


def _is_the_runners(task: asyncio.Task[object]) -> bool:
    return getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")


def pytest_configure(config: pytest.Config) -> None:
    """What tests start is not measured: it would take half as long again and show little that is not shown here."""
    if not config.getoption("numprocesses"):  # Nor those that tests run in; whoever starts these hands it on to them.
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("server") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))  # The first one of a file waits until its server has started.
        names = getattr(item, "fixturenames", ())
        if "anyio_backend" in names and "no_task_left" not in names:
            # First set up, last torn down: what the other fixtures end is gone by then.
            names.insert(names.index("anyio_backend") + 1, "no_task_left")
    # The quick ones first: whoever starts servers, browsers or processes may take longer than others.
    items.sort(key=lambda item: item.get_closest_marker("timeout") is not None)


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not SHARED_THREADS.match(thread.name)}


def _sockets() -> set[str]:
    """This process's listening and connected internet sockets; empty where /proc does not tell."""
    if sys.platform != "linux":
        return set()
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            own.add(str(descriptor.readlink()))
        except OSError:  # It was the one that listed the folder.
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            # States: 01 established, 0A listening. One that the other side closed waits for its owner's loop to turn.
            if fields[3] in ("01", "0A") and f"socket:[{fields[9]}]" in own:
                found.add(f"{fields[1]} -> {fields[2]} (state {fields[3]}, inode {fields[9]})")
    return found
