"""What the catalog must hold on every database, as a test class to inherit.

    class TestOnMyDatabase(CatalogSuite):
        @pytest.fixture
        def open_catalog(self, tmp_path):
            return lambda: Catalog(tmp_path / "catalog.sqlite", threads=Threads())

Needs pytest and anyio's plugin with `anyio_mode = "auto"`. A subclass overrides nothing but `open_catalog`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
import pytest

from kbchat.catalog import Leftover
from kbchat.catalog.narrowing import All
from kbchat.errors import BusyError, CatalogUnavailableError, SpaceExistsError, SpaceInUseError, SpaceNotFoundError
from kbchat.models import EmbedderPin, SpaceInfo, VectorType
from kbchat.testing.catalog_documents import DocumentTests
from kbchat.testing.catalog_generations import GenerationTests
from kbchat.testing.catalog_keys import KeyTests
from kbchat.testing.catalog_samples import NOWHERE, PIN, a_space, generation, put

if TYPE_CHECKING:
    from kbchat.catalog import Catalog

NAMES = [
    "plain",
    "员工手册",
    "Überblick — été",
    "दस्तावेज़",
    "עברית‏",
    "🎉👩‍👩‍👧‍👦",
    "it's; DROP TABLE spaces; --",
    'quo"ted % _ \\ ? :x %s',
    "line\nbreak\ttab\u2028\u0085",
    "x" * 600,
]

ON_ONE_SPACE: dict[str, Callable[[Catalog, int], Awaitable[object]]] = {
    "get_space": lambda catalog, space: catalog.get_space(space),
    "update_space": lambda catalog, space: catalog.update_space(space, desc="x"),
    "begin_space_deletion": lambda catalog, space: catalog.begin_space_deletion(space),
    "pin_embedder": lambda catalog, space: catalog.pin_embedder(space, PIN),
    "note_leftover": lambda catalog, space: catalog.note_leftover(space, Leftover(VectorType.MILVUS, "kb-x")),
    "replace_collection": lambda catalog, space: catalog.replace_collection(
        space, collection="kb-x", pin=PIN, writer="w"
    ),
    "source_states": lambda catalog, space: catalog.source_states(space, ["a"]),
    "get_document": lambda catalog, space: catalog.get_document(space, 1),
    "find_document": lambda catalog, space: catalog.find_document(space, "a"),
    "list_documents": lambda catalog, space: catalog.list_documents(space),
    "delete_document": lambda catalog, space: catalog.delete_document(space, 1, writer="w"),
    "begin_generations": lambda catalog, space: catalog.begin_generations(space, [generation("a", "x")]),
    "extend_generation": lambda catalog, space: catalog.extend_generation(space, 1, ()),
    "publish": lambda catalog, space: catalog.publish(space, [1], writer="w"),
    "collectable": lambda catalog, space: catalog.collectable(space, pending=True),
    "collect": lambda catalog, space: catalog.collect(space, [1]),
    "live_chunks": lambda catalog, space: catalog.live_chunks(space, [1]),
    "move_space": lambda catalog, space: catalog.move_space(
        space, VectorType.MILVUS, words="embedded", writer="w", revision=0
    ),
    "matching_documents": lambda catalog, space: catalog.matching_documents(space, bool, must=All()),
    "live_vectors": lambda catalog, space: catalog.live_vectors(space, [1]),
    "surroundings": lambda catalog, space: catalog.surroundings(space, [1], reach=1),
    "live_chunk_ids": lambda catalog, space: catalog.live_chunk_ids(space),
    "abandon": lambda catalog, space: catalog.abandon(space),
    "embedding_fields": lambda catalog, space: catalog.embedding_fields(space),
}
"""Every method on one space."""


class CatalogSuite(DocumentTests, GenerationTests, KeyTests):
    """All of it."""

    # -- spaces ------------------------------------------------------------------------------------------------------

    async def test_a_space_is_what_was_asked_for(self, catalog: Catalog) -> None:
        """A new space is empty, has a collection of its own, and reads the same when it is asked for again."""
        space = await catalog.create_space(
            name="n", owner="o", vector_type=VectorType.MILVUS, desc="d", context='{"a": 1}'
        )
        assert (space.name, space.owner, space.vector_type) == ("n", "o", VectorType.MILVUS)
        assert (space.desc, space.context, space.embedder) == ("d", '{"a": 1}', None)
        assert (space.revision, space.last_writer, space.document_count, space.chunk_count) == (0, "", 0, 0)
        assert space.created_at == space.updated_at
        assert space.created_at.utcoffset() is not None
        assert space == await catalog.get_space(space.id)
        assert space.collection.startswith("kb-")
        assert space.collection != (await a_space(catalog)).collection

    @pytest.mark.parametrize("name", NAMES)
    async def test_names_in_any_script(self, catalog: Catalog, name: str) -> None:
        """Any character is kept as it is, in names of spaces, owners and documents, and found by."""
        space = await a_space(catalog, name, owner=name)
        await put(catalog, space, generation(name, name, metadata={name: name}))
        [found] = await catalog.find_spaces(name, owner=name)
        document = await catalog.find_document(space.id, name, with_text=True)
        assert document is not None
        assert (found.name, found.owner, document.name, document.text) == (name,) * 4
        assert document.metadata == {name: name}
        assert set(await catalog.source_states(space.id, [name, "another"])) == {name}

    async def test_a_name_is_unique_to_its_owner(self, catalog: Catalog) -> None:
        """Another owner may use the name; names that differ in case or accents are different."""
        await a_space(catalog, "n", "o")
        with pytest.raises(SpaceExistsError) as caught:
            await a_space(catalog, "n", "o")
        assert (caught.value.name, caught.value.owner) == ("n", "o")
        for name, owner in (("n", "p"), ("n", ""), ("N", "o"), ("n\u0303", "o"), ("\u00f1", "o")):
            await a_space(catalog, name, owner)
        assert [space.owner for space in await catalog.find_spaces("n")] == ["o", "p", ""]
        assert [space.owner for space in await catalog.find_spaces("n", owner="p")] == ["p"]
        assert await catalog.find_spaces("nobody's") == []

    async def test_spaces_are_listed_in_pages(self, catalog: Catalog) -> None:
        """A page is by id, with the count of all that match."""
        made = [await a_space(catalog, f"s{number}", f"o{number % 2}") for number in range(5)]
        assert await catalog.list_spaces() == (made, 5)
        assert await catalog.list_spaces(offset=1, limit=2) == (made[1:3], 5)
        assert await catalog.list_spaces(offset=9, limit=2) == ([], 5)
        assert await catalog.list_spaces(limit=0) == ([], 5)
        assert await catalog.list_spaces(owner="o1") == (made[1::2], 2)
        assert await catalog.list_spaces(owner="o1", name="s2") == ([], 0)
        assert await catalog.list_spaces(vector_type=VectorType.MILVUS) == ([], 0)

    async def test_an_update_changes_what_is_given(self, catalog: Catalog, space: SpaceInfo) -> None:
        """What is None stays; the counters and the revision stay too."""
        changed = await catalog.update_space(space.id, desc="d", context="c")
        assert changed == space.model_copy(update={"desc": "d", "context": "c", "updated_at": changed.updated_at})
        renamed = await catalog.update_space(space.id, name="n", owner="o", vector_type=VectorType.MILVUS)
        assert (renamed.name, renamed.owner, renamed.vector_type, renamed.desc) == ("n", "o", VectorType.MILVUS, "d")
        assert renamed == await catalog.get_space(space.id)
        assert await catalog.find_spaces(space.name) == []

    async def test_an_update_takes_no_taken_name(self, catalog: Catalog, space: SpaceInfo) -> None:
        """The name of another space of the owner is refused and nothing changes; its own name is fine."""
        await a_space(catalog, "taken")
        with pytest.raises(SpaceExistsError):
            await catalog.update_space(space.id, name="taken", desc="changed")
        assert await catalog.get_space(space.id) == space
        assert (await catalog.update_space(space.id, name=space.name)).name == space.name

    async def test_the_vector_type_of_a_used_space_stays(self, catalog: Catalog, space: SpaceInfo) -> None:
        """It cannot change while there are vectors in the store, seen or not; the same one is fine."""
        [pending] = await catalog.begin_generations(space.id, [generation("a", "x")])
        with pytest.raises(SpaceInUseError):
            await catalog.update_space(space.id, vector_type=VectorType.MILVUS)
        await catalog.publish(space.id, [pending.id], writer="w")
        with pytest.raises(SpaceInUseError):
            await catalog.update_space(space.id, vector_type=VectorType.MILVUS, desc="changed")
        assert (await catalog.update_space(space.id, vector_type=VectorType.CHROMA)).desc == ""
        await catalog.delete_document(space.id, pending.document_id, writer="w")
        with pytest.raises(SpaceInUseError):
            await catalog.update_space(space.id, vector_type=VectorType.MILVUS)
        await catalog.collect(space.id, [pending.id])
        changed = await catalog.update_space(space.id, vector_type=VectorType.MILVUS)
        assert changed.vector_type == VectorType.MILVUS

    # -- deleting spaces ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("method", ON_ONE_SPACE)
    async def test_a_space_that_is_hidden_or_unknown_is_not_found(
        self, catalog: Catalog, space: SpaceInfo, method: str
    ) -> None:
        """Every method on one space says so."""
        await put(catalog, space, generation("a", "x"))
        await catalog.begin_space_deletion(space.id)
        for space_id in (space.id, NOWHERE):
            with pytest.raises(SpaceNotFoundError):
                await ON_ONE_SPACE[method](catalog, space_id)

    async def test_a_space_begun_to_be_deleted_is_gone(self, catalog: Catalog, space: SpaceInfo) -> None:
        """It is in no list, its chunks are not read, its name is free, and it is answered as it was."""
        [begun] = await put(catalog, space, generation("a", "x"))
        before = await catalog.get_space(space.id)
        assert await catalog.begin_space_deletion(space.id) == before
        assert await catalog.list_spaces() == ([], 0)
        assert await catalog.find_spaces(space.name) == []
        assert await catalog.document_chunks(begun.document_id) == []
        assert await catalog.reusable_chunks([begun.document_id]) == {begun.document_id: {}}
        new = await a_space(catalog, space.name, space.owner)
        assert (new.document_count, new.collection != space.collection) == (0, True)
        assert await catalog.begin_space_deletion(new.id) == new, "the freed name can be freed again"
        assert [(gone.id, gone.name) for gone in await catalog.deleted_spaces()] == [
            (space.id, space.name),
            (new.id, space.name),
        ]

    async def test_a_deletion_leaves_no_row(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Finishing removes all of the space and nothing of another one; doing it twice does nothing."""
        other = await a_space(catalog, "other")
        for each in (space, other):
            await put(catalog, each, generation("a", "x", "y"))
            await catalog.begin_generations(each.id, [generation("b", "z")])
        await catalog.begin_space_deletion(space.id)
        for _ in range(2):
            await catalog.finish_space_deletion(space.id)
            assert await catalog.deleted_spaces() == []
        assert (await catalog.get_space(other.id)).chunk_count == 2
        assert len(await catalog.embedding_fields(other.id)) == 2
        assert len(await catalog.collectable(other.id, pending=True)) == 1

    async def test_only_hidden_spaces_are_removed(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Finishing a deletion that was not begun does nothing."""
        await put(catalog, space, generation("a", "x"))
        await catalog.finish_space_deletion(space.id)
        await catalog.finish_space_deletion(NOWHERE)
        assert (await catalog.get_space(space.id)).chunk_count == 1

    async def test_ids_are_never_used_again(self, catalog: Catalog, space: SpaceInfo) -> None:
        """What was deleted leaves its ids behind, so that no index mistakes the new for the old."""
        [old] = await put(catalog, space, generation("a", "x", "y"))
        await catalog.begin_space_deletion(space.id)
        await catalog.finish_space_deletion(space.id)
        again = await a_space(catalog)
        [new] = await put(catalog, again, generation("a", "x", "y"))
        assert again.id > space.id
        assert (new.id > old.id, new.document_id > old.document_id) == (True, True)
        assert min(new.chunk_ids) > max(old.chunk_ids)

    # -- embedders ---------------------------------------------------------------------------------------------------

    async def test_the_first_embedder_is_pinned(self, catalog: Catalog, other: Catalog, space: SpaceInfo) -> None:
        """Whoever comes second is told what is pinned."""
        second = EmbedderPin(name="openai", dimension=1536, fingerprint="g")
        first = await catalog.pin_embedder(space.id, PIN, words="embedded")
        assert (first.embedder, first.words, first.revision) == (PIN, "embedded", space.revision)
        assert await other.pin_embedder(space.id, second, words="milvus") == first
        assert await catalog.get_space(space.id) == first

    async def test_a_collection_is_replaced_in_one_step(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Embedder and collection change together, the revision rises, the counts stay."""
        await put(catalog, space, generation("a", "x"))
        await catalog.note_leftover(space.id, Leftover(space.vector_type, "kb-new", PIN))
        before = await catalog.get_space(space.id)
        await catalog.replace_collection(space.id, collection="kb-new", pin=PIN, writer="v")
        after = await catalog.get_space(space.id)
        assert (after.collection, after.embedder, after.last_writer) == ("kb-new", PIN, "v")
        assert (after.revision, after.chunk_count) == (before.revision + 1, 1)
        assert await catalog.leftovers(space.id) == [], "an empty space had no collection to leave"
        await catalog.replace_collection(space.id, collection="kb-newer", pin=PIN, writer="v")
        assert await catalog.leftovers(space.id) == [Leftover(space.vector_type, "kb-new")]

    async def test_a_move_leaves_what_the_space_was_in(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Its vectors, and its words where those were in Milvus; back again, nothing of the way there is left over."""
        milvus, chroma = VectorType.MILVUS, VectorType.CHROMA
        before = await catalog.pin_embedder(space.id, PIN, words="embedded")
        there = Leftover(milvus, space.collection)
        await catalog.note_leftover(space.id, there)
        await catalog.move_space(space.id, milvus, words="milvus", writer="v", revision=before.revision)
        moved = await catalog.get_space(space.id)
        assert (moved.vector_type, moved.words, moved.revision) == (milvus, "milvus", before.revision + 1)
        assert await catalog.leftovers(space.id) == [Leftover(chroma, space.collection)]
        with pytest.raises(BusyError):
            await catalog.move_space(space.id, chroma, words="embedded", writer="v", revision=before.revision)
        await catalog.move_space(space.id, chroma, words="embedded", writer="v", revision=moved.revision)
        left = await catalog.leftovers(space.id)
        assert set(left) == {there, Leftover(milvus, space.terms_collection)}
        for leftover in left:
            await catalog.forget_leftover(space.id, leftover)
        assert await catalog.leftovers(space.id) == []

    async def test_a_leftover_is_noted_once(self, catalog: Catalog, other: Catalog, space: SpaceInfo) -> None:
        """It keeps the embedder that it was noted with, and outlives the space until that is removed."""
        half = Leftover(space.vector_type, "kb-half", PIN)
        await catalog.note_leftover(space.id, half)
        await other.note_leftover(space.id, half._replace(embedder=None))
        assert await other.leftovers(space.id) == [half]
        assert await catalog.leftovers((await a_space(catalog, "another")).id) == []
        await catalog.begin_space_deletion(space.id)
        assert await catalog.leftovers(space.id) == [half]
        await catalog.finish_space_deletion(space.id)
        assert await catalog.leftovers(space.id) == []

    async def test_an_empty_space_on_another_store_begins_anew(self, catalog: Catalog, space: SpaceInfo) -> None:
        """What it had on the old one is left over, and where its words are is open again."""
        await catalog.pin_embedder(space.id, PIN, words="embedded")
        changed = await catalog.update_space(space.id, vector_type=VectorType.MILVUS)
        assert (changed.words, changed.embedder) == (None, PIN)
        assert await catalog.leftovers(space.id) == [Leftover(VectorType.CHROMA, space.collection)]
        await catalog.update_space(space.id, vector_type=VectorType.CHROMA)
        assert await catalog.leftovers(space.id) == [Leftover(VectorType.MILVUS, space.collection)]

    # -- several at once ---------------------------------------------------------------------------------------------

    async def test_writes_are_seen_by_others(self, catalog: Catalog, other: Catalog, space: SpaceInfo) -> None:
        """What returned is seen by every later read of every process."""
        assert await other.get_space(space.id) == space
        [begun] = await put(other, space, generation("a", "x"), writer="other")
        seen = await catalog.get_space(space.id)
        assert (seen.revision, seen.last_writer, seen.chunk_count) == (1, "other", 1)
        assert set(await catalog.live_chunks(space.id, begun.chunk_ids)) == set(begun.chunk_ids)

    async def test_one_of_many_gets_the_name(self, catalog: Catalog, other: Catalog) -> None:
        """Of several that make the same space at once, exactly one succeeds."""
        won: list[SpaceInfo] = []

        async def make(one: Catalog) -> None:
            with contextlib.suppress(SpaceExistsError):
                won.append(await a_space(one))

        async with anyio.create_task_group() as group:
            for one in (catalog, other) * 5:
                group.start_soon(make, one)
        assert await catalog.list_spaces() == (won, 1)

    async def test_opening_again_keeps_everything(self, catalog: Catalog, open_catalog: Callable[[], Catalog]) -> None:
        """A catalog that is opened a second time is as it was left."""
        space = await a_space(catalog)
        await put(catalog, space, generation("a", "x"))
        before = (await catalog.get_space(space.id), await catalog.embedding_fields(space.id))
        await catalog.aclose()
        again = open_catalog()
        await again.open()
        assert (await again.get_space(space.id), await again.embedding_fields(space.id)) == before
        await again.aclose()

    async def test_a_closed_catalog_says_so(self, catalog: Catalog, open_catalog: Callable[[], Catalog]) -> None:
        """Closing twice does nothing; using it afterwards, or before it is open, is an error."""
        await catalog.ping()
        await catalog.aclose()
        await catalog.aclose()
        for one in (catalog, open_catalog()):
            with pytest.raises(CatalogUnavailableError, match="not open"):
                await one.ping()
