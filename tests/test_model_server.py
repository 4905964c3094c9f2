"""The model server for tests speaks the real protocol: the OpenAI SDK cannot tell it from another."""

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI

from kbchat.testing.model_server import ModelServer, Script


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def client(server: ModelServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


async def test_the_sdk_reads_a_stream(client: AsyncOpenAI, server: ModelServer) -> None:
    """Texts, finish reason and usage, and the request on record."""
    stream = await client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello, world."
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [15]
    assert server.requests[0].body["messages"] == [{"role": "user", "content": "hi"}]
    await server.requests[0].finished.wait()
    assert not server.requests[0].disconnected.is_set()


async def test_the_sdk_reads_a_whole_answer(client: AsyncOpenAI) -> None:
    """Without `stream` the answer is one JSON."""
    answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "Hello, world."


async def test_the_sdk_sees_the_failures(client: AsyncOpenAI, server: ModelServer) -> None:
    """Scripts are used up in order, the last one stays; refusing is refusing."""
    server.script(Script(status=401), Script(status=429, headers={"Retry-After": "3"}))
    with pytest.raises(openai.AuthenticationError, match="scripted failure 401"):
        await ask(client)
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(client)
        assert caught.value.response.headers["Retry-After"] == "3"
    await server.refuse()
    with pytest.raises(openai.APIConnectionError):
        await ask(client)


async def ask(client: AsyncOpenAI) -> object:
    return await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
