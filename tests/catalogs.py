"""Catalogs for tests, and other processes that use them."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kbchat.catalog import Catalog
from kbchat.testing.catalog_samples import a_space, assert_consistent, generation, put
from kbchat.threads import Threads

CHILD = """
import asyncio, resource, sys
from pathlib import Path
from kbchat.catalog import Catalog
from kbchat.testing.catalog_samples import a_space, generation, put
from kbchat.threads import Threads

async def main(path, *arguments):
    catalog = Catalog(Path(path), threads=Threads())
    {body}

asyncio.run(main(*sys.argv[1:]))
"""


Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def child() -> Iterator[Child]:
    """Runs code in another process, which is gone after the test."""
    with ExitStack() as stack:

        def start(body: str, *arguments: object) -> "subprocess.Popen[str]":
            code = CHILD.format(body="\n    ".join(body.strip().splitlines()))
            command = [sys.executable, "-c", code, *map(str, arguments)]
            pipe = subprocess.PIPE
            running = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            stack.enter_context(running)
            stack.callback(running.kill)
            return running

        yield start


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A catalog's file with documents in it, closed."""
    path = tmp_path / "catalog.sqlite"
    catalog = await opened(path)
    space = await a_space(catalog)
    await put(catalog, space, *(generation(f"d{number}", *["text " * 200] * 5) for number in range(40)))
    await catalog.aclose()
    return path


async def opened(path: Path | str, *, timeout: float = 10.0) -> Catalog:
    catalog = Catalog(path, threads=Threads(), timeout=timeout)
    await catalog.open()
    return catalog


@pytest.fixture
async def catalog(file: Path) -> AsyncIterator[Catalog]:
    catalog = await opened(file, timeout=0.2)
    yield catalog
    await catalog.aclose()


async def use(path: Path) -> None:
    """Open, read and write all there is."""
    catalog = await opened(path, timeout=0.5)
    try:
        for space in (await catalog.list_spaces())[0]:
            await assert_consistent(catalog, space.id)
            await put(catalog, space, generation("new", "x"))
    finally:
        await catalog.aclose()
