"""How many tokens a text is: exactly where tiktoken's ranks are at hand, else by a stated estimate. Never a download.

tiktoken fetches its ranks at first use, which takes minutes on a network that swallows packets. So it is used only
when they are in its cache already; `python -c "import tiktoken; tiktoken.get_encoding('o200k_base')"` puts them there.
"""

import hashlib
import logging
import math
import os
import re
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken

_log = logging.getLogger("kbchat.text.tokens")

OVERCOUNT = 1.1
"""An estimate is this much above the best fit: the texts of a language then come out between level and a fifth over the
real count of o200k_base. For older and smaller vocabularies non-Latin scripts cost more than estimated."""

# What a character or a change of kind costs in tokens of o200k_base, by least squares over Markdown and prose in 13
# languages, and Python code: `benchmarks/tokens.py` remakes it.
_WORD, _LETTER, _NUMBER, _DIGIT, _SIGNS, _BREAK, _GAP = 0.52, 0.122, 0.61, 0.708, 0.366, 1.577, 0.083
_WIDE = [
    (re.compile("[\u3400-\u9fff\uf900-\ufaff]"), 0.844),  # Chinese
    (re.compile("[\u3040-\u30ff]"), 0.691),  # kana
    (re.compile("[\uac00-\ud7af]"), 0.71),  # Hangul
    (re.compile("[\u0080-\u024f\u1e00-\u1eff]"), 0.993),  # Latin with accents, which often break a word
    (re.compile("[\u0370-\u052f]"), 0.307),  # Greek, Cyrillic
    (re.compile("[\u0250-\u036f\u0530-\u1dff\u1f00-\u1fff\ua000-\uabff]"), 0.335),  # other alphabets
    (re.compile("[\u2000-\u303f\ud7b0-\uf8ff\ufb00-\uffff]"), 0.868),  # signs, full width
    (re.compile("[\U00010000-\U0010ffff]"), 2.0),  # emoji and rare characters
]


def _kind(code: int) -> bytes:
    character = chr(code)
    if character.isspace():
        return b"\n" if character in "\n\r" else b" "
    return b"a" if character.isalpha() else b"0" if character.isdigit() else b"."


_KINDS = b"".join(map(_kind, range(128))) + b"." * 128
_ASCII, _NOT_ASCII = bytes(range(128)), bytes(range(128, 256))
_ONLY = {kind: bytes(code if code == kind[0] else ord(" ") for code in range(256)) for kind in (b"a", b"0")}
"""What leaves one kind as it is, so that each run of it has one blank before it."""
_LONG = 1000
"""From so many bytes on numpy counts faster, ten times so in long texts."""


def _runs(kinds: bytes, kind: bytes) -> int:
    """How many runs of a kind there are. The first byte is none of it."""
    if len(kinds) < _LONG:
        return kinds.translate(_ONLY[kind]).count(b" " + kind)
    import numpy as np

    own = np.frombuffer(kinds, np.uint8) == kind[0]
    return int(np.count_nonzero(own[1:] > own[:-1]))


def estimate(text: str) -> int:
    """How many tokens a text is, or up to a fifth more. The same on every machine; some 30 µs for 1,200 characters of
    English, 100 for other languages. The sizes of chunks are by `splitting.estimate_tokens`, which says why."""
    data = text.encode("utf-8", "surrogatepass")
    kinds = b" " + data.translate(_KINDS, _NOT_ASCII)
    count = kinds.count
    tokens = (
        _WORD * _runs(kinds, b"a")
        + _LETTER * count(b"a")
        + _NUMBER * _runs(kinds, b"0")
        + _DIGIT * count(b"0")
        + _SIGNS * (count(b".") - count(b".."))
        + _BREAK * (count(b"\n") - count(b"\n\n"))
        + _GAP * count(b"  ")
    )
    if len(kinds) <= len(data):
        wide = data.translate(None, _ASCII).decode("utf-8", "surrogatepass")
        tokens += sum(weight * len(pattern.findall(wide)) for pattern, weight in _WIDE)
    return math.ceil(OVERCOUNT * tokens)


class TokenCounter:
    """Counts tokens. Which way is decided at the first count, once, and logged; any thread may count.

    `load` gives the encoding to count by, or None when there is none to be had.
    """

    def __init__(self, load: "Callable[[], tiktoken.Encoding | None] | None" = None) -> None:
        self._load = load or _cached_encoding
        self._lock = threading.Lock()
        self._decided = False
        self._encoding: tiktoken.Encoding | None = None

    @property
    def ready(self) -> bool:
        """Whether the way is decided. The first count reads the ranks, if there are any, in about half a second."""
        return self._decided

    @property
    def estimates(self) -> bool:
        """Whether it is decided that counts are those of `estimate`."""
        return self._decided and self._encoding is None

    def count(self, text: str) -> int:
        """The number of tokens, exact or estimated. Exact takes some 80 µs for 1,200 characters of English, 300 of
        Chinese."""
        if not self._decided:
            self._decide()
        if self._encoding is None:
            return estimate(text)
        # In slices, so that no text takes the interpreter for long. A cut word counts once more at most.
        return sum(len(self._encoding.encode_ordinary(text[at : at + _SLICE])) for at in range(0, len(text), _SLICE))

    def _decide(self) -> None:
        with self._lock:
            if not self._decided:
                self._encoding = self._load()
                self._decided = True


_SLICE = 16_384
_RANKS_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_RANKS_SHA256 = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}


def _cached_encoding() -> "tiktoken.Encoding | None":
    for name, expected in _RANKS_SHA256.items():
        path = _cache_folder() / hashlib.sha1(_RANKS_URL.format(name).encode(), usedforsecurity=False).hexdigest()
        try:
            # A file that is not what tiktoken expects would make it fetch another.
            if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
                continue
        except OSError:
            continue
        import tiktoken

        _log.info("tokens are counted by tiktoken, %s", name)
        return tiktoken.get_encoding(name)
    _log.info("tokens are estimated: tiktoken's ranks are not on this machine")
    return None


def _cache_folder() -> Path:
    # tiktoken's own rule.
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return Path(os.environ[variable] or os.devnull)
    return Path(tempfile.gettempdir()) / "data-gym-cache"
