"""Searching texts by a regular expression that a stranger wrote: bounded in time, whatever the pattern is."""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass

from kbchat.errors import InvalidInputError
from kbchat.inputs import composed

MAX_PATTERN_CHARS = 1000
MAX_GLOB_CHARS = 256
LINE_CHARS = 300
"""What is shown of a line at most, around the match."""


@dataclass(frozen=True, slots=True)
class Found:
    """A match: the line it begins on (from 1), its offsets, and what to show of it."""

    line: int
    start: int
    end: int
    text: str


class Pattern:
    """A compiled pattern. Raises `InvalidInputError` for one that is none."""

    def __init__(self, pattern: str, *, ignore_case: bool, literal: bool) -> None:
        import regex

        if not pattern:
            raise InvalidInputError("pattern", "must not be empty")
        if len(pattern) > MAX_PATTERN_CHARS:
            raise InvalidInputError("pattern", f"has {len(pattern):,} characters; at most {MAX_PATTERN_CHARS:,} do")
        flags = regex.MULTILINE | (regex.IGNORECASE if ignore_case else 0)
        try:
            self._pattern = regex.compile(regex.escape(pattern) if literal else pattern, flags)
        except regex.error as error:
            raise InvalidInputError(
                "pattern", f"is no regular expression: {error}; with `literal` it is searched for as it stands"
            ) from None

    def search(self, text: str, *, limit: int, seconds: float, start: int = 0) -> list[Found]:
        """The first matches in a text from a character on, at most one a line. Raises `TimeoutError` when that takes
        too long."""
        found: list[Found] = []
        line, counted = 1, 0
        # The library watches the clock while it matches, and lets other threads run.
        for match in self._pattern.finditer(text, pos=start, timeout=max(seconds, 0.001), concurrent=True):
            first, end = match.span()
            line += text.count("\n", counted, first)
            counted = first
            if found and found[-1].line == line:
                continue
            found.append(Found(line, first, end, _line(text, first, end)))
            if len(found) == limit:
                break
        return found


def _line(text: str, start: int, end: int) -> str:
    first = max(text.rfind("\n", 0, start) + 1, start - LINE_CHARS // 2)
    last = text.find("\n", start)
    last = len(text) if last < 0 else last
    return text[first : min(last, first + LINE_CHARS)]


def matcher(glob: str) -> Callable[[str], bool]:
    """Says whether a document's name matches a pattern of `*`, `?` and `[…]`, in which `*` crosses `/` too.

    Names are composed, and so is the pattern: what looks the same is the same.
    """
    if len(glob) > MAX_GLOB_CHARS:
        raise InvalidInputError("glob", f"has {len(glob):,} characters; at most {MAX_GLOB_CHARS} do")
    glob = composed(glob, field="glob")
    if "".join(dict.fromkeys(glob)) == "*":
        return lambda name: True
    try:
        compiled = re.compile(fnmatch.translate(re.sub(r"\*+", "*", glob)))
    except re.error as error:
        raise InvalidInputError("glob", f"is no pattern: {error}") from None
    return lambda name: compiled.match(name) is not None
