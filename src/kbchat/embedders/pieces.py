"""Texts in pieces, mostly words, and the tokens of each: what the static embedder adds up.

No token of its vocabulary reaches across the start of a white space, across a line end, or to a Chinese, Japanese or
Korean character beside it. So a text's tokens are those of its pieces, and most pieces were seen before.
"""

import re
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain, count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Offsets = tuple[int, int]
"""Start and end of a part of a text."""

_BLANK = " ▁"
_ALONE = "\n\u3000-\u9fff\uac00-\ud7af"
_PIECE = re.compile(rf"[{_BLANK}]*[^{_BLANK}{_ALONE}]+|[{_BLANK}]+|[{_ALONE}]")


class Tokens(dict[str, bytes]):
    """The tokens of pieces of text, remembered as numbers of two bytes. Any thread may ask."""

    LIMIT = 100_000
    LONGEST = 32
    """Characters of a piece that is worth remembering."""
    BYTES = 2
    TOGETHER = 1024
    """Pieces whose tokens are asked for at once."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        super().__init__()
        self._tokenizer = tokenizer
        (self._line_end,) = array("H", self._encode("\n"))

    @classmethod
    def load(cls, path: Path) -> "Tokens":
        """From the tokenizer's own file. Raises what that library raises."""
        from tokenizers import Tokenizer, normalizers

        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # Its own normalizer also puts a blank before every text, which pieces must not have.
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        return cls(tokenizer)

    def of(self, text: str) -> npt.NDArray[np.uint16]:
        """The tokens of a whole text."""
        return np.frombuffer(b"".join(map(self.__getitem__, pieces_of(text))), dtype=np.uint16)

    def of_each(self, pieces: Sequence[str]) -> list[bytes]:
        """The tokens of each piece. Those that are new are asked for together, which takes half the time."""
        known = list(map(self.get, pieces))
        new = [piece for piece, tokens in zip(pieces, known, strict=True) if tokens is None]
        learnt: list[bytes] = []
        for first in range(0, len(new), self.TOGETHER):
            some = new[first : first + self.TOGETHER]
            learnt += map(self._keep, some, self._encode_lines(some))
        found = iter(learnt)
        return [next(found) if tokens is None else tokens for tokens in known]

    def _encode_lines(self, pieces: Sequence[str]) -> list[bytes]:
        """Pieces as the lines of one text: no token reaches across a line end, and only that one stands for it."""
        if "\n" not in pieces:
            tokens = self._encode("\n".join(pieces))
            ends = np.flatnonzero(np.frombuffer(tokens, np.uint16) == self._line_end) * self.BYTES
            if len(ends) == len(pieces) - 1:
                starts = [0, *(ends + self.BYTES).tolist()]
                return [tokens[start:end] for start, end in zip(starts, [*ends.tolist(), len(tokens)], strict=True)]
        return list(map(self._encode, pieces))

    def _encode(self, text: str) -> bytes:
        # The quick one does not tell where in the text each token stands.
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return array("H", encoding.ids).tobytes()

    def __missing__(self, piece: str) -> bytes:
        return self._keep(piece, self._encode(piece))

    def _keep(self, piece: str, tokens: bytes) -> bytes:
        if len(piece) <= self.LONGEST:
            if len(self) >= self.LIMIT:
                self.clear()
            self[piece] = tokens
        return tokens


def pieces_of(text: str) -> list[str]:
    """A text's pieces. Joined they are the text with a blank before it, as this model is used to."""
    return _PIECE.findall(f" {_encodable(text)}") if text else []


class Cut(NamedTuple):
    """Several texts in pieces, and where parts of them are among these. Each different piece has a number."""

    numbers: dict[str, int]
    ids: npt.NDArray[np.intp]
    """The pieces of all texts, by their numbers."""
    sizes: list[int]
    """How many pieces each text has."""
    parts: list[tuple[int, int, int]]
    """For each part: the number of its first piece, which as a text of its own begins with one blank, and from where to
    where in `ids` the rest is. The number is -1 for a part that is none of whole pieces."""

    @classmethod
    def of(cls, texts: Sequence[str], parts: Sequence[Sequence[Offsets]] = ()) -> "Cut":
        """Cut texts and place the parts of each (none: not asked for)."""
        cut = [pieces_of(text) for text in texts]
        flat = list(chain.from_iterable(cut))
        numbers = dict(zip(dict.fromkeys(flat), count(), strict=False))
        ids = np.fromiter(map(numbers.__getitem__, flat), np.intp, len(flat))
        # Each text begins after the blank before it.
        begins = accumulate([len(text) + 1 if text else 0 for text in texts], initial=1)
        places = [(at + start, at + end) for at, some in zip(begins, parts, strict=False) for start, end in some]
        return cls(numbers, ids, list(map(len, cut)), _placed(places, flat, ids, numbers) if places else [])


def _placed(
    places: Sequence[Offsets], flat: Sequence[str], ids: npt.NDArray[np.intp], numbers: dict[str, int]
) -> list[tuple[int, int, int]]:
    """The pieces that parts are made of. A piece begins with blanks, a part with what follows on them."""
    blanks = np.array([len(piece) - len(piece.lstrip(_BLANK)) for piece in numbers], dtype=np.intp)
    lengths = np.fromiter(map(len, flat), np.intp, len(flat))
    ends = np.cumsum(lengths)
    starts, stops = np.array(places, dtype=np.intp).T
    first = np.searchsorted(ends, starts, side="right")
    last = np.searchsorted(ends, stops, side="left")
    begins_there = (ends - lengths + blanks[ids])[first] == starts
    is_whole = begins_there & (ends[last] == stops)
    heads: dict[int, int] = {}
    for number, at in zip(*np.unique(ids[first], return_index=True), strict=True):
        head = " " + flat[first[at]].lstrip(_BLANK)
        heads[int(number)] = numbers.setdefault(head, len(numbers))
    return [
        (heads[number] if whole else -1, start + 1, end + 1)
        for whole, number, start, end in zip(
            is_whole.tolist(), ids[first].tolist(), first.tolist(), last.tolist(), strict=True
        )
    ]


def _encodable(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
