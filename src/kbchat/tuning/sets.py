"""Sets of documents and questions whose answers are known, as they lie in folders.

BEIR's layout: `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`, and `answers` where known) and
`qrels.tsv` or `qrels/test.tsv` (`query-id`, `corpus-id`, `score`, under a header line). That of Chroma's report on
chunking: `questions_df.csv` (`question`, `references`, `corpus_id`), where `references` is a JSON list of `content`,
`start_index` and `end_index`, in characters of `corpora/CORPUS_ID.md`. Ids are read in composed form, as documents'
names are kept.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic import Field as Aliased

from kbchat.errors import InvalidInputError
from kbchat.evaluation import Range
from kbchat.inputs import checked_text, composed


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what answers it: documents by grade (above 0: relevant), or ranges of characters."""

    text: str
    grades: Mapping[str, float] = field(default_factory=dict)
    excerpts: Sequence[Range] = ()
    answers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """Texts by name, and the questions about them whose answers are known, by id."""

    name: str
    texts: Mapping[str, str]
    questions: Mapping[str, Question]
    left_out: int = 0
    """Questions that nobody judged, or for which nothing was judged relevant."""


def read(folder: Path) -> list[Dataset]:
    """The sets of a folder: one in BEIR's layout, one a text in that of Chroma's report.

    Raises `InvalidInputError` that names the file and the line of what cannot be used.
    """
    if (folder / "corpus.jsonl").is_file():
        return [_read_beir(folder)]
    if (folder / "questions_df.csv").is_file():
        return _read_chroma(folder)
    what = "holds neither corpus.jsonl (BEIR's layout) nor questions_df.csv (that of Chroma's report)"
    raise _unusable(folder, what if folder.is_dir() else "there is no such folder")


def fingerprint(datasets: Sequence[Dataset]) -> str:
    """The same for the same texts, questions and judgements: figures of two runs compare only then."""
    known = hashlib.blake2b(digest_size=16)
    for dataset in datasets:
        for name, text in sorted(dataset.texts.items()):
            known.update(json.dumps([name, text]).encode())
        for key, question in sorted(dataset.questions.items()):
            judged = [sorted(question.grades.items()), [[*excerpt] for excerpt in question.excerpts]]
            known.update(json.dumps([key, question.text, *judged]).encode())
    return known.hexdigest()


