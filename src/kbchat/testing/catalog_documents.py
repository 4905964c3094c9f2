"""The catalog's conformance suite: documents and chunks as readers see them. Inherit `CatalogSuite`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pydantic import JsonValue

from kbchat.catalog import DocumentEdit, Upload
from kbchat.catalog.narrowing import narrowed
from kbchat.errors import DocumentExistsError, DocumentNotFoundError, InvalidInputError
from kbchat.filters import And, Eq, Exists, In, Not, Or, Prefix, matches, tester
from kbchat.models import Chunk, DocumentStatus, Metadata, SpaceInfo
from kbchat.testing.catalog_fixtures import CatalogFixtures
from kbchat.testing.catalog_samples import MANY, NOWHERE, a_space, assert_consistent, generation, put, text_of

if TYPE_CHECKING:
    from kbchat.catalog import Catalog

METADATA: Metadata = {
    "title": "Ünïcode 🎉 \u2028 \" ' \\",
    "nul": "\x00",
    "page": 3,
    "big": 2**63,
    "float": 0.1,
    "none": None,
    "flag": True,
    "headings": ["a", {"b": [1, 2]}],
}


class DocumentTests(CatalogFixtures):
    """Documents and chunks."""

    async def test_a_document_is_what_was_written(self, catalog: Catalog, space: SpaceInfo) -> None:
        """All that a generation brings is the document's once it is published."""
        new = generation(
            "a", "one", "two", metadata=METADATA, doc_type="DOCUMENT", source="/x/a.md", size=2**40, mtime_ns=2**60
        )
        [begun] = await put(catalog, space, new)
        document = await catalog.get_document(space.id, begun.document_id, with_text=True)
        assert (document.id, document.space_id, document.name) == (begun.document_id, space.id, "a")
        assert (document.doc_type, document.source, document.status) == ("DOCUMENT", "/x/a.md", DocumentStatus.FINISHED)
        assert (document.text, document.content_hash) == (new.text, new.content_hash)
        assert (document.metadata, document.chunk_count, document.error) == (METADATA, 2, None)
        assert await catalog.find_document(space.id, "a", with_text=True) == document
        listed = document.model_copy(update={"text": None})
        assert await catalog.get_document(space.id, document.id) == listed
        assert await catalog.find_document(space.id, "a") == listed
        assert await catalog.list_documents(space.id) == ([listed], 1)
        state = (await catalog.source_states(space.id, ["a"]))["a"]
        assert (state.document_id, state.content_hash, state.status) == (document.id, new.content_hash, listed.status)
        assert (state.source, state.size, state.mtime_ns) == ("/x/a.md", 2**40, 2**60)

    async def test_chunks_are_what_was_written(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Each chunk stands where it says, in order, with its document's metadata under its own."""
        parts = ("eins 🎉", "", "drei\x1b\u2028")
        [begun] = await put(catalog, space, generation("a", *parts, metadata={**METADATA, "part": "document's"}))
        chunks = await catalog.document_chunks(begun.document_id)
        assert [chunk.content for chunk in chunks] == list(parts)
        text = text_of(*parts)
        for position, chunk in enumerate(chunks):
            assert chunk == Chunk(
                id=begun.chunk_ids[position],
                document_id=begun.document_id,
                document_name="a",
                position=position,
                start=chunk.start,
                end=chunk.end,
                content=text[chunk.start : chunk.end],
                metadata={**METADATA, "part": position},
            )
        assert await catalog.live_chunks(space.id, begun.chunk_ids) == {chunk.id: chunk for chunk in chunks}
        assert await catalog.embedding_fields(space.id) == chunks

    async def test_a_chunk_is_a_model_like_any_other(self, catalog: Catalog, space: SpaceInfo) -> None:
        """It can be copied, compared, dumped and read back, and not be changed."""
        [begun] = await put(catalog, space, generation("a", "x"))
        [chunk] = await catalog.document_chunks(begun.document_id)
        assert Chunk.model_validate_json(chunk.model_dump_json()) == chunk
        assert chunk.model_copy(update={"start": 7}).start == 7
        assert chunk.model_dump(exclude_unset=True) == chunk.model_dump()
        assert repr(chunk).startswith("Chunk(id=")
        with pytest.raises(ValueError, match="frozen"):
            chunk.start = 7  # type: ignore[misc]

    async def test_a_document_without_chunks(self, catalog: Catalog, space: SpaceInfo) -> None:
        """An empty text is a document like any other."""
        [begun] = await put(catalog, space, generation("empty"))
        document = await catalog.get_document(space.id, begun.document_id, with_text=True)
        assert (document.text, document.chunk_count, begun.chunk_ids) == ("", 0, ())
        assert await catalog.document_chunks(document.id) == []
        assert (await catalog.get_space(space.id)).document_count == 1

    async def test_documents_are_listed_in_pages(self, catalog: Catalog, space: SpaceInfo) -> None:
        """A page is by id, with the count of all, of this space alone."""
        await put(catalog, await a_space(catalog, "other"), generation("0", "x"))
        begun = await put(catalog, space, *(generation(str(number), "x") for number in range(5)))
        await catalog.begin_generations(space.id, [generation("unseen", "x")])
        listed, total = await catalog.list_documents(space.id, offset=1, limit=3)
        assert ([document.id for document in listed], total) == ([one.document_id for one in begun[1:4]], 5)

    async def test_a_name_is_unique_in_its_space(self, catalog: Catalog, space: SpaceInfo) -> None:
        """The same name again is the same document with new content; in another space it is another document."""
        [first] = await put(catalog, space, generation("a", "x"))
        [second] = await put(catalog, space, generation("a", "y"))
        [third] = await put(catalog, await a_space(catalog, "other"), generation("a", "x"))
        assert first.document_id == second.document_id != third.document_id
        assert (await catalog.get_space(space.id)).document_count == 1

    async def test_other_spaces_documents_are_not_found(self, catalog: Catalog, space: SpaceInfo) -> None:
        """An id of another space's document or chunk, or of nothing, finds nothing."""
        other = await a_space(catalog, "other")
        [begun] = await put(catalog, other, generation("a", "x"))
        for document_id in (begun.document_id, NOWHERE, 0, -1):
            with pytest.raises(DocumentNotFoundError) as caught:
                await catalog.get_document(space.id, document_id)
            assert caught.value.document == document_id
            with pytest.raises(DocumentNotFoundError):
                await catalog.delete_document(space.id, document_id, writer="w")
        assert await catalog.find_document(space.id, "a") is None
        assert await catalog.live_chunks(space.id, [*begun.chunk_ids, NOWHERE, 0, -1]) == {}
        assert await catalog.source_states(space.id, ["a"]) == {}
        assert (await catalog.get_space(other.id)).document_count == 1

    async def test_a_deleted_document_is_gone_at_once(self, catalog: Catalog, space: SpaceInfo) -> None:
        """No reader sees it, the counts and the revision know, its chunks are collectable, its name is free."""
        [begun, _] = await put(catalog, space, generation("a", "x", "y"), generation("b", "z"))
        before = await catalog.get_document(space.id, begun.document_id)
        assert await catalog.delete_document(space.id, begun.document_id, writer="v") == before
        after = await catalog.get_space(space.id)
        assert (after.document_count, after.chunk_count, after.revision, after.last_writer) == (1, 1, 2, "v")
        with pytest.raises(DocumentNotFoundError):
            await catalog.delete_document(space.id, begun.document_id, writer="v")
        assert await catalog.find_document(space.id, "a") is None
        assert await catalog.live_chunks(space.id, begun.chunk_ids) == {}
        assert await catalog.document_chunks(begun.document_id) == []
        assert await catalog.reusable_chunks([begun.document_id]) == {begun.document_id: {}}
        assert await catalog.collectable(space.id, pending=False) == {begun.id: list(begun.chunk_ids)}
        [again] = await put(catalog, space, generation("a", "new"))
        assert again.document_id != begun.document_id

    async def test_a_name_that_was_begun_and_never_published_is_free(self, catalog: Catalog, space: SpaceInfo) -> None:
        """A document may be renamed to it, and what was begun is dead; the name of one that is seen is taken."""
        a, c = await put(catalog, space, generation("a", "x"), generation("c", "z"))
        [left] = await catalog.begin_generations(space.id, [generation("b", "y")])
        with pytest.raises(DocumentExistsError):
            await catalog.edit_document(space.id, a.document_id, DocumentEdit(name="c"))
        renamed = await catalog.edit_document(space.id, a.document_id, DocumentEdit(name="b"))
        assert (renamed.id, renamed.name, renamed.chunk_count) == (a.document_id, "b", 1)
        assert await catalog.publish(space.id, [left.id], writer="w") == []
        assert await catalog.collectable(space.id, pending=False) == {left.id: list(left.chunk_ids)}
        await catalog.collect(space.id, [left.id])
        assert [it.id for it in (await catalog.list_documents(space.id))[0]] == [a.document_id, c.document_id]
        await assert_consistent(catalog, space.id)

    async def test_where_a_file_lies_is_kept(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Size and time of each that is named, the source where it is another; no revision rises."""
        a, b = await put(
            catalog, space, generation("a", "x", source="/x/a.md"), generation("b", "y", source="/x/b.md", size=1)
        )
        before = await catalog.get_space(space.id)
        stats = {a.document_id: (2**40, 2**60), b.document_id: (None, None), NOWHERE: (1, 1)}
        await catalog.touch(space.id, stats, sources={a.document_id: "/y/a.md"})
        states = await catalog.source_states(space.id, ["a", "b"])
        assert {name: (it.source, it.size, it.mtime_ns) for name, it in states.items()} == {
            "a": ("/y/a.md", 2**40, 2**60),
            "b": ("/x/b.md", None, None),
        }
        assert list(await catalog.sources_beneath(space.id, "/y/")) == ["a"]
        assert await catalog.get_space(space.id) == before

    async def test_an_upload_that_waits_is_not_deleted_with_others(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Unless it alone is named to be; once it is indexed it goes as any other."""
        texts = [generation(name, name) for name in "abcd"]
        ids = [begun.document_id for begun in await put(catalog, space, *texts)]
        for name in "abc":
            await catalog.keep_upload(space.id, Upload(name, b"new", "DOCUMENT"), replace=True)
        kept = {document_id: upload.id for document_id, upload in (await catalog.upload_states(space.id, ids)).items()}
        a, b, c, _ = ids
        states = {b: (DocumentStatus.FAILED, "cut short"), c: (DocumentStatus.FINISHED, None)}
        await catalog.mark_documents(space.id, states, uploads=kept)
        assert await catalog.awaited(space.id, [*ids, NOWHERE]) == {a, b}
        assert await catalog.awaited((await a_space(catalog, "other")).id, ids) == set()
        assert await catalog.delete_documents(space.id, [*ids, NOWHERE], writer="w") == 2
        assert [document.name for document in (await catalog.list_documents(space.id))[0]] == ["a", "b"]
        assert [upload.data for upload in (await catalog.uploads(space.id, ids)).values()] == [b"new", b"new"]
        await assert_consistent(catalog, space.id)
        await catalog.delete_document(space.id, a, writer="w")
        assert await catalog.awaited(space.id, ids) == {b}

    async def test_what_stands_around_a_chunk(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Its neighbours as far as was asked, and the text from the first to the last, of live documents alone."""
        parts = ("eins 🎉", "zwei", "drei\u2028", "vier", "fünf")
        [old] = await put(catalog, space, generation("a", "alt", "älter"))
        [begun, other] = await put(catalog, space, generation("a", *parts), generation("b", "x"))
        first, _, third, _, _ = begun.chunk_ids
        asked = [first, third, *other.chunk_ids, *old.chunk_ids, NOWHERE]
        found = await catalog.surroundings(space.id, asked, reach=1)
        assert set(found) == {first, third, *other.chunk_ids}
        text = text_of(*parts)
        for key, contents in ((first, parts[:2]), (third, parts[1:4])):
            place = found[key]
            assert [chunk.content for chunk in place.chunks] == list(contents)
            assert place.text == text[place.start : place.start + len(place.text)] == text_of(*contents)
            assert key in [chunk.id for chunk in place.chunks]
        wide = await catalog.surroundings(space.id, [third], reach=40)
        assert wide[third].text == text
        assert await catalog.surroundings(space.id, [], reach=1) == {}

    async def test_any_number_of_ids_and_names(self, catalog: Catalog, space: SpaceInfo) -> None:
        """There is no limit to what one call asks for, and nothing for nothing."""
        begun = await put(catalog, space, *(generation(f"d{number}", "x", "y") for number in range(10)))
        wanted = {chunk_id for one in begun for chunk_id in one.chunk_ids}
        many = range(max(wanted) + MANY)
        assert set(await catalog.live_chunks(space.id, many)) == wanted
        assert len(await catalog.source_states(space.id, [f"d{number}" for number in many])) == 10
        reusable = await catalog.reusable_chunks(many)
        assert sum(map(len, reusable.values())) == 20
        assert set(reusable) == set(many)
        assert await catalog.live_chunks(space.id, []) == {}
        assert await catalog.source_states(space.id, []) == {}
        assert await catalog.reusable_chunks([]) == {}
        assert len(await catalog.live_chunks(space.id, [*begun[0].chunk_ids] * 2)) == 2

    async def test_equal_keys_can_be_reused(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Of a document's live chunks with equal keys the first one's id is given, and no dead one's."""
        [old] = await put(catalog, space, generation("a", "x", "y"))
        new = generation("a", "x", "z", "x")
        [live] = await put(catalog, space, new)
        keys = [chunk.key for chunk in new.chunks]
        assert old.document_id == live.document_id
        assert await catalog.reusable_chunks([live.document_id]) == {
            live.document_id: {keys[0]: live.chunk_ids[0], keys[1]: live.chunk_ids[1]}
        }

    async def test_all_chunks_of_a_space_come_in_turn(self, catalog: Catalog, space: SpaceInfo) -> None:
        """Pages by id, each from where the last one ended, hold every live chunk once."""
        await put(catalog, await a_space(catalog, "other"), generation("o", "x"))
        await put(catalog, space, generation("a", "dead"))
        begun = await put(catalog, space, *(generation(name, "x", "y", "z") for name in "abc"))
        await catalog.begin_generations(space.id, [generation("b", "pending")])
        seen: list[int] = []
        while page := await catalog.embedding_fields(space.id, after=seen[-1] if seen else 0, limit=4):
            assert len(page) <= 4
            seen += [chunk.id for chunk in page]
        assert seen == [chunk_id for one in begun for chunk_id in one.chunk_ids]

    async def test_documents_that_pass_are_found(self, catalog: Catalog) -> None:
        """By their metadata, with how many chunks they have; what the metadata must hold only spares looking."""
        space = await a_space(catalog)
        values: list[JsonValue] = ["x", 'say "é中"', 17, 17.0, True, None, ["x", 3], {"k": "x"}, "%_'"]
        for number, value in enumerate(values):
            await put(catalog, space, generation(f"d{number}", *["text"] * (number + 1), metadata={"k": value}))
        ids = {row.name: row.id for row in (await catalog.list_documents(space.id))[0]}
        for where in (
            Eq(field="k", eq="x"),
            Eq(field="k", eq='say "é中"'),
            Eq(field="k", eq=17),
            Eq(field="k", eq=True),
            In(field="k", in_=("x", 3, "%_'")),
            Or(or_=(Prefix(field="k", prefix='say "'), Eq(field="k", eq="%_'"))),
            And(and_=(In(field="k", in_=("x", 17)), Not(not_=Eq(field="k", eq="x")))),
            Exists(field="k", exists=False),
            Eq(field="K", eq="x"),
        ):
            found = await catalog.matching_documents(space.id, tester(where), must=narrowed(where))
            passing = [number for number, value in enumerate(values) if matches(where, {"k": value})]
            assert sorted(key for key, _ in found) == sorted(ids[f"d{number}"] for number in passing), where
            of_each = [len(await catalog.chunks_of([made])) for _, made in sorted(found) if made is not None]
            assert of_each == [number + 1 for number in passing], where
            every = await catalog.chunks_of([made for _, made in found if made is not None])
            assert len(set(every)) == len(every) == sum(of_each), where

    async def test_an_edit_is_of_what_is_kept_too(self, catalog: Catalog, space: SpaceInfo) -> None:
        """What was uploaded is indexed under the name, source and metadata that the document has by then."""
        ids = [
            (await catalog.keep_upload(space.id, Upload(name, b"One.", "TEXT", name, suffix=end), replace=False))[0].id
            for name, end in (("a", ".md"), ("b", None))
        ]
        edit = DocumentEdit(name="c", source="s", metadata=METADATA)
        document = await catalog.edit_document(space.id, ids[0], edit)
        assert (document.name, document.source, document.metadata) == ("c", "s", METADATA)
        await catalog.edit_document(space.id, ids[0], DocumentEdit(name="d"))
        kept = await catalog.uploads(space.id, ids)
        assert [(it.name, it.source, it.metadata, it.suffix) for it in kept.values()] == [
            ("d", "s", METADATA, ".md"),
            ("b", "b", {}, None),
        ]

    async def test_metadata_can_be_left_as_it_is(self, catalog: Catalog, space: SpaceInfo) -> None:
        """By a generation that brings none; a new document has none then."""
        await put(catalog, space, generation("a", "one", metadata=METADATA), generation("b", "one"))
        again = [replace(generation(name, "two"), metadata=None) for name in ("a", "c")]
        await put(catalog, space, *again, generation("b", "two", metadata={"k": 1}))
        found = {row.name: row.metadata for row in (await catalog.list_documents(space.id))[0]}
        assert found == {"a": METADATA, "b": {"k": 1}, "c": {}}

    async def test_the_last_writer_is_who_changed_the_indexes(self, catalog: Catalog, space: SpaceInfo) -> None:
        """An upload and an edit change the space and not its vectors: who wrote those is still told."""
        await put(catalog, space, generation("a", "one"), writer="other")
        upload = Upload("b", b"Two.", "TEXT")
        kept, after = await catalog.keep_upload(space.id, upload, replace=False)
        assert after == await catalog.get_space(space.id)
        assert (after.revision, after.last_writer, after.document_count) == (2, "other", 2)
        await catalog.edit_document(space.id, kept.id, DocumentEdit(name="c"))
        after = await catalog.get_space(space.id)
        assert (after.revision, after.last_writer) == (3, "other")

    @pytest.mark.parametrize("bad", ["\ud800", "half a pair: \udfff"])
    async def test_lone_surrogates_are_refused(self, catalog: Catalog, space: SpaceInfo, bad: str) -> None:
        """Such a text, name or metadata is an error, and nothing of the batch is written."""
        for new in (generation("a", bad), generation(bad, "x"), generation("a", "x", metadata={"k": bad})):
            with pytest.raises(InvalidInputError):
                await catalog.begin_generations(space.id, [generation("good", "x"), new])
        assert await catalog.collectable(space.id, pending=True) == {}
