"""The marks by which an answer cites passages: `[1]`, `[1, 3]`, `[2-4]` or `【1】`. Pure."""

import re

MARK = re.compile(r"[\[【［]\^?\s?(\d{1,3}(?:\s?[,，、;–-]\s?\d{1,3})*)\s?[\]】］]")


def without_marks(text: str) -> str:
    """The text with blanks where its marks stand: offsets hold."""
    return MARK.sub(lambda mark: " " * len(mark[0]), text)
