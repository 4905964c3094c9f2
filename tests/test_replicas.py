"""A server's own index of words on PostgreSQL: shared with commands on its machine, and beside those of others."""

import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

import kbchat
from kbchat import upkeep
from kbchat.errors import BusyError
from kbchat.lexical import LexicalEntry
from kbchat.lexical.tantivy import TantivyIndex
from kbchat.models import VectorType
from kbchat.stores.memory import MemoryStore
from kbchat.text.analysis import analyse
from kbchat.threads import Threads
from postgresql import needs_postgresql
from servers import ChromaServer
from test_leftovers import Shared

OTHER: Any = {"name": "other", "owner": "", "vector_type": VectorType.CHROMA, "desc": "", "context": None}
KEYS = kbchat.TextDocument(name="keys", text="Keys are rotated every ninety days by the vault.")
LUNCH = kbchat.TextDocument(name="lunch", text="Lunch is served at noon in the cafeteria.")


async def test_a_writer_is_waited_for(tmp_path: Path) -> None:
    """As long as is said: whoever was cancelled while it merged holds it for longer than the data's lock."""
    holder = TantivyIndex(tmp_path, threads=Threads())
    patient, hasty = (TantivyIndex(tmp_path, threads=Threads(), timeout=seconds) for seconds in (60.0, 0.0))
    await holder.upsert("s", [LexicalEntry(1, analyse("keys"))])
    with pytest.raises(BusyError, match="another process is writing"):
        await hasty.delete("s", [1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(patient.upsert, "s", [LexicalEntry(2, analyse("keys"))])
        await checkpoint()
        await holder.commit("s")
    await patient.commit("s")
    assert await hasty.count("s") == 2
    for index in (holder, patient, hasty):
        await index.aclose()


class World:
    """Three that use one catalog and store: a server, a command with the server's folder, another server."""

    def __init__(self, server: kbchat.KnowledgeSpace, command: kbchat.KnowledgeSpace, far: kbchat.KnowledgeSpace):
        self.server, self.command, self.far = server, command, far


@pytest.fixture
async def world(postgresql_url: str, tmp_path: Path) -> AsyncIterator[World]:
    store = MemoryStore()

    def opened(name: str, timeout: float) -> kbchat.KnowledgeBase:
        settings = kbchat.Settings(data_dir=tmp_path / name, catalog_url=postgresql_url, busy_timeout=timeout)
        return kbchat.KnowledgeBase(settings=settings, stores={"Chroma": Shared(store)})

    async with opened("shared", 0.2) as server, opened("shared", 60) as command, opened("far", 60) as far:
        space = await far.create_space("handbook")
        await space.ingest(KEYS)
        world = World(*[await kb.get_space("handbook") for kb in (server, command, far)])
        assert await names(world.server, "keys") == ["keys"]
        yield world


async def names(space: kbchat.KnowledgeSpace, question: str) -> list[str]:
    return [found.name for found in await space.retrieve(question, top_k=1)]


@pytest.mark.server
@needs_postgresql
async def test_a_command_waits_for_its_servers_index(world: World) -> None:
    """While that is written, and takes its documents in then."""
    lexical = world.server._parts.lexical.usual
    upsert, begun, go_on = lexical.upsert, anyio.Event(), anyio.Event()

    async def stopped(name: str, entries: Sequence[LexicalEntry]) -> None:
        await upsert(name, entries)
        begun.set()
        await go_on.wait()

    lexical.upsert = stopped  # type: ignore[method-assign]
    await world.far.ingest(LUNCH)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names, world.server, "lunch")
        await begun.wait()
        tasks.start_soon(world.command.ingest, kbchat.TextDocument(name="tea", text="Tea is served at four."))
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    lexical.upsert = upsert  # type: ignore[method-assign]
    assert [await names(world.server, word) for word in ("lunch", "tea")] == [["lunch"], ["tea"]]


@pytest.mark.server
@needs_postgresql
async def test_a_server_answers_while_a_command_has_its_folder(world: World) -> None:
    """From an index that lacks nothing; where it lacks something that is said, and nothing is written beside them."""
    async with world.command._parts.folder.writing(0):
        await world.far.add_document("later", text="To be indexed later.")
        assert await names(world.server, "keys") == ["keys"]
        await world.far.ingest(LUNCH)
        with pytest.raises(BusyError, match="another process"):
            await names(world.server, "lunch")
    assert await names(world.server, "lunch") == ["lunch"]


@pytest.mark.server
@needs_postgresql
async def test_a_machine_that_was_not_asked_yet_is_sound(world: World, postgresql_url: str, tmp_path: Path) -> None:
    """Its index of words lags, which is no damage; one that lost something is damaged."""
    await world.far.ingest(LUNCH)
    await world.far.delete_document("keys")
    assert (await world.server.check()).findings == ()
    parts = world.server._parts
    await parts.lexical.delete(
        world.server.info.lexical_name, [c.id for c in await world.server.document_chunks("lunch")]
    )
    await parts.lexical.commit(world.server.info.lexical_name)
    assert [(it.kind, it.count) for it in (await world.server.check()).findings] == [("terms_missing", 1)]


@pytest.mark.server
@needs_postgresql
async def test_words_of_a_deleted_space_are_removed_everywhere(
    world: World, postgresql_url: str, tmp_path: Path
) -> None:
    """By a server that goes on, when it next catches up with some space, and by one that starts; no other's are."""
    far, name = world.far._parts, world.far.info.lexical_name
    other = kbchat.KnowledgeSpace(far, await far.catalog.create_space(**OTHER))
    await other.ingest(KEYS)
    shared, late = tmp_path / "shared" / "lexical", tmp_path / "late"
    shutil.copytree(tmp_path / "shared", late)
    async with far.writing(world.far.id):
        await upkeep.remove(far, await far.catalog.begin_space_deletion(world.far.id))
    assert [path.name for path in shared.iterdir()] == [name]
    there = kbchat.KnowledgeSpace(world.server._parts, other.info)
    assert await names(there, "keys") == ["keys"]
    assert [path.name for path in shared.iterdir()] == [other.info.lexical_name]
    settings = kbchat.Settings(data_dir=late, catalog_url=postgresql_url)
    async with kbchat.KnowledgeBase(settings=settings, stores={"Chroma": MemoryStore()}):
        assert list((late / "lexical").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_files_that_another_process_removed_are_let_go_of(tmp_path: Path) -> None:
    """At the latest when another space is searched."""
    one, other = (TantivyIndex(tmp_path, threads=Threads()) for _ in range(2))
    for name in ("space-1", "space-2"):
        await one.upsert(name, [LexicalEntry(1, analyse("keys"))])
        await one.commit(name)
    assert (await other.search("space-1", analyse("keys"), limit=1)).hits
    await one.aclose()
    shutil.rmtree(tmp_path / "space-1")
    assert (await other.search("space-2", analyse("keys"), limit=1)).hits
    held = await anyio.to_thread.run_sync(Path("/proc/self/maps").read_text)
    assert [line for line in held.splitlines() if str(tmp_path / "space-1") in line] == []
    await other.aclose()


COMMAND = """
import asyncio, sys
import kbchat

async def main(folder, catalog, chroma):
    settings = kbchat.Settings(data_dir=folder, catalog_url=catalog, chroma_url=chroma, busy_timeout=60)
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.get_space("handbook")
        for version in range(4):
            texts = [f"Keys {n} are rotated by the vault, version {version}. " * 9 for n in range(150)]
            await space.ingest([kbchat.TextDocument(name=f"k{n}", text=text) for n, text in enumerate(texts)])

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.server
@needs_postgresql
async def test_a_process_with_the_servers_folder(
    postgresql_url: str, chroma_server: ChromaServer, tmp_path: Path
) -> None:
    """One that takes documents in again and again comes to its end, and every question meanwhile to an answer."""
    settings = kbchat.Settings(data_dir=tmp_path, catalog_url=postgresql_url, chroma_url=chroma_server.url)
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(KEYS)
        assert await names(space, "keys") == ["keys"]
        command = [sys.executable, "-c", COMMAND, str(tmp_path), postgresql_url, chroma_server.url]
        answers: Counter[str] = Counter()
        async with await anyio.open_process(command, stdout=None, stderr=None) as process:
            while process.returncode is None:
                answers[f"{len(await names(space, 'How are keys rotated?'))} found"] += 1
        assert (process.returncode, set(answers)) == (0, {"1 found"})
        await space.ingest(LUNCH)
        assert await names(space, "lunch") == ["lunch"]
        await kb.delete_space("handbook")
