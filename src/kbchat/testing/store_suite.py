"""What every vector store must hold, as a test class to inherit.

    class TestMyStore(PersistentStoreSuite):
        @pytest.fixture
        async def open_store(self, tmp_path):
            return lambda: MyStore(tmp_path)

Needs pytest with a marker `slow`, anyio's plugin with `anyio_mode = "auto"`, pytest-timeout and blockbuster. A subclass
overrides nothing but fixtures and marks what its store cannot do with `xfail(reason=...)`.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable

import anyio
import numpy as np
import pytest
from blockbuster import blockbuster_ctx

from kbchat.errors import CollectionNotFoundError, InvalidInputError, StoreError, VectorError
from kbchat.stores import Vector, VectorStore
from kbchat.testing.among_suite import AmongSuite
from kbchat.testing.vectors import DIMENSION, TOLERANCE, Indexed, alike, all_ids, assert_best, keeps_all, some_vectors


class VectorStoreSuite(AmongSuite):
    """What holds for every store. A subclass gives the fixture `store`, or `open_store` to make one."""

    @pytest.fixture
    def open_store(self) -> Callable[[], VectorStore]:
        raise NotImplementedError("give a fixture `open_store` that returns a function which opens a store")

    @pytest.fixture
    async def store(self, open_store: Callable[[], VectorStore]) -> AsyncIterator[VectorStore]:
        store = open_store()
        yield store
        await store.aclose()

    @pytest.fixture
    async def name(self, store: VectorStore) -> AsyncIterator[str]:
        """A name that no collection has yet; what the test makes of it is dropped."""
        name = f"kb-{uuid.uuid4().hex}"
        yield name
        with contextlib.suppress(StoreError):  # the test may have closed the store
            await store.drop_collection(name)

    @pytest.fixture
    def indexed(self) -> Indexed:
        """Given the name of a collection, returns when all in it is indexed: for stores that do that in the background,
        and would be searched one by one until then."""
        return lambda name: anyio.lowlevel.checkpoint()

    @pytest.fixture
    async def kb(self, store: VectorStore, name: str) -> str:
        """The name of an empty collection."""
        await store.create_collection(name, dimension=DIMENSION)
        return name

    # -- collections -------------------------------------------------------------------------------------------------

    async def test_new_collection_is_empty(self, store: VectorStore, kb: str) -> None:
        """A new collection is listed, holds nothing, and a question to it finds nothing."""
        assert kb in await store.list_collections()
        assert await store.count(kb) == 0
        assert await store.query(kb, some_vectors(1)[0], limit=3) == []
        assert await store.fetch(kb, [1]) == {}
        assert await all_ids(store, kb) == []

    async def test_create_again_keeps_what_is_there(self, store: VectorStore, kb: str) -> None:
        """Creating a collection that is there changes nothing, with another dimension it is refused."""
        await store.upsert(kb, [1], some_vectors(1))
        await store.create_collection(kb, dimension=DIMENSION)
        with pytest.raises(VectorError):
            await store.create_collection(kb, dimension=DIMENSION + 1)
        assert await store.count(kb) == 1

    @pytest.mark.parametrize(
        "name", ["", "kb", "kb-", "-kb", "1kb", "kb_1", "kb.1", "kb 1", "知识库", "k" * 64, "kb\n1"]
    )
    async def test_refused_names(self, store: VectorStore, name: str) -> None:
        """A name that some store could not take is refused by all."""
        with pytest.raises(InvalidInputError) as caught:
            await store.create_collection(name, dimension=DIMENSION)
        assert caught.value.field == "name"

    @pytest.mark.parametrize("dimension", [-1, 0, 32769])
    async def test_refused_dimensions(self, store: VectorStore, name: str, dimension: int) -> None:
        """A dimension that no vector has is refused, and no collection is made."""
        with pytest.raises(VectorError):
            await store.create_collection(name, dimension=dimension)
        assert name not in await store.list_collections()

    async def test_drop(self, store: VectorStore, kb: str) -> None:
        """A dropped collection is gone with all in it; one of that name may follow, of any dimension."""
        await store.upsert(kb, [1], some_vectors(1))
        await store.drop_collection(kb)
        assert kb not in await store.list_collections()
        await store.drop_collection(kb)
        await store.create_collection(kb, dimension=DIMENSION + 1)
        assert await store.count(kb) == 0
        await store.upsert(kb, [2], some_vectors(1, dimension=DIMENSION + 1))
        assert await all_ids(store, kb) == [2]

    async def test_unknown_collection(self, store: VectorStore, name: str) -> None:
        """Every method on a collection that is not there says so, and which."""
        vectors = some_vectors(1)
        calls = (
            lambda: store.upsert(name, [1], vectors),
            lambda: store.upsert(name, [], vectors[:0]),
            lambda: store.delete(name, [1]),
            lambda: store.delete(name, []),
            lambda: store.query(name, vectors[0], limit=1),
            lambda: store.fetch(name, [1]),
            lambda: store.fetch(name, []),
            lambda: store.count(name),
            lambda: store.flush(name),
            lambda: all_ids(store, name),
        )
        for call in calls:
            with pytest.raises(CollectionNotFoundError) as caught:
                await call()
            assert caught.value.collection == name

    async def test_collections_are_apart(self, store: VectorStore, kb: str) -> None:
        """What is written to one collection is not in another, and dropping one leaves the other."""
        other = kb[:-1] + "-2"
        vectors = some_vectors(2)
        await store.create_collection(other, dimension=DIMENSION)
        await store.upsert(kb, [1], vectors[:1])
        await store.upsert(other, [1, 2], vectors)
        assert await all_ids(store, kb) == [1]
        await store.drop_collection(other)
        assert await all_ids(store, kb) == [1]

    # -- writing -----------------------------------------------------------------------------------------------------

    async def test_fetch_returns_what_was_written(self, store: VectorStore, kb: str) -> None:
        """Vectors come back as they were but for rounding, whatever their length."""
        vectors = some_vectors(20)
        await store.upsert(kb, range(20), vectors)
        found = await store.fetch(kb, [3, 19, 20, 3])
        assert sorted(found) == [3, 19]
        for key, vector in found.items():
            assert vector.dtype == np.float32
            assert vector.shape == (DIMENSION,)
            assert alike(vector, vectors[key])

    async def test_upsert_replaces(self, store: VectorStore, kb: str) -> None:
        """Writing an id again replaces its vector, for fetching as for searching."""
        vectors = some_vectors(2)
        await store.upsert(kb, [1, 2], vectors)
        await store.upsert(kb, [2, 1], vectors)
        assert await store.count(kb) == 2
        assert alike((await store.fetch(kb, [1]))[1], vectors[1])
        (hit,) = await store.query(kb, vectors[0], limit=1)
        assert hit.id == 2
        assert hit.score == pytest.approx(1.0, abs=TOLERANCE)

    async def test_last_duplicate_wins(self, store: VectorStore, kb: str) -> None:
        """Of two records with one id in one call the last is kept."""
        vectors = some_vectors(3)
        await store.upsert(kb, [7, 8, 7], vectors)
        assert await store.count(kb) == 2
        assert alike((await store.fetch(kb, [7]))[7], vectors[2])

    async def test_any_array_is_taken(self, store: VectorStore, kb: str) -> None:
        """Doubles and arrays that are not contiguous are written as the float32 they stand for."""
        vectors = some_vectors(4).astype(np.float64)[::2]
        await store.upsert(kb, [1, 2], vectors)  # type: ignore[arg-type]
        assert alike((await store.fetch(kb, [2]))[2], vectors[1])

    @pytest.mark.parametrize(
        "bad",
        [
            np.zeros(DIMENSION),
            np.full(DIMENSION, np.nan),
            np.full(DIMENSION, np.inf),
            np.full(DIMENSION, 1e-30),
            np.full(DIMENSION, 1e30),
            np.full(DIMENSION, 1e300),
        ],
        ids=["zero", "nan", "inf", "tiny", "huge", "too-huge"],
    )
    async def test_vectors_without_direction(self, store: VectorStore, kb: str, bad: Vector) -> None:
        """A vector without a direction is refused with all that came with it, and as a question."""
        vectors = np.vstack([some_vectors(1), bad[np.newaxis]])
        with pytest.raises(VectorError):
            await store.upsert(kb, [1, 2], vectors)
        assert await store.count(kb) == 0
        with pytest.raises(VectorError):
            await store.query(kb, bad, limit=1)

    @pytest.mark.parametrize("dimension", [1, DIMENSION - 1, DIMENSION + 1])
    async def test_wrong_dimension(self, store: VectorStore, kb: str, dimension: int) -> None:
        """Vectors of another dimension are refused, in an empty collection as in a full one."""
        wrong = some_vectors(1, dimension=dimension)
        for _ in range(2):
            with pytest.raises(VectorError):
                await store.upsert(kb, [1], wrong)
            with pytest.raises(VectorError):
                await store.query(kb, wrong[0], limit=1)
            await store.upsert(kb, [2], some_vectors(1))
        assert await all_ids(store, kb) == [2]

    async def test_wrong_shapes(self, store: VectorStore, kb: str) -> None:
        """Ids and vectors must be as many; a row where a matrix belongs is refused."""
        vectors = some_vectors(2)
        with pytest.raises(InvalidInputError):
            await store.upsert(kb, [1], vectors)
        with pytest.raises((VectorError, InvalidInputError)):
            await store.upsert(kb, [1], vectors[0])
        with pytest.raises(VectorError):
            await store.query(kb, vectors, limit=1)
        assert await store.count(kb) == 0

    async def test_ids_of_the_whole_range(self, store: VectorStore, kb: str) -> None:
        """Ids from 0 to 2**63 - 1 are kept exactly."""
        ids = [0, 1, 2**31, 2**53 + 1, 2**63 - 2, 2**63 - 1]
        vectors = some_vectors(len(ids))
        await store.upsert(kb, ids, vectors)
        assert sorted(await all_ids(store, kb)) == ids
        assert sorted(await store.fetch(kb, ids)) == ids
        hits = await store.query(kb, vectors[4], limit=10)
        assert_best(hits, ids, vectors, vectors[4], 10)
        await store.delete(kb, [2**63 - 1, 2**53])
        assert sorted(await all_ids(store, kb)) == ids[:-1]

    @pytest.mark.parametrize("wrong", [-1, 2**63])
    async def test_ids_out_of_range(self, store: VectorStore, kb: str, wrong: int) -> None:
        """An id that not every store can hold is refused, with nothing written."""
        with pytest.raises(InvalidInputError):
            await store.upsert(kb, [1, wrong], some_vectors(2))
        assert await store.count(kb) == 0

    async def test_nothing_to_do(self, store: VectorStore, kb: str) -> None:
        """Writing, deleting and fetching nothing is no error."""
        await store.upsert(kb, [], some_vectors(0))
        await store.delete(kb, [])
        assert await store.fetch(kb, []) == {}
        await store.flush(kb)

    async def test_delete(self, store: VectorStore, kb: str) -> None:
        """Deleted records are gone for every method; ids that are not there are ignored."""
        vectors = some_vectors(3)
        await store.upsert(kb, [1, 2, 3], vectors)
        await store.delete(kb, [2, 2, 99])
        assert await store.count(kb) == 2
        assert sorted(await all_ids(store, kb)) == [1, 3]
        assert await store.fetch(kb, [2]) == {}
        assert {hit.id for hit in await store.query(kb, vectors[1], limit=3)} == {1, 3}
        await store.upsert(kb, [2], vectors[1:2])
        assert await store.count(kb) == 3

    async def test_more_than_one_request_takes(self, store: VectorStore, kb: str) -> None:
        """Batches above the vendors' limits are written, fetched, listed and deleted whole."""
        count = 6000
        vectors = some_vectors(count)
        await store.upsert(kb, range(count), vectors)
        assert await store.count(kb) == count
        assert sorted(await all_ids(store, kb, batch=700)) == list(range(count))
        found = await store.fetch(kb, range(count))
        assert all(alike(found[key], vectors[key]) for key in range(0, count, 97))
        assert len(found) == count
        await store.delete(kb, range(1, count))
        assert await all_ids(store, kb) == [0]

    # -- searching ---------------------------------------------------------------------------------------------------

    async def test_scores_are_cosines(self, store: VectorStore, kb: str) -> None:
        """Same direction 1, right angle 0, opposite -1, whatever the lengths."""
        base = np.eye(DIMENSION, dtype=np.float32)
        await store.upsert(kb, [1, 2, 3], np.stack([base[0] * 100, base[1] * 0.01, base[0] * -3]))
        hits = await store.query(kb, base[0] * 7, limit=3)
        assert [hit.id for hit in hits] == [1, 2, 3]
        assert [hit.score for hit in hits] == pytest.approx([1.0, 0.0, -1.0], abs=TOLERANCE)
        assert all(-1.0 <= hit.score <= 1.0 for hit in hits)
        assert all(type(hit.id) is int and type(hit.score) is float for hit in hits)

    @pytest.mark.parametrize("limit", [1, 10, 299, 300, 1000])
    async def test_nearest_first(self, store: VectorStore, kb: str, limit: int) -> None:
        """The nearest records are found, best first, as many as asked for or as there are."""
        vectors, ids = some_vectors(300), range(1000, 1300)
        await store.upsert(kb, ids, vectors)
        for question in some_vectors(3, seed=1):
            assert_best(await store.query(kb, question, limit=limit), ids, vectors, question, limit)

    async def test_no_limit_no_hits(self, store: VectorStore, kb: str) -> None:
        """A limit of 0 finds nothing, one below or above 16,000 is refused."""
        await store.upsert(kb, [1], some_vectors(1))
        assert await store.query(kb, some_vectors(1)[0], limit=0) == []
        assert len(await store.query(kb, some_vectors(1)[0], limit=16_000)) == 1
        for limit in (-1, 16_001):
            with pytest.raises(InvalidInputError):
                await store.query(kb, some_vectors(1)[0], limit=limit)

    async def test_ties_break_by_id(self, store: VectorStore, kb: str) -> None:
        """Equal vectors come by id, also where the limit cuts through them."""
        vectors = np.repeat(some_vectors(2), 20, axis=0)
        ids = np.random.default_rng(3).permutation(40).tolist()
        await store.upsert(kb, ids, vectors)
        for limit in (3, 20, 25):
            hits = await store.query(kb, vectors[0], limit=limit)
            assert [hit.id for hit in hits] == (sorted(ids[:20]) + sorted(ids[20:]))[:limit]

    async def test_iterate_in_batches(self, store: VectorStore, kb: str) -> None:
        """Lists of ids are at most as long as asked for, and hold each id once."""
        await store.upsert(kb, range(25), some_vectors(25))
        parts = [part async for part in store.iterate(kb, batch=10)]
        assert all(0 < len(part) <= 10 for part in parts)
        assert sorted(key for part in parts for key in part) == list(range(25))

    @pytest.mark.timeout(300)
    async def test_hundred_thousand(self, store: VectorStore, name: str) -> None:
        """As many vectors are kept whole, and of the ten nearest at least 98 % are found."""
        await keeps_all(store, name, 100_000, dimension=DIMENSION, questions=5)

    @pytest.mark.timeout(120)
    async def test_ten_thousand_wide(self, store: VectorStore, name: str, indexed: Indexed) -> None:
        """So are vectors of 256 dimensions, although those in random directions are the hardest to search."""
        await keeps_all(store, name, 10_000, indexed=indexed)

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    async def test_hundred_thousand_wide(self, store: VectorStore, name: str, indexed: Indexed) -> None:
        """So are ten times as many of these."""
        await keeps_all(store, name, 100_000, indexed=indexed)

    # -- living together ---------------------------------------------------------------------------------------------

    async def test_reads_see_earlier_writes(self, store: VectorStore, kb: str) -> None:
        """Each write is seen by the next read, with and without a flush, over and over."""
        vectors = some_vectors(12)
        for key, vector in enumerate(vectors):
            await store.upsert(kb, [key], vector[np.newaxis])
            if key % 3 == 0:
                await store.flush(kb)
            assert (await store.query(kb, vector, limit=1))[0].id == key
            assert await store.count(kb) == key + 1
        await store.delete(kb, range(6))
        assert {hit.id for hit in await store.query(kb, vectors[0], limit=12)} == set(range(6, 12))

    async def test_concurrent_writers_and_readers(self, store: VectorStore, kb: str) -> None:
        """Many tasks write and read one collection at a time: nothing is lost and every hit is a record."""
        vectors = some_vectors(400)
        known = {key: vector.tolist() for key, vector in enumerate(vectors)}

        async def write(first: int) -> None:
            for start in range(first, first + 100, 20):
                await store.upsert(kb, range(start, start + 20), vectors[start : start + 20])
                assert len(await store.fetch(kb, range(start, start + 20))) == 20
            await store.delete(kb, range(first, first + 10))

        async def read() -> None:
            for question in some_vectors(15, seed=2):
                for hit in await store.query(kb, question, limit=5):
                    assert hit.id in known
                await store.count(kb)

        async with anyio.create_task_group() as tasks:
            for first in range(0, 400, 100):
                tasks.start_soon(write, first)
            for _ in range(3):
                tasks.start_soon(read)
        assert sorted(await all_ids(store, kb)) == [key for key in range(400) if key % 100 >= 10]
        assert_best(
            await store.query(kb, vectors[50], limit=20),
            [key for key in range(400) if key % 100 >= 10],
            vectors[[key for key in range(400) if key % 100 >= 10]],
            vectors[50],
            20,
        )

    async def test_searched_while_first_written(self, store: VectorStore, kb: str) -> None:
        """A collection can be searched while its very first records are written."""
        vectors = some_vectors(60)
        written = False

        async def write() -> None:
            nonlocal written
            for start in range(0, 60, 20):
                await store.upsert(kb, range(start, start + 20), vectors[start : start + 20])
            written = True

        async def ask() -> None:
            while not written:
                assert len(await store.query(kb, vectors[0], limit=3)) in (0, 3)
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            tasks.start_soon(ask)
            tasks.start_soon(ask)
        assert (await store.query(kb, vectors[30], limit=1))[0].id == 30

    async def test_cancelled_in_mid_call(self, store: VectorStore, kb: str) -> None:
        """A cancelled write leaves a store that works, and writing again mends what it left half done."""
        vectors = some_vectors(6000)
        for turns in (1, 5, 50):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.upsert, kb, range(6000), vectors)
                tasks.start_soon(lambda: store.query(kb, vectors[0], limit=3))
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert 0 <= await store.count(kb) <= 6000
        await store.upsert(kb, range(6000), vectors)
        assert await store.count(kb) == 6000
        assert (await store.query(kb, vectors[5000], limit=1))[0].id == 5000

    async def test_nothing_blocks_the_loop(self, store: VectorStore, kb: str) -> None:
        """No method makes a blocking call in the event loop's thread."""
        vectors = some_vectors(10)
        with blockbuster_ctx():
            await store.ping()
            await store.create_collection(kb, dimension=DIMENSION)
            await store.upsert(kb, range(10), vectors)
            await store.query(kb, vectors[0], limit=3)
            await store.fetch(kb, [1])
            await store.count(kb)
            await all_ids(store, kb)
            await store.flush(kb)
            await store.refresh()
            await store.list_collections()
            await store.delete(kb, [1])
            await store.drop_collection(kb)

    async def test_ping_and_refresh(self, store: VectorStore, kb: str) -> None:
        """A store that works answers a ping, and loses nothing when it is refreshed."""
        vectors = some_vectors(5)
        await store.upsert(kb, range(5), vectors)
        await store.ping()
        await store.refresh()
        assert await store.count(kb) == 5
        assert (await store.query(kb, vectors[3], limit=1))[0].id == 3

    async def test_closed(self, open_store: Callable[[], VectorStore]) -> None:
        """A closed store refuses to work; closing it again, or before its first use, does nothing."""
        store = open_store()
        await store.ping()
        await store.aclose()
        await store.aclose()
        with pytest.raises(StoreError):
            await store.ping()
        with pytest.raises(StoreError):
            await store.count("kb-closed")
        unused = open_store()
        await unused.aclose()
        with pytest.raises(StoreError):
            await unused.list_collections()


