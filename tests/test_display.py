"""How answers and references show themselves."""

import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kbchat.models import Answer, Citation, Reference

KEYS = Reference(
    name="handbook.md",
    document_id=1,
    chunk_id=2,
    content="Keys are rotated every 90 days. Backups are kept.",
    start=100,
    end=149,
    recall_score=0.87,
    metadata={"page": 3, "page_end": 4, "headings": ["Keys", "Rotation"]},
    dense=0.5,
)
ANSWER = Answer(
    text="Keys are rotated every 60 days [1].",
    references=(KEYS,),
    citations=(
        Citation(
            answer_start=0,
            answer_end=35,
            number=1,
            reference=KEYS,
            start=100,
            end=131,
            support=0.3,
            unsupported=("60",),
        ),
    ),
)


class Reader(HTMLParser):
    """Takes HTML apart; fails on an element or attribute that was not ours."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.marks: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"div", "details", "summary", "b", "span", "mark", "small"}
        assert {name for name, _ in attrs} <= {"style", "title"}
        self._open.append(tag)
        if tag == "mark":
            self.marks.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1] == "mark":
            self.marks[-1] += data


def test_as_text() -> None:
    """`print` shows the answer, where it comes from and what does not hold."""
    assert str(ANSWER) == (
        "Keys are rotated every 60 days [1].\n\n[1]  0.87  handbook.md  (page 3 to 4, Keys > Rotation)\n\n"
        "[1] does not carry what is said of it: 60"
    )
    assert str(KEYS).splitlines()[-1] == KEYS.content
    assert str(Answer(text="Nothing.")) == "Nothing."


def test_references_have_the_numbers_that_cite_them() -> None:
    """Best first; chunks that were one passage share theirs."""
    other = KEYS.model_copy(update={"name": "doors.md", "document_id": 2, "chunk_id": 4, "recall_score": 0.8})
    next_to_it = KEYS.model_copy(update={"chunk_id": 3, "start": 150, "end": 160, "recall_score": 0.7})
    shown = str(Answer(text="Yes [1][2].", references=(KEYS, other, next_to_it))).splitlines()[2:]
    assert [line.split("  ")[:3] for line in shown] == [
        ["[1]", "0.87", "handbook.md"],
        ["[2]", "0.80", "doors.md"],
        ["[1]", "0.70", "handbook.md"],
    ]


def test_in_a_notebook() -> None:
    """The word that nothing carries is marked, and so is the sentence that carries the rest."""
    reader = Reader(ANSWER._repr_html_())
    assert reader.marks == ["60", "Keys are rotated every 90 days."]
    assert "[1] handbook.md" in reader.text
    assert "0.87" in reader.text


@pytest.mark.parametrize(
    ("text", "word", "marked"),
    [
        ("In 2015 there were 5 keys [1].", "5", "In 2015 there were |5| keys [1]."),
        ("There were [1] 1 keys in 2015.", "1", "There were [1] |1| keys in 2015."),
        ("Of 1.5 or 5.1 or 5, 5 is less [5].", "5", "Of 1.5 or 5.1 or |5|, 5 is less [5]."),
        ("Notes do not say so [1].", "not", "Notes do |not| say so [1]."),
        ("在2015年有5个密钥[1]。", "5", "在2015年有|5|个密钥[1]。"),
        ("备份保存在日内瓦[1]。", "日内瓦", "备份保存在|日内瓦|[1]。"),
        ("The 5th of them [1].", "5", "The |5|th of them [1]."),
    ],
)
def test_the_word_itself_is_marked(text: str, word: str, marked: str) -> None:
    """Not the same letters or digits within another word, a number or a citation."""
    citation = Citation(
        answer_start=0,
        answer_end=len(text),
        number=1,
        reference=KEYS,
        start=100,
        end=131,
        support=0,
        unsupported=(word,),
    )
    html = Answer(text=text, citations=(citation,))._repr_html_()
    assert re.sub("<mark[^>]*>|</mark>", "|", html).partition(">")[2].partition(">")[2].partition("<")[0] == marked


def test_in_a_terminal() -> None:
    """`rich.print` shows all of it, and no markup of a document's own works."""
    file = io.StringIO()
    hostile = KEYS.model_copy(update={"name": "[red]x[/red]", "content": "[bold]y"})
    Console(file=file, width=200).print(ANSWER, KEYS, hostile)
    shown = file.getvalue()
    assert "60 days [1]" in shown
    assert "[red]x[/red]" in shown
    assert "[bold]y" in shown


@given(st.text(), st.text(min_size=1), st.integers(-5, 60), st.integers(-5, 60))
def test_hostile_texts_run_nothing(text: str, name: str, start: int, end: int) -> None:
    """Whatever text, names and offsets hold, the HTML has no element or attribute but ours."""
    found = KEYS.model_copy(update={"name": name, "content": text, "metadata": {"headings": [text, name]}})
    citation = Citation(
        answer_start=max(start, 0), answer_end=max(end, 0), number=1, reference=found, start=start, end=end, support=0
    )
    Reader(Answer(text=text + name, references=(found,), citations=(citation,))._repr_html_())
