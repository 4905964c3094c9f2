"""Answers from OpenAI-compatible servers: real sockets, and everything that goes wrong on them."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import anyio
import pytest

from kbchat.errors import (
    GeneratorBusyError,
    GeneratorTimeoutError,
    GeneratorUnavailableError,
    SettingsError,
)
from kbchat.generators import Generated, Generator
from kbchat.generators.openai import OpenAIGenerator
from kbchat.models import Message, Prompt, Sampling, Usage
from kbchat.testing.model_server import ModelServer, Script
from upstream import AT_ONCE

KEY = "sk-secret-key"
PROMPT = Prompt(
    messages=(Message(role="system", content="Be brief."), Message(role="user", content="钥匙?")), question=""
)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def generator(server: ModelServer) -> AsyncIterator[Generator]:
    made = make(server.base_url)
    yield made
    await made.aclose()


def make(base_url: str, *, connect_timeout: float = 5.0, read_timeout: float = 5.0) -> OpenAIGenerator:
    return OpenAIGenerator(
        "local",
        base_url=base_url,
        model="test-model",
        api_key=KEY,
        context_tokens=1000,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        retry_pauses=(0.001, 0.001),
        max_answer_chars=100_000,
    )


async def run(generator: Generator, sampling: Sampling | None = None) -> list[Generated]:
    async with generator.stream(PROMPT, sampling or Sampling()) as pieces:
        return [piece async for piece in pieces]


def said(pieces: list[Generated]) -> str:
    return "".join(text for piece in pieces for text in piece.texts)


async def test_an_answer(server: ModelServer, generator: Generator) -> None:
    """The texts in order, one finish reason, the server's own count."""
    pieces = await run(generator)
    assert said(pieces) == "Hello, world."
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"]
    assert [piece.usage for piece in pieces if piece.usage] == [Usage(prompt_tokens=11, completion_tokens=4)]


async def test_what_is_asked(server: ModelServer, generator: Generator) -> None:
    """Messages, model and key as set; of the sampling only what was chosen."""
    await run(generator)
    await run(generator, Sampling(temperature=0.0, max_tokens=5, stop=("\n",), top_p=0.5))
    plain, chosen = server.requests
    assert plain.body == {
        "model": "test-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "钥匙?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert chosen.body == plain.body | {"temperature": 0.0, "max_tokens": 5, "stop": ["\n"], "top_p": 0.5}
    assert plain.headers["Authorization"] == f"Bearer {KEY}"
    assert plain.path == "/v1/chat/completions"


@pytest.mark.parametrize(
    "script",
    [
        Script(texts=("汉", "字", " 😀", "\u2028\n\t\"\\")),
        Script(texts=("汉字", "é"), piece=1),
        Script(texts=("a", "b"), line_end=b"\r\n", piece=7),
        Script(texts=tuple(str(number) for number in range(1000))),
        Script(usage=None),
        Script(done=False),
        Script(finish_reason=None),
    ],
    ids=["script", "byte by byte", "crlf", "many", "no usage", "no done", "no finish reason"],
)  # fmt: skip
async def test_answers_come_whole(server: ModelServer, generator: Generator, script: Script) -> None:
    """Any script, any cuts, any way of ending that says it is one."""
    server.script(script)
    pieces = await run(generator)
    assert said(pieces) == "".join(script.texts)
    assert all(text for piece in pieces for text in piece.texts)
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"]


async def test_what_one_read_brings_comes_as_one(server: ModelServer, generator: Generator) -> None:
    """Deltas that arrive together travel together: never one by one, never waiting for more."""
    frame = b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n'
    server.script(Script(texts=(), tail=frame * 500))
    pieces = await run(generator)
    assert said(pieces) == "x" * 500
    assert len(pieces) <= 5


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "stop"), ("tool_calls", "stop"), ("eos", "stop")],
)
async def test_finish_reasons(server: ModelServer, generator: Generator, reason: str, expected: str) -> None:
    """The two the wire knows; every other end is a stop."""
    server.script(Script(finish_reason=reason))
    assert [piece.finish_reason for piece in await run(generator) if piece.finish_reason] == [expected]


async def test_a_connection_serves_many_answers(server: ModelServer) -> None:
    """The socket of a whole answer is used again."""
    generator = make(server.base_url)
    for _ in range(5):
        await run(generator)
    assert generator._session is not None
    connector = generator._session.connector
    assert connector is not None
    assert sum(len(kept) for kept in connector._conns.values()) == 1
    await generator.aclose()
    await generator.aclose()


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_passing_failures_are_tried_again(server: ModelServer, generator: Generator, status: int) -> None:
    """Nothing was said yet, so two more tries are made."""
    server.script(Script(status=status), Script(reset=True), Script())
    assert said(await run(generator)) == "Hello, world."
    assert len(server.requests) == 3