class PersistentStoreSuite(VectorStoreSuite):
    """What holds too for a store whose data outlives the object. Each call of `open_store` opens the same data."""

    async def test_reopened(self, store: VectorStore, kb: str, open_store: Callable[[], VectorStore]) -> None:
        """What was written is there after closing and opening again, with and without a flush."""
        vectors = some_vectors(1500)
        await store.upsert(kb, range(1400), vectors[:1400])
        await store.flush(kb)
        await store.upsert(kb, range(1400, 1500), vectors[1400:])
        await store.delete(kb, [7])
        await store.aclose()
        again = open_store()
        try:
            assert kb in await again.list_collections()
            assert await again.count(kb) == 1499
            assert (await again.query(kb, vectors[1450], limit=1))[0].id == 1450
            assert (await again.query(kb, vectors[3], limit=1))[0].id == 3
            assert 7 not in {hit.id for hit in await again.query(kb, vectors[7], limit=5)}
            with pytest.raises(VectorError):
                await again.upsert(kb, [1], some_vectors(1, dimension=DIMENSION + 1))
        finally:
            await again.drop_collection(kb)
            await again.aclose()

    async def test_another_sees_after_refresh(
        self, store: VectorStore, kb: str, open_store: Callable[[], VectorStore]
    ) -> None:
        """A second object on the same data sees after a refresh what the first wrote, and that it dropped."""
        vectors = some_vectors(30)
        reader = open_store()
        try:
            await store.upsert(kb, range(10), vectors[:10])
            await reader.refresh()
            assert (await reader.query(kb, vectors[4], limit=1))[0].id == 4
            await store.upsert(kb, range(10, 30), vectors[10:])
            await store.delete(kb, [4])
            await reader.refresh()
            assert (await reader.query(kb, vectors[25], limit=1))[0].id == 25
            assert 4 not in {hit.id for hit in await reader.query(kb, vectors[4], limit=30)}
            assert await reader.count(kb) == 29
            await store.drop_collection(kb)
            await reader.refresh()
            with pytest.raises(CollectionNotFoundError):
                await reader.query(kb, vectors[0], limit=1)
        finally:
            await reader.aclose()

    async def test_writers_in_turns(self, store: VectorStore, kb: str, open_store: Callable[[], VectorStore]) -> None:
        """Two objects that write to the same data one after the other lose nothing, though neither is refreshed."""
        vectors = some_vectors(3600)
        other = open_store()
        try:
            for number, start in enumerate(range(0, 3600, 1200)):
                writer = other if number % 2 else store
                await writer.upsert(kb, range(start, start + 1200), vectors[start : start + 1200])
                assert (await writer.query(kb, vectors[start], limit=1))[0].id == start
            await store.refresh()
            for key in range(0, 3600, 300):
                assert (await store.query(kb, vectors[key], limit=1))[0].id == key
        finally:
            await other.aclose()

    async def test_what_another_wrote_is_replaced(
        self, store: VectorStore, kb: str, open_store: Callable[[], VectorStore]
    ) -> None:
        """Of ids that go on rising, one that another object wrote meanwhile is replaced like any."""
        vectors = some_vectors(8)
        other = open_store()
        try:
            await store.upsert(kb, [1, 2], vectors[:2])
            await other.upsert(kb, [3, 4], vectors[2:4])
            await store.upsert(kb, [4, 5], vectors[4:6])
            assert await store.count(kb) == 5
            for key, place in {1: 0, 3: 2, 4: 4, 5: 5}.items():
                assert alike((await store.fetch(kb, [key]))[key], vectors[place])
                assert (await store.query(kb, vectors[place], limit=1))[0].id == key
        finally:
            await other.aclose()

    async def test_made_anew_by_another(
        self, store: VectorStore, kb: str, open_store: Callable[[], VectorStore]
    ) -> None:
        """A collection dropped and made anew with another dimension by another object is seen as it now is."""
        other = open_store()
        try:
            await store.upsert(kb, [1], some_vectors(1))
            await other.drop_collection(kb)
            with pytest.raises(CollectionNotFoundError):
                await store.query(kb, some_vectors(1)[0], limit=1)
            await other.create_collection(kb, dimension=DIMENSION + 4)
            with pytest.raises(VectorError):
                await store.query(kb, some_vectors(1)[0], limit=1)
            with pytest.raises(VectorError):
                await store.upsert(kb, [1], some_vectors(1))
            await store.upsert(kb, [2], some_vectors(1, dimension=DIMENSION + 4))
            assert await other.count(kb) == 1
        finally:
            await other.aclose()

    async def test_refreshed_in_mid_query(self, store: VectorStore, kb: str) -> None:
        """Refreshing disturbs no call that is under way."""
        vectors = some_vectors(500)
        await store.upsert(kb, range(500), vectors)

        async def ask() -> None:
            for key in range(0, 60, 3):
                assert (await store.query(kb, vectors[key], limit=1))[0].id == key

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask)
            for _ in range(10):
                await store.refresh()
                await store.upsert(kb, [500], vectors[:1] * -1)
        assert await store.count(kb) == 501

    async def test_loop_turns_while_the_store_works(self, store: VectorStore, kb: str) -> None:
        """Other tasks go on while a large batch is written and searched."""
        turns, busy = 0, True

        async def work() -> None:
            nonlocal busy
            vectors = some_vectors(5000)
            await store.upsert(kb, range(5000), vectors)
            await store.query(kb, vectors[0], limit=1000)
            busy = False

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            while busy:
                turns += 1
                await anyio.sleep(0.001)
        assert turns > 5
