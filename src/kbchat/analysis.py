"""Text analysis: from text to the terms that every lexical index sees."""

from typing import NamedTuple


class Terms(NamedTuple):
    """A text's terms by field, in order, repeats kept."""

    uni: tuple[str, ...]
    """Stems of words without stop words, and pairs of adjacent Chinese, Japanese and Korean characters."""
    bi: tuple[str, ...]
    """Adjacent pairs of those stems."""
    c1: tuple[str, ...]
    """Single Chinese, Japanese and Korean characters."""
