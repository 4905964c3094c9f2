"""The retrieve route: filters and traces."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import kbchat
from serving import SPACES, Served, check_failure, serving

QUESTION = "How often are keys rotated?"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        space = await served.kb.create_space("handbook")
        texts = {"en": "Keys are rotated every 90 days.", "de": "Keys, auf Deutsch: alle 90 Tage.", "fr": "Le midi."}
        await space.ingest(
            [kbchat.TextDocument(name=lang, text=text, metadata={"lang": lang}) for lang, text in texts.items()]
        )
        yield served


async def retrieve(served: Served, **more: object) -> tuple[int, Any]:
    return await served.post(f"{SPACES}/1/retrieve", {"query": QUESTION, **more})


async def test_a_filter_restricts(served: Served) -> None:
    """In its JSON form; null and none mean everything."""
    status, body = await retrieve(served, filter={"field": "lang", "in": ["de", "fr"]})
    assert status == 200
    assert {chunk["name"] for chunk in body["data"]} == {"de", "fr"}
    _, everything = await retrieve(served)
    assert {chunk["name"] for chunk in everything["data"]} == {"de", "en", "fr"}
    assert (await retrieve(served, filter=None))[1] == everything
    assert (await retrieve(served, filter={"field": "lang", "eq": "it"}))[1]["data"] == []


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"filter": {}}, "filter: must hold exactly one of"),
        ({"filter": "lang"}, "filter: must hold exactly one of"),
        ({"filter": {"and": [{"field": "lang", "eq": None}]}}, "filter: at and[0].eq: must be a text"),
        ({"filter": {"field": "lang", "in": [str(n) for n in range(5000)]}}, "filter: at most 32 levels"),
        ({"explain": "yes"}, "explain: "),
        ({"explain": 1}, "explain: "),
    ],
)
async def test_what_cannot_be_used_is_named(served: Served, sent: dict[str, object], message: str) -> None:
    """400, the field in `param`, and for a filter the spot in it."""
    status, body = await retrieve(served, **sent)
    assert status == 400
    check_failure(body, "invalid_request")
    assert body["error"]["param"] == next(iter(sent))
    assert body["err_msg"].startswith(message)


async def test_the_stages_are_measured(served: Served) -> None:
    """`/metrics` has the seconds of each, under the stage's own name and nobody else's."""
    await retrieve(served)
    async with served.client.get("/metrics") as response:
        text = await response.text()
    counted = re.findall(r"^kbchat_retrieval_stage_seconds_count\{(.*)\} 1\.0$", text, re.MULTILINE)
    assert {"embedding", "dense_search", "lexical_search", "reading_ahead", "scoring", "confidence"} <= {
        label.removeprefix('stage="').removesuffix('"') for label in counted
    }
    assert "handbook" not in text


async def test_the_trace_stands_beside_the_chunks(served: Served) -> None:
    """The same chunks as without, and beside them what became of every candidate; without it there is no such key."""
    status, body = await retrieve(served, top_k=1, explain=True)
    assert status == 200
    assert set(body) == {"success", "err_code", "err_msg", "data", "trace"}
    _, plain = await retrieve(served, top_k=1, explain=False)
    assert set(plain) == {"success", "err_code", "err_msg", "data"}
    assert plain["data"] == body["data"]
    trace = body["trace"]
    assert "references" not in trace
    assert [it["cut"] for it in trace["candidates"]] == [None, "top_k", "top_k"]
    assert trace["candidates"][0]["chunk_id"] == body["data"][0]["id"]
    assert trace["confidence"] == body["data"][0]["recall_score"]
    assert trace["timings"]["total"] > 0


async def test_a_filter_shows_in_the_trace(served: Served) -> None:
    """How much it selects."""
    _, body = await retrieve(served, explain=True, filter={"field": "lang", "eq": "en"})
    assert body["trace"]["selected"] == {"documents": 1, "share": pytest.approx(1 / 3), "one_by_one": True}


async def test_the_description_tells_of_both(served: Served) -> None:
    """`trace` may be missing; a filter is one of its parts, or null."""
    _, description = await served.get("/openapi.json")
    schemas = description["components"]["schemas"]
    assert "trace" in schemas["FoundChunks"]["properties"]
    assert "trace" not in schemas["FoundChunks"]["required"]
    assert {"filter", "explain"} <= set(schemas["Retrieve"]["properties"])
    assert {"And", "Eq", "Trace", "Candidate", "Timings"} <= set(schemas)
