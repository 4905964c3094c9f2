"""How answers and references show themselves: as text, as HTML in a notebook, in colours in a terminal. Pure.

Whatever a document or a model wrote is shown as it is, never run: all of it is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue

from kbchat.numbering import Chunk, numbers, without_marks

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_Stretch = tuple[int, int]
Metadata = Mapping[str, JsonValue]


class ShownReference:
    """What makes a reference show itself."""

    def __str__(self: Reference) -> str:
        return reference_text(self)

    def _repr_html_(self: Reference) -> str:
        """How a notebook shows it."""
        return reference_html(self)

    def __rich__(self: Reference) -> RenderableType:
        """How `rich.print` shows it."""
        return reference_rich(self)


class ShownAnswer:
    """What makes an answer show itself: what nothing carries is marked, and so is what carries the rest."""

    def __str__(self: Answer) -> str:
        return answer_text(self)

    def _repr_html_(self: Answer) -> str:
        """How a notebook shows it."""
        return answer_html(self)

    def __rich__(self: Answer) -> RenderableType:
        """How `rich.print` shows it."""
        return answer_rich(self)


class Reference(Chunk, Protocol):
    """What is shown of a `kbchat.Reference`, beside its number."""

    @property
    def name(self) -> str: ...
    @property
    def content(self) -> str: ...
    @property
    def metadata(self) -> Metadata: ...
    @property
    def dense(self) -> float | None: ...
    @property
    def lexical(self) -> float | None: ...
    @property
    def sentence(self) -> float | None: ...
    @property
    def rerank(self) -> float | None: ...


class Citation(Protocol):
    """What is shown of a `kbchat.Citation`."""

    @property
    def answer_start(self) -> int: ...
    @property
    def answer_end(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def reference(self) -> Reference | None: ...
    @property
    def start(self) -> int | None: ...
    @property
    def end(self) -> int | None: ...
    @property
    def supported(self) -> bool: ...
    @property
    def unsupported(self) -> Sequence[str]: ...


class Answer(Protocol):
    """What is shown of a `kbchat.Answer`."""

    @property
    def text(self) -> str: ...
    @property
    def references(self) -> Sequence[Reference]: ...
    @property
    def citations(self) -> Sequence[Citation]: ...


_DOUBTFUL = "background:#fde8e8;border-bottom:2px solid #c0392b;color:inherit"
_CARRYING = "background:#fff3bf;color:#222"
_QUOTE = "white-space:pre-wrap;margin:.4em 0;padding:.2em .8em;border-left:3px solid #8886"
_BAR = "display:inline-block;width:5em;height:.6em;background:#8883;vertical-align:baseline"


def place(metadata: Metadata) -> str:
    """Where a chunk stands in its document, for people: "page 3, Keys > Rotation"."""
    parts = []
    for word in ("page", "slide", "sheet"):
        if (value := metadata.get(word)) is not None:
            last = metadata.get("page_end") if word == "page" else None
            parts.append(f"{word} {value}" + (f" to {last}" if last not in (None, value) else ""))
    headings = metadata.get("headings")
    if isinstance(headings, list) and headings:
        parts.append(" > ".join(map(str, headings)))
    return ", ".join(parts)


# -- as text -----------------------------------------------------------------------------------------------------------


def reference_text(reference: Reference) -> str:
    return f"{_title(reference)}\n{reference.content}"


def answer_text(answer: Answer) -> str:
    lines = [answer.text]
    if answer.references:
        lines += ["", *_titles(answer)]
    doubts = _doubts(answer)
    return "\n".join([*lines, *([""] if doubts else []), *doubts])


def doubt_text(citation: Citation) -> str:
    """What is to be said of a citation that does not hold; "" for one that does."""
    if citation.supported:
        return ""
    words = f": {', '.join(citation.unsupported)}" if citation.unsupported else ""
    return f"[{citation.number}] does not carry what is said of it{words}"


def _doubts(answer: Answer) -> list[str]:
    """What its citations' passages do not carry, each said once."""
    return list(dict.fromkeys(doubt for citation in answer.citations if (doubt := doubt_text(citation))))


def _titles(answer: Answer) -> list[str]:
    cited_as = numbers(answer.references)
    return [f"[{cited_as[it.chunk_id]}]  {_title(it)}" for it in answer.references]


def _title(reference: Reference) -> str:
    where = place(reference.metadata) or f"characters {reference.start} to {reference.end}"
    return f"{reference.recall_score:.2f}  {reference.name}  ({where})"


