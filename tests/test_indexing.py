"""Documents that are handed over now and indexed later."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import sqlalchemy as sa

import kbchat
from kbchat.embedders import Vector, Vectors
from kbchat.errors import (
    CatalogUnavailableError,
    DocumentExistsError,
    DocumentNotFoundError,
    EmbedderMismatchError,
    InvalidInputError,
)
from kbchat.filters import Eq
from kbchat.models import DocumentStatus

KEYS = "# Keys\n\nKeys are rotated every ninety days by the vault. Nobody rotates them by hand.\n"


@pytest.fixture
async def space(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeSpace]:
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        yield await kb.create_space("handbook")


async def test_a_document_is_found_once_it_is_indexed(space: kbchat.KnowledgeSpace) -> None:
    """Until then it is listed as TODO, and counted."""
    added = await space.add_document("keys.md", data=KEYS.encode(), source="https://example.org/keys")
    assert (added.status, added.doc_type, added.chunk_count) == (DocumentStatus.TODO, "DOCUMENT", 0)
    assert await space.documents() == [added]
    assert (await space.refresh()).document_count == 1
    assert await space.retrieve("How often are keys rotated?") == []
    await space.index_documents([added.id])
    indexed = await space.get_document(added.id)
    assert (indexed.status, indexed.text, indexed.source) == (DocumentStatus.FINISHED, KEYS, "https://example.org/keys")
    assert (await space.refresh()).document_count == 1
    [found] = await space.retrieve("How often are keys rotated?")
    assert found.document_id == added.id


async def test_a_text_is_a_document_too(space: kbchat.KnowledgeSpace) -> None:
    """With what is known of it."""
    added = await space.add_document("note", text="Lunch is at noon.", metadata={"lang": "en"})
    assert added.doc_type == "TEXT"
    await space.index_documents([added.id])
    document = await space.get_document("note")
    assert (document.text, document.metadata) == ("Lunch is at noon.", {"lang": "en"})


async def test_what_cannot_be_read_fails_with_its_reason(space: kbchat.KnowledgeSpace) -> None:
    """And the others go in; tried again with other content, it goes in too."""
    bad = await space.add_document("bad.pdf", data=b"%PDF-1.4 cut")
    good = await space.add_document("good.md", data=KEYS.encode())
    await space.index_documents([bad.id, good.id])
    failed = await space.get_document(bad.id)
    assert failed.status is DocumentStatus.FAILED
    assert failed.error
    assert (await space.get_document(good.id)).status is DocumentStatus.FINISHED
    again = await space.add_document("bad.pdf", data=KEYS.encode(), replace=True)
    assert (again.id, again.status, again.error) == (bad.id, DocumentStatus.TODO, None)
    await space.index_documents([bad.id])
    assert (await space.get_document(bad.id)).status is DocumentStatus.FINISHED


async def test_a_name_is_unique_unless_it_replaces(space: kbchat.KnowledgeSpace) -> None:
    """What it replaces is found until the new content is indexed."""
    first = await space.add_document("keys.md", data=KEYS.encode())
    with pytest.raises(DocumentExistsError):
        await space.add_document("keys.md", data=b"other")
    await space.index_documents([first.id])
    second = await space.add_document("keys.md", data=b"Lunch is served at noon.", replace=True)
    assert second.id == first.id
    assert [found.content for found in await space.retrieve("How often are keys rotated?")]
    await space.index_documents([second.id])
    assert (await space.get_document(first.id)).text == "Lunch is served at noon."
    assert (await space.refresh()).document_count == 1


async def test_a_document_of_an_ingest_can_be_replaced(space: kbchat.KnowledgeSpace) -> None:
    """Whoever brought it."""
    await space.ingest(kbchat.TextDocument(name="keys.md", text=KEYS))
    with pytest.raises(DocumentExistsError):
        await space.add_document("keys.md", text="new")
    replaced = await space.add_document("keys.md", text="Lunch is at noon.", replace=True)
    await space.index_documents([replaced.id])
    assert (await space.get_document("keys.md")).text == "Lunch is at noon."
    assert (await space.refresh()).document_count == 1


async def test_indexing_again_changes_nothing_unless_chunks_are_to_be_others(space: kbchat.KnowledgeSpace) -> None:
    """Then the same text is split anew."""
    text = "\n\n".join(f"Paragraph {number} says something about the number {number}." for number in range(40))
    added = await space.add_document("long.md", text=text)
    await space.index_documents([added.id])
    before = await space.get_document(added.id)
    await space.index_documents([added.id])
    same = await space.get_document(added.id)
    assert (same.chunk_count, same.status) == (before.chunk_count, DocumentStatus.FINISHED)
    await space.index_documents([added.id], splitting=kbchat.Splitting(max_tokens=32))
    assert (await space.get_document(added.id)).chunk_count > before.chunk_count


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"name": "", "text": "x"}, "name"),
        ({"name": "x"}, "data"),
        ({"name": "x", "text": "x", "data": b"x"}, "data"),
        ({"name": "x", "text": " "}, "text"),
        ({"name": "x", "data": b" \n"}, "data"),
        ({"name": "x", "text": "a\x00b"}, "text"),
        ({"name": "x", "data": b"x" * 2000}, "data"),
        ({"name": "x", "text": "x", "metadata": {True: 1}}, "metadata"),
        ({"name": "x", "text": "x", "metadata": "abc"}, "metadata"),
    ],
)
async def test_what_cannot_be_kept_is_refused(tmp_path: Path, arguments: dict[str, object], field: str) -> None:
    """With the argument at fault, and nothing kept."""
    settings = kbchat.Settings(data_dir=tmp_path, max_document_bytes=1000)
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("handbook")
        with pytest.raises(InvalidInputError) as caught:
            await space.add_document(**arguments)  # type: ignore[arg-type]
        assert caught.value.field == field
        assert await space.documents() == []


async def test_a_splitting_given_holds_wholly(tmp_path: Path) -> None:
    """Nothing of the settings' own, such as an overlap as large as the chunk, gets into it."""
    text = " ".join(f"word{number}" for number in range(290))
    settings = kbchat.Settings(data_dir=tmp_path, chunk_strategy="tokens", chunk_tokens=128, chunk_overlap=64)
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("handbook")
        added = await space.add_document("words", text=text)
        await space.index_documents([added.id], splitting=kbchat.Splitting(strategy="tokens", max_tokens=32))
        chunks = await space.document_chunks("words")
        assert sum(len(chunk.content.split()) for chunk in chunks) == 290
        with pytest.raises(InvalidInputError, match="splitting"):
            await space.index_documents([added.id], splitting={"max_tokens": 1})  # type: ignore[arg-type]


