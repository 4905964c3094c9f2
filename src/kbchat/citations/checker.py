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

from kbchat.citations.evidence import Source, weigh
from kbchat.models import Citation, Passage, Reference
from kbchat.numbering import MARK, without_marks
from kbchat.text import sentences

MAX_PENDING_CHARS = 2_000
"""What goes on for longer without an end is not one sentence: its beginning is let go unchecked."""

MOST_NESTED = 8
"""How often marks are looked for again in what is left when marks were taken out: `[[1]]` needs two rounds. More than
this is no document that means well."""


class CitationChecker:
    """Checks one answer against the passages of its prompt.

    `feed` takes the answer's text in whatever pieces it comes and gives the citations of the sentences that ended with
    it, in order, one for each passage that a sentence cites; `flush` those of the last sentence. However a text is cut
    into pieces, its citations are the same. A sentence that cites nothing is not checked.

    A full stop behind a mark ends a sentence whatever follows: `... [1].` Marks behind that are the sentence's too, and
    weighed together with those before.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = {passage.number: _Quoted(passage) for passage in passages}
        self._pending = ""
        """What has not been let go, and the character before: whether a line begins here depends on it."""
        self._offset = 0
        """Where the pending text begins in the answer."""
        self._undecided = False
        """A sentence may have ended, but for what comes next."""
        self._in_code = False
        self._last: _Checked | None = None
        """The sentence let go last, while its line goes on."""

    def feed(self, text: str) -> list[Citation]:
        found: list[Citation] = []
        at = 0
        while (end := self._next(text, at)) is not None:
            self._pending += text[at:end]
            at = end
            found += self._look()
        self._pending += text[at:]
        return found

    def flush(self) -> list[Citation]:
        return self._take(final=True)

    def _next(self, text: str, at: int) -> int | None:
        """Where to look at the text next. Its characters alone decide that, not how it was cut."""
        stop = (_ANY if self._undecided else _STOP).search(text, at)
        full = at + MAX_PENDING_CHARS - len(self._pending)
        if stop and stop.end() <= full:
            return stop.end()
        return full if full <= len(text) else None

    def _look(self) -> list[Citation]:
        full = len(self._pending) >= MAX_PENDING_CHARS
        last = self._pending[-1]
        if not full and last != "\n" and self._pending[-2:-1] == last:
            return []  # A repeated character ("…", "!!"): where the first one stood, we have looked already.
        if not full and self._undecided and _OPENED.search(self._pending[-24:]):
            return []  # A mark may come.
        found = self._take(final=False)
        if len(self._pending) >= MAX_PENDING_CHARS:
            self._drop(len(self._pending) - MAX_PENDING_CHARS // 2)
        return found

    def _take(self, *, final: bool) -> list[Citation]:
        found: list[Citation] = []
        if fence := self._fence():
            if not self._in_code:
                found += self._check(fence.start(), final=True)
            self._drop(fence.end())
            self._in_code = not self._in_code
        self._undecided = False
        if self._in_code:
            self._drop(self._pending.rfind("\n") + 1)
        elif final or len(self._pending) >= MAX_PENDING_CHARS or MARK.search(self._pending, 1):
            found += self._check(len(self._pending), final=final)
            self._undecided = _UNDECIDED.search(self._pending) is not None
        if final:
            self._drop(len(self._pending))
        return found

    def _fence(self) -> re.Match[str] | None:
        """The fence that the last line is, when it has come to its end and began here."""
        line = self._pending.rfind("\n", 0, -1) + 1
        return _FENCE.match(self._pending, line) if line or not self._offset else None

    def _drop(self, length: int) -> None:
        """Let go of the text but for its last character."""
        self._last = None
        self._pending = self._pending[max(0, length - 1) :]
        self._offset += max(0, length - 1)

    def _check(self, end: int, *, final: bool) -> list[Citation]:
        """Check the sentences that ended before `end`, and let go of them where more of the text may come."""
        text = self._pending[: end if final else _open(self._pending)]
        late, cited = _cited(text, begins=self._offset == 0)
        found = self._cite(late)
        done = cited if final or not cited else cited[: len(cited) - (not _is_over(text, cited[-1]))]
        for sentence in done:
            claim = without_marks(text[sentence.start : sentence.end])
            self._last = _Checked(claim, self._offset + sentence.start, self._offset + sentence.end, ())
            found += self._cite(sentence.marks)
        if not final and (done or late):
            last = self._last
            self._drop(max(mark.end for mark in late) if not done else _end(done[-1]))
            self._last = last
        return found

    def _cite(self, marks: Sequence["_Mark"]) -> list[Citation]:
        """The citations by marks that the sentence let go last has not had yet."""
        last = self._last
        if last is None or not marks:
            return []
        new = [number for mark in marks for number in mark.numbers if number not in last.numbers]
        numbers = tuple(dict.fromkeys((*last.numbers, *new)))
        self._last = last._replace(numbers=numbers)
        return list(self._weigh(self._last, frozenset(new))) if new else []

    def _weigh(self, sentence: "_Checked", new: frozenset[int]) -> Iterator[Citation]:
        claim, numbers = sentence.claim, sentence.numbers
        known = [self._passages[number] for number in numbers if number in self._passages]
        verdict = weigh(claim, [quoted.source for quoted in known])
        unsupported = tuple(claim[slice(*span)] for span in verdict.unsupported)
        places = dict(zip((quoted.number for quoted in known), verdict.places, strict=True))
        for number in numbers:
            if number not in new:
                continue
            place = places.get(number)
            reference, start, end = (None, None, None) if place is None else self._passages[number].locate(*place)
            yield Citation(
                answer_start=sentence.start,
                answer_end=sentence.end,
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


class _Checked(NamedTuple):
    """A sentence that was let go: its text without marks, its place in the answer, and what it cited."""

    claim: str
    start: int
    end: int
    numbers: tuple[int, ...]


def _cited(text: str, *, begins: bool) -> tuple[list[_Mark], list[_Cited]]:
    """The marks that belong to the sentence before a text, unless the text `begins` the answer, and its sentences."""
    tail = _TAIL.match(text)
    own = 0 if begins or tail is None else tail.end()
    found = [_Cited(_after_marks(text, max(own, start)), end, []) for start, end in sentences.split(masked(text))]
    code = [at for match in _CODE.finditer(text) for at in match.span()]
    late: list[_Mark] = []
    at = -1
    for match in MARK.finditer(text):
        mark = _Mark(*match.span(), tuple(_numbers(match[1])))
        if bisect_right(code, mark.start) % 2:
            continue  # Between a start and its end.
        while at + 1 < len(found) and found[at + 1].start <= mark.start:
            at += 1
        # A mark that no sentence holds closes the one before it on its line.
        if text.find("\n", found[at].end if at >= 0 else 0, mark.start) < 0:
            (found[at].marks if at >= 0 else late).append(mark)
    return late, found


def masked(text: str) -> str:
    """The text with closing brackets for marks, so that each stays with the full stop before it: "daily.[1] They …"."""
    return MARK.sub(lambda match: "]" * len(match[0]), text)


def unmarked(text: str) -> str:
    """The text without marks and the blanks before them. Where taking some out leaves others, as of `[[1]2]`, these go
    too, up to `MOST_NESTED` rounds. Code within the text stays as it is."""
    for _ in range(MOST_NESTED):
        plain = _CODE_OR_MARKS.sub(lambda match: match[0] if match[0][0] == "`" else "", text)
        if plain == text:
            break
        text = plain
    return text


def _after_marks(text: str, start: int) -> int:
    """Where a sentence itself begins: marks before it close the one before."""
    opening = _OPENING.match(text, start)
    return opening.end() if opening else start


def _numbers(text: str) -> Iterable[int]:
    for part in _COMMA.split(text):
        first, _, last = part.replace("–", "-").partition("-")
        yield from range(int(first), min(int(last or first), int(first) + 20) + 1)


def _open(text: str) -> int:
    """Where a mark or a stretch of code begins that is not yet complete, or else the text's end."""
    line = text.rfind("\n") + 1
    closed = max((match.end() for match in _CODE.finditer(text, line)), default=line)
    code = text.find("`", closed)
    mark = _OPENED.search(text)
    return min(len(text) if code < 0 else code, mark.start() if mark else len(text))