# -- as HTML -----------------------------------------------------------------------------------------------------------


def reference_html(reference: Reference, carrying: Iterable[_Stretch] = (), *, number: int | None = None) -> str:
    """A reference; `carrying` are stretches of its document to be marked, `number` is what an answer cites it by."""
    cited_as = "" if number is None else f"[{number}] "
    stretches = [(start - reference.start, end - reference.start) for start, end in carrying]
    score = reference.recall_score
    return (
        f"<details><summary>{cited_as}<b>{escape(reference.name)}</b> {escape(place(reference.metadata))} "
        f'<span style="{_BAR}" title="{escape(_parts(reference))}"><span style="{_BAR};width:{score * 5:.2f}em;'
        f'background:#2b8a3e"></span></span> {score:.2f}</summary>'
        f'<div style="{_QUOTE}">{_marked(reference.content, stretches, _CARRYING)}</div></details>'
    )


def answer_html(answer: Answer) -> str:
    carrying: dict[int, list[_Stretch]] = {}
    for citation in answer.citations:
        if citation.reference is not None and citation.start is not None and citation.end is not None:
            for reference in answer.references:
                if reference.document_id == citation.reference.document_id:
                    carrying.setdefault(reference.chunk_id, []).append((citation.start, citation.end))
    cited_as = numbers(answer.references)
    references = "".join(
        reference_html(it, carrying.get(it.chunk_id, ()), number=cited_as[it.chunk_id]) for it in answer.references
    )
    notes = "".join(f"<div><small>{escape(doubt)}</small></div>" for doubt in _doubts(answer))
    text = _marked(answer.text, _doubtful(answer), _DOUBTFUL)
    return f'<div><div style="white-space:pre-wrap">{text}</div>{notes}{references}</div>'


def _parts(reference: Reference) -> str:
    parts = (("cosine", reference.dense), ("words", reference.lexical), ("sentence", reference.sentence))
    return ", ".join(
        f"{name} {value:.2f}" for name, value in (*parts, ("rerank", reference.rerank)) if value is not None
    )


def _doubtful(answer: Answer) -> list[_Stretch]:
    """What to mark in an answer: the words that nothing carries, or the whole sentence where none is named."""
    found: list[_Stretch] = []
    for citation in answer.citations:
        if citation.supported:
            continue
        sentence = without_marks(answer.text[citation.answer_start : citation.answer_end])
        at = 0
        for word in citation.unsupported:
            if (start := _find(word, sentence, at)) >= 0:
                at = start + len(word)
                found.append((citation.answer_start + start, citation.answer_start + at))
        if not citation.unsupported:
            found.append((citation.answer_start, citation.answer_end))
    return found


def _find(word: str, sentence: str, at: int) -> int:
    """Where a word or number stands by itself: the 5 of "in 2015 there were 5". Else where it first stands."""
    apart = re.compile(rf"(?<![\w])(?<!\w[.,]){re.escape(word)}(?!\w|[.,]\d)", re.ASCII)
    found = apart.search(sentence, at)
    return found.start() if found else sentence.find(word, at)


def _marked(text: str, stretches: Sequence[_Stretch], style: str) -> str:
    html, at = [], 0
    for start, end in _merged(stretches, len(text)):
        html += [escape(text[at:start]), f'<mark style="{style}">{escape(text[start:end])}</mark>']
        at = end
    return "".join([*html, escape(text[at:])])


def _merged(stretches: Sequence[_Stretch], length: int) -> list[_Stretch]:
    """Stretches within a text, in order, without overlaps."""
    merged: list[_Stretch] = []
    for start, end in sorted((max(0, start), min(end, length)) for start, end in stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif start < end:
            merged.append((start, end))
    return merged


# -- in a terminal -----------------------------------------------------------------------------------------------------


def reference_rich(reference: Reference) -> RenderableType:
    from rich.text import Text

    return Text.assemble((_title(reference), "bold"), "\n", reference.content)


def answer_rich(answer: Answer) -> RenderableType:
    from rich.text import Text

    text = Text(answer.text)
    for start, end in _merged(_doubtful(answer), len(answer.text)):
        text.stylize("red underline", start, end)
    lines: list[Text] = [text, *([Text()] if answer.references else [])]
    lines += [Text(title, "dim") for title in _titles(answer)]
    lines += [Text(doubt, "red") for doubt in _doubts(answer)]
    return Text("\n").join(lines)
