"""Citations checked while the answer streams. Pure, no I/O: deltas in, `Citation`s out.

An answer cites passages by their numbers: `Keys are rotated every 90 days [1].` As soon as such a sentence ends, it is
compared with what it cites: by its words, and exactly by numbers, dates, names and negations, which is where answers go
wrong unnoticed. No model is asked.

What this cannot see: numbers or names of the passage that change places, opposites without a negation ("rose" for
"fell"), what follows from a sentence without standing in it, and, where answer and passage are in different languages,
anything but numbers.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from kbchat.citations.evidence import Similarity, Source, weigh
from kbchat.models import Citation, Passage, Reference
from kbchat.text import sentences

MAX_PENDING_CHARS = 4_000
"""What goes on for longer without an end is not one sentence: its beginning is let go unchecked."""


class CitationChecker:
    """Checks one answer against the passages of its prompt.

    `feed` takes the answer's text in whatever pieces it comes and gives the citations of the sentences that ended with
    it, in order, one for each passage that a sentence cites; `flush` those of the last sentence. A sentence that cites
    nothing is not checked.
    """

    def __init__(self, passages: Sequence[Passage], *, similarity: Similarity | None = None) -> None:
        """`similarity` is asked where words alone find no support; it must not block."""
        self._passages = {passage.number: _Quoted(passage) for passage in passages}
        self._similarity = similarity
        self._pending = ""
        self._offset = 0
        """Where the pending text begins in the answer."""
        self._waiting = False
        """A sentence may have ended, but for what comes next."""
        self._in_code = False

    def feed(self, text: str) -> list[Citation]:
        self._pending += text
        if not self._waiting and not _STOPS.search(text):
            return []
        return self._take(final=False)

    def flush(self) -> list[Citation]:
        return self._take(final=True)

    def _take(self, *, final: bool) -> list[Citation]:
        found: list[Citation] = []
        while (fence := _FENCE.search(self._pending)) is not None:
            if not self._in_code:
                found += self._check(fence.start(), final=True)
            self._drop(fence.end())
            self._in_code = not self._in_code
        if self._in_code:
            self._drop(self._pending.rfind("\n") + 1)
            return found
        found += self._check(len(self._pending), final=final)
        if final:
            self._drop(len(self._pending))
        if len(self._pending) > MAX_PENDING_CHARS:
            self._drop(len(self._pending) - MAX_PENDING_CHARS // 2)
        return found

    def _drop(self, length: int) -> None:
        self._pending = self._pending[length:]
        self._offset += length

    def _check(self, end: int, *, final: bool) -> list[Citation]:
        """Check the sentences that ended before `end`, and let go of them where more of the text may come."""
        text = self._pending[:end]
        opened = None if final else _OPENED.search(text)
        if opened:  # A mark that is not yet complete.
            text = text[: opened.start()]
        cited = _cited(text)
        done = cited if final or not cited else cited[: len(cited) - (not _is_over(text, cited[-1]))]
        self._waiting = len(done) < len(cited) or opened is not None
        found = [citation for sentence in done for citation in self._weigh(text, sentence)]
        if done and not final:
            self._drop(max(done[-1].end, *(mark.end for mark in done[-1].marks), 0))
        return found

    def _weigh(self, text: str, sentence: "_Cited") -> Iterator[Citation]:
        numbers = list(dict.fromkeys(number for mark in sentence.marks for number in mark.numbers))
        known = [self._passages[number] for number in numbers if number in self._passages]
        if not numbers:
            return
        claim = _MARK.sub(_blank, text[sentence.start : sentence.end])
        verdict = weigh(claim, [quoted.source for quoted in known], self._similarity)
        unsupported = tuple(claim[slice(*span)] for span in verdict.unsupported)
        places = dict(zip((quoted.number for quoted in known), verdict.places, strict=True))
        for number in numbers:
            place = places.get(number)
            reference, start, end = (None, None, None) if place is None else self._passages[number].locate(*place)
            yield Citation(
                answer_start=self._offset + sentence.start,
                answer_end=self._offset + sentence.end,
                number=number,
                reference=reference,
                start=start,
                end=end,
                support=round(verdict.support, 4),
                unsupported=unsupported,
            )


class _Quoted:
    """A passage and where each part of it stands in its document."""

    def __init__(self, passage: Passage) -> None:
        self.number = passage.number
        self._passage = passage

    @cached_property
    def source(self) -> Source:
        above = [reference.metadata.get("headings") for reference in self._passage.references]
        headings = dict.fromkeys(str(one) for each in above if isinstance(each, list) for one in each)
        return Source(self._passage.content, "\n".join([self._passage.name, *headings]))

    @cached_property
    def _parts(self) -> list[tuple[int, int, Reference]]:
        """Where each chunk begins in the passage, what offset that is in the document, and the chunk."""
        parts: list[tuple[int, int, Reference]] = []
        at, end = 0, self._passage.references[0].start
        for reference in self._passage.references:
            gap = reference.start - end
            at += min(max(gap, 0), 2)  # White space that stands for what lies between two chunks.
            parts.append((at, reference.start + max(0, -gap), reference))
            at += max(0, len(reference.content) + min(gap, 0))
            end = max(end, reference.end)
        return parts

    def locate(self, start: int, end: int) -> tuple[Reference, int, int]:
        """The chunk that a stretch of the passage begins in, and the stretch's offsets in the document."""
        first = self._part(start)
        last = self._part(end - 1)
        return first[2], first[1] + start - first[0], last[1] + end - last[0]

    def _part(self, at: int) -> tuple[int, int, Reference]:
        return next((part for part in reversed(self._parts) if part[0] <= at), self._parts[0])