def _end(sentence: _Cited) -> int:
    return max([sentence.end, *(mark.end for mark in sentence.marks)])


def _is_over(text: str, sentence: _Cited) -> bool:
    """Whether the last sentence of a text has ended, whatever follows."""
    end = _end(sentence)
    if any(mark.end == end - 1 for mark in sentence.marks) and _FULL_STOP.match(text, end - 1):
        return True
    rest = text[end:]
    # A line may go on in the next one: "Keys [1] are\nrotated".
    return "\n\n" in rest or ("\n" in rest and not (text[end - 1].isalnum() or text[end - 1] in ",，;；"))


_STOP = re.compile(r"[.!?。！？…\n\]】］]")
_ANY = re.compile(r"\S|\n")
_OPENING = re.compile(rf"(?:{MARK.pattern}|\s)+")
_OPENED = re.compile(r"[\[【［][\d\s,，、;^–-]{0,20}\Z")
_UNDECIDED = re.compile(
    # A stop and what closes behind it; a mark that is open; what may begin another block.
    rf"(?:[.!?。！？…\n\]】］\"'”’」』）)》*_]|{_OPENED.pattern}|\n[ \t]*(?:[-*+•>|]|#{{1,6}}|\d{{1,3}}[.)]?))\Z"
)
_COMMA = re.compile(r"\s?[,，、;]\s?")
_FULL_STOP = re.compile(r"[。！？.!?]")
_TAIL = re.compile(r"(?s:.)[.!?。！？…\"'”’」』）)\]》】］*_]*")
"""The character let go before, and what closes the sentence that ended with it."""
_CODE = re.compile(r"(?<!`)(`+)(?!`)[^\n]*?(?<!`)\1(?!`)")
_FENCE = re.compile(rf"[ \t]*{sentences.FENCE}\n")
_CODE_OR_MARKS = re.compile(rf"{_CODE.pattern}|(?: ?{MARK.pattern})+(?=[\s.,;:!?。，；：！？、]|\Z)|{MARK.pattern}")
