"""Drives the published DB-GPT clients: `dbgpt_both.py MODULE BASE KEY SCENARIO`."""

import asyncio
import importlib
import json
import sys
import time
from typing import Any

module, base, key, scenario = sys.argv[1:]
Client: Any = importlib.import_module(module).Client
knowledge: Any = importlib.import_module(f"{module}.knowledge")
schema: Any = importlib.import_module(f"{module}.schema")

QUESTION = "How often are keys rotated?"
SPACE = {"chat_mode": "chat_knowledge", "chat_param": "handbook"}
ALONE = {"chat_mode": "chat_normal"}


async def whole(client: Any, question: str, model: str, **where: str) -> dict[str, Any]:
    answer = await client.chat(model=model, messages=question, **where)
    if isinstance(answer, dict):
        return {"failed": answer}
    choice = answer.choices[0]
    return {
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "usage": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
    }


async def stream(client: Any, question: str, model: str, **where: str) -> dict[str, Any]:
    said: dict[str, Any] = {"text": ""}
    try:
        async for piece in client.chat_stream(model=model, messages=question, **where):
            if isinstance(piece, dict):
                return {"failed": piece}
            said["text"] += piece.choices[0].delta.content
            said["finish"] = piece.choices[0].finish_reason
    except Exception as error:
        said["raised"] = str(error)
    return said


async def cancel(client: Any) -> dict[str, Any]:
    pieces = client.chat_stream(model="m", messages="for ever", **ALONE)
    async for _ in pieces:
        break
    left = time.monotonic()
    await pieces.aclose()
    return {"left": left}


async def crud(client: Any) -> dict[str, Any]:
    made = await knowledge.create_space(
        client, schema.SpaceModel(name="crud", vector_type="Chroma", desc="a", owner="x")
    )
    seen: dict[str, Any] = {"made": made.model_dump()}
    wanted = schema.SpaceModel(name="crud", vector_type="Chroma", desc="b", owner="x")
    seen["changed"] = (await knowledge.update_space(client, wanted)).model_dump()
    seen["shown"] = (await knowledge.get_space(client, str(made.id))).model_dump()
    seen["listed"] = [space.model_dump() for space in await knowledge.list_space(client)]
    try:
        await knowledge.create_space(client, wanted)
    except Exception as error:
        seen["twice"] = str(error)
    seen["deleted"] = (await knowledge.delete_space(client, str(made.id))).model_dump()
    try:
        await knowledge.get_space(client, str(made.id))
    except Exception as error:
        seen["gone"] = str(error)
    return seen


async def documents(client: Any) -> dict[str, Any]:
    space = await knowledge.create_space(
        client, schema.SpaceModel(name="documents", vector_type="Chroma", desc="", owner="")
    )
    text = "Lunch is served between noon and two on the third floor."
    wanted = schema.DocumentModel(
        space_id=str(space.id), doc_name="lunch", doc_type="TEXT", doc_source="", content=text
    )
    made = await knowledge.create_document(client, wanted)
    seen: dict[str, Any] = {"made": made.model_dump(exclude={"doc_file"})}
    parameters = {"chunk_strategy": "Automatic"}
    sync = schema.SyncModel(doc_id=str(made.id), space_id=str(space.id), model_name="x", chunk_parameters=parameters)
    seen["synced"] = await knowledge.sync_document(client, sync)
    seen["shown"] = (await knowledge.get_document(client, str(made.id))).model_dump(exclude={"doc_file"})
    seen["listed"] = [it.model_dump(exclude={"doc_file"}) for it in await knowledge.list_document(client)]
    for _ in range(1000):
        answer = await whole(
            client, "When is lunch served?", "extractive", chat_mode="chat_knowledge", chat_param="documents"
        )
        if "noon" in answer["text"]:
            break
        await asyncio.sleep(0.02)
    seen["text"] = answer["text"]
    seen["deleted"] = (await knowledge.delete_document(client, str(made.id))).model_dump(exclude={"doc_file"})
    await knowledge.delete_space(client, str(space.id))
    return seen


async def main() -> dict[str, Any]:
    client = Client(api_base=f"{base}/api/v2", api_key=key)
    try:
        match scenario:
            case "whole":
                return await whole(client, QUESTION, "chatgpt_proxyllm", **SPACE)
            case "stream":
                return await stream(client, QUESTION, "chatgpt_proxyllm", **SPACE)
            case "unknown":
                return await whole(client, QUESTION, "nope", **ALONE)
            case "unknown stream":
                return await stream(client, QUESTION, "nope", **ALONE)
            case "break off":
                return await stream(client, "break off", "m", **ALONE)
            case "for ever":
                return await cancel(client)
            case "crud":
                return await crud(client)
            case "documents":
                return await documents(client)
            case _:
                raise ValueError(scenario)
    finally:
        await client.aclose()


print(json.dumps(asyncio.run(main())))
