"""The routes that answer questions, with a model server on a real socket."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from serving import CHAT, OPENAI, serving
from upstream import Upstream, model, says

__all__ = ["model"]

ROUTES = pytest.mark.parametrize("path", [CHAT, OPENAI])


# -- answers -----------------------------------------------------------------------------------------------------------


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


# -- requests that cannot be answered ----------------------------------------------------------------------------------


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
    """404 `model_not_found`, as OpenAI's clients know it; who asks for a space is told those there are."""
    async with serving(tmp_path, model=model) as served:
        await served.kb.create_space("handbook")
        status, body = await served.ask("Hi", OPENAI, model=name)
        assert ("kb/handbook" in body["err_msg"]) == name.startswith("kb/")
        assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")
        assert "extractive" in body["err_msg"]