async def test_a_failure_that_lasts(server: ModelServer, generator: Generator) -> None:
    """After three tries the error names the status and the server's own words."""
    server.script(Script(status=500))
    with pytest.raises(GeneratorUnavailableError, match="500: scripted failure 500") as caught:
        await run(generator)
    assert caught.value.model == "local"
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 302])
async def test_other_refusals_are_final(server: ModelServer, generator: Generator, status: int) -> None:
    """What will not pass is asked once, and a redirect is not followed with the key."""
    server.script(Script(status=status, headers={"Location": "/elsewhere"}))
    with pytest.raises(GeneratorUnavailableError, match=str(status)):
        await run(generator)
    assert len(server.requests) == 1


async def test_the_key_is_in_no_message(server: ModelServer, generator: Generator) -> None:
    """Also when the server repeats it, and a long body is cut."""
    body = json.dumps({"error": {"message": f"bad key {KEY} " + "x" * 10_000}})
    server.script(Script(status=401, body=body))
    with pytest.raises(GeneratorUnavailableError) as caught:
        await run(generator)
    assert KEY not in caught.value.message
    assert "bad key ***" in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("3600", 3600.0),
        (None, None),
        ("soon", None),
        ("nan", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
async def test_a_busy_server(
    server: ModelServer, generator: Generator, header: str | None, seconds: float | None
) -> None:
    """Its 429 is told with the time it asks for; it is asked again only when that is soon."""
    server.script(Script(status=429, headers={"Retry-After": header} if header else {}))
    with pytest.raises(GeneratorBusyError, match="429") as caught:
        await run(generator)
    assert caught.value.retry_after == seconds
    assert len(server.requests) == (1 if seconds else 3)


async def test_an_older_server_is_asked_without_stream_options(server: ModelServer, generator: Generator) -> None:
    """A refusal that names them is no failure; the server's lack is remembered."""
    server.script(Script(status=400, body='{"error": {"message": "unknown field stream_options"}}'), Script())
    assert said(await run(generator)) == "Hello, world."
    assert said(await run(generator)) == "Hello, world."
    assert ["stream_options" in request.body for request in server.requests] == [True, False, False]


async def test_a_server_that_refuses(server: ModelServer, generator: Generator) -> None:
    """Nobody listens: the error names the address and the cause."""
    await server.refuse()
    with pytest.raises(GeneratorUnavailableError, match=r"127\.0\.0\.1.*cannot be reached.*is it running"):
        await run(generator)
    await server.accept()
    assert said(await run(generator)) == "Hello, world."


@pytest.mark.parametrize("script", [Script(hang=True), Script(ending="stall")], ids=["hang", "stall"])
async def test_silence(server: ModelServer, script: Script) -> None:
    """A server that is silent for longer than it may is a time-out, before the first word and after it."""
    server.script(script)
    generator = make(server.base_url, read_timeout=0.1)
    with pytest.raises(GeneratorTimeoutError, match=r"silent for 0\.1 s"):
        await run(generator)
    assert len(server.requests) == 1
    await server.requests[0].disconnected.wait()
    await generator.aclose()


CHUNK = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'


@pytest.mark.parametrize(
    ("script", "match"),
    [
        (Script(ending="cut"), "broke off"),
        (Script(finish_reason=None, done=False), "without a finish reason"),
        (Script(body="<html>Welcome</html>"), "without a finish reason"),
        (Script(body=b""), "without a finish reason"),
        (Script(texts=(), tail=b"data: {garbage\n\n"), "garbage"),
        (Script(tail=b"data: [1]\n\n"), "no part of a chat stream"),
        (Script(tail=b'data: {"choices": 3}\n\n'), "no part of a chat stream"),
        (Script(tail=b"data: \xff\xfe\n\n"), "no part of a chat stream"),
        (Script(tail=b"data: " + b"[" * 100_000 + b"\n\n"), "no part of a chat stream"),
        (Script(tail=b"data: " + b"x" * 2_000_000), "longer than"),
        (Script(tail=b'data: {"error": {"message": "out of memory"}}\n\n'), "mid-answer: out of memory"),
        (Script(tail=b'data: {"error": "out of memory"}\n\n'), "mid-answer: out of memory"),
        (Script(tail=b'data: {"object": "error", "message": "out of memory"}\n\n'), "mid-answer: out of memory"),
    ],
)
async def test_a_spoilt_stream(server: ModelServer, generator: Generator, script: Script, match: str) -> None:
    """Cut, foreign, garbage, endless or failed: an error that names the cause, and no second try."""
    server.script(script)
    with pytest.raises(GeneratorUnavailableError, match=match):
        await run(generator)
    assert len(server.requests) == 1
    server.script(Script())
    assert said(await run(generator)) == "Hello, world."


@pytest.mark.parametrize(
    "script",
    [
        Script(ending="cut"),
        Script(texts=(), tail=CHUNK + b"data: {garbage\n\n"),
        Script(texts=(), tail=CHUNK + b'data: {"error": "out of memory"}\n\n'),
    ],
)
async def test_what_was_said_before_a_failure_arrives(
    server: ModelServer, generator: Generator, script: Script
) -> None:
    """The error comes after the texts, not in their place, also when one read brought both."""
    server.script(script)
    pieces = []
    with pytest.raises(GeneratorUnavailableError):
        async with generator.stream(PROMPT, Sampling()) as stream:
            async for piece in stream:
                pieces.append(piece)  # noqa: PERF401 - the list is wanted although the loop raises
    assert said(pieces) in ("Hello, world.", "x")


async def test_an_answer_without_end_is_ended(server: ModelServer, generator: Generator) -> None:
    """The same delta for ever: the answer ends as too long, and the server sees us leave."""
    server.script(Script(texts=("again and again ",) * 100, forever=True))
    pieces = await run(generator)
    assert pieces[-1].finish_reason == "length"
    assert 100_000 < len(said(pieces)) < 400_000
    await server.requests[0].disconnected.wait()


async def test_after_the_finish_reason_nothing_fails(server: ModelServer, generator: Generator) -> None:
    """A whole answer is not lost to what its server does afterwards."""
    finish = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    server.script(Script(tail=finish + b"data: {garbage\n\n"))
    assert said(await run(generator)) == "Hello, world."
    server.script(Script(tail=finish, ending="cut"))
    assert said(await run(generator)) == "Hello, world."


@pytest.mark.parametrize("script", [Script(texts=("x",), forever=True, pause=0.001), Script(ending="stall")])
async def test_leaving_stops_the_server_at_once(server: ModelServer, generator: Generator, script: Script) -> None:
    """Leaving the block in mid-answer closes the connection: the server knows at once."""
    server.script(script)
    async with generator.stream(PROMPT, Sampling()) as pieces:
        await anext(pieces)
        left = time.monotonic()
    await server.requests[0].disconnected.wait()
    disconnected_at = server.requests[0].disconnected_at
    assert disconnected_at is not None
    assert disconnected_at - left < AT_ONCE


@pytest.mark.parametrize("script", [Script(hang=True), Script(ending="stall")], ids=["hang", "stall"])
async def test_a_cancelled_answer_stops_the_server(server: ModelServer, generator: Generator, script: Script) -> None:
    """Cancelling whoever waits, before the first word or in mid-answer, closes the connection too."""
    server.script(script)
    with anyio.move_on_after(0.05) as scope:
        await run(generator)
    assert scope.cancelled_caught
    await server.requests[0].disconnected.wait()


async def test_nothing_is_sent_before_the_block(server: ModelServer, generator: Generator) -> None:
    """Making a stream and not entering it asks nothing."""
    generator.stream(PROMPT, Sampling())
    assert server.requests == []


async def test_many_answers_at_once(server: ModelServer, generator: Generator) -> None:
    """Two hundred streams side by side, each with its own words in order."""
    server.script(Script(texts=tuple(f" {number}" for number in range(50))))
    answers = await asyncio.gather(*(run(generator) for _ in range(200)))
    assert {said(pieces) for pieces in answers} == {"".join(f" {number}" for number in range(50))}


def test_a_base_url_that_is_none() -> None:
    """The setting is refused when the generator is made."""
    with pytest.raises(SettingsError, match="base_url"):
        make("localhost:8000")


async def test_a_base_url_is_used_as_it_is(server: ModelServer) -> None:
    """A closing slash does not matter, and nothing is added but the route."""
    generator = make(server.base_url + "/")
    await run(generator)
    assert server.requests[0].path == "/v1/chat/completions"
    await generator.aclose()


def test_nothing_heavy_is_loaded() -> None:
    """The module can be imported without loading an HTTP client or the SDK."""
    code = (
        "import sys, kbchat.generators.openai as module; "
        "assert not {'aiohttp', 'openai', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("address", ["http://ann:hunter2@127.0.0.1:9/v1", "http://hunter2@127.0.0.1:9/v1?key=hunter2"])
async def test_a_password_in_the_address_is_not_told(address: str) -> None:
    """Messages go to clients and into the log."""
    generator = OpenAIGenerator("local", base_url=address, model="m", retry_pauses=())
    with pytest.raises(GeneratorUnavailableError, match=r"http://127\.0\.0\.1:9/v1 cannot be reached") as caught:
        await run(generator)
    assert "hunter2" not in caught.value.message
    with pytest.raises(SettingsError, match="is no URL") as refused:
        make(address.replace(":9", ":x"))
    assert "hunter2" not in refused.value.message
    with pytest.raises(SettingsError, match="there is a key too") as refused:
        make(address)
    assert "hunter2" not in refused.value.message
    await generator.aclose()
