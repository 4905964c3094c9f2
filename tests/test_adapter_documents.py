"""The routes of documents."""

import asyncio
import io
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kbchat.models import DocumentStatus
from serving import DOCUMENTS, SPACES, Served, make_space, serving, settled

KEYS = "# Keys\n\nKeys are rotated every ninety days by the vault. Nobody rotates them by hand.\n"
SYNC = {"model_name": None, "chunk_parameters": {"chunk_strategy": "Automatic", "chunk_size": 512, "separator": "\n"}}


async def make(served: Served, space_id: int, name: str = "keys.md", **more: object) -> dict[str, Any]:
    sent = {"doc_name": name, "doc_type": "TEXT", "content": KEYS, "space_id": str(space_id), **more}
    status, body = await served.post(DOCUMENTS, sent)
    assert status == 200, body
    data: dict[str, Any] = body["data"]
    return data


def form(content: bytes = KEYS.encode(), **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, value in fields.items():
        data.add_field(name, value)
    data.add_field("doc_file", io.BytesIO(content), filename="keys.md", content_type="text/markdown")
    return data


async def test_a_file_is_taken_in_indexed_and_found(tmp_path: Path) -> None:
    """From upload to reference, by the routes alone."""
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        upload = form(doc_name="Keys", doc_type="DOCUMENT", space_id=str(space_id), doc_source="the wiki")
        status, body = await served.send("POST", DOCUMENTS, data=upload)
        assert status == 200, body
        made = body["data"]
        assert made | {"gmt_created": "", "gmt_modified": ""} == {
            "id": made["id"],
            "doc_name": "Keys",
            "doc_type": "DOCUMENT",
            "content": "",
            "doc_source": "the wiki",
            "space": "handbook",
            "space_id": str(space_id),
            "status": "TODO",
            "last_sync": None,
            "chunk_size": 0,
            "result": "",
            "gmt_created": "",
            "gmt_modified": "",
            "stage": None,
            "progress": None,
        }
        sync = [{"doc_id": str(made["id"]), "space_id": str(space_id), **SYNC}]
        assert (await served.post(f"{DOCUMENTS}/sync", sync))[1]["data"] == [made["id"]]
        done = await settled(served, made["id"])
        assert (done["status"], done["result"], done["chunk_size"]) == ("FINISHED", "", 1)
        assert done["last_sync"]
        question = {"query": "How often are keys rotated?"}
        _, body = await served.post(f"{SPACES}/{space_id}/retrieve", question)
        [found] = body["data"]
        assert (found["name"], found["document_id"]) == ("Keys", made["id"])
        assert KEYS[found["start"] : found["end"]] == found["content"]
        status, body = await served.send("DELETE", f"{DOCUMENTS}/{made['id']}")
        assert (status, body["data"]) == (200, done)
        assert (await served.get(f"{DOCUMENTS}/{made['id']}"))[0] == 404
        assert (await served.post(f"{SPACES}/{space_id}/retrieve", question))[1]["data"] == []


async def test_the_published_clients_way_is_understood(tmp_path: Path) -> None:
    """They send everything as query parameters, what they leave out as empty ones, and no body."""
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        sent = {"id": "", "doc_name": "a", "doc_type": "TEXT", "content": KEYS, "doc_file": "", "doc_source": ""}
        status, body = await served.send("POST", DOCUMENTS, params={**sent, "space_id": str(space_id)})
        assert status == 200, body
        assert body["data"]["doc_name"] == "a"
        assert "doc_file" not in body["data"]


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_many_are_indexed_in_the_background(tmp_path: Path, one_by_one: bool) -> None:
    """Asked for together or one by one; what cannot be read says why, and the others go in."""
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        ids = [(await make(served, space_id, f"{number}.md"))["id"] for number in range(20)]
        bad = form(b"%PDF-1.4 cut", doc_name="bad.pdf", space_id=str(space_id))
        ids.append((await served.send("POST", DOCUMENTS, data=bad))[1]["data"]["id"])
        if one_by_one:
            for document_id in ids:
                assert (await served.send("POST", f"{DOCUMENTS}/{document_id}/sync"))[1]["data"] == [document_id]
        else:
            sync = [{"doc_id": document_id} for document_id in ids]
            assert (await served.post(f"{DOCUMENTS}/batch_sync", sync))[1]["data"] == ids
        states = [await settled(served, document_id) for document_id in ids]
        assert [state["status"] for state in states] == ["FINISHED"] * 20 + ["FAILED"]
        assert states[-1]["result"]
        _, body = await served.get(f"/api/v2/serve/knowledge/{space_id}/stats")
        stats = body["data"]
        assert stats.pop("tokens") > 20
        assert stats == {
            "documents": 21,
            "chunks": 20,
            "statuses": {"FINISHED": 20, "FAILED": 1},
            "state": "ready",
            "embedder": stats["embedder"],
        }


async def test_a_space_with_little_to_index_need_not_wait_for_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spaces take turns: what came last is there while the others are still at it."""
    monkeypatch.setattr("kbchat_aiohttp.indexer.DOCUMENTS_A_TURN", 20)
    async with serving(tmp_path) as served:
        large = [await make_space(served, name) for name in ("one", "two")]
        small = await make_space(served, "small")
        ids = {space_id: [(await make(served, space_id, f"{n}.md"))["id"] for n in range(100)] for space_id in large}
        last = (await make(served, small))["id"]
        for space_id in large:
            await served.post(f"{DOCUMENTS}/sync", [{"doc_id": document_id} for document_id in ids[space_id]])
        await served.post(f"{DOCUMENTS}/{last}/sync", {})
        assert (await settled(served, last))["status"] == "FINISHED"
        for space_id in large:
            assert (await served.get(f"{DOCUMENTS}/{ids[space_id][-1]}"))[1]["data"]["status"] == "TODO"


@pytest.mark.parametrize(
    ("asked", "chunks"),
    [
        ({"chunk_strategy": "Automatic", "chunk_size": 16}, 1),
        ({"chunk_strategy": "CHUNK_BY_PAGE"}, 1),
        ({"chunk_strategy": "CHUNK_BY_PARAGRAPH", "separator": "\\n\\n"}, 6),
        ({"chunk_strategy": "CHUNK_BY_MARKDOWN_HEADER"}, 2),
        ({"chunk_strategy": "CHUNK_BY_SEPARATOR", "separator": "|", "enable_merge": False}, 3),
        ({"chunk_strategy": "CHUNK_BY_SEPARATOR", "separator": "|", "enable_merge": True}, 1),
        ({"chunk_strategy": "CHUNK_BY_SIZE", "chunk_size": 16, "chunk_overlap": 0}, 2),
        ({"chunk_size": 16}, 2),
    ],
)
async def test_documents_are_split_as_clients_ask(tmp_path: Path, asked: dict[str, object], chunks: int) -> None:
    """By the names of the wire, whatever else the clients send along."""
    text = "# One\n\nA first paragraph | of keys.\n\nA second one.\n\n# Two\n\nA third | of the vault.\n\nA fourth one."
    sent = {"chunk_size": 512, "chunk_overlap": 0, "separator": "\n", "splitter_type": "user_define"}
    async with serving(tmp_path) as served:
        made = await make(served, await make_space(served), content=text)
        status, body = await served.post(f"{DOCUMENTS}/{made['id']}/sync", {"chunk_parameters": sent | asked})
        assert status == 200, body
        assert (await settled(served, made["id"]))["chunk_size"] == chunks


async def test_chunks_may_be_of_another_size(tmp_path: Path) -> None:
    """Where the strategy is to split by size; sizes are tokens."""
    text = "\n\n".join(f"Paragraph {number} says something about the number {number}." for number in range(40))
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        made = await make(served, space_id, content=text)
        counts = []
        for chunks in (None, {"chunk_strategy": "CHUNK_BY_SIZE", "chunk_size": 32, "chunk_overlap": 0}):
            sent = {"chunk_parameters": chunks}
            await served.post(f"{DOCUMENTS}/{made['id']}/sync", sent)
            before = made["gmt_modified"]
            while (made := await settled(served, made["id"]))["gmt_modified"] == before:
                await asyncio.sleep(0.01)
            counts.append(made["chunk_size"])
        assert counts[1] > counts[0]


async def test_a_name_is_unique_unless_it_replaces(tmp_path: Path) -> None:
    """409, and with `replace` new content under the same id."""
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        made = await make(served, space_id)
        sent = {"doc_name": "keys.md", "content": "Lunch is at noon.", "space_id": space_id}
        status, body = await served.post(DOCUMENTS, sent)
        assert (status, body["error"]["code"]) == (409, "document_exists")
        status, body = await served.post(DOCUMENTS, {**sent, "replace": True})
        assert (status, body["data"]["id"]) == (200, made["id"])
        await served.send("POST", f"{DOCUMENTS}/{made['id']}/sync")
        await settled(served, made["id"])
        _, body = await served.get(f"{DOCUMENTS}/{made['id']}/content")
        assert body["data"]["content"] == "Lunch is at noon."


@pytest.mark.parametrize(
    ("sent", "expected", "field"),
    [
        ({}, 400, "space_id"),
        ({"space_id": 1}, 400, "doc_name"),
        ({"space_id": 99, "doc_name": "a", "content": "x"}, 404, None),
        ({"space_id": "nope", "doc_name": "a", "content": "x"}, 404, None),
        ({"space_id": 1, "doc_name": "a"}, 400, "doc_file"),
        ({"space_id": 1, "doc_name": "a", "doc_type": "TEXT", "content": ""}, 400, "content"),
        ({"space_id": 1, "doc_name": "a", "content": "  "}, 400, "content"),
        ({"space_id": 1, "doc_name": "a\x00", "content": "x"}, 400, "doc_name"),
        ({"space_id": 1, "doc_name": "a", "content": "x\x00"}, 400, "content"),
        ({"space_id": 1, "doc_name": "a", "doc_type": "URL", "content": "http://x"}, 400, "doc_type"),
        ({"space_id": 1, "doc_name": "a", "doc_type": "FAX", "content": "x"}, 400, "doc_type"),
        ({"space_id": 1, "doc_name": ["a"], "content": "x"}, 400, "doc_name"),
        ({"space_id": 1, "doc_name": "a", "content": "x", "replace": "perhaps"}, 400, "replace"),
    ],
)
async def test_what_cannot_be_taken_in_names_its_field(
    tmp_path: Path, sent: dict[str, object], expected: int, field: str | None
) -> None:
    """And nothing is kept."""
    async with serving(tmp_path) as served:
        await make_space(served)
        status, body = await served.post(DOCUMENTS, sent)
        assert (status, body["error"]["param"]) == (expected, field)
        assert (await served.get(DOCUMENTS))[1]["data"]["total_count"] == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\..\\x", "/etc/passwd", "a/../b.md", "C:\\x.md"])
async def test_a_path_for_a_name_is_a_name(tmp_path: Path, name: str) -> None:
    """Nothing is ever opened by it."""
    async with serving(tmp_path / "data") as served:
        space_id = await make_space(served)
        made = await make(served, space_id, name)
        assert made["doc_name"] == name
        await served.send("POST", f"{DOCUMENTS}/{made['id']}/sync")
        assert (await settled(served, made["id"]))["status"] == "FINISHED"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "body",
    [
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb',
        b"--y\r\n\r\n--y--",
        b"no parts at all",
        b'--x\r\nContent-Disposition: form-data; name="doc_name"\r\n\r\n\xff\xfe\r\n--x--\r\n',
        b"--x\r\nContent-Type: multipart/mixed; boundary=z\r\n\r\n--z\r\n\r\n--z--\r\n--x--\r\n",
        b"".join(b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nv\r\n' % number for number in range(200))
        + b"--x--\r\n",
    ],
)
async def test_a_multipart_body_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    """As 400, and the next request is served."""
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with serving(tmp_path) as served:
        await make_space(served)
        status, _ = await served.send("POST", DOCUMENTS, data=body, headers=headers)
        assert status == 400
        assert (await served.get("/healthz"))[0] == 200


@pytest.mark.parametrize("prefix", ["", "/kb"])
async def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, prefix: str) -> None:
    """The limit is the settings', wherever the application is mounted."""
    async with serving(tmp_path, prefix=prefix, max_body_bytes=3_000_000) as served:
        await served.post(prefix + SPACES, {"name": "handbook"})
        for size, expected in ((2_000_000, 200), (3_000_000, 413)):
            upload = form(b"x " * (size // 2), doc_name=f"{size}", space_id="handbook")
            status, body = await served.send("POST", prefix + DOCUMENTS, data=upload)
            assert status == expected, body


async def test_documents_are_listed_in_pages(tmp_path: Path) -> None:
    """Of all spaces, or of one."""
    async with serving(tmp_path) as served:
        first, second = await make_space(served, "first"), await make_space(served, "second")
        ids = [(await make(served, (first, second)[number % 2], f"{number}"))["id"] for number in range(5)]
        _, body = await served.get(f"{DOCUMENTS}?page=2&page_size=2")
        page = body["data"]
        assert [item["id"] for item in page["items"]] == ids[2:4]
        assert (page["total_count"], page["total_pages"]) == (5, 3)
        for space_id in (second, "second"):
            _, body = await served.get(f"{DOCUMENTS}?space_id={space_id}")
            assert [item["id"] for item in body["data"]["items"]] == ids[1::2]
            assert {item["space"] for item in body["data"]["items"]} == {"second"}
            assert body["data"]["total_count"] == 2
        assert (await served.get(f"{DOCUMENTS}?space_id=99"))[0] == 404


async def test_the_text_of_a_document_is_read_in_parts(tmp_path: Path) -> None:
    """By character offsets, so that a reference can be shown in its place; at most 1 MiB at once."""
    text = "".join(f"{number:06}☕ " for number in range(120_000))
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        upload = form(text.encode(), doc_name="long.txt", space_id=str(space_id))
        made = (await served.send("POST", DOCUMENTS, data=upload))[1]["data"]
        path = f"{DOCUMENTS}/{made['id']}/content"
        assert (await served.get(path))[1]["data"] == {"content": "", "start": 0, "end": 0, "total": 0}
        await served.send("POST", f"{DOCUMENTS}/{made['id']}/sync")
        await settled(served, made["id"])
        _, body = await served.get(f"{path}?start=5&end=17")
        assert body["data"] == {"content": text[5:17], "start": 5, "end": 17, "total": len(text)}
        read, start = "", 0
        while start < len(text):
            _, body = await served.get(f"{path}?start={start}")
            part = body["data"]["content"]
            assert 0 < len(part.encode()) <= 1024 * 1024
            read, start = read + part, body["data"]["end"]
        assert read == text
        assert (await served.get(f"{path}?start=99999999"))[1]["data"]["content"] == ""
        assert (await served.get(f"{path}?start=-1"))[0] == 400


@pytest.mark.parametrize("wrong", [99, "abc", "9" * 30, ""])
async def test_a_list_with_an_unknown_document_begins_nothing(tmp_path: Path, wrong: object) -> None:
    """404, and the known ones stay as they are."""
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        made = await make(served, space_id)
        other = await make_space(served, "other")
        status, _ = await served.post(f"{DOCUMENTS}/sync", [{"doc_id": made["id"]}, {"doc_id": wrong}])
        assert status == 404
        status, _ = await served.post(f"{DOCUMENTS}/sync", [{"doc_id": made["id"], "space_id": other}])
        assert status == 404
        assert (await served.get(f"{DOCUMENTS}/{made['id']}"))[1]["data"]["status"] == "TODO"


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ([], None),
        ({}, None),
        ([5], "[0]"),
        ([{}], "[0].doc_id"),
        ([{"doc_id": 1, "chunk_parameters": {"chunk_size": 0}}], "[0].chunk_parameters.chunk_size"),
        ([{"doc_id": 1, "chunk_parameters": {"chunk_strategy": "BY_MOOD"}}], "[0].chunk_parameters.chunk_strategy"),
        (
            [
                {
                    "doc_id": 1,
                    "chunk_parameters": {"chunk_strategy": "CHUNK_BY_SIZE", "chunk_size": 32, "chunk_overlap": 32},
                }
            ],
            "[0].chunk_parameters.chunk_overlap",
        ),
    ],
)
async def test_a_sync_that_makes_no_sense_is_refused(tmp_path: Path, sent: object, field: str | None) -> None:
    """With the field at fault."""
    async with serving(tmp_path) as served:
        await make(served, await make_space(served))
        status, body = await served.post(f"{DOCUMENTS}/sync", sent)
        assert (status, body["error"]["param"]) == (400, field)
        assert (await served.get(f"{DOCUMENTS}/1"))[1]["data"]["status"] == "TODO"


async def test_a_stopped_server_leaves_nothing_running(tmp_path: Path) -> None:
    """What it did not index is TODO again, for whoever asks next."""
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        ids = [(await make(served, space_id, f"{number}.md"))["id"] for number in range(300)]
        await served.post(f"{DOCUMENTS}/sync", [{"doc_id": document_id} for document_id in ids])
        while (await served.get(f"{DOCUMENTS}/{ids[0]}"))[1]["data"]["status"] == "TODO":
            await asyncio.sleep(0.001)
        await served.runner.cleanup()
        statuses = {document.status for document in await served.kb.list_documents()}
        assert DocumentStatus.RUNNING not in statuses


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "query"),
        ({"query": " "}, "query"),
        ({"query": "x", "top_k": 0}, "top_k"),
        ({"query": "x", "top_k": 10_000}, "top_k"),
        ({"query": "x", "top_k": "5"}, "top_k"),
        ({"query": "x", "score_threshold": 2}, "score_threshold"),
        ({"query": "x" * 100_001}, "query"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(tmp_path: Path, sent: object, field: str) -> None:
    """With the field at fault."""
    async with serving(tmp_path) as served:
        space_id = await make_space(served)
        status, body = await served.post(f"{SPACES}/{space_id}/retrieve", sent)
        assert (status, body["error"]["param"]) == (400, field)
