"""Who has lost the writer's lock without knowing cannot spoil what others do, nor lose what it says is done."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import kbchat
from kbchat.catalog import Catalog, Leftover, PendingGeneration
from kbchat.errors import BusyError, CatalogUnavailableError
from kbchat.models import SpaceInfo, VectorType
from kbchat.stores.memory import MemoryStore
from kbchat.testing.catalog_samples import PIN, a_space, generation, put
from kbchat.threads import Threads
from postgresql import CUT_OTHERS, PostgresqlServer, needs_postgresql, run
from test_leftovers import Shared

pytestmark = [pytest.mark.server, needs_postgresql]

LUNCH = kbchat.TextDocument(name="lunch", text="Lunch is served at noon in the cafeteria.")

Write = Callable[[Catalog, SpaceInfo, PendingGeneration], Awaitable[object]]
WRITES: dict[str, Write] = {
    "begin": lambda catalog, space, begun: catalog.begin_generations(space.id, [generation("b", "y")]),
    "extend": lambda catalog, space, begun: catalog.extend_generation(space.id, begun.id, generation("a", "y").chunks),
    "publish": lambda catalog, space, begun: catalog.publish(space.id, [begun.id], writer="w"),
    "abandon": lambda catalog, space, begun: catalog.abandon(space.id),
    "collect": lambda catalog, space, begun: catalog.collect(space.id, [begun.id]),
    "note_leftover": lambda catalog, space, begun: catalog.note_leftover(space.id, Leftover(VectorType.MILVUS, "kb-x")),
    "replace_collection": lambda catalog, space, begun: catalog.replace_collection(
        space.id, collection="kb-new", pin=PIN, writer="w"
    ),
    "move_space": lambda catalog, space, begun: catalog.move_space(
        space.id, VectorType.MILVUS, words="embedded", writer="w", revision=space.revision
    ),
}


async def opened(url: str) -> Catalog:
    catalog = Catalog(url, threads=Threads())
    await catalog.open()
    return catalog


@pytest.mark.parametrize("write", WRITES)
async def test_writes_out_of_turn_are_refused(postgresql_url: str, write: str) -> None:
    """As soon as another server has taken the lock, which it may have let go of again. Until then they go through."""
    catalog, other = await opened(postgresql_url), await opened(postgresql_url)
    space = await a_space(catalog)
    try:
        with pytest.raises(CatalogUnavailableError, match="held the writer's lock was lost"):
            async with catalog.writing(space.id, timeout=0):
                [begun] = await catalog.begin_generations(space.id, [generation("a", "x")])
                await anyio.to_thread.run_sync(run, postgresql_url, CUT_OTHERS)
                await put(catalog, space, generation("still ours", "x"))
                async with other.writing(space.id, timeout=0):
                    pass
                before = await catalog.get_space(space.id)
                with pytest.raises(BusyError, match="took over the writing to space 'handbook'"):
                    await WRITES[write](catalog, before, begun)
                assert await catalog.get_space(space.id) == before
                assert await catalog.collectable(space.id, pending=True) == {begun.id: list(begun.chunk_ids)}
                assert await catalog.leftovers(space.id) == []
        async with catalog.writing(space.id, timeout=0):
            await WRITES[write](catalog, before, begun)
    finally:
        await catalog.aclose()
        await other.aclose()


Iterate = Callable[..., AsyncIterator[list[int]]]


class Stopping(MemoryStore):
    """One that calls `stop` when vectors were written."""

    stop: Callable[[], Awaitable[object]] | None = None

    async def flush(self, name: str) -> None:
        await super().flush(name)
        stop, self.stop = self.stop, None
        if stop is not None:
            await stop()


@pytest.fixture
def stores() -> dict[str, Stopping]:
    return {"Chroma": Stopping(), "Milvus": Stopping()}


@pytest.fixture
async def two(
    postgresql_url: str, tmp_path: Path, stores: dict[str, Stopping]
) -> AsyncIterator[list[kbchat.KnowledgeSpace]]:
    """A space as two servers have it, who share all but their folders."""
    shared = {kind: Shared(store) for kind, store in stores.items()}
    settings = [kbchat.Settings(data_dir=tmp_path / name, catalog_url=postgresql_url) for name in ("one", "two")]
    async with (
        kbchat.KnowledgeBase(settings=settings[0], stores=stores) as one,
        kbchat.KnowledgeBase(settings=settings[1], stores=shared) as other,
    ):
        space = await one.create_space("handbook")
        await space.ingest([kbchat.TextDocument(name="keys", text="Keys are rotated every ninety days by the vault.")])
        yield [space, await other.get_space("handbook")]


Act = Callable[[kbchat.KnowledgeSpace], Awaitable[object]]
ACTS: dict[str, Act] = {
    "reembed": lambda space: space.reembed(),
    "migrate": lambda space: space.migrate("Milvus"),
    "fsck": lambda space: space.check(repair=True),
}


@pytest.mark.parametrize("act", ACTS)
async def test_what_is_said_to_be_done_has_its_vectors(
    postgresql: PostgresqlServer, two: list[kbchat.KnowledgeSpace], stores: dict[str, Stopping], act: str
) -> None:
    """A server whose lock's connection was cut, between its vectors and their publication, while another one puts a
    new collection in the old one's place: it says so, and the document comes in when it is repeated."""
    space, there = two

    async def stop() -> None:
        await anyio.to_thread.run_sync(run, postgresql.url, CUT_OTHERS)
        await ACTS[act](there)

    stores["Chroma"].stop = stop
    with pytest.raises(BusyError, match="another server took over"):
        await space.ingest([LUNCH])
    assert [document.name for document in await there.documents()] == ["keys"]
    assert (await space.ingest([LUNCH])).added == 1
    assert [it for it in (await space.check()).findings if it.kind.startswith("vectors")] == []
    assert (await there.retrieve("When is lunch served?", top_k=1))[0].name == "lunch"


async def test_a_repair_takes_nothing_that_is_being_written(
    postgresql: PostgresqlServer, two: list[kbchat.KnowledgeSpace], stores: dict[str, Stopping]
) -> None:
    """Also one that is at it still when its own lock is lost, and another server takes a document in."""
    space, there = two

    async def stop() -> None:
        await anyio.to_thread.run_sync(run, postgresql.url, CUT_OTHERS)
        await space.ingest([LUNCH])

    there._parts.store(VectorType.CHROMA).iterate = _before(there, stop)  # type: ignore[method-assign]
    with pytest.raises(CatalogUnavailableError, match="held the writer's lock was lost"):
        await there.check(repair=True)
    assert (await space.check()).findings == ()


def _before(space: kbchat.KnowledgeSpace, stop: Callable[[], Awaitable[object]]) -> Iterate:
    """A store's `iterate`, before which something else happens."""
    iterate = space._parts.store(VectorType.CHROMA).iterate

    async def stopped(name: str, *, batch: int = 1000) -> AsyncIterator[list[int]]:
        await stop()
        async for page in iterate(name, batch=batch):
            yield page

    return stopped