async def test_a_part_that_fails_is_told_in_the_documents(space: kbchat.KnowledgeSpace) -> None:
    """The space was embedded by another model: nothing can go in, and each document says so."""
    await space.ingest(kbchat.TextDocument(name="a", text=KEYS))
    added = await space.add_document("keys.md", text=KEYS)
    pin = space.info.embedder or (await space.refresh()).embedder
    assert pin is not None
    other = pin.model_copy(update={"fingerprint": "another", "name": "another", "dimension": 3})
    catalog = space._parts.catalog
    await catalog.replace_collection(space.id, collection="kb-other", pin=other, writer="x")
    with pytest.raises(EmbedderMismatchError):
        await space.index_documents([added.id])
    failed = await space.get_document(added.id)
    assert failed.status is DocumentStatus.FAILED
    assert "reembed" in (failed.error or "")


async def test_a_run_that_is_stopped_can_be_begun_again(space: kbchat.KnowledgeSpace) -> None:
    """What it did not reach is TODO, not RUNNING for ever."""
    ids = [(await space.add_document(f"{number}.md", text=KEYS)).id for number in range(5)]
    with anyio.CancelScope() as scope:
        async with space._parts.writing(space.id), anyio.create_task_group() as tasks:
            tasks.start_soon(space.index_documents, ids)
            while (await space.documents())[0].status is not DocumentStatus.RUNNING:
                await anyio.sleep(0.001)
            scope.cancel()
    assert {document.status for document in await space.documents()} == {DocumentStatus.TODO}
    await space.index_documents(ids)
    assert {document.status for document in await space.documents()} == {DocumentStatus.FINISHED}


