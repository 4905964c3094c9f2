"""Several servers on one PostgreSQL and one Chroma server, each with nothing but scratch in its own folder."""

import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import anyio
import pytest

import kbchat
from handbook import QUESTIONS, TEXTS, documents
from kbchat.errors import BusyError, CatalogUnavailableError, SpaceNotFoundError
from kbchat.settings import Settings
from postgresql import PostgresqlServer, needs_postgresql
from servers import ChromaServer

pytestmark = [pytest.mark.server, needs_postgresql]

Open = Callable[[str], kbchat.KnowledgeBase]


@pytest.fixture
def settings(postgresql_url: str, chroma_server: ChromaServer, tmp_path: Path) -> Callable[[str], Settings]:
    """The settings of the server of that name."""
    return lambda name: Settings(
        data_dir=tmp_path / name, catalog_url=postgresql_url, chroma_url=chroma_server.url, busy_timeout=0.2
    )


@pytest.fixture
async def pair(
    settings: Callable[[str], Settings],
) -> AsyncIterator[tuple[kbchat.KnowledgeBase, kbchat.KnowledgeBase]]:
    """Two servers."""
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(kbchat.KnowledgeBase(settings=settings(name))) for name in ("one", "other")
        ]
        yield one, other


async def answers(space: kbchat.KnowledgeSpace) -> list[list[tuple[str, int, float]]]:
    found = [await space.retrieve(question, top_k=10) for question in QUESTIONS]
    return [[(hit.name, hit.chunk_id, hit.recall_score) for hit in hits] for hits in found]


Pair = tuple[kbchat.KnowledgeBase, kbchat.KnowledgeBase]


async def test_servers_answer_alike(pair: Pair) -> None:
    """What one server took in, replaced and removed, both answer from with the same hits and scores."""
    one, other = pair
    space = await one.create_space("handbook")
    await space.ingest(documents(TEXTS))
    there = await other.get_space("handbook")
    first = await answers(there)
    assert first == await answers(space)
    assert first[0][0][0] == "keys"
    assert first[2][0][0] == "密钥"

    await there.ingest(documents({"keys": "Lunch is what keys are rotated at.", "more": "Boats are under bridges."}))
    await there.delete_document("ships")
    second = await answers(space)
    assert second == await answers(there)
    assert [hit[0] for hit in second[3]][:1] == ["more"]
    assert "ships" not in {hit[0] for hits in second for hit in hits}


async def test_a_server_without_its_scratch_answers_the_same(
    pair: Pair, settings: Callable[[str], Settings], tmp_path: Path
) -> None:
    """A folder that is lost, while a server runs or between two, is made again from the catalog."""
    one, _ = pair
    space = await one.create_space("handbook")
    await space.ingest(documents(TEXTS))
    before = await answers(space)
    shutil.rmtree(tmp_path / "one" / "lexical")
    assert await answers(space) == before
    async with kbchat.KnowledgeBase(settings=settings("new")) as new:
        assert await answers(await new.get_space("handbook")) == before
    async with kbchat.KnowledgeBase(settings=settings("new")) as again:
        assert await answers(await again.get_space("handbook")) == before


async def test_an_ingest_in_progress_is_not_taken(pair: Pair) -> None:
    """Another server that writes to the space meanwhile is told to wait; what was begun is published."""
    one, other = pair
    space = await one.create_space("handbook")
    there = await other.get_space("handbook")
    refused = []

    async def meanwhile() -> None:
        try:
            await there.ingest(documents({"lunch": "Lunch."}))
        except BusyError as error:
            refused.append(str(error))

    async with one._open.writing(space.id):
        catalog = one._open.catalog
        await meanwhile()
        assert await catalog.collectable(space.id, pending=True) == {}
    assert len(refused) == 1
    assert (await there.ingest(documents({"lunch": "Lunch."}))).added == 1


