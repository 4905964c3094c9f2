"""Server-sent events: from bytes, cut anywhere, to the data of each event. Pure, no I/O."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MAX_EVENT_BYTES = 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SseParser:
    """Takes the bytes of an event stream as they come. Only `data` is kept: no model server needs the other fields.

    Lines end with LF, CR or CRLF; comments are skipped; the data lines of an event are joined by LF; an event that
    the stream ends in the middle of does not exist. A line, or the data of an event, of more than `max_bytes` is a
    `ValueError`, after which the parser must not be used.
    """

    def __init__(self, *, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        """A line that has not ended yet."""
        self._data: list[bytes] = []
        """The data lines of an event that has not ended yet."""
        self._size = 0
        """How many bytes `_data` holds."""
        self._after_cr = False
        self._first_line = True

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that these bytes end."""
        if self._after_cr or b"\r" in data:
            data = self._plain_lines(data)
        if b"\n" not in data:
            self._line += data
            self._check(len(self._line))
            return []
        if self._line:
            data = bytes(self._line) + data
            self._line.clear()
        if self._first_line:
            self._first_line = False
            data = data.removeprefix(_BYTE_ORDER_MARK)
        if not self._data and len(data) <= self._max_bytes and (events := self._take_pairs(data)) is not None:
            return events
        return self._take_lines(data)

    def take(self, data: bytes, read: Callable[[bytes], tuple[list[T], int]]) -> tuple[list[T], bytes]:
        """What `read` makes of the first of the events that these bytes end, and the bytes left over, still to be fed.

        It is given the events as they stand, to the last one's blank line, and says how many of these bytes it took:
        whole events, or none.
        """
        end = data.rfind(b"\n\n") + 2
        plain = end >= 2 and not (self._data or self._after_cr or b"\r" in data)
        if not plain or len(self._line) + len(data) > self._max_bytes:
            return [], data
        found, taken = read(bytes(self._line) + data[:end])
        if taken:
            data = data[taken - len(self._line) :]
            self._line.clear()
            self._first_line = False
        return found, data

    def _take_pairs(self, data: bytes) -> list[bytes] | None:
        """The common case, in a fraction of the time: each line is `data: …` and has a blank line after it. None if
        it is not that."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if len(lines) % 2 or any(lines[1::2]):
            return None
        events = [line[6:] for line in lines[::2] if line.startswith(b"data: ")]
        if 2 * len(events) != len(lines):
            return None
        self._line += rest
        return events

    def _take_lines(self, data: bytes) -> list[bytes]:
        events = []
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._check(len(line))
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                self._data.clear()
                self._size = 0
            elif line == b"data" or line.startswith(b"data:"):
                value = line[5:].removeprefix(b" ")
                self._data.append(value)
                self._size += len(value) + 1
                self._check(self._size - 1)
        self._line += rest
        self._check(len(rest))
        return events

    def _plain_lines(self, data: bytes) -> bytes:
        """The bytes with LF for every line end. A CR ends its line at once; an LF after it, perhaps only in the next
        bytes, belongs to it."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise ValueError(f"an event is longer than {self._max_bytes:,} bytes")
