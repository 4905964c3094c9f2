"""Server-sent events, cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbchat.generators.sse import SseParser

STREAM = (
    b"\xef\xbb\xbf: hello\n\n"
    b'data: {"a": 1}\n\n'
    b"data:no space\r\n\r\n"
    b"event: error\rdata: two\rdata:  lines\r\r"
    b"data\n\n"
    b"id: 7\nretry: 10\n\n"
    b"dataset: no\n\n"
    b"data: \xe4\xb8\xad\n\n\n\n"
    b"data: a: b\n: comment\ndata: c\r\n\n"
    b"data: [DONE]\n\n"
    b"data: never ended\n"
)
EVENTS = [
    b'{"a": 1}',
    b"no space",
    b"two\n lines",
    b"",
    "中".encode(),
    b"a: b\nc",
    b"[DONE]",
]


def test_a_whole_stream() -> None:
    """Comments, other fields, three kinds of line end, several data lines, an event that never ends."""
    assert SseParser().feed(STREAM) == EVENTS


def test_a_stream_cut_in_two_at_every_byte() -> None:
    """Wherever two reads meet, the events are the same."""
    for cut in range(len(STREAM) + 1):
        parser = SseParser()
        assert parser.feed(STREAM[:cut]) + parser.feed(STREAM[cut:]) == EVENTS


def test_a_stream_byte_by_byte() -> None:
    """Each event is given with the byte that ends it."""
    parser = SseParser()
    assert [event for byte in STREAM for event in parser.feed(bytes([byte]))] == EVENTS


def by_the_book(stream: bytes) -> list[bytes]:
    """The specification's algorithm, read off it line by line."""
    stream = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[bytes] = []
    data: list[bytes] = []
    for line in stream.split(b"\n")[:-1]:
        field, _, value = line.partition(b":")
        if not line:
            if data:
                events.append(b"\n".join(data))
            data = []
        elif field == b"data":
            data.append(value.removeprefix(b" "))
    return events


tokens = st.sampled_from(
    [b"data: x", b"data:", b"data", b"\n", b"\n\n", b"\r", b"\r\n", b":", b" ", b"event: e", b"\xef\xbb\xbf", b"y"]
)


@given(st.lists(st.lists(tokens, max_size=8).map(b"".join), max_size=8))
def test_any_stream_in_any_pieces(pieces: list[bytes]) -> None:
    """Whatever comes, however it is cut, the events are those of the specification."""
    parser = SseParser()
    assert [event for piece in pieces for event in parser.feed(piece)] == by_the_book(b"".join(pieces))


@given(st.lists(tokens.filter(bytes.isascii), max_size=24).map(b"".join), st.integers(1, 12))
def test_the_limit_does_not_depend_on_the_cuts(stream: bytes, limit: int) -> None:
    """Whole or byte by byte, the same streams are too long."""

    def run(pieces: list[bytes]) -> list[bytes] | None:
        parser = SseParser(max_bytes=limit)
        try:
            return [event for piece in pieces for event in parser.feed(piece)]
        except ValueError:
            return None

    stream += b"\n"
    assert run([stream]) == run([bytes([byte]) for byte in stream])


@pytest.mark.parametrize("endless", [b"data: x", b"data: x\n", b": x"])
def test_an_event_without_end_is_refused(endless: bytes) -> None:
    """A line or an event that never ends does not fill the memory."""
    parser = SseParser(max_bytes=1000)
    with pytest.raises(ValueError, match="longer than 1,000 bytes"):
        for _ in range(1001):
            parser.feed(endless)
