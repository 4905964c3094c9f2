"""Requests that are slow, long or strange: the server answers them in time and goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from kbchat_aiohttp.bodies import Patience, read_body
from kbchat_aiohttp.errors import SlowRequestError
from serving import CHAT, frames, said, serving
from upstream import Exchange, Upstream, model, says

__all__ = ["model"]


@asynccontextmanager
async def reading(patience: Patience) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that reads a body with so much patience, and says 204 or 408."""

    async def handle(request: web.Request) -> web.Response:
        try:
            await read_body(request, limit=1000, patience=patience)
        except SlowRequestError:
            return web.Response(status=408, headers={"Connection": "close"})
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, lingering_time=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
    try:
        yield reader, writer
    finally:
        writer.close()
        await runner.cleanup()


async def test_a_body_that_stops_is_not_waited_for() -> None:
    """However much time the whole of it would have."""
    async with reading(Patience(whole=60, silent=0.1)) as (reader, writer):
        writer.write(b"12345")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")


async def test_a_body_that_drips_has_an_end() -> None:
    """A byte now and then keeps nobody for ever."""
    async with reading(Patience(whole=0.3, silent=60)) as (reader, writer):

        async def drip() -> None:
            while True:
                writer.write(b"1")
                await asyncio.sleep(0.2)

        dripping = asyncio.create_task(drip())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        dripping.cancel()


async def test_a_slow_body_is_read_while_it_comes() -> None:
    """Silence is counted from the last byte."""
    async with reading(Patience(whole=60, silent=0.5)) as (reader, writer):
        for _ in range(10):
            writer.write(b"1")
            await asyncio.sleep(0.1)
        assert (await reader.readline()).startswith(b"HTTP/1.1 204")


async def test_a_long_conversation_is_packed(tmp_path: Path, model: Upstream) -> None:
    """Ten thousand messages: the question is answered, with as many of the others as there is room for."""
    messages = [{"role": ("user", "assistant")[number % 2], "content": f"message {number}"} for number in range(10_000)]
    async with serving(tmp_path, model=model) as served:
        status, body = await served.ask([*messages, {"role": "user", "content": "the question"}])
        assert status == 200, body
        sent = [message["content"] for message in model.last.request["messages"]]
        assert sent[-1] == "the question"
        assert sent[-2] == "message 9999"
        assert len(sent) < 10_000


@pytest.mark.parametrize(
    "text", ["bell \x07 escape \x1b[31m", "\u202egnp.exe", "\ufeffmark", "\u0000".join("ab"), "🧑‍🧑‍🧒"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_strange_characters_are_characters(tmp_path: Path, model: Upstream, text: str, stream: bool) -> None:
    """They reach the model and come back; NUL, which no database keeps, is named."""

    async def echo(exchange: Exchange) -> None:
        await says(exchange.request["messages"][-1]["content"])(exchange)

    model.behave = echo
    async with serving(tmp_path, model=model) as served:
        if "\x00" in text:
            status, body = await served.ask(text, stream=stream)
            assert (status, body["error"]["param"]) == (400, "messages")
        elif stream:
            assert said(await served.stream(text)) == text
        else:
            assert (await served.ask(text))[1]["choices"][0]["message"]["content"] == text


async def test_a_model_that_repeats_itself_is_not_listened_to_for_ever(tmp_path: Path, model: Upstream) -> None:
    """When the time of the whole answer is over, its reader is told so and the model is stopped."""

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        while not exchange.gone.is_set():
            await exchange.say("again ")
            await asyncio.sleep(0.001)

    model.behave = behave
    async with (
        serving(tmp_path, model=model, request_timeout=1.0) as served,
        served.client.post(CHAT, json={"messages": "Hi", "stream": True}) as response,
    ):
        *deltas, error = frames((await response.content.read()).decode())
        assert {delta["choices"][0]["delta"]["content"] for delta in deltas} == {"again "}
        assert error["error"]["code"] == "deadline_exceeded"
        await model.last.gone.wait()
