"""Patterns as they are written in `.gitignore`, read as git reads them.

`?` and `[…]` stand for a character. To git, which knows bytes alone, they stand for a byte: `of_file` and `in_bytes`
make a character of each.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

_ANY = "[^/]*"
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t\n\r",
    "upper": "A-Z",
    "xdigit": "a-fA-F0-9",
}


class _Pattern(NamedTuple):
    fits: re.Pattern[str]
    takes: bool
    """False for one that begins with `!`."""
    folders_only: bool
    by_path: bool
    """Whether it is compared with the whole path, and not with the name alone."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """A list of patterns, of which the last that fits decides. Paths are relative to the list's folder, with `/`."""

    latest_first: tuple[_Pattern, ...]
    void: tuple[str, ...] = field(default=(), compare=False)
    """Lines that no path can fit."""

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Patterns":
        found: list[_Pattern] = []
        void: list[str] = []
        for line in lines:
            text = _without_blanks(line)
            if not text or line.startswith("#"):
                continue
            if pattern := _pattern(text):
                found.append(pattern)
            else:
                void.append(line)
        return cls(tuple(reversed(found)), tuple(void))

    @classmethod
    def of_file(cls, data: bytes) -> "Patterns":
        """The lines of a `.gitignore`, for paths that went through `in_bytes`."""
        lines = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1").split("\n")
        return cls.of(line.removesuffix("\r") for line in lines)

    def verdict(self, path: str, *, folder: bool = False) -> bool | None:
        """Whether the path itself is taken, or given back; None where no pattern fits it. What lies in a folder that is
        taken is for the caller not to ask about."""
        name = path[path.rfind("/") + 1 :]
        for fits, takes, folders_only, by_path in self.latest_first:
            if (folder or not folders_only) and fits.fullmatch(path if by_path else name):
                return takes
        return None

    def covers_in(self, folder: str) -> Callable[[str], bool]:
        """Tells of a file's name in a folder whether the last pattern that fits the file, or a folder above it, takes
        it. What is the same for all of them is found out once."""
        prefix = f"{folder}/" if folder else ""
        rules: list[tuple[Callable[[str], object], bool, bool]] = []
        others = False
        for pattern in self.latest_first:
            if _fits_above(pattern, folder):
                others = pattern.takes
                break
            if not pattern.folders_only:
                rules.append((pattern.fits.fullmatch, pattern.takes, pattern.by_path))

        def covers(name: str) -> bool:
            for fits, takes, by_path in rules:
                if fits(prefix + name if by_path else name):
                    return takes
            return others

        return covers


def in_bytes(path: str) -> str:
    """A path as git compares it."""
    return path if path.isascii() else os.fsencode(path).decode("latin-1")


def _fits_above(pattern: _Pattern, folder: str) -> bool:
    """Whether a pattern fits a folder, or one above it."""
    while folder:
        above, _, name = folder.rpartition("/")
        if pattern.fits.fullmatch(folder if pattern.by_path else name):
            return True
        folder = above
    return False


def _without_blanks(line: str) -> str:
    """Without the blanks at its end, but for one that is escaped."""
    text = line.rstrip(" ")
    escapes = len(text) - len(text.rstrip("\\"))
    return f"{text} " if escapes % 2 and len(text) < len(line) else text


def _pattern(text: str) -> _Pattern | None:
    takes = not text.startswith("!")
    text = text if takes else text[1:]
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    by_path = "/" in text
    tokens = _tokens(text.removeprefix("/"))
    if not tokens:
        return None
    return _Pattern(re.compile(_joined(tokens), re.DOTALL), takes, folders_only, by_path)


def _tokens(text: str) -> list[str] | None:
    """The pattern as regular expressions for one character each, `_ANY`, and what stands for any folders; None where
    nothing fits it."""
    tokens: list[str] = []
    wild = next((at for at, char in enumerate(text) if char in "*?[\\"), len(text))
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        match char:
            case "*":
                end = at
                while text[end : end + 1] == "*":
                    end += 1
                # git compares what stands before the first wildcard by itself: two stars right after it begin the rest.
                token, at = _stars(text, end, many=end > at, opens=at - 1 == wild or text[at - 2] == "/")
                tokens.append(token)
            case "?":
                tokens.append("[^/]")
            case "[":
                found = _choice(text, at)
                if found is None:
                    return None
                token, at = found
                tokens.append(token)
            case "\\":
                if at == len(text):
                    return None
                tokens.append(re.escape(text[at]))
                at += 1
            case _:
                tokens.append(re.escape(char))
    return tokens


def _stars(text: str, end: int, *, many: bool, opens: bool) -> tuple[str, int]:
    """What stars stand for that end there, and where what follows them begins."""
    if many and opens:
        if text[end : end + 1] == "/":
            return "(?:.*/)?", end + 1
        if end == len(text) or text.startswith("\\/", end):
            return ".*", end
    return _ANY, end


def _choice(text: str, at: int) -> tuple[str, int] | None:
    """What `[…]` stands for whose inside begins there, and where it is over; None where it is broken."""
    negated = text.startswith(("!", "^"), at)
    at = first = at + negated
    items: list[str] = []
    before = ""
    while at == first or text[at : at + 1] != "]":
        item, before, at = _item(text, at, before)
        if item is None:
            return None
        items.append(item)
    inside = "".join(items)
    if negated:
        return f"[^/{inside}]", at + 1
    return f"(?!/)[{inside}]" if inside else "(?!)", at + 1


def _item(text: str, at: int, before: str) -> tuple[str | None, str, int]:
    """One of a choice, the character that a range may begin with afterwards, and where the next one begins."""
    char = text[at : at + 1]
    if text.startswith("[:", at) and (end := text.find("]", at + 2)) >= 0:
        if end > at + 2 and text[end - 1] == ":":
            return _CLASSES.get(text[at + 2 : end - 1]), "", end + 1
    elif text.startswith("[:", at):
        return None, "", at
    is_range = char == "-" and before != "" and text[at + 1 : at + 2] not in ("", "]")
    at += is_range
    at += text.startswith("\\", at)
    if not (char := text[at : at + 1]):
        return None, "", at
    if not is_range:
        return re.escape(char), char, at + 1
    return f"{re.escape(before)}-{re.escape(char)}" if before <= char else "", "", at + 1


def _joined(tokens: Iterable[str]) -> str:
    """One expression of tokens that never tries a star again once what follows it is found: between two slashes that
    changes nothing, and a pattern of many stars would take for ever."""
    parts: list[str] = []
    opened: int | None = None
    for each in (*tokens, "/"):
        if each == _ANY:
            if opened is not None:
                parts.append(")")
            opened = len(parts)
            parts.append("(?>[^/]*?")
            continue
        if opened is not None and (each == "/" or ".*" in each):
            parts[opened] = _ANY  # The last one before a slash or the end reaches as far as that is.
            opened = None
        parts.append(each)
    return "".join(parts[:-1])
