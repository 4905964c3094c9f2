"""The routes that answer questions, with a model server on a real socket."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import kbchat
from kbchat import references
from kbchat.settings import ModelSettings
from serving import CHAT, Served, as_user, frames, said, serving
from upstream import Behaviour, Exchange, Upstream, answers, frame, says, sends, upstream

OPENAI = "/v1/chat/completions"
ROUTES = pytest.mark.parametrize("path", [CHAT, OPENAI])


@pytest.fixture
async def model() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


# -- answers ---------------------------------------------------------------------------------------------------------


@ROUTES
async def test_an_answer_comes_whole(tmp_path: Path, model: Upstream, path: str) -> None:
    """The documented JSON, with true counts."""
    model.behave = says("Hel", "lo", usage=(7, 2))
    async with serving(tmp_path, model=model) as served:
        status, body = await served.ask("Hi", path, model="chatgpt_proxyllm" if path == CHAT else "m")
        assert status == 200
        assert body["id"].startswith("chatcmpl-")
        assert body["object"] == "chat.completion"
        assert abs(body["created"] - time.time()) < 60
        assert body["model"] == ("chatgpt_proxyllm" if path == CHAT else "m")
        (choice,) = body["choices"]
        assert choice == {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello"},
            "finish_reason": "stop",
        }
        assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


@ROUTES
async def test_an_answer_comes_in_pieces(tmp_path: Path, model: Upstream, path: str) -> None:
    """One frame a delta, then the finishing frame, then the end; one id through all of them."""
    model.behave = says("Hel", "lo", " you")
    async with serving(tmp_path, model=model) as served:
        found = await served.stream("Hi", path)
        *deltas, finish, done = found
        assert [delta["choices"][0]["delta"]["content"] for delta in deltas] == ["Hel", "lo", " you"]
        assert finish["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert finish["choices"][0]["finish_reason"] == "stop"
        assert done == "[DONE]"
        assert len({frame["id"] for frame in found[:-1]}) == 1
        for delta in found[:-1]:
            assert set(delta) >= {"id", "model", "object", "created", "choices"}
            assert delta["choices"][0]["delta"]["role"] == "assistant"
            assert "usage" not in delta


@ROUTES
async def test_usage_rides_on_the_finishing_frame_when_asked_for(tmp_path: Path, model: Upstream, path: str) -> None:
    """And on no other; no frame has empty choices."""
    model.behave = says("Hi", usage=(3, 1))
    async with serving(tmp_path, model=model) as served:
        *_, delta, finish, done = await served.stream("Hi", path, stream_options={"include_usage": True})
        assert done == "[DONE]"
        assert "usage" not in delta
        assert finish["usage"] == {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        assert len(finish["choices"]) == 1


async def test_frames_can_hold_all_the_text_so_far(tmp_path: Path, model: Upstream) -> None:
    """`incremental: false`."""
    model.behave = says("a", "b", "c")
    async with serving(tmp_path, model=model) as served:
        *deltas, done = await served.stream("Hi", incremental=False)
        assert [delta["choices"][0]["delta"]["content"] for delta in deltas][:3] == ["a", "ab", "abc"]
        assert done == "[DONE]"


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ("Hi", [("user", "Hi")]),
        (["Hi", "there"], [("user", "Hi"), ("user", "there")]),
        ([{"role": "user", "content": "Hi"}], [("user", "Hi")]),
        (
            [
                {"role": "developer", "content": "Be brief."},
                {"role": "human", "content": "Hi"},
                {"role": "ai", "content": None},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            ],
            [("system", "Be brief."), ("user", "Hi"), ("assistant", ""), ("user", "ab")],
        ),
    ],
)
async def test_messages_come_in_three_shapes(
    tmp_path: Path, model: Upstream, messages: object, turns: list[tuple[str, str]]
) -> None:
    """A string, a list of strings, a list of messages: the model server sees the last question."""
    async with serving(tmp_path, model=model) as served:
        status, body = await served.ask(messages)
        assert status == 200, body
        sent = model.last.request["messages"]
        assert sent[-1] == {"role": "user", "content": turns[-1][1]}


@pytest.mark.parametrize("key", ["max_tokens", "max_new_tokens", "max_completion_tokens"])
async def test_sampling_reaches_the_model(tmp_path: Path, model: Upstream, key: str) -> None:
    """Under whichever name it is sent; null and unknown keys mean nothing."""
    async with serving(tmp_path, model=model) as served:
        more = {key: 5, "temperature": None, "top_k": -1, "repetition_penalty": 1.1, "sys_code": "x", "user": None}
        status, body = await served.ask("Hi", **more)
        assert status == 200, body
        sent = model.last.request
        assert 5 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


async def test_models_are_listed_with_spaces(tmp_path: Path, model: Upstream) -> None:
    """A space is the model `kb/NAME`, so that any front end can choose it."""
    async with serving(tmp_path, model=model) as served:
        await served.kb.create_space("手册")
        status, body = await served.get("/v1/models")
        assert status == 200
        assert body["object"] == "list"
        assert [entry["id"] for entry in body["data"]] == ["kb/手册", "m", "extractive"]
        assert all(set(entry) == {"id", "object", "created", "owned_by"} for entry in body["data"])


# -- requests that cannot be answered --------------------------------------------------------------------------------


@ROUTES
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"messages": ""}, "messages"),
        ({"messages": " \n"}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": 5}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": "x" * 100_001}, "messages"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"stream": "perhaps"}, "stream"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_new_tokens": -1}, "max_new_tokens"),
        ({"stop": [5]}, "stop[0]"),
        ({"model": 5}, "model"),
        ({"stream_options": 5}, "stream_options"),
    ],
)
async def test_a_wrong_field_is_named(
    tmp_path: Path, model: Upstream, path: str, stream: bool, more: Mapping[str, object], field: str
) -> None:
    """400 with the field, streamed or not, and the model is not asked."""
    async with serving(tmp_path, model=model) as served:
        status, body = await served.post(path, {"messages": "Hi", "stream": stream, **more})
        assert (status, body["error"]["param"]) == (400, field)
        assert field in body["err_msg"]
        assert model.exchanges == []


@pytest.mark.parametrize(
    ("more", "expected", "code"),
    [
        ({"chat_mode": "chat_flow"}, 400, "invalid_request"),
        ({"chat_mode": 5}, 400, "invalid_request"),
        ({"chat_mode": "chat_knowledge"}, 400, "invalid_request"),
        ({"chat_mode": "chat_knowledge", "chat_param": ""}, 400, "invalid_request"),
        ({"chat_mode": "chat_knowledge", "chat_param": "nope"}, 404, "space_not_found"),
        ({"chat_mode": "chat_knowledge", "chat_param": 99}, 404, "space_not_found"),
        ({"model": "gpt-99"}, 404, "model_not_found"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_not_there_is_an_ordinary_status(
    tmp_path: Path, model: Upstream, stream: bool, more: Mapping[str, object], expected: int, code: str
) -> None:
    """Also when a stream was asked for."""
    async with serving(tmp_path, model=model) as served:
        status, body = await served.ask("Hi", stream=stream, **more)
        assert (status, body["error"]["code"]) == (expected, code)


@pytest.mark.parametrize("name", ["gpt-99", "kb/nope", "kb/"])
async def test_an_unknown_model_lists_those_there_are(tmp_path: Path, model: Upstream, name: str) -> None:
    """404 `model_not_found`, as OpenAI's clients know it."""
    async with serving(tmp_path, model=model) as served:
        status, body = await served.ask("Hi", OPENAI, model=name)
        assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")
        assert "extractive" in body["err_msg"]


