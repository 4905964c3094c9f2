"""A model server that fails: what its readers are told, before the first word and in mid-stream."""

import asyncio
from pathlib import Path

import pytest

from serving import CHAT, OPENAI, Served, frames, said, serving
from upstream import Behaviour, Exchange, Upstream, answers, frame, model, says, sends, upstream

__all__ = ["model"]

ROUTES = pytest.mark.parametrize("path", [CHAT, OPENAI])


BEFORE: dict[str, tuple[Behaviour, int, str]] = {
    "refuses the key": (answers(401), 502, "model_unavailable"),
    "fails": (answers(500, "<html>"), 502, "model_unavailable"),
    "has no such model": (answers(404), 502, "model_unavailable"),
    "is busy": (answers(429, Retry_After="7"), 503, "model_busy"),
    "hangs up": (lambda exchange: exchange.raw(b""), 502, "model_unavailable"),
    "sends garbage": (sends([b"data: {]\n\n"]), 502, "model_unavailable"),
    "speaks no HTTP": (lambda exchange: exchange.raw(b"\x00\x01\x02\r\n\r\n"), 502, "model_unavailable"),
    "ends at once": (sends([]), 502, "model_unavailable"),
}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_word_is_an_ordinary_status(
    tmp_path: Path, model: Upstream, stream: bool
) -> None:
    """Never a 200 that turns out to be none; and the next request is served."""

    async def behave(exchange: Exchange) -> None:
        await BEFORE[exchange.request["messages"][-1]["content"]][0](exchange)

    async def ask(served: Served, case: str) -> tuple[int, str, str, str | None]:
        async with served.client.post(CHAT, json={"messages": case, "stream": stream}) as response:
            error = (await response.json())["error"]
            return response.status, error["code"], error["type"], response.headers.get("Retry-After")

    model.behave = behave
    async with serving(tmp_path, model=model) as served:
        found = await asyncio.gather(*(ask(served, case) for case in BEFORE))
        assert dict(zip(BEFORE, found, strict=True)) == {
            case: (status, code, "upstream_error", "7" if status == 503 else None)
            for case, (_, status, code) in BEFORE.items()
        }
        model.behave = says("fine")
        assert said(await served.stream()) == "fine"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_cannot_be_reached_is_named(tmp_path: Path, stream: bool) -> None:
    """A port where nobody listens is 502."""
    async with upstream() as closed:
        pass
    async with serving(tmp_path, model=closed) as served:
        status, body = await served.ask("Hi", stream=stream)
        assert (status, body["error"]["code"]) == (502, "model_unavailable")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_silent_model_is_not_waited_for_for_ever(tmp_path: Path, model: Upstream, stream: bool) -> None:
    """504 after the time-out."""
    model.behave = Exchange.hang
    async with serving(tmp_path, model=model, read_timeout=0.2) as served:
        status, body = await served.ask("Hi", stream=stream)
        assert (status, body["error"]["code"]) == (504, "model_timeout")


AFTER: list[tuple[str, list[bytes]]] = [
    ("breaks off", []),
    ("breaks off in mid-line", [b'data: {"choi']),
    ("sends garbage", [b"data: {]\n\n"]),
]
BREAKS = pytest.mark.parametrize("pieces", [case[1] for case in AFTER], ids=[case[0] for case in AFTER])


@ROUTES
@BREAKS
async def test_a_failure_in_mid_stream_is_an_error_frame(
    tmp_path: Path, model: Upstream, path: str, pieces: list[bytes]
) -> None:
    """What was said stands; then the error, no `[DONE]`, and the connection closes."""
    heard = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say("Hello")
        await heard.wait()
        for piece in pieces:
            await exchange.piece(piece)

    model.behave = behave
    async with serving(tmp_path, model=model) as served:
        async with served.client.post(path, json={"messages": "Hi", "stream": True}) as response:
            assert response.status == 200
            first = await response.content.readuntil(b"\n\n")
            heard.set()
            delta, error = frames((first + await response.content.read()).decode())
            assert response.connection is None or response.connection.transport is None
        assert delta["choices"][0]["delta"]["content"] == "Hello"
        assert set(error) == {"error"}
        assert set(error["error"]) == {"message", "type", "code"}
        assert error["error"]["code"] == "model_unavailable"
        assert error["error"]["type"] == "upstream_error"


@BREAKS
async def test_a_cut_answer_is_never_sent_as_a_whole_one(tmp_path: Path, model: Upstream, pieces: list[bytes]) -> None:
    """Not streamed, it is the status of the failure."""
    model.behave = sends([frame("Hello"), *pieces])
    async with serving(tmp_path, model=model) as served:
        status, body = await served.ask()
        assert (status, body["error"]["code"]) == (502, "model_unavailable")


async def test_a_stream_of_single_bytes_is_read(tmp_path: Path, model: Upstream) -> None:
    """However it is cut, it is the same answer."""

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        for byte in frame("Hel") + frame("lo ☕") + frame("", finish_reason="stop") + b"data: [DONE]\n\n":
            await exchange.piece(bytes([byte]))
        await exchange.raw(b"0\r\n\r\n")

    model.behave = behave
    async with serving(tmp_path, model=model) as served:
        assert said(await served.stream()) == "Hello ☕"