class _Row(BaseModel):
    """A line of a corpus or of its questions."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: Annotated[str, AfterValidator(composed)] = Aliased(alias="_id", min_length=1)
    text: str
    title: str | None = None
    answers: tuple[str, ...] = ()


class _Excerpt(BaseModel):
    content: str
    start_index: int
    end_index: int


_EXCERPTS = TypeAdapter(tuple[_Excerpt, ...])


def _read_beir(folder: Path) -> Dataset:
    """Title and text are one document."""
    texts = {row.id: f"{row.title or ''}\n\n{row.text}".strip() for row in _rows(folder / "corpus.jsonl")}
    rows = _rows(folder / "queries.jsonl", asked=True)
    asked = {row.id: Question(row.text, answers=row.answers) for row in rows}
    qrels = next((path for path in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if path.is_file()), None)
    if qrels is None:
        raise _unusable(folder, "holds no judgements: there is neither qrels.tsv nor qrels/test.tsv")
    grades: dict[str, dict[str, float]] = {key: {} for key in asked}
    for line, (*ids, score) in _table(qrels, ("query-id", "corpus-id", "score"), "\t"):
        question, document = map(composed, ids)
        if question not in asked:
            raise _unusable(qrels, f"judges a question {question!r} that is not in queries.jsonl", line)
        if document not in texts:
            raise _unusable(qrels, f"names a document {document!r} that is not in corpus.jsonl", line)
        grade = _grade(qrels, line, score)
        if grades[question].setdefault(document, grade) != grade:
            raise _unusable(qrels, f"judges document {document!r} for question {question!r} a second time", line)
    judged = {
        key: replace(each, grades=grades[key])
        for key, each in asked.items()
        if max(grades[key].values(), default=0) > 0
    }
    if not judged:
        raise _unusable(qrels, "no question has a relevant document; there is nothing to measure")
    return Dataset(folder.resolve().name, texts, judged, left_out=len(asked) - len(judged))


def _read_chroma(folder: Path) -> list[Dataset]:
    """One set a text, since each question says which one it is about."""
    texts = {composed(path.stem): _text(path) for path in sorted((folder / "corpora").glob("*.md"))}
    if not texts:
        raise _unusable(folder / "corpora", "holds no text (*.md)")
    path = folder / "questions_df.csv"
    questions: dict[str, dict[str, Question]] = {name: {} for name in texts}
    left_out = dict.fromkeys(texts, 0)
    columns = ("question", "references", "corpus_id")
    for number, (line, (question, references, named)) in enumerate(_table(path, columns, ",")):
        corpus = composed(named)
        if corpus not in texts:
            raise _unusable(path, f"names a text {corpus!r} that is not in corpora/", line)
        _check_askable(path, question, line, str(number))
        excerpts = _excerpts(path, line, references, texts[corpus])
        left_out[corpus] += not excerpts
        if excerpts:
            questions[corpus][str(number)] = Question(question, excerpts=excerpts)
    if not any(questions.values()):
        raise _unusable(path, "no question has an excerpt that answers it; there is nothing to measure")
    name = folder.resolve().name
    return [
        Dataset(f"{name}/{text}", {text: texts[text]}, asked, left_out=left_out[text])
        for text, asked in questions.items()
        if asked
    ]


def _rows(path: Path, *, asked: bool = False) -> Iterator[_Row]:
    """The rows of a file of JSON lines, one at least, each id once. Texts that are `asked` must be ones that can be."""
    seen = set[str]()
    # Split at newlines alone: texts hold other separators that `splitlines` would split at.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise _unusable(path, f"{where}: {problem['msg']}" if where else problem["msg"], number) from None
        if row.id in seen:
            raise _unusable(path, f"the id {row.id!r} is there a second time", number)
        if asked:
            _check_askable(path, row.text, number, row.id)
        seen.add(row.id)
        yield row
    if not seen:
        raise _unusable(path, "is empty")


def _table(path: Path, columns: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The named columns of each row, with the row's line. Other columns are passed over."""
    # A judgement's fields are never quoted; a question may be, with newlines in it.
    lines = io.StringIO(_text(path))
    if delimiter == "\t":
        reader = csv.DictReader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.DictReader(lines, delimiter=delimiter)
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise _unusable(path, f"its header line lacks {', '.join(missing)}", 1)
    try:
        for row in reader:
            values = [row[column] for column in columns]
            if None in values:
                raise _unusable(path, f"has not all of {', '.join(columns)}", reader.line_num)
            yield reader.line_num, values
    except csv.Error as error:
        raise _unusable(path, str(error), reader.line_num) from None


def _check_askable(path: Path, question: str, line: int, key: str) -> None:
    try:
        checked_text(question, field=f"question {key!r}")
    except InvalidInputError as error:
        raise _unusable(path, error.message, line) from None


def _grade(path: Path, line: int, score: str) -> float:
    try:
        grade = float(score)
    except ValueError:
        grade = math.nan
    if not math.isfinite(grade):
        raise _unusable(path, f"the score {score!r} is not a finite number", line)
    return grade


def _excerpts(path: Path, line: int, references: str, text: str) -> tuple[Range, ...]:
    try:
        given = _EXCERPTS.validate_json(references)
    except ValidationError as error:
        raise _unusable(path, f"its references: {error.errors()[0]['msg']}", line) from None
    for each in given:
        if text[each.start_index : each.end_index] != each.content or not each.content:
            place = f"{each.start_index} to {each.end_index}"
            raise _unusable(path, f"characters {place} of its text are not the excerpt that it gives", line)
    return tuple((each.start_index, each.end_index) for each in given)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise _unusable(path, "there is no such file") from None
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise _unusable(path, f"is not UTF-8 at byte {error.start}") from None


def _unusable(path: Path, what: str, line: int | None = None) -> InvalidInputError:
    return InvalidInputError("dataset", f"{path}{'' if line is None else f', line {line}'}: {what}")