# -- a model server that fails ---------------------------------------------------------------------------------------

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


# -- time ------------------------------------------------------------------------------------------------------------


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
    """Within 100 ms, whether or not the application it is mounted in cancels handlers."""
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
        assert gone[0] - left < 0.1
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
        serving(tmp_path, model=model, shutdown_seconds=0.05) as served,
        served.client.post(CHAT, json={"messages": "Hi", "stream": True}) as response,
    ):
        await response.content.readuntil(b"\n\n")
        stopping = asyncio.create_task(served.runner.cleanup())
        (error,) = frames((await response.content.read()).decode())
        assert error["error"]["code"] == "shutting_down"
        await stopping


# -- spaces ----------------------------------------------------------------------------------------------------------


HANDBOOK = kbchat.TextDocument(
    name="keys.md",
    text="# Keys\n\nKeys are rotated every ninety days by the vault. Nobody rotates them by hand.\n",
    metadata={"source": "https://example.org/keys?a=1&b=<2>", "title": 'The "keys"'},
)
QUESTION = "How often are keys rotated?"


@asynccontextmanager
async def handbook(tmp_path: Path, **settings: Any) -> AsyncIterator[Served]:
    """A served space with one document, which the embedded model answers from."""
    async with serving(tmp_path, **settings) as served:
        space = await served.kb.create_space("handbook")
        await space.ingest(HANDBOOK)
        yield served


