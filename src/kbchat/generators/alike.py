"""Many events read at once: those of a busy stream differ in nothing but their text. Pure, no I/O.

Around its text a model server sends the same bytes with every delta. The first event of a read says what these are; as
far as the others are like it, the texts alone are decoded, as one list: a fifth of the work.
"""

import re
from collections.abc import Callable

import msgspec

FEW = 4
"""Number of events, at most, that are not worth it."""

_FIELD = b"data: "
_BLANK = b"\n\n"
_TEXT = re.compile(rb'("content": ?")((?:[^"\\]|\\.)*)"')
_TEXTS = msgspec.json.Decoder(list[str])


def read_alike(events: bytes, says: Callable[[bytes], str | None]) -> tuple[list[str], int]:
    """The texts of the first of these events, and how many bytes those are: all events as far as each is alike, or none
    where they are so few that it makes no odds. It is what decoding one by one would give.

    Each event is a line `data: JSON` and a blank one. `says` decodes the JSON of one: it gives its text, or None where
    it says anything beside.
    """
    first = events[: events.find(_BLANK)]
    found = _TEXT.search(first) if len(events) >= FEW * len(first) else None
    if found is None:
        return [], 0
    key, before, after = found[1], first[: found.start(1)], first[found.end(2) :]
    # JSON is free of context: if two other texts in its place are what the event says, so is any.
    if not before.startswith(_FIELD) or any(
        says(b"".join((before[len(_FIELD) :], key, probe, after))) != probe.decode() for probe in (b"a", b"b")
    ):
        return [], 0
    # Cut by what stands before a text, which is short: by all that stands between two it takes four times as long.
    _, *parts = events.split(key)
    end = after + _BLANK
    between = end + before
    last, _, rest = parts.pop().partition(end)
    texts = [part.removesuffix(between) for part in parts]
    texts.append(last)
    count, taken = len(texts), len(events) - len(rest)
    joined = b"\n".join(texts)
    all_alike = len(joined) == taken - count * (len(before) + len(key) + len(end)) + count - 1
    if not (all_alike and _are_closed(joined)):
        return [], 0
    try:
        decoded = _TEXTS.decode(b'["%b"]' % joined.replace(b"\n", b'","'))
    except (msgspec.DecodeError, UnicodeError):
        return [], 0
    return (decoded, taken) if len(decoded) == count else ([], 0)


def _are_closed(texts: bytes) -> bool:
    """Whether each of these lines could stand between two quotes and would end at the second: no quote in it is bare,
    and no backslash left over to escape that quote."""
    if b"\\" in texts:
        texts = texts.replace(rb"\\", b"").replace(rb"\"", b"")
    return not (b'"' in texts or b"\\\n" in texts or texts.endswith(b"\\"))
