"""Files of questions about a space's documents: JSON lines, each a question with what answers it.

    {"question": "How often are keys rotated?", "documents": ["keys.md"]}
    {"question": "Who owns the keys?", "documents": {"keys.md": 2, "people.md": 1}}
    {"question": "How long is a key valid?", "excerpts": [{"document": "keys.md", "text": "every 90 days"}]}
    {"question": "Who won the cup?", "documents": []}

`documents` names those that answer it, or gives each a grade (0: not relevant). An excerpt is a stretch of a document,
by its `text` or by `start` and `end` in characters; where its text stands in one document alone, that need not be
named. No documents at all says that nothing in the space answers the question. `synthetic` says by whom it was made up.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, ValidationError

from kbchat.errors import InvalidInputError
from kbchat.inputs import checked_text, composed

Name = Annotated[str, AfterValidator(composed)]
"""A document's, as it is kept."""
Grade = Annotated[FiniteFloat, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document's text, end exclusive."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A question and what answers it: documents by grade, and passages where they are known."""

    text: str
    grades: Mapping[str, float] = field(default_factory=dict)
    passages: Sequence[Passage] = ()
    synthetic: str | None = None
    """By whom it was made up; None for a question of people."""

    @property
    def is_answerable(self) -> bool:
        return any(grade > 0 for grade in self.grades.values())


class _Excerpt(BaseModel):
    model_config = ConfigDict(extra="forbid")

    document: Name | None = None
    text: Annotated[str, Field(min_length=1)] | None = None
    start: Annotated[StrictInt, Field(ge=0)] | None = None
    end: Annotated[StrictInt, Field(ge=1)] | None = None


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question: str
    documents: tuple[Name, ...] | dict[Name, Grade] | None = None
    excerpts: tuple[_Excerpt, ...] = ()
    synthetic: str | None = None


def read(path: Path, texts: Mapping[str, str], *, limit: int) -> list[Judged]:
    """The questions of a file about documents with these texts; none has more than `limit` characters.

    Raises `InvalidInputError` that names the file, the line and the field of what cannot be used.
    """
    found: dict[str, tuple[int, Judged]] = {}
    for number, line in enumerate(_content(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            judged = _judged(_parsed(line), texts, limit)
        except _UnusableError as error:
            raise InvalidInputError("questions", f"{path}, line {number}: {error}") from None
        if judged.text in found:
            what = f"question: is asked in line {found[judged.text][0]} already"
            raise InvalidInputError("questions", f"{path}, line {number}: {what}")
        found[judged.text] = number, judged
    if not any(judged.is_answerable for _, judged in found.values()):
        what = "no question has a document that answers it; there is nothing to measure" if found else "is empty"
        raise InvalidInputError("questions", f"{path}: {what}")
    return [judged for _, judged in found.values()]


def write(path: Path, questions: Iterable[Judged], texts: Mapping[str, str]) -> None:
    """Write what `read` reads. Raises `InvalidInputError` where there is a file already: it may be people's work."""
    lines = []
    for each in questions:
        excerpts = [
            {"document": it.document, "start": it.start, "end": it.end, "text": texts[it.document][it.start : it.end]}
            for it in each.passages
        ]
        documents: object = dict(each.grades) if set(each.grades.values()) - {1.0} else list(each.grades)
        line = {"question": each.text, "documents": documents, "excerpts": excerpts, "synthetic": each.synthetic}
        kept = {name: value for name, value in line.items() if value or name == "documents"}
        lines.append(json.dumps(kept, ensure_ascii=False))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except FileExistsError:
        raise InvalidInputError("questions", f"{path} is there already; name another file") from None
    except OSError as error:
        raise InvalidInputError("questions", f"{path} cannot be written: {error.strerror}") from None


class _UnusableError(Exception):
    """What is the matter with a line."""


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidInputError("questions", f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidInputError("questions", f"{path} is not UTF-8 at byte {error.start}") from None


def _parsed(line: str) -> _Line:
    try:
        return _Line.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]["loc"][:1]
        # Of several types tried, the one that got furthest was meant.
        problem = max((it for it in error.errors() if it["loc"][:1] == first), key=lambda it: len(it["loc"]))
        where = ".".join(str(part) for part in problem["loc"] if not str(part).startswith(("tuple[", "dict[")))
        raise _UnusableError(f"{where}: {problem['msg']}" if where else problem["msg"]) from None


def _judged(line: _Line, texts: Mapping[str, str], limit: int) -> Judged:
    if not line.question.strip():
        raise _UnusableError("question: is empty")
    try:
        checked_text(line.question, field="question")
    except InvalidInputError as error:
        raise _UnusableError(error.message) from None
    if len(line.question) > limit:
        what = f"has {len(line.question):,} characters; at most {limit:,} are asked (the setting max_question_chars)"
        raise _UnusableError(f"question: {what}")
    if line.documents is None and not line.excerpts:
        what = 'says not what answers it; "documents": [] means that nothing does'
        raise _UnusableError(f"documents: {what}")
    named = line.documents if isinstance(line.documents, dict) else dict.fromkeys(line.documents or (), 1.0)
    for name in named:
        _check_known("documents", name, texts)
    passages = tuple(_passage(f"excerpts.{number}", each, texts) for number, each in enumerate(line.excerpts))
    for number, passage in enumerate(passages):
        if named.get(passage.document) == 0:
            what = f"{passage.document!r} has the grade 0, yet an excerpt of it answers the question"
            raise _UnusableError(f"excerpts.{number}: {what}")
    return Judged(
        line.question,
        {**named, **{it.document: named.get(it.document, 1.0) for it in passages}},
        passages,
        line.synthetic,
    )


def _passage(where: str, given: _Excerpt, texts: Mapping[str, str]) -> Passage:
    if given.document is not None:
        _check_known(f"{where}.document", given.document, texts)
    if given.start is not None or given.end is not None:
        return _by_characters(where, given, texts)
    if given.text is None:
        raise _UnusableError(f"{where}: has neither text nor start and end")
    if not given.text.strip():
        raise _UnusableError(f"{where}.text: is blank")
    inside = [given.document] if given.document is not None else list(texts)
    # Line breaks and indents are seldom copied as they are.
    wanted = re.compile(r"\s+".join(map(re.escape, given.text.split())))
    found = [Passage(name, *match.span()) for name in inside for match in wanted.finditer(texts[name])]
    if len(found) != 1:
        place = f"in {given.document!r}" if given.document is not None else "in the space"
        times = f"stands {len(found)} times {place}; give document, start and end" if found else f"is not {place}"
        raise _UnusableError(f"{where}.text: {times}")
    return found[0]


def _by_characters(where: str, given: _Excerpt, texts: Mapping[str, str]) -> Passage:
    if given.document is None or given.start is None or given.end is None:
        raise _UnusableError(f"{where}: start and end go together, with a document")
    text = texts[given.document]
    if not given.start < given.end <= len(text):
        what = f"{given.start} to {given.end} is no stretch of a text of {len(text):,} characters"
        raise _UnusableError(f"{where}: {what}")
    if given.text is not None and text[given.start : given.end] != given.text:
        raise _UnusableError(f"{where}.text: is not what stands there; the document has changed")
    return Passage(given.document, given.start, given.end)


def _check_known(where: str, name: str, texts: Mapping[str, str]) -> None:
    if name not in texts:
        alike = difflib.get_close_matches(name, texts, n=1)
        hint = f"; is it {alike[0]!r}?" if alike else ""
        raise _UnusableError(f"{where}: the space holds no document {name!r}{hint}")
