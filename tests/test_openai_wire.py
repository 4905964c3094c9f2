"""OpenAI's stream of an answer, decoded: whatever servers send, however it is cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbchat.errors import GeneratorUnavailableError
from kbchat.generators import Generated
from kbchat.generators.openai_wire import AnswerDecoder, explain

CHUNK = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'


def chunk(content: str, *, ascii_only: bool = True) -> bytes:
    return (
        b"data: "
        + json.dumps({"choices": [{"delta": {"content": content}}]}, ensure_ascii=ascii_only).encode()
        + b"\n\n"
    )


def decode(*pieces: bytes) -> list[str]:
    decoder = AnswerDecoder("local", max_chars=10_000)
    found = [decoder.feed(piece) for piece in pieces]
    return [text for generated in found if generated for text in generated.texts]


def test_an_emoji_in_two_halves_is_whole_again() -> None:
    """A server that cuts by UTF-16 units splits a surrogate pair over two deltas."""
    high, low = "\ud83d", "\ude00"
    assert "".join(decode(chunk("a" + high), chunk(low + "b"))) == "a😀b"
    assert "".join(decode(chunk("a" + high) + chunk(low + "b"))) == "a😀b"
    assert "".join(decode(chunk("a" + high), chunk("b"))) == "a\ufffdb"
    assert "".join(decode(chunk("a" + low), chunk("b"))) == "a\ufffdb"


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices": []}\n\n',
        b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": null, "refusal": null}}]}\n\n',
        b'data: {"choices": [{"delta": {"reasoning_content": "hm"}, "finish_reason": ""}]}\n\n',
        b'data: {"choices": null, "usage": null}\n\n',
        b'data: {"choices": [{"delta": null}], "error": null}\n\n',
        b"data: {}\n\n",
        b"data:\n\n",
        b": keep-alive\n\n",
        b"event: ping\n\n",
    ],
)
def test_what_says_nothing_is_nothing(event: bytes) -> None:
    """Roles, reasoning, nulls, pings and empty choices are no text and no error."""
    assert decode(event, CHUNK) == ["x"]
    assert decode(event + CHUNK) == ["x"]


def test_after_done_nothing_is_read() -> None:
    """What follows `[DONE]`, in the same read or later, is not part of the answer."""
    assert decode(CHUNK + b"data: [DONE]\n\n" + CHUNK, CHUNK) == ["x"]


def test_servers_that_do_not_count() -> None:
    """Zeros are no count."""
    decoder = AnswerDecoder("local", max_chars=100)
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}\n\n'
    assert decoder.feed(CHUNK + usage) == Generated(("x",))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_taken(first: bytes, second: bytes) -> None:
    """Whatever a server sends, the decoder says what it can and fails only at the end."""
    decode(b"data: " + first, second + b"\n\n", CHUNK)


@given(st.data())
def test_the_cuts_do_not_matter(data: st.DataObject) -> None:
    """The same bytes, read in any pieces, say the same and end the same."""
    endings = [b"", b"data: [DONE]\n\n", b"data: {garbage\n\n", b'data: {"error": "x"}\n\n', chunk("z")]
    finish = b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n'
    texts = data.draw(st.lists(st.sampled_from(["a", "\ud83d", "\ude00", "\u2028", "é", '"']), max_size=5))
    stream = b"".join(map(chunk, texts)) + finish * data.draw(st.integers(0, 1)) + data.draw(st.sampled_from(endings))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert outcome(pieces) == outcome([stream])


def outcome(pieces: list[bytes]) -> tuple[str, str | None, bool]:
    decoder = AnswerDecoder("local", max_chars=10_000)
    found = [generated for piece in pieces if (generated := decoder.feed(piece))]
    reasons = [generated.finish_reason for generated in found if generated.finish_reason]
    try:
        decoder.end()
    except GeneratorUnavailableError:
        whole = False
    else:
        whole = True
    assert len(reasons) == whole
    return "".join(text for generated in found for text in generated.texts), reasons[0] if reasons else None, whole


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no  such\\nmodel"}}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"message": "no such model"}', "no such model"),
        (b'{"detail": "no such model"}', "no such model"),
        (b'{"detail": [{"loc": 1}]}', '{"detail": [{"loc": 1}]}'),
        (b"<html>Bad\nGateway</html>", "<html>Bad Gateway</html>"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", "without a word"),
        (b"[" * 100_000, "[" * 299 + "…"),
    ],
)
def test_a_failure_in_the_servers_own_words(body: bytes, words: str) -> None:
    """Whatever the shape of the body: one line, not long."""
    assert explain(body) == words
