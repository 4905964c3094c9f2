"""The catalog's conformance suite: generations, published and collected. Inherit `CatalogSuite`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from kbchat.errors import DocumentNotFoundError
from kbchat.models import SpaceInfo
from kbchat.testing.catalog_fixtures import CatalogFixtures
from kbchat.testing.catalog_samples import NOWHERE, a_space, generation, put

if TYPE_CHECKING:
    from kbchat.catalog import Catalog

LARGE = 11_000
"""More chunks than are removed in one transaction."""


class GenerationTests(CatalogFixtures):
    """Writing beside, publishing, collecting."""

    async def test_what_is_begun_is_not_seen(self, catalog: Catalog, space: SpaceInfo) -> None:
        """A new document that was not published is nowhere: not in lists, counts, chunks or states."""
        [begun] = await catalog.begin_generations(space.id, [generation("a", "x", "y")])
        assert len(begun.chunk_ids) == 2
        assert await catalog.get_space(space.id) == space
        assert await catalog.list_documents(space.id) == ([], 0)
        assert await catalog.find_document(space.id, "a") is None
        assert await catalog.source_states(space.id, ["a"]) == {}
        assert await catalog.live_chunks(space.id, begun.chunk_ids) == {}
        assert await catalog.embedding_fields(space.id) == []
        assert await catalog.document_chunks(begun.document_id) == []
        with pytest.raises(DocumentNotFoundError):
            await catalog.get_document(space.id, begun.document_id)

    async def test_publishing_shows_everything(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Counts, revision and last writer change with the documents, all in one step."""
        begun = await catalog.begin_generations(space.id, [generation("a", "x", "y"), generation("b", "z")])
        ids = [one.id for one in begun]
        assert await catalog.publish(space.id, ids, writer="me") == ids
        after = await catalog.get_space(space.id)
        assert (after.document_count, after.chunk_count, after.revision, after.last_writer) == (2, 3, 1, "me")

    async def test_an_update_shows_the_old_until_published(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Readers see the old text and chunks, then the new ones; the old ones become collectable."""
        [old] = await put(catalog, space, generation("a", "old", "older"))
        [new] = await catalog.begin_generations(space.id, [generation("a", "new")])
        both = [*old.chunk_ids, *new.chunk_ids]
        assert set(await catalog.live_chunks(space.id, both)) == set(old.chunk_ids)
        assert (await catalog.get_document(space.id, old.document_id, with_text=True)).text == "old\n\nolder"
        assert await catalog.collectable(space.id, pending=False) == {}
        await catalog.publish(space.id, [new.id], writer="w")
        assert set(await catalog.live_chunks(space.id, both)) == set(new.chunk_ids)
        assert (await catalog.get_document(space.id, old.document_id, with_text=True)).text == "new"
        assert [chunk.content for chunk in await catalog.document_chunks(old.document_id)] == ["new"]
        assert (await catalog.get_space(space.id)).chunk_count == 1
        assert await catalog.collectable(space.id, pending=False) == {old.id: list(old.chunk_ids)}

    async def test_a_generation_is_written_in_parts(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Nothing of it is seen before it is published, then all of it, in the order in which it came."""
        whole = generation("a", "1", "2", "3", "4")
        [begun] = await catalog.begin_generations(space.id, [replace(whole, chunks=whole.chunks[:2])])
        [third] = await catalog.extend_generation(space.id, begun.id, whole.chunks[2:3])
        [fourth] = await catalog.extend_generation(space.id, begun.id, whole.chunks[3:])
        ids = [*begun.chunk_ids, third, fourth]
        assert await catalog.collectable(space.id, pending=True) == {begun.id: ids}
        assert await catalog.live_chunks(space.id, ids) == {}
        await catalog.publish(space.id, [begun.id], writer="w")
        chunks = await catalog.document_chunks(begun.document_id)
        assert [(chunk.id, chunk.position, chunk.content) for chunk in chunks] == [
            (chunk_id, position, str(position + 1)) for position, chunk_id in enumerate(ids)
        ]
        assert (await catalog.get_document(space.id, begun.document_id)).chunk_count == 4
        assert (await catalog.get_space(space.id)).chunk_count == 4

    async def test_what_does_not_wait_to_be_published_is_not_extended(self, catalog: Catalog, space: SpaceInfo) -> None:
        """What is live, dead, of another space or nothing has no more chunks than before."""
        more = generation("a", "more").chunks
        [dead] = await put(catalog, space, generation("a", "x"))
        [live] = await put(catalog, space, generation("a", "y"))
        [foreign] = await catalog.begin_generations((await a_space(catalog, "other")).id, [generation("a", "z")])
        for of in (dead.id, live.id, foreign.id, NOWHERE):
            assert await catalog.extend_generation(space.id, of, more) == []
        assert [chunk.content for chunk in await catalog.document_chunks(live.document_id)] == ["y"]
        assert await catalog.collectable(space.id, pending=True) == {dead.id: list(dead.chunk_ids)}

    async def test_the_later_published_wins(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Of two generations of a document, whichever was begun first."""
        begun = await catalog.begin_generations(space.id, [generation("a", "1"), generation("a", "2")])
        assert begun[0].document_id == begun[1].document_id
        for one in reversed(begun):
            assert await catalog.publish(space.id, [one.id], writer="w") == [one.id]
        assert [chunk.content for chunk in await catalog.document_chunks(begun[0].document_id)] == ["1"]
        assert list(await catalog.collectable(space.id, pending=True)) == [begun[1].id]

    async def test_the_last_of_several_in_one_call_wins(self, catalog: Catalog, space: SpaceInfo) -> None:
        """The others of the document are dead at once."""
        begun = await catalog.begin_generations(space.id, [generation("a", text) for text in "123"])
        ids = [begun[0].id, begun[2].id, begun[1].id]
        assert await catalog.publish(space.id, ids, writer="w") == [begun[1].id]
        assert [chunk.content for chunk in await catalog.document_chunks(begun[0].document_id)] == ["2"]
        assert set(await catalog.collectable(space.id, pending=False)) == {begun[0].id, begun[2].id}
        assert (await catalog.get_space(space.id)).document_count == 1

    async def test_publishing_nothing_new_changes_nothing(self, catalog: Catalog, space: SpaceInfo) -> None:
        """What is live already, dead, another space's or nothing is passed over."""
        [dead] = await put(catalog, space, generation("a", "x"))
        [live] = await put(catalog, space, generation("a", "y"))
        [foreign] = await catalog.begin_generations((await a_space(catalog, "other")).id, [generation("a", "z")])
        before = await catalog.get_space(space.id)
        for ids in ([], [dead.id, live.id, foreign.id, NOWHERE]):
            assert await catalog.publish(space.id, ids, writer="v") == []
        assert await catalog.get_space(space.id) == before

    async def test_a_deleted_document_does_not_come_back(self, catalog: Catalog, space: SpaceInfo) -> None:
        """A generation that was begun before its document was deleted stays dead."""
        [old] = await put(catalog, space, generation("a", "old"))
        [new, kept] = await catalog.begin_generations(space.id, [generation("a", "new"), generation("b", "kept")])
        await catalog.delete_document(space.id, old.document_id, writer="w")
        assert await catalog.publish(space.id, [new.id, kept.id], writer="w") == [kept.id]
        assert await catalog.find_document(space.id, "a") is None
        assert set(await catalog.collectable(space.id, pending=False)) == {old.id, new.id}

    async def test_collecting_removes_dead_and_pending(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Their rows go and the live one's stay, also when it is named; a second time there is nothing to do."""
        [dead] = await put(catalog, space, generation("a", "old", "older"))
        [live] = await put(catalog, space, generation("a", "new"))
        [pending] = await catalog.begin_generations(space.id, [generation("a", "newer")])
        [unseen] = await catalog.begin_generations(space.id, [generation("b")])
        found = await catalog.collectable(space.id, pending=True)
        assert found == {
            dead.id: list(dead.chunk_ids),
            pending.id: list(pending.chunk_ids),
            unseen.id: [],
        }
        before = await catalog.get_space(space.id)
        for _ in range(2):
            await catalog.collect(space.id, [*found, live.id, NOWHERE])
        assert await catalog.collectable(space.id, pending=True) == {}
        assert await catalog.publish(space.id, [pending.id, unseen.id], writer="w") == []
        assert [chunk.content for chunk in await catalog.document_chunks(live.document_id)] == ["new"]
        assert await catalog.get_space(space.id) == before

    async def test_a_document_that_was_never_seen_goes_with_its_last_generation(
        self, catalog: Catalog, space: SpaceInfo
    ) -> None:
        """Not before: another pending generation keeps it."""
        first, second = await catalog.begin_generations(space.id, [generation("a", "1"), generation("a", "2")])
        await catalog.collect(space.id, [first.id])
        [third] = await catalog.begin_generations(space.id, [generation("a", "3")])
        assert third.document_id == first.document_id
        await catalog.collect(space.id, [second.id, third.id])
        [fourth] = await catalog.begin_generations(space.id, [generation("a", "4")])
        assert fourth.document_id > first.document_id

    async def test_other_spaces_generations_are_not_collected(self, catalog: Catalog, space: SpaceInfo) -> None:
        """An id of another space's generation is passed over."""
        other = await a_space(catalog, "other")
        [foreign] = await catalog.begin_generations(other.id, [generation("a", "x")])
        await catalog.collect(space.id, [foreign.id])
        assert await catalog.publish(other.id, [foreign.id], writer="w") == [foreign.id]
        assert len(await catalog.document_chunks(foreign.document_id)) == 1

    async def test_large_documents_are_removed_in_slices(self, catalog: Catalog, space: SpaceInfo) -> None:
        """What is more than one transaction removes is removed all the same."""
        [large] = await put(catalog, space, generation("a", *(["x"] * LARGE)))
        [small] = await put(catalog, space, generation("a", "y"))
        assert len((await catalog.collectable(space.id, pending=False))[large.id]) == LARGE
        await catalog.collect(space.id, [large.id])
        assert await catalog.collectable(space.id, pending=True) == {}
        assert len(await catalog.document_chunks(small.document_id)) == 1
        await put(catalog, space, generation("b", *(["x"] * LARGE)))
        await catalog.begin_space_deletion(space.id)
        await catalog.finish_space_deletion(space.id)
        assert await catalog.deleted_spaces() == []

    async def test_nothing_to_begin(self, catalog: Catalog, space: SpaceInfo) -> None:
        """No generations is no error."""
        assert await catalog.begin_generations(space.id, []) == []
        await catalog.collect(space.id, [])

    # -- several at once ---------------------------------------------------------------------------------------------

    async def test_readers_see_one_generation(self, catalog: Catalog, other: Catalog, space: SpaceInfo) -> None:
        """While a document is published again and again, every read is wholly of one generation."""
        [first] = await put(catalog, space, generation("a", "0", "0", "0"))
        ids = list(first.chunk_ids)
        over = anyio.Event()

        async def write() -> None:
            for number in range(1, 21):
                [begun] = await put(catalog, space, generation("a", *[str(number)] * 3))
                ids.extend(begun.chunk_ids)
            over.set()

        async def read() -> None:
            while not over.is_set():
                chunks = await other.document_chunks(first.document_id)
                hydrated = await other.live_chunks(space.id, list(ids))
                document = await other.get_document(space.id, first.document_id, with_text=True)
                assert len(chunks) == 3
                assert len({chunk.content for chunk in chunks}) == 1
                assert len({chunk.content for chunk in hydrated.values()}) <= 1
                assert len(set((document.text or "").split())) == 1

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            group.start_soon(read)
            group.start_soon(read)

    async def test_two_writers_leave_one_live_generation(
        self, catalog: Catalog, other: Catalog, space: SpaceInfo
    ) -> None:
        """Processes that write the same documents at once: each document ends whole, and the counters are true."""
        names = [f"d{number}" for number in range(8)]

        async def write(one: Catalog, text: str, order: list[str]) -> None:
            for _ in range(5):
                await put(one, space, *(generation(name, text, text) for name in order), writer=text)

        async with anyio.create_task_group() as group:
            group.start_soon(write, catalog, "ours", names)
            group.start_soon(write, other, "theirs", names[::-1])
        info = await catalog.get_space(space.id)
        assert (info.document_count, info.chunk_count, info.revision) == (8, 16, 10)
        for document in (await catalog.list_documents(space.id))[0]:
            chunks = await catalog.document_chunks(document.id)
            assert [chunk.content for chunk in chunks] in (["ours"] * 2, ["theirs"] * 2)
        dead = await catalog.collectable(space.id, pending=True)
        assert len(dead) == 2 * 5 * 8 - 8

    async def test_a_cancelled_write_happened_or_did_not(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Wherever it is cut: all of a batch is there, or nothing."""
        for number in range(20):
            with anyio.move_on_after(0.0005 * number):
                await put(catalog, space, *(generation(f"{number}-{each}", "x", "y") for each in range(5)))
        info = await catalog.get_space(space.id)
        assert info.document_count % 5 == 0
        assert info.chunk_count == 2 * info.document_count == len(await catalog.embedding_fields(space.id))
        pending = await catalog.collectable(space.id, pending=True)
        assert len(pending) % 5 == 0
        assert all(len(chunk_ids) == 2 for chunk_ids in pending.values())