async def test_one_document_from_two_servers(pair: Pair) -> None:
    """Both ingest it at once: one live generation, and both answer from that one."""
    one, other = pair
    space = await one.create_space("handbook")
    there = await other.get_space("handbook")

    async def ingest(into: kbchat.KnowledgeSpace, text: str) -> None:
        while True:
            try:
                await into.ingest(documents({"keys": text}))
                return
            except BusyError:
                continue

    async with anyio.create_task_group() as group:
        group.start_soon(ingest, space, "Keys are rotated on Mondays.")
        group.start_soon(ingest, there, "Keys are rotated on Tuesdays.")
    info = await space.refresh()
    assert (info.document_count, info.chunk_count) == (1, 1)
    assert await answers(space) == await answers(there)
    assert (await one._open.catalog.collectable(space.id, pending=True)) == {}


async def test_a_space_deleted_elsewhere_is_gone(pair: Pair) -> None:
    """The other server says so, and does not hang."""
    one, other = pair
    space = await one.create_space("handbook")
    await space.ingest(documents(TEXTS))
    there = await other.get_space("handbook")
    await answers(there)
    await one.delete_space("handbook")
    with pytest.raises(SpaceNotFoundError):
        await there.retrieve("keys")
    with pytest.raises(SpaceNotFoundError):
        await there.ingest(documents(TEXTS))


@pytest.mark.timeout(300)
async def test_postgresql_restarted_under_load(pair: Pair, postgresql: PostgresqlServer) -> None:
    """Questions and an ingest fail with a clear error or succeed; afterwards all is as it should be, nothing that was
    acknowledged is lost, and nobody had to be started anew."""
    one, other = pair
    space = await one.create_space("handbook")
    await space.ingest(documents(TEXTS))
    there = await other.get_space("handbook")
    before = await answers(there)
    acknowledged: set[str] = set()
    done = False

    async def ask() -> None:
        while not done:
            with suppress(CatalogUnavailableError):
                await there.retrieve(QUESTIONS[0])

    async def write() -> None:
        while not done:
            name = f"note{len(acknowledged)}"
            with suppress(CatalogUnavailableError, BusyError):
                await space.ingest(documents({name: f"{name} is about a lighthouse."}))
                acknowledged.add(name)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(write)
        await more_than(acknowledged, 0)
        await anyio.to_thread.run_sync(postgresql.restart)
        await more_than(acknowledged, len(acknowledged))
        done = True
    names = {document.name for document in await there.documents()} - set(TEXTS)
    assert acknowledged <= names <= acknowledged | {f"note{len(acknowledged)}"}
    for name in names:
        await space.delete_document(name)
    assert best(await answers(space)) == best(await answers(there)) == best(before)


async def more_than(names: set[str], number: int) -> None:
    while len(names) <= number:
        await anyio.sleep(0.01)


def best(found: list[list[tuple[str, int, float]]]) -> list[list[str]]:
    return [[name for name, *_ in hits[:1]] for hits in found]


async def test_the_url_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    postgresql_url: str,
    chroma_server: ChromaServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`KBCHAT_CATALOG_URL` is enough; the folder holds scratch alone; the password is in no log and in no error."""
    monkeypatch.setenv("KBCHAT_CATALOG_URL", postgresql_url.replace("postgres:@", "postgres:hush-hush@"))
    monkeypatch.setenv("KBCHAT_CHROMA_URL", chroma_server.url)
    with caplog.at_level(logging.DEBUG):
        async with kbchat.KnowledgeBase(tmp_path) as kb:
            space = await kb.create_space("handbook")
            await space.ingest(documents(TEXTS))
            assert (await space.retrieve("How are keys rotated?"))[0].name == "keys"
        assert {path.name for path in tmp_path.iterdir()} <= {"lexical", "write.lock"}
        monkeypatch.setenv("KBCHAT_CATALOG_URL", "postgresql://me:hush-hush@127.0.0.1:1/kbchat")
        with pytest.raises(CatalogUnavailableError) as caught:
            async with kbchat.KnowledgeBase(tmp_path):
                pass
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "hush" not in f"{chain!s}{chain!r}"
        chain = chain.__cause__ or chain.__context__
    assert "hush" not in caplog.text
