"""A space goes to another store: nothing is embedded again, it answers all the while, and may be cut short anywhere."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import anyio
import pytest

import kbchat
from kbchat.errors import BusyError, StoreError, StoreUnavailableError
from kbchat.maintenance.moving import Agreement
from kbchat.models import VectorType
from kbchat.stores import Vector, VectorHit, VectorStore
from kbchat.stores.memory import MemoryStore
from servers import ChromaServer, MilvusServer

QUESTION = "Which note is about lighthouse seven?"


@pytest.fixture
async def kb(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeBase]:
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        yield kb


@pytest.fixture
async def space(kb: kbchat.KnowledgeBase) -> kbchat.KnowledgeSpace:
    space = await kb.create_space("handbook", vector_type="Chroma")
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    await space.ingest(
        [kbchat.TextDocument(name=f"{n}{k}", text=f"Note {k} is about lighthouse {n}.") for n in numbers for k in "ab"]
    )
    await space.ingest(kbchat.TextDocument(name="onea", text="It was rewritten, and is about bridges."))
    return space


async def found(space: kbchat.KnowledgeSpace) -> list[tuple[str, float]]:
    return [(hit.name, round(hit.recall_score, 4)) for hit in await space.retrieve(QUESTION, top_k=20)]


def store_of(kb: kbchat.KnowledgeBase, kind: VectorType) -> VectorStore:
    return kb._open.store(kind)


async def test_there_and_back(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    """Each way it answers as before, tells how far the copy agrees, and leaves nothing behind; more can come in."""
    before = await found(space)

    async def refuse(*_: object) -> None:
        raise AssertionError("nothing is to be embedded")

    told: list[Agreement] = []
    kb._open.embedder.embed_documents, embed = refuse, kb._open.embedder.embed_documents  # type: ignore[method-assign]
    for to, away in ((VectorType.MILVUS, VectorType.CHROMA), (VectorType.CHROMA, VectorType.MILVUS)):
        info = await space.migrate(to, before_switch=told.append)
        assert info.vector_type is to
        assert await found(space) == before
        assert info.collection in await store_of(kb, to).list_collections()
        assert info.collection not in await store_of(kb, away).list_collections()
    assert [(it.vectors, it.share) for it in told] == [(20, 1.0), (20, 1.0)]
    kb._open.embedder.embed_documents = embed  # type: ignore[method-assign]
    await space.ingest(kbchat.TextDocument(name="new", text="Another note on lighthouse seven."))
    assert "new" in dict(await found(space))
    assert (await space.check()).findings == ()


@pytest.mark.server
@pytest.mark.timeout(300)
async def test_between_servers(chroma_server: ChromaServer, milvus_server: MilvusServer, tmp_path: Path) -> None:
    """From a Chroma server to a Milvus server and back, by settings alone."""
    settings = kbchat.Settings(
        data_dir=tmp_path,
        chroma_url=chroma_server.url,
        milvus_uri=milvus_server.uri,
        milvus_token=milvus_server.token,
        store_timeout=30,
    )
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("handbook", vector_type="Chroma")
        await space.ingest([kbchat.TextDocument(name=f"n{n}", text=f"Lighthouse {n} shines.") for n in range(20)])
        before = await found(space)
        told: list[Agreement] = []
        for to, away in ((VectorType.MILVUS, VectorType.CHROMA), (VectorType.CHROMA, VectorType.MILVUS)):
            info = await space.migrate(to, before_switch=told.append)
            assert await found(space) == before
            assert info.collection in await store_of(kb, to).list_collections()
            assert info.collection not in await store_of(kb, away).list_collections()
        assert [(it.vectors, it.share) for it in told] == [(20, 1.0), (20, 1.0)]
        await kb.delete_space("handbook")


async def test_an_empty_space_moves(kb: kbchat.KnowledgeBase) -> None:
    """There is nothing to copy; what comes in then goes to the new store."""
    space = await kb.create_space("empty")
    await space.migrate("Milvus")
    await space.ingest(kbchat.TextDocument(name="a", text="A note on lighthouse seven."))
    assert [name for name, _ in await found(space)] == ["a"]


async def test_it_answers_all_the_while(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    """Questions asked during a move are answered, each alike."""
    before = await found(space)
    seen: list[list[tuple[str, float]]] = []
    done = False

    async def ask() -> None:
        other = await kb.get_space("handbook")
        while not done:
            seen.append(await found(other))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        for to in ("Milvus", "Chroma", "Milvus"):
            await space.migrate(to)
        done = True
    assert len(seen) >= 3
    assert all(each == before for each in seen)


class Breaking(MemoryStore):
    """Raises at the call of that name, when it is reached for the nth time."""

    def __init__(self, call: str, after: int) -> None:
        super().__init__()
        self._call = call
        self._left = after
        self.away = False

    def _count(self, call: str) -> None:
        if call == self._call:
            self._left -= 1
            if self._left < 0:
                self._call = ""
                raise StoreError("pulled the plug")

    async def ping(self) -> None:
        if self.away:
            raise StoreUnavailableError("gone")
        await super().ping()

    async def create_collection(self, name: str, *, dimension: int) -> None:
        self._count("create")
        await super().create_collection(name, dimension=dimension)

    async def upsert(self, name: str, ids: Sequence[int], vectors: Vector) -> None:
        self._count("upsert")
        await super().upsert(name, ids, vectors)

    async def flush(self, name: str) -> None:
        self._count("flush")
        await super().flush(name)

    async def query(
        self, name: str, vector: Vector, *, limit: int, among: Sequence[int] | None = None
    ) -> list[VectorHit]:
        self._count("query")
        return await super().query(name, vector, limit=limit, among=among)

    async def drop_collection(self, name: str) -> None:
        self._count("drop")
        await super().drop_collection(name)


@pytest.mark.parametrize(
    ("call", "after"), [("create", 0), ("upsert", 0), ("upsert", 2), ("flush", 0), ("query", 3)], ids=str
)
async def test_a_move_that_is_cut_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    """Wherever it broke off the space is as it was and may change; run again, it is moved whole."""
    monkeypatch.setattr("kbchat.maintenance.moving.BATCH_CHUNKS", 4)
    target = Breaking(call, after)
    stores = {"Chroma": MemoryStore(), "Milvus": target}
    async with kbchat.KnowledgeBase(tmp_path, stores=stores) as kb:
        space = await kb.create_space("handbook")
        await space.ingest([kbchat.TextDocument(name=f"n{n}", text=f"Lighthouse {n} shines.") for n in range(20)])
        with pytest.raises(StoreError, match="plug"):
            await space.migrate("Milvus")
        assert (await space.refresh()).vector_type is VectorType.CHROMA
        assert len(await found(space)) == 20
        await space.delete_document("n3")
        await space.ingest(kbchat.TextDocument(name="new", text="Lighthouse seven is new."))
        before = await found(space)
        await space.migrate("Milvus")
        assert await found(space) == before
        assert await target.count(space.info.collection) == 20
        assert await stores["Chroma"].list_collections() == []
        assert (await space.check()).findings == ()


async def test_what_a_switch_left_is_removed(tmp_path: Path) -> None:
    """Where the old store does not answer after the switch, the space is on the new one; who comes next removes it."""
    source = Breaking("drop", 0)
    async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": source, "Milvus": MemoryStore()}) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(kbchat.TextDocument(name="a", text="A note on lighthouse seven."))
        await space.migrate("Milvus")
        assert (await space.refresh()).vector_type is VectorType.MILVUS
        assert len(await found(space)) == 1
        assert await source.list_collections() != []
        await space.migrate("Milvus")
        assert await source.list_collections() == []


class Forgetful(MemoryStore):
    async def query(
        self, name: str, vector: Vector, *, limit: int, among: Sequence[int] | None = None
    ) -> list[VectorHit]:
        return (await super().query(name, vector, limit=limit, among=among))[: limit // 2]


async def test_a_copy_that_finds_other_things_is_not_used(tmp_path: Path) -> None:
    """The error says how far it agreed, and the space stays where it was."""
    async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": MemoryStore(), "Milvus": Forgetful()}) as kb:
        space = await kb.create_space("handbook")
        await space.ingest([kbchat.TextDocument(name=f"n{n}", text=f"Lighthouse {n} shines.") for n in range(40)])
        with pytest.raises(StoreError, match="finds only 50%"):
            await space.migrate("Milvus")
        assert (await space.refresh()).vector_type is VectorType.CHROMA
        assert len(await found(space)) == 20


async def test_a_space_that_changes_meanwhile_is_not_switched(tmp_path: Path) -> None:
    """Should another server have taken over the writing, the move says so and nothing is switched."""
    async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": MemoryStore(), "Milvus": MemoryStore()}) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(kbchat.TextDocument(name="a", text="A note on lighthouse seven."))
        catalog = kb._open.catalog
        info = await space.refresh()
        with pytest.raises(BusyError):
            await catalog.move_space(
                space.id, VectorType.MILVUS, words="embedded", writer="w", revision=info.revision - 1
            )
        assert (await space.refresh()).vector_type is VectorType.CHROMA


def test_the_command_tells_of_the_agreement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`kbchat migrate` prints it and the space as it is then."""
    from kbchat.cli import main

    run: Callable[[list[str]], int] = main
    (tmp_path / "a.md").write_text("Keys are rotated every ninety days.")
    where = ["--data-dir", str(tmp_path / "data")]
    assert run(["ingest", "handbook", str(tmp_path / "a.md"), *where]) == 0
    assert run(["migrate", "handbook", "--to", "Milvus", *where]) == 0
    said = capsys.readouterr()
    assert "finds 100.0%" in said.err
    assert "Milvus" in said.out
    assert run(["search", "handbook", "How often are keys rotated?", *where]) == 0
