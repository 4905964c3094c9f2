"""Streams in time: words as they come, silence, readers that leave or are slow, many at once."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiohttp import web

from kbchat.errors import DeadlineError
from kbchat.settings import ModelSettings
from kbchat_aiohttp.streams import EventStream
from serving import CHAT, OPENAI, frames, said, serving
from upstream import AT_ONCE, Behaviour, Exchange, Upstream, model, says

__all__ = ["model"]

ROUTES = pytest.mark.parametrize("path", [CHAT, OPENAI])


async def test_each_word_is_sent_when_it_is_there(tmp_path: Path, model: Upstream) -> None:
    """The first frame arrives while the model still thinks about the second."""
    go_on = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say("one")
        await go_on.wait()
        await exchange.say("two")
        await exchange.end()

    model.behave = behave
    async with (
        serving(tmp_path, model=model) as served,
        served.client.post(CHAT, json={"messages": "Hi", "stream": True}) as response,
    ):
        first = await response.content.readuntil(b"\n\n")
        assert json.loads(first.removeprefix(b"data: "))["choices"][0]["delta"]["content"] == "one"
        go_on.set()
        assert b"two" in await response.content.readuntil(b"\n\n")
        assert (await response.content.read()).endswith(b"data: [DONE]\n\n")


async def test_a_stream_of_http_1_0_ends_with_its_connection(tmp_path: Path, model: Upstream) -> None:
    """It has no chunks: a client that would keep the connection has no other way to see the end."""
    model.behave = says("one")
    body = json.dumps({"messages": "Hi", "stream": True}).encode()
    async with serving(tmp_path, model=model) as served:
        reader, writer = await asyncio.open_connection(served.host, served.port)
        head = f"POST {CHAT} HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.read()
        writer.close()
    assert answer.endswith(b"data: [DONE]\n\n")


@ROUTES
async def test_a_silent_stream_is_kept_alive(tmp_path: Path, model: Upstream, path: str) -> None:
    """A comment goes out while the model is silent, before its first word and between words."""
    go_on = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        for text in ("one", "two"):
            await go_on.wait()
            go_on.clear()
            if text == "one":
                await exchange.open()
            await exchange.say(text)
        await exchange.end()

    model.behave = behave
    async with (
        serving(tmp_path, model=model, keep_alive_seconds=0.02) as served,
        served.client.post(path, json={"messages": "Hi", "stream": True}) as response,
    ):
        assert response.status == 200
        seen = b""
        for text in (b"one", b"two"):
            assert await response.content.readuntil(b"\n\n") == b": keep-alive\n\n"
            go_on.set()
            while text not in seen:
                seen += await response.content.readuntil(b"\n\n")
        assert (seen + await response.content.read()).endswith(b"data: [DONE]\n\n")


async def test_a_failure_after_a_keep_alive_is_an_error_frame(tmp_path: Path, model: Upstream) -> None:
    """The status is out by then."""
    go_on = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.status(500)

    model.behave = behave
    async with (
        serving(tmp_path, model=model, keep_alive_seconds=0.02) as served,
        served.client.post(CHAT, json={"messages": "Hi", "stream": True}) as response,
    ):
        assert response.status == 200
        await response.content.readuntil(b": keep-alive\n\n")
        go_on.set()
        (error,) = frames((await response.content.read()).decode())
        assert error["error"]["code"] == "model_unavailable"


def for_ever(gone: list[float]) -> Behaviour:
    """A model that never stops, and notes when its client left."""

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say("one")
        await exchange.gone.wait()
        gone.append(time.monotonic())

    return behave


@pytest.mark.parametrize("host_cancels", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_reader_that_leaves_stops_the_model(
    tmp_path: Path, model: Upstream, host_cancels: bool, stream: bool
) -> None:
    """At once, whether or not the application it is mounted in cancels handlers."""
    gone: list[float] = []
    model.behave = for_ever(gone)
    async with serving(tmp_path, model=model, host_cancels=host_cancels) as served:
        body = json.dumps({"messages": "Hi", "stream": stream})
        _, writer = await asyncio.open_connection(served.host, served.port)
        writer.write(
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        exchange = await model.exchange()
        left = time.monotonic()
        writer.transport.abort()
        await exchange.gone.wait()
        await asyncio.sleep(0)
        assert gone[0] - left < AT_ONCE
        model.behave = says("fine")
        assert said(await served.stream()) == "fine"


async def test_a_slow_reader_slows_the_model(tmp_path: Path, model: Upstream) -> None:
    """What is not read is not fetched: memory stays flat, and nothing is lost once the reader goes on."""
    texts = [f"{number:07}" + "x" * 9_993 for number in range(2_000)]  # 20 MB

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        for at in range(0, len(texts), 10):
            await exchange.say(*texts[at : at + 10])
        await exchange.end()

    model.behave = behave
    large = ModelSettings(base_url=model.base_url, model="m", context_tokens=10_000_000)
    async with serving(tmp_path, models={"large": large}) as served:
        async with served.client.post(CHAT, json={"messages": "Hi", "stream": True}, read_bufsize=2**16) as response:
            exchange = await model.exchange()
            sent = -1
            while sent != exchange.sent:  # until nothing moves any more
                sent = exchange.sent
                await asyncio.sleep(0.3)
            assert sent < 15_000_000
            found = frames((await response.read()).decode())
        assert said(found) == "".join(texts)


async def test_no_more_streams_than_may_be(tmp_path: Path, model: Upstream) -> None:
    """One more is 503 with `Retry-After`; when one has left there is room again."""
    gone: list[float] = []
    model.behave = for_ever(gone)
    async with serving(tmp_path, model=model, max_streams=1) as served:
        first = await served.client.post(CHAT, json={"messages": "Hi", "stream": True})
        await first.content.readuntil(b"\n\n")
        async with served.client.post(CHAT, json={"messages": "Hi"}) as response:
            assert response.status == 503
            assert response.headers["Retry-After"]
            assert (await response.json())["error"]["code"] == "too_many_streams"
        first.close()
        await model.last.gone.wait()
        model.behave = says("fine")
        while True:
            status, body = await served.ask()
            if status == 200:
                break
            assert status == 503, body
            await asyncio.sleep(0.01)


async def test_many_streams_at_once_are_not_mixed_up(tmp_path: Path, model: Upstream) -> None:
    """Each reader gets its own words, all of them, in order."""

    async def behave(exchange: Exchange) -> None:
        question = exchange.request["messages"][-1]["content"]
        await exchange.open()
        for number in range(20):
            await exchange.say(f"{question}:{number} ")
            await asyncio.sleep(0)
        await exchange.end()

    model.behave = behave
    async with serving(tmp_path, model=model) as served:

        async def ask(question: str) -> str:
            return said(await served.stream(question))

        found = await asyncio.gather(*(ask(f"q{number}") for number in range(50)))
        assert found == ["".join(f"q{number}:{at} " for at in range(20)) for number in range(50)]


async def test_a_stopped_server_cuts_what_does_not_end(tmp_path: Path, model: Upstream) -> None:
    """Readers are told, with an error frame and no `[DONE]`."""
    gone: list[float] = []
    model.behave = for_ever(gone)
    async with (
        serving(tmp_path, model=model, shutdown_timeout=0.05) as served,
        served.client.post(CHAT, json={"messages": "Hi", "stream": True}) as response,
    ):
        await response.content.readuntil(b"\n\n")
        stopping = asyncio.create_task(served.runner.cleanup())
        (error,) = frames((await response.content.read()).decode())
        assert error["error"]["code"] == "shutting_down"
        await stopping


async def test_a_reader_that_takes_nothing_does_not_keep_a_cut_answer() -> None:
    """Closing alone would wait for it to take what is buffered, with nobody left to look after it."""
    closed = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        events = EventStream(request, write_timeout=0.1)
        transport = request.transport
        assert transport is not None
        await events.write(b"x" * 1000)
        while not transport.get_write_buffer_size():
            await events.write(b"x" * 10_000)
        await events.fail(DeadlineError("too long"))
        while request.transport is not None:
            await asyncio.sleep(0.01)
        closed.set()
        return events.response

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        _, writer = await asyncio.open_connection(*runner.addresses[0], limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await closed.wait()
        writer.close()
    finally:
        await runner.cleanup()
