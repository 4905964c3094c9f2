"""Every field of every body, with a value of no type that it could take."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from kbchat_aiohttp.schemas.chat import ChatCompletion, KnowledgeChatCompletion
from kbchat_aiohttp.schemas.documents import CreateDocument, SyncDocument, SyncOne
from kbchat_aiohttp.schemas.spaces import CreateSpace, Retrieve, UpdateSpace
from serving import CHAT, DOCUMENTS, OPENAI, SPACES, check_failure, serving

NO_FIELDS_VALUE = [[1]]
TAKES_ANY_JSON = "context"

BODIES: dict[tuple[str, str], tuple[type[BaseModel], dict[str, object]]] = {
    ("POST", CHAT): (KnowledgeChatCompletion, {"messages": "Hi"}),
    ("POST", OPENAI): (ChatCompletion, {"messages": "Hi"}),
    ("POST", SPACES): (CreateSpace, {"name": "new"}),
    ("PUT", SPACES): (UpdateSpace, {"id": 1, "desc": "new"}),
    ("POST", SPACES + "/{space_id}/retrieve"): (Retrieve, {"query": "keys"}),
    ("POST", DOCUMENTS): (CreateDocument, {"space_id": 1, "doc_name": "new", "content": "keys"}),
    ("POST", DOCUMENTS + "/sync"): (SyncDocument, {"doc_id": 1}),
    ("POST", DOCUMENTS + "/batch_sync"): (SyncDocument, {"doc_id": 1}),
    ("POST", DOCUMENTS + "/{document_id}/sync"): (SyncOne, {}),
}
"""Every route that reads JSON, with the least that it takes."""


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_a_value_of_another_type_is_refused(tmp_path: Path, method: str, path: str) -> None:
    """400 with the field's name, for each of them; and nothing is made or changed."""
    model, sound = BODIES[method, path]
    async with serving(tmp_path) as served:
        space = await served.kb.create_space("handbook")
        document = await space.add_document("a.md", text="Keys are rotated.")
        url = path.format(space_id=space.id, document_id=document.id)
        for field in model.model_fields:
            if field == TAKES_ANY_JSON:
                continue
            body: Any = {**sound, field: NO_FIELDS_VALUE}
            many = path.endswith(("documents/sync", "batch_sync"))
            status, answer = await served.send(method, url, json=[body] if many else body)
            assert (status, field in str(answer["error"]["param"])) == (400, True), (field, answer)
            check_failure(answer, "invalid_request")
        assert [found.info for found in await served.kb.list_spaces()] == [await space.refresh()]
        assert [found.status for found in await space.documents()] == ["TODO"]


async def test_no_route_is_forgotten_here(tmp_path: Path) -> None:
    """The description names those that read JSON."""
    async with serving(tmp_path) as served:
        _, description = await served.get("/openapi.json")
        reading = {
            (method.upper(), path)
            for path, methods in description["paths"].items()
            for method, told in methods.items()
            if "application/json" in told.get("requestBody", {}).get("content", {})
        }
        assert reading - {("POST", "/mcp")} == set(BODIES)
