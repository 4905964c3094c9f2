"""What a server says that refuses: its own words, from any of the shapes such answers have, and when to come back."""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

_EXCERPT = 300
"""Characters of a server's own message that an error repeats."""


def explain(body: bytes, *, key: str | None = None) -> str:
    """A server's own words for a failure: one line, short, and without a full stop, because a remedy may follow.

    `key` is what it was asked with: where it repeats that, the words have asterisks.
    """
    try:
        found = find_message(json.loads(body))
    except (ValueError, RecursionError):
        found = None
    words = found or body.decode("utf-8", "replace")
    if key:
        words = words.replace(key, "***")
    return shorten(words).rstrip(".") or "without a word"


def find_message(value: object) -> str | None:
    """The words in what was decoded of a body; None where there are none."""
    for _ in range(3):
        if not isinstance(value, dict):
            break
        value = next((value[key] for key in ("error", "message", "detail", "msg") if value.get(key)), None)
    return value if isinstance(value, str) else None


def seconds_to_wait(retry_after: str | None) -> float | None:
    """What a `Retry-After` header asks for, which is seconds or a date, in seconds from now; None where it says nothing
    that can be understood."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
        return max(0.0, seconds) if isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def shorten(text: str) -> str:
    """A text on one line and of bearable length."""
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"