def check_references(tag: str) -> None:
    """The tag names the document and quotes it word for word."""
    (found,) = references.parse(tag)[1]
    assert found.name == "keys.md"
    assert found.content in HANDBOOK.text
    assert found.metadata["source"] == HANDBOOK.metadata["source"]
    assert 0.5 <= found.recall_score <= 1.0


@pytest.mark.parametrize("by_id", [False, True])
async def test_an_answer_from_a_space_ends_with_its_references(tmp_path: Path, by_id: bool) -> None:
    """The tag is the last delta of the text, and stands at the end of an answer that is not streamed."""
    async with handbook(tmp_path) as served:
        space = await served.kb.get_space("handbook")
        where = {"chat_mode": "chat_knowledge", "chat_param": space.id if by_id else "handbook"}
        status, body = await served.ask(QUESTION, model="chatgpt_proxyllm", **where)
        assert status == 200, body
        content = body["choices"][0]["message"]["content"]
        assert "ninety days" in content
        found = await served.stream(QUESTION, model="chatgpt_proxyllm", **where)
        assert said(found) == content
        tag = found[-3]["choices"][0]["delta"]["content"]
        assert content.endswith(tag)
        check_references(tag)


async def test_openais_clients_get_the_references_beside_the_text(tmp_path: Path) -> None:
    """Chat front ends show text as it is, so there is no tag in it."""
    async with handbook(tmp_path) as served:
        status, body = await served.ask(QUESTION, OPENAI, model="kb/handbook")
        assert status == 200, body
        found = await served.stream(QUESTION, OPENAI, model="kb/handbook")
        assert said(found) == body["choices"][0]["message"]["content"]
        assert "<references" not in said(found)
        assert found[-2]["references"] == body["references"]
        (document,) = body["references"]
        (chunk,) = document["chunks"]
        assert document["name"] == "keys.md"
        assert HANDBOOK.text[chunk["start"] : chunk["end"]] == chunk["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_where_nothing_is_found_nothing_is_cited(tmp_path: Path, stream: bool) -> None:
    """An empty space answers that it found nothing, without a tag."""
    async with serving(tmp_path) as served:
        await served.kb.create_space("empty")
        where = {"chat_mode": "chat_knowledge", "chat_param": "empty"}
        if stream:
            text = said(await served.stream(QUESTION, **where))
        else:
            text = (await served.ask(QUESTION, **where))[1]["choices"][0]["message"]["content"]
        assert text
        assert "<references" not in text


async def test_a_model_cannot_forge_references(tmp_path: Path, model: Upstream) -> None:
    """Whatever it says, the tag stands once, at the end, and is ours."""
    model.behave = says("<refer", 'ences title="References" references="[]" />', "<", "b>")
    async with handbook(tmp_path, model=model) as served:
        text = said(await served.stream(QUESTION, chat_mode="chat_knowledge", chat_param="handbook"))
        assert text.startswith('&lt;references title="References" references="[]" /><b>')
        assert text.count("<references") == 1
        check_references(text)


async def test_a_foreign_space_is_no_model(tmp_path: Path) -> None:
    """Neither listed nor answered from, on either route; the admin sees it."""
    async with handbook(tmp_path, authenticate=as_user) as served:
        await served.kb.update_space("handbook", owner="alice")
        where = {"chat_mode": "chat_knowledge", "chat_param": "handbook"}
        for user, listed, expected in (("bob:reader", False, 404), ("alice:reader", True, 200), (":admin", True, 200)):
            headers = {"X-User": user}
            _, body = await served.get("/v1/models", headers=headers)
            assert ("kb/handbook" in [entry["id"] for entry in body["data"]]) is listed
            status, _ = await served.post(CHAT, {"messages": QUESTION, **where}, headers=headers)
            assert status == expected
            status, _ = await served.post(OPENAI, {"messages": QUESTION, "model": "kb/handbook"}, headers=headers)
            assert status == expected
