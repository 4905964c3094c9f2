"""Uploads and sync requests over HTTP: what is asked for last, and what is really done."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kbchat.chunking import Splitting
from kbchat_aiohttp.indexer import Indexer
from serving import DOCUMENTS, make_space, serving, settled

LONG = "\n\n".join(f"Paragraph {number} says something about the number {number}." for number in range(120))


def by_size(tokens: int) -> dict[str, object]:
    return {"chunk_parameters": {"chunk_strategy": "CHUNK_BY_SIZE", "chunk_size": tokens, "chunk_overlap": 0}}


async def test_of_several_ways_to_split_the_last_counts(tmp_path: Path) -> None:
    """Whatever was asked for the others that wait, and in whichever order those ways came first."""
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        ids = []
        for name in ("one", "two"):
            sent = {"doc_name": name, "doc_type": "TEXT", "content": LONG, "space_id": space_id}
            ids.append((await served.post(DOCUMENTS, sent))[1]["data"]["id"])
        indexer = Indexer(served.kb)
        large, small = Splitting(max_tokens=512), Splitting(max_tokens=64)
        for document_id, splitting in ((ids[0], large), (ids[1], small), (ids[1], large)):
            indexer.submit(space_id, document_id, splitting)
        one, two = [await settled(served, document_id) for document_id in ids]
        await indexer.close()
        assert (two["status"], two["chunk_size"]) == ("FINISHED", one["chunk_size"])


def parts(space_id: int, file: tuple[str, str] | None, **fields: str) -> dict[str, Any]:
    """A form as browsers send it: a field for a file is there also when none was chosen."""
    found = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'
        for name, value in {"space_id": str(space_id), **fields}.items()
    ]
    if file is not None:
        label = f'Content-Disposition: form-data; name="doc_file"; filename="{file[0]}"'
        found.append(f"{label}\r\nContent-Type: application/octet-stream\r\n\r\n{file[1]}")
    body = "".join(f"--B\r\n{part}\r\n" for part in found) + "--B--\r\n"
    return {"data": body.encode(), "headers": {"Content-Type": "multipart/form-data; boundary=B"}}


@pytest.mark.parametrize("file", [None, ("", ""), ("x.txt", "of the file"), ("x.txt", "")])
async def test_a_text_is_its_content_whatever_file_comes_along(tmp_path: Path, file: tuple[str, str] | None) -> None:
    """The type decides."""
    async with serving(tmp_path) as served:
        form = parts(await make_space(served), file, doc_name="note", doc_type="TEXT", content="The typed text.")
        status, body = await served.send("POST", DOCUMENTS, **form)
        assert (status, body["data"] and body["data"]["doc_type"]) == (200, "TEXT"), body
        await served.post(f"{DOCUMENTS}/{body['data']['id']}/sync", {})
        await settled(served, body["data"]["id"])
        _, body = await served.get(f"{DOCUMENTS}/{body['data']['id']}/content")
        assert body["data"]["content"] == "The typed text."


@pytest.mark.parametrize(
    ("file", "fields", "field"),
    [
        (("x.txt", "of the file"), {"doc_name": "a", "doc_type": "TEXT"}, "content"),
        (("", ""), {"doc_name": "a", "doc_type": "DOCUMENT"}, "doc_file"),
        (("x.txt", ""), {"doc_name": "a", "doc_type": "DOCUMENT"}, "doc_file"),
        (("", ""), {"doc_type": "DOCUMENT"}, "doc_name"),
    ],
)
async def test_what_is_missing_is_named(
    tmp_path: Path, file: tuple[str, str], fields: dict[str, str], field: str
) -> None:
    """A file of no name and no bytes is none."""
    async with serving(tmp_path) as served:
        status, body = await served.send("POST", DOCUMENTS, **parts(await make_space(served), file, **fields))
        assert (status, body["error"]["param"]) == (400, field)


async def test_a_files_own_name_says_what_it_is(tmp_path: Path) -> None:
    """Clients send a name for people beside it."""
    async with serving(tmp_path) as served:
        form = aiohttp.FormData({"doc_name": "Handbook", "space_id": str(await make_space(served))})
        form.add_field("doc_file", b"# Keys\n\n## Rotation\n\nKeys rotate every 90 days.\n", filename="h.md")
        _, body = await served.send("POST", DOCUMENTS, data=form)
        document_id = body["data"]["id"]
        await served.post(f"{DOCUMENTS}/{document_id}/sync", {})
        assert (await settled(served, document_id))["doc_name"] == "Handbook"
        space = (await served.kb.list_spaces())[0]
        [chunk] = await space.document_chunks(document_id)
        assert chunk.metadata["headings"] == ["Keys", "Rotation"]


async def test_what_was_ingested_is_not_split_by_a_client(tmp_path: Path) -> None:
    """There is no upload that could be read again: it is said, and nothing is begun. Without a wish it is as it is."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/long.md").write_text(LONG)
    async with serving(tmp_path / "data") as served:
        space_id = await make_space(served)
        space = await served.kb.get_space(space_id)
        await space.ingest(tmp_path / "docs")
        [document] = await space.documents()
        sent = {"doc_name": "note", "doc_type": "TEXT", "content": LONG, "space_id": space_id}
        note = (await served.post(DOCUMENTS, sent))[1]["data"]["id"]
        asked = [{"doc_id": it, **by_size(32)} for it in (note, document.id)]
        status, body = await served.post(f"{DOCUMENTS}/sync", asked)
        assert (status, body["error"]["param"]) == (400, "[1].chunk_parameters")
        assert "was not uploaded" in body["error"]["message"]
        status, body = await served.post(f"{DOCUMENTS}/{document.id}/sync", by_size(32))
        assert (status, body["error"]["param"]) == (400, "chunk_parameters")
        assert (await served.get(f"{DOCUMENTS}/{note}"))[1]["data"]["status"] == "TODO"
        automatic = {"chunk_parameters": {"chunk_strategy": "Automatic", "chunk_size": 512}}
        for body in ({}, automatic):
            assert (await served.post(f"{DOCUMENTS}/{document.id}/sync", body))[0] == 200
        assert (await settled(served, document.id))["chunk_size"] == document.chunk_count
