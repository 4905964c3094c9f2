"""Chunks are made alike in threads and in worker processes; a process that dies or hangs costs one document at most."""

import os
import signal
from collections.abc import AsyncIterator

import anyio
import pytest

from kbchat.chunking import Splitting
from kbchat.embedders.static import StaticEmbedder
from kbchat.ingestion import making
from kbchat.ingestion.making import Made, Maker
from kbchat.models import Block, LoadedDocument
from kbchat.processes import Processes
from kbchat.threads import Threads

# Processes are started here; how long that takes depends on what else the machine does.
pytestmark = [pytest.mark.timeout(200)]

TEXT = "# Keys\n\nThe keys of the vault are rotated every ninety days. 密钥每九十天轮换一次。\n\n" * 400


def documents(number: int = 3) -> list[LoadedDocument]:
    blocks = (Block(0, 2000, {"page": 1}), Block(2000, len(TEXT), {"page": 2, "headings": ["Vault"]}))
    given = [LoadedDocument(f"{TEXT}\n\nNumber {each}.", metadata={}, markup="markdown") for each in range(number)]
    return [LoadedDocument(TEXT, metadata={"title": "T"}, blocks=blocks), *given]


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    pool = Processes(threads=Threads(8), limit=2)
    yield pool
    await pool.aclose()


def maker(processes: Processes, *, seconds: float = 60.0) -> Maker:
    threads = Threads(8)
    static = StaticEmbedder(threads=threads)
    return Maker(
        threads=threads, processes=processes, static=static, splitting=Splitting(), embeds=True, seconds=seconds
    )


async def test_processes_make_what_threads_make(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte, and in the order of the documents."""
    alone = await maker(processes).make(documents())
    assert not processes.is_warm
    monkeypatch.setattr(making, "WORTH_A_PROCESS", 1)
    assert await maker(processes).make(documents()) == alone
    assert processes.is_warm
    assert [isinstance(each, Made) for each in alone] == [True] * 4
    assert await maker(processes).make([]) == []


async def test_a_process_that_is_killed_loses_no_document(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had to do is done by another one."""
    monkeypatch.setattr(making, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(making, "WORTH_ASKING", 1)
    expected = await maker(processes).make(documents())
    for worker in processes._idle:
        os.kill(worker._process.pid, signal.SIGKILL)
    assert await maker(processes).make(documents()) == expected


async def test_what_takes_too_long_is_given_up(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reason that names the setting; the process is killed."""
    monkeypatch.setattr(making, "WORTH_A_PROCESS", 1)
    lost = await maker(processes, seconds=0.0001).make(documents(1))
    assert all(isinstance(reason, str) and "(document_timeout)" in reason for reason in lost)
    assert not processes.is_warm


async def test_a_cancelled_caller_leaves_no_process_at_work(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are killed, whatever they are at, and others take their place."""
    monkeypatch.setattr(making, "WORTH_A_PROCESS", 1)
    await maker(processes).make(documents())
    at_work = [*processes._idle]
    big = [LoadedDocument(TEXT * 60, metadata={}, markup="markdown") for _ in at_work]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(maker(processes).make, big)
        while processes._idle:
            await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    assert at_work
    assert not any(worker.is_alive for worker in at_work)
    assert [type(each) for each in await maker(processes).make(documents(1))] == [Made, Made]