async def test_a_run_that_is_stopped_while_the_catalog_is_away(
    space: kbchat.KnowledgeSpace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is stopped all the same, and the log says what is left of it."""
    added = await space.add_document("keys.md", text=KEYS)

    async def away(*_: object, **__: object) -> None:
        raise CatalogUnavailableError("away")

    with anyio.CancelScope() as scope:
        async with space._parts.writing(space.id), anyio.create_task_group() as tasks:
            tasks.start_soon(space.index_documents, [added.id])
            while (await space.get_document(added.id)).status is not DocumentStatus.RUNNING:
                await anyio.sleep(0.001)
            monkeypatch.setattr(space._parts.catalog, "mark_documents", away)
            scope.cancel()
    assert scope.cancelled_caught
    assert [record.getMessage() for record in caplog.records] == [
        f"documents of space {space.id} may say that they are being indexed, and are not: away"
    ]


async def test_a_deleted_document_does_not_come_back(space: kbchat.KnowledgeSpace) -> None:
    """Nor does what was kept of it."""
    added = await space.add_document("keys.md", text=KEYS)
    await space.delete_document(added.id)
    await space.index_documents([added.id])
    assert await space.documents() == []
    assert (await space.refresh()).document_count == 0


async def test_documents_are_found_in_whatever_space(tmp_path: Path) -> None:
    """By id, and listed in pages; another owner's are not there."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        documents = []
        for owner in ("alice", "bob", "alice"):
            space = await kb.create_space(f"s{len(documents)}", owner=owner)
            documents.append(await space.add_document("a", text=KEYS))
        assert await kb.list_documents() == documents
        assert await kb.count_documents() == 3
        assert await kb.list_documents(owner="alice") == [documents[0], documents[2]]
        assert await kb.count_documents(owner="alice") == 2
        assert await kb.list_documents(owner="alice", offset=1, limit=1) == [documents[2]]
        assert await kb.list_documents(owner="carol") == []
        assert await kb.count_documents(owner="carol") == 0
        assert (await kb.get_document(documents[1].id)).id == documents[1].id
        with pytest.raises(DocumentNotFoundError):
            await kb.get_document(documents[1].id, owner="alice")
        await kb.delete_space("s1")
        with pytest.raises(DocumentNotFoundError):
            await kb.get_document(documents[1].id)
        assert await kb.count_documents() == 2


async def test_uploads_that_meet_go_in_together(space: kbchat.KnowledgeSpace) -> None:
    """Each wholly or not at all: a name that is taken costs that one alone."""
    taken = await space.add_document("taken", text="Was here before.")
    outcomes: dict[int, object] = {}

    async def add(number: int) -> None:
        name = "taken" if number % 5 == 0 else f"n{number}"
        try:
            outcomes[number] = (await space.add_document(name, text=f"Number {number}.")).name
        except DocumentExistsError as error:
            outcomes[number] = type(error)

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(add, number)
    expected = {number: DocumentExistsError if number % 5 == 0 else f"n{number}" for number in range(40)}
    assert outcomes == expected
    assert len(await space.documents()) == 33
    assert (await space.get_document("taken")).id == taken.id


async def test_a_change_that_fails_costs_no_other(space: kbchat.KnowledgeSpace) -> None:
    """Whatever it fails in, a mistake of a program or a number that is too large: who made it is told, and those that
    went with it are made."""
    catalog = space._parts.catalog
    rename = sa.text("UPDATE documents SET name = name || '!' WHERE id = :id")
    ids = [(await space.add_document(f"n{number}", text="Keys.")).id for number in range(30)]
    outcomes: dict[int, object] = {}

    async def change(number: int) -> None:
        def work(connection: sa.Connection) -> int:
            connection.execute(rename, {"id": ids[number]})
            if number == 10:
                raise TypeError("no such thing")
            if number == 20:
                connection.execute(rename, {"id": 2**63})
            return number

        try:
            outcomes[number] = await catalog._write_in_company(work)
        except Exception as error:
            outcomes[number] = type(error)

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(change, number)
    assert outcomes == {**{number: number for number in range(30)}, 10: TypeError, 20: InvalidInputError}
    names = {document.name for document in await space.documents()}
    assert names == {f"n{number}" if number in (10, 20) else f"n{number}!" for number in range(30)}


async def test_a_cancelled_upload_takes_no_other_along(space: kbchat.KnowledgeSpace) -> None:
    """Those that waited with it go in, and what it was is there wholly or not."""
    scopes = [anyio.CancelScope() for _ in range(30)]
    done: set[str] = set()

    async def add(number: int) -> None:
        with scopes[number]:
            done.add((await space.add_document(f"n{number}", text=f"Number {number}.")).name)

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(add, number)
        await anyio.lowlevel.checkpoint()
        for scope in scopes[::3]:
            scope.cancel()
    names = {document.name for document in await space.documents()}
    assert done <= names
    assert {f"n{number}" for number in range(30) if number % 3} <= done


class Interrupting:
    """An embedder in whose first call something else happens."""

    name = "interrupting"
    batch_size = 8

    def __init__(self) -> None:
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return np.ones((len(texts), 2), np.float32) / np.float32(2**0.5)

    async def embed_query(self, text: str) -> Vector:
        return (await self.embed_documents([text]))[0]

    async def aclose(self) -> None:
        pass


async def test_what_is_uploaded_anew_while_it_is_indexed_is_still_to_be_indexed(tmp_path: Path) -> None:
    """What was being indexed is found until then, but nobody is told that the new content was finished."""
    embedder = Interrupting()
    async with kbchat.KnowledgeBase(tmp_path, embedder=embedder) as kb:
        space = await kb.create_space("handbook")
        added = await space.add_document("keys.md", text=KEYS)
        embedder.meanwhile = partial(space.add_document, "keys.md", text="Lunch is at noon.", replace=True)
        await space.index_documents([added.id])
        between = await space.get_document(added.id)
        assert (between.status, between.text) == (DocumentStatus.TODO, KEYS)
        await space.index_documents([added.id])
        after = await space.get_document(added.id)
        assert (after.status, after.text) == (DocumentStatus.FINISHED, "Lunch is at noon.")


@pytest.mark.parametrize("given", [{"data": KEYS.encode()}, {"text": KEYS}])
async def test_what_is_told_of_an_upload_is_told_of_the_document(
    space: kbchat.KnowledgeSpace, given: dict[str, Any]
) -> None:
    """It goes before what a file says of itself, is found by, and can be edited before it is indexed and after."""
    added = await space.add_document("keys.md", metadata={"team": "ops", "title": "Ours"}, **given)
    await space.index_documents([added.id])
    assert (await space.get_document(added.id)).metadata == {"team": "ops", "title": "Ours"}
    assert await space.retrieve("How often are keys rotated?", where=Eq(field="team", eq="ops"))
    again = await space.add_document("keys.md", metadata={"title": "Theirs"}, replace=True, **given)
    await space.index_documents([added.id])
    assert (await space.get_document(added.id)).metadata == {"title": "Theirs"}
    for splitting in (None, kbchat.Splitting(strategy="tokens")):
        edited = {"title": "Edited", "splitting": str(splitting)}
        await space.update_document(again.id, name="renamed.md", metadata=edited)
        await space.index_documents([again.id], splitting=splitting)
        document = await space.get_document(again.id)
        assert (document.name, document.metadata, document.status) == ("renamed.md", edited, DocumentStatus.FINISHED)


INGEST = """
import asyncio, sys
import kbchat

async def main():
    async with kbchat.KnowledgeBase(sys.argv[1]) as kb:
        space = await kb.get_space("handbook")
        await space.ingest([kbchat.TextDocument(name=f"z{i}", text=f"Zebra {i} eats grass.") for i in range(9)])

asyncio.run(main())
"""


@pytest.mark.timeout(200)
async def test_a_space_is_as_its_last_upload_left_it(space: kbchat.KnowledgeSpace) -> None:
    """Also where many come at once: its `info` is never of one before the last."""
    before = space.info.document_count
    async with anyio.create_task_group() as tasks:
        for n in range(40):
            tasks.start_soon(partial(space.add_document, f"upload {n}", text="One."))
    known = space.info
    assert known.document_count == before + 40
    assert await space.refresh() == known


async def test_what_another_process_wrote_is_seen_after_an_upload_here(
    space: kbchat.KnowledgeSpace, tmp_path: Path
) -> None:
    """An upload is the space's latest change, and no sign that its vectors are known here."""
    await space.ingest([kbchat.TextDocument(name=f"k{i}", text=f"Keys are rotated by {i}.") for i in range(9)])
    await space.retrieve("What do zebras eat?", strategy="dense")
    await anyio.run_process([sys.executable, "-c", INGEST, str(tmp_path / "data")])
    await space.add_document("later", text="To be indexed later.")
    [found] = await space.retrieve("What do zebras eat?", strategy="dense", top_k=1)
    assert found.name.startswith("z")


@pytest.mark.parametrize("status", [DocumentStatus.FINISHED, DocumentStatus.FAILED])
async def test_a_status_is_of_one_upload(space: kbchat.KnowledgeSpace, status: DocumentStatus) -> None:
    """Said of an older one it says that the newer one is to be indexed."""
    catalog = space._parts.catalog
    added = await space.add_document("keys.md", text=KEYS)
    [old] = (await catalog.upload_states(space.id, [added.id])).values()
    await space.add_document("keys.md", text="Lunch is at noon.", replace=True)
    [new] = (await catalog.upload_states(space.id, [added.id])).values()
    for upload, expected in ((new, status), (old, DocumentStatus.TODO)):
        await catalog.mark_documents(space.id, {added.id: (status, None)}, uploads={added.id: upload.id})
        assert (await space.get_document(added.id)).status is expected
