"""OpenAI's stream of an answer, decoded: whatever servers send, however it is cut."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbchat.errors import GeneratorUnavailableError
from kbchat.generators import Generated
from kbchat.generators.alike import read_alike
from kbchat.generators.openai_wire import AnswerDecoder, said

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


BEFORE = [b'{"choices": [{"delta": {"content": "', b'{"id":"x","choices":[{"index":0,"delta":{"content":"']
AFTER = [b'"}}]}', b'"},"finish_reason":null}],"usage":null}']
NASTY = [
    *(b"a", b" ", b'"', b"\\", b'\\"', b"\\\\", b'","', b',"', b'":"', b"\\n", b"\\x", b"\n", b"\n\n", b"\r", b"\x00"),
    *(b"\\u2028", b"\\ud83d", b"\\ude00", b"\xff", b'"content": "', b'", "content": "', b'"}}]}\n\ndata: '),
    *(b'", "finish_reason": "stop', b'"}}], "usage": {"prompt_tokens": 1}, "x": [{"y": {"z": "'),
]
"""What could make texts of one list be taken for others than they are, each by itself or together."""
nasty_texts = st.lists(st.lists(st.sampled_from(NASTY), max_size=3).map(b"".join), min_size=1, max_size=3)


def alike_events(texts: list[bytes], before: bytes = BEFORE[0], after: bytes = AFTER[0]) -> list[bytes]:
    """Events with the same bytes around their texts."""
    return [b"data: %b%b%b\n\n" % (before, text, after) for text in (*[b"word"] * 4, *texts, b"word")]


def assert_read_at_once_as_one_by_one(events: list[bytes], cuts: tuple[int, ...] = ()) -> None:
    stream = b"".join(events)
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert outcome([CHUNK, *(stream[a:b] for a, b in pairwise(at))]) == outcome([CHUNK, *events])


@settings(max_examples=1000, deadline=None)
@given(nasty_texts, st.sampled_from(BEFORE), st.sampled_from(AFTER), st.tuples(st.integers(0, 900)))
def test_texts_read_at_once_are_those_read_one_by_one(
    texts: list[bytes], before: bytes, after: bytes, cut: tuple[int, ...]
) -> None:
    """Whatever stands in the texts, and wherever a read ends: many alike events say what each says by itself."""
    assert_read_at_once_as_one_by_one(alike_events(texts, before, after))
    assert_read_at_once_as_one_by_one(alike_events(texts, before, after), cut)


@pytest.mark.parametrize(
    "texts",
    [
        [b"x\\", b',"y'],
        [b"x\\", b'z","y'],
        [b'a","b'],
        [b"a\nb"],
        [b'"content": "'],
        [b'a"content": "b'],
        [b'", "content": "b'],
    ],
)
def test_texts_that_break_out_of_their_quotes(texts: list[bytes]) -> None:
    """What would be a valid list of other texts, or of as many, is not taken for them."""
    assert_read_at_once_as_one_by_one(alike_events(texts))


def alike(*events: bytes) -> tuple[list[str], list[bytes]]:
    """What is read at once, and the events that are left."""
    texts, taken = read_alike(b"".join(events), said)
    for number in range(len(events) + 1):
        if taken == len(b"".join(events[:number])):
            return texts, list(events[number:])
    raise AssertionError(f"{taken} bytes are no whole events")


def test_alike_events_are_read_at_once() -> None:
    """As servers send them: escapes, other scripts and empty texts included; fewer than four are left alone."""
    texts = ["a", "", '"\\"', "\n\n", "中文😀", "\u2028", "<b>"]
    assert alike(*map(chunk, texts)) == (texts, [])
    assert alike(*(chunk(text, ascii_only=False) for text in texts)) == (texts, [])
    assert alike(*[CHUNK] * 3) == ([], [CHUNK] * 3)


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}\n\n',
        b'data: {"choices": [{"delta": {"role": "assistant", "content": "x"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": null}}]}\n\n',
        b'data: {"content": "x", "choices": [{"delta": {"content": "y"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "x", "content": "y"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "x", "content":"a"}}]}\n\n',
        b'data: {"a": "content": "a", "choices": [{"delta": {"content": "x"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 1}}\n\n',
        b"data: [DONE]\n\n",
        b": ping\n\n",
        b"data: {\n\n",
    ],
)
def test_one_that_is_not_alike_is_left(odd: bytes) -> None:
    """At the beginning, in the middle and at the end; and many of those that say more than a text."""
    end, middle, beginning = [*[CHUNK] * 8, odd], [*[CHUNK] * 4, odd, *[CHUNK] * 4], [odd, *[CHUNK] * 8]
    assert alike(*beginning) == ([], beginning)
    assert alike(*middle) == ([], middle)
    assert alike(*end) == (([], end) if b'"content": "' in odd else (["x"] * 8, [odd]))
    if odd != b'data: {"choices": [{"delta": {"role": "assistant", "content": "x"}}]}\n\n':
        assert alike(*[odd] * 8) == ([], [odd] * 8)


def test_the_end_of_an_answer_may_be_in_the_same_read() -> None:
    """What is read at once comes before what is read one by one, and a line in the making is kept."""
    finish = b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n'
    decoder = AnswerDecoder("local", max_chars=100)
    assert decoder.feed(CHUNK * 8 + finish + b"data: [DO") == Generated(("x",) * 8, "length")
    assert decoder.feed(b"NE]\n\n") is None
    assert decoder.done