class _Mark(NamedTuple):
    """`[1]`, `[1, 3]`, `[2-4]` or `【1】` in the text."""

    start: int
    end: int
    numbers: tuple[int, ...]


class _Cited(NamedTuple):
    """A sentence with the marks that belong to it, which may follow it. It begins with its own first character."""

    start: int
    end: int
    marks: list[_Mark]


def _cited(text: str) -> list[_Cited]:
    """The sentences of a text, in order."""
    found = [_Cited(_after_marks(text, start), end, []) for start, end in sentences.split(masked(text))]
    code = [at for match in _CODE.finditer(text) for at in match.span()]
    at = -1
    for match in _MARK.finditer(text):
        mark = _Mark(*match.span(), tuple(_numbers(match[1])))
        if bisect_right(code, mark.start) % 2:
            continue  # Between a start and its end.
        while at + 1 < len(found) and found[at + 1].start <= mark.start:
            at += 1
        # A mark that no sentence holds closes the one before it on its line.
        if at >= 0 and text.find("\n", found[at].end, mark.start) < 0:
            found[at].marks.append(mark)
    return found


def masked(text: str) -> str:
    """The text with closing brackets for marks, so that each stays with the full stop before it: "daily.[1] They …"."""
    return _MARK.sub(lambda match: "]" * len(match[0]), text)


def unmarked(text: str) -> str:
    """The text without marks and the blanks before them, whatever is left of brackets in brackets; code within it stays
    as it is."""
    plain = _CODE_OR_MARKS.sub(lambda match: match[0] if match[0][0] == "`" else "", text)
    return plain if plain == text else unmarked(plain)


def _after_marks(text: str, start: int) -> int:
    """Where a sentence itself begins: marks before it close the one before."""
    opening = _OPENING.match(text, start)
    return opening.end() if opening else start


def _numbers(text: str) -> Iterable[int]:
    for part in _COMMA.split(text):
        first, _, last = part.replace("–", "-").partition("-")
        yield from range(int(first), min(int(last or first), int(first) + 20) + 1)


def _is_over(text: str, sentence: _Cited) -> bool:
    """Whether the last sentence of a text has ended, whatever follows."""
    end = max([sentence.end, *(mark.end for mark in sentence.marks)])
    return "\n" in text[end:] or _CLOSED.search(text, sentence.start, end) is not None


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


_STOPS = re.compile(r"[.!?。！？…\n\]】］`~]")
_MARK = re.compile(r"[\[【［]\^?\s?(\d{1,3}(?:\s?[,，、;–-]\s?\d{1,3})*)\s?[\]】］]")
_OPENING = re.compile(rf"(?:{_MARK.pattern}|\s)+")
_OPENED = re.compile(r"[\[【［][\d\s,，、;^–-]{0,20}\Z")
_COMMA = re.compile(r"\s?[,，、;]\s?")
_CLOSED = re.compile(r"[\]】］][。！？.!?]+[”’」』\"')）]*\Z")
"""A mark before the full stop."""
_BRACKETS = re.compile(r"[\] ]*")
_CODE = re.compile(r"`[^`\n]+`")
_CODE_OR_MARKS = re.compile(rf"{_CODE.pattern}|(?: ?{_MARK.pattern})+(?=[\s.,;:!?。，；：！？、]|\Z)|{_MARK.pattern}")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n", re.MULTILINE)
