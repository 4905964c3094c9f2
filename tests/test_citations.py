"""Citations: each cited sentence is compared with what it cites as soon as it ends."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbchat.citations import MAX_PENDING_CHARS, CitationChecker
from kbchat.citations.claims import Text
from kbchat.models import Citation, Passage, Reference
from kbchat.prompting import merge

KEYS = (
    "# Key rotation\n\nKeys are rotated every 90 days by the security team. Alice Brown approves each rotation. "
    "A revoked key is not accepted again. Backups are kept in Zürich since 14 March 2021.\n"
)
COSTS = "The service costs $3.5 million a year. It has been run by 12 people since the merger with Contoso."
HAN = "密钥每九十天轮换一次，由安全组负责。张伟在2021年3月批准了这项规定。被吊销的密钥不能再次使用。备份保存在苏黎世。"


def reference(content: str, *, start: int = 0, document_id: int = 1, name: str = "handbook.md") -> Reference:
    return Reference(
        name=name,
        document_id=document_id,
        chunk_id=100 + start,
        content=content,
        start=start,
        end=start + len(content),
        recall_score=0.9,
    )


def passage(number: int, content: str, **more: int) -> Passage:
    found = reference(content, document_id=number, **more)
    return Passage(number=number, name=found.name, content=content, score=0.9, references=(found,))


PASSAGES = (passage(1, KEYS), passage(2, COSTS), passage(3, HAN), passage(4, "尺寸有100、200、300三种。"))


def check(answer: str) -> list[Citation]:
    checker = CitationChecker(PASSAGES)
    return checker.feed(answer) + checker.flush()


@pytest.mark.parametrize(
    "answer",
    [
        "Keys are rotated every 90 days by the security team [1].",
        "The security team rotates the keys every ninety days. [1]",
        "Alice Brown has to approve each rotation [1].",
        "Once revoked, a key is never accepted again [1].",
        "Since March 2021 the backups are in Zürich [1].",
        "It costs 3,500,000 dollars a year to run the service [2].",
        "密钥每90天轮换一次[3]。",
        "规定由张伟于2021年3月批准。[3]",
        "吊销后的密钥无法再使用【3】。",
        "尺寸有100，200，300三种[4]。",
    ],
)
def test_what_the_passage_says_is_supported(answer: str) -> None:
    """A sentence in its source's words or in other ones is carried, and nothing in it is marked."""
    (citation,) = check(answer)
    assert citation.supported
    assert citation.unsupported == ()
    assert citation.reference is not None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("Keys are rotated every 60 days by the security team [1].", ("60",)),
        ("Keys are rotated every sixty days by the security team [1].", ("sixty",)),
        ("Bob Smith approves each rotation [1].", ("Bob", "Smith")),
        ("A revoked key is accepted again [1].", ("accepted",)),
        ("Keys are not rotated every 90 days by the security team [1].", ("not",)),
        ("Backups are kept in Geneva since 14 March 2021 [1].", ("Geneva",)),
        ("Backups are kept in Zürich since 14 May 2021 [1].", ("May",)),
        ("The service costs $3.5 billion a year [2].", ("3.5 billion",)),
        ("密钥每60天轮换一次[3]。", ("60",)),
        ("李娜在2021年3月批准了这项规定[3]。", ("李娜",)),
        ("被吊销的密钥能再次使用[3]。", ("能再",)),
        ("备份保存在日内瓦[3]。", ("日内瓦",)),
        ("密钥不是每九十天轮换一次[3]。", ("不",)),
        ("张伟在2020年3月批准了这项规定[3]。", ("2020",)),
    ],
)
def test_what_it_does_not_say_is_named(answer: str, words: tuple[str, ...]) -> None:
    """A number, date, name or negation that the passage has not is named, and the support is below the line."""
    (citation,) = check(answer)
    assert not citation.supported
    assert set(words) <= set(citation.unsupported)


def test_names_in_any_form_of_unicode() -> None:
    """A letter and its accent are one whether they are one character or two; what follows the accent counts."""
    whole, apart = "The group is led by Jos\u00e9 M\u00fcller [1].", "The group is led by Jose\u0301 Mu\u0308ller [1]."
    for answer, source in ((whole, apart), (apart, whole)):
        (citation,) = CitationChecker([passage(1, source)]).feed(answer)
        assert citation.supported
    (citation,) = CitationChecker([passage(1, apart)]).feed("The group is led by Jose\u0301 Mu\u0308nch [1].")
    assert citation.unsupported == ("Mu\u0308nch",)


def test_another_passage_does_not_carry() -> None:
    """A sentence that cites the wrong passage is not supported, and its words are named."""
    (citation,) = check("The service has been run by twelve people since the merger [1].")
    assert citation.support < 0.5
    assert citation.unsupported


def test_unknown_number() -> None:
    """A number that no passage has is a citation without support."""
    (citation,) = check("Keys are rotated every 90 days [7].")
    assert citation.number == 7
    assert citation.support == 0.0
    assert (citation.reference, citation.start, citation.end) == (None, None, None)
    assert citation.unsupported


def test_places() -> None:
    """`start` and `end` are the carrying sentence in the document, `answer_start` and `answer_end` the cited one."""
    text = KEYS + "\n" + COSTS
    chunks = [reference(KEYS.strip()), reference(COSTS, start=len(KEYS) + 1)]
    checker = CitationChecker(merge(chunks))
    answer = "Hello. It costs $3.5 million a year [1]. Bye."
    (citation,) = checker.feed(answer) + checker.flush()
    assert answer[citation.answer_start : citation.answer_end] == "It costs $3.5 million a year [1]."
    assert text[citation.start : citation.end] == "The service costs $3.5 million a year."
    assert citation.reference == chunks[1]


def test_chunks_that_overlap() -> None:
    """Offsets hold where the chunks of a passage overlap or have a gap."""
    text = KEYS + " \n\n" + COSTS
    cuts = [(0, 80), (60, 150), (150, len(KEYS)), (len(KEYS) + 3, len(text))]
    checker = CitationChecker(merge([reference(text[start:end], start=start) for start, end in cuts]))
    answers = [
        "Alice Brown approves each rotation [1].",
        "It has been run by 12 people since the merger with Contoso [1].",
        "Keys are rotated every 90 days by the security team [1].",
    ]
    found = checker.feed("\n".join(answers)) + checker.flush()
    assert [text[citation.start : citation.end] for citation in found] == [
        "Alice Brown approves each rotation.",
        "It has been run by 12 people since the merger with Contoso.",
        "Keys are rotated every 90 days by the security team.",
    ]


def test_several_passages() -> None:
    """A sentence that cites two passages has a citation for each, weighed against both together."""
    first, second = check("Keys are rotated every 90 days and the service costs $3.5 million a year [1][2].")
    assert (first.number, second.number) == (1, 2)
    assert first.support == second.support > 0.5
    assert first.reference is not None
    assert second.reference is not None


@pytest.mark.parametrize("marks", ["[1, 2]", "[1，2]", "[1-2]", "[1] [2]", "[1][2]"])
def test_spellings_of_marks(marks: str) -> None:
    """Several numbers may stand in one mark or in several."""
    assert [citation.number for citation in check(f"Keys are rotated and it costs money {marks}.")] == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "Nothing is cited here. Nor here.",
        "Use `items[1]` to get it.",
        "```python\nprint(items[1])\n```\n",
        "[1] handbook.md\n",
        "In [2024] much happened.",
        "",
    ],
)
def test_what_is_no_citation(text: str) -> None:
    """Code, lists of sources and brackets with other things in them are no citations."""
    assert check(text) == []


def test_as_soon_as_the_sentence_ends() -> None:
    """A citation comes with the piece that ends its sentence, not later."""
    checker = CitationChecker(PASSAGES)
    assert checker.feed("Keys are rotated every 90 days") == []
    assert checker.feed(" [1]") == []
    assert len(checker.feed(".")) == 1
    assert checker.feed(" Alice Brown approves each rotation.") == []
    assert checker.feed(" [1]") == []
    assert len(checker.feed(" Then")) == 1
    assert checker.feed(" nothing") == []
    assert checker.flush() == []


ANSWER = (
    "Keys are rotated every 90 days [1]. Dr. Brown e.g. approves v1.5 of it. [1][2] And so on!\n\n"
    "- 密钥每九十天轮换一次[3]。备份保存在日内瓦。[3]\n"
    "- `x[1]` is code\n```\ncode [1].\n```\nIt costs $3.5 million [2], they say."
)


@given(st.lists(st.integers(0, len(ANSWER)), max_size=30))
def test_any_pieces_give_the_same(cuts: list[int]) -> None:
    """However a text is cut into pieces, the citations are the same."""
    checker = CitationChecker(PASSAGES)
    ends = [0, *sorted(cuts), len(ANSWER)]
    found = [citation for start, end in pairwise(ends) for citation in checker.feed(ANSWER[start:end])]
    assert found + checker.flush() == check(ANSWER)


PIECES = (
    *(
        "Keys are rotated every 90 days",
        "The owner is Ann",
        "the",
        "密钥每九十天轮换一次",
        "`x`",
        "`",
        "```",
        "```x```",
    ),
    *(
        "[1]",
        "[2]",
        "[1, 3]",
        "【2】",
        "[",
        "]",
        "1",
        ".",
        "!",
        "。",
        "...",
        ",",
        "**",
        '"',
        ")",
        "(",
        " ",
        " ",
        "\n",
        "\n\n",
    ),
    *("- ", "# ", "| ", "3. ", "~~~\n", "```\n"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.sets(st.integers(0, 400), max_size=30))
def test_any_pieces_of_any_text_give_the_same(text: str, cuts: set[int]) -> None:
    """Marks, stops, code, lists and all that may stand between them, in any order and cut anywhere."""
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for pieces in ([text[start:end] for start, end in pairwise(ends)], list(text)):
        checker = CitationChecker(PASSAGES)
        found = [citation for piece in pieces for citation in checker.feed(piece)]
        assert found + checker.flush() == check(text)


@pytest.mark.parametrize(
    ("answer", "cited"),
    [
        (
            "Keys [1]. ```rotate()``` does it.\nThe owner [2]. Backups [1].\n",
            ["Keys [1].", "The owner [2].", "Backups [1]."],
        ),
        ("```rotate()``` does it [1].\nThe owner [2].", ["```rotate()``` does it [1].", "The owner [2]."]),
        ("````py\nx[1].\n````\nThe owner [2].", ["The owner [2]."]),
        ("Keys [1]. ```\nThe owner [2].", ["Keys [1].", "```\nThe owner [2]."]),
        ("Keys [1]. [2] The owner [3].", ["Keys [1].", "Keys [1].", "The owner [3]."]),
        ("Keys [1].[2][1] The owner [3].", ["Keys [1].", "Keys [1].", "The owner [3]."]),
        ("Keys [1].\n[2] The owner [3].", ["Keys [1].", "The owner [3]."]),
        ("**Keys [1].** The owner [2].", ["**Keys [1].", "The owner [2]."]),
        ('Keys [1]." The owner [2].', ["Keys [1].", "The owner [2]."]),
        ("Keys [1]...The owner [2].", ["Keys [1].", "The owner [2]."]),
        ("Use `x[1].y [1].` twice [2].", ["Use `x[1].y [1].` twice [2]."]),
        ("Use ``a`b[1].`` twice [2].", ["Use ``a`b[1].`` twice [2]."]),
        ("Keys [1] are\nrotated [2].", ["Keys [1] are\nrotated [2]."] * 2),
        ("- Keys [1] are old\n- The owner [2]\n", ["Keys [1] are old", "The owner [2]"]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_what_is_cited(answer: str, cited: list[str], size: int) -> None:
    """Each mark cites one sentence, whatever stands between them and however few characters come at a time."""
    checker = CitationChecker(PASSAGES)
    found = [it for at in range(0, len(answer), size) for it in checker.feed(answer[at : at + size])] + checker.flush()
    assert [answer[it.answer_start : it.answer_end] for it in found] == cited


def test_late_marks_are_weighed_together_with_those_before() -> None:
    """What one passage does not carry, both may."""
    both = "Keys are rotated every 90 days and the service costs $3.5 million a year [1]. [2]"
    first, second = check(both)
    assert (first.number, first.supported) == (1, False)
    assert (second.number, second.supported) == (2, True)


@given(st.text(st.sampled_from("ab1[]【】`.。!\n ~-,9不"), max_size=200))
def test_any_text(text: str) -> None:
    """No text breaks it; each citation is in its place, in order."""
    found = check(text)
    assert all(0 <= citation.answer_start < citation.answer_end <= len(text) for citation in found)
    starts = [citation.answer_start for citation in found]
    assert starts == sorted(starts)


SENTENCES = (
    "Keys are rotated every 90 days{}",
    "Alice Brown approves each rotation{}",
    "It costs $3.5 million{}",
    "密钥每九十天轮换一次{}",
)
BEFORE, BEHIND = ("{mark}.", " {mark}.", "{mark}。"), (".{mark}", ". {mark}", "。{mark}", "! {mark}")


@st.composite
def answers(draw: st.DrawFn) -> list[tuple[str, list[int]]]:
    """Sentences with the numbers each cites, by marks before its stop or behind it."""
    parts = []
    for n in range(draw(st.integers(1, 5))):
        numbers = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3, unique=True))
        separator = draw(st.sampled_from(["", " "]))
        marks = separator.join(draw(st.sampled_from(["[{}]", "【{}】"])).format(number) for number in numbers)
        ending = draw(st.sampled_from(BEFORE + BEHIND)).format(mark=marks)
        gap = draw(st.sampled_from([" ", "  ", "\n", "\n\n- "])) if n else ""
        parts.append((gap + draw(st.sampled_from(SENTENCES)).format(ending), numbers))
    return parts


@given(answers(), st.lists(st.integers(0, 200), max_size=10))
def test_a_sentence_begins_with_itself(parts: list[tuple[str, list[int]]], cuts: list[int]) -> None:
    """Not with a mark nor a space; marks behind its full stop are its own, and never the next sentence's."""
    answer = "".join(text for text, _ in parts)
    ends = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    checker = CitationChecker(PASSAGES)
    found = [citation for start, end in pairwise(ends) for citation in checker.feed(answer[start:end])]
    found += checker.flush()
    own = [(text.lstrip("\n- ")[:8], number) for text, numbers in parts for number in numbers]
    assert [(answer[it.answer_start :][:8], it.number) for it in found] == own


@given(st.text(st.sampled_from("ab1[]【】.。 \n-"), max_size=80))
def test_no_citation_begins_with_a_mark(text: str) -> None:
    """Whatever the text: nor with white space."""
    for citation in check(text):
        span = text[citation.answer_start : citation.answer_end]
        assert re.match(r"\s|[\[【]\d{1,3}[\]】]", span) is None


def test_another_language() -> None:
    """Between languages only numbers are compared, and the support says that nothing more was."""
    (good,) = check("钥匙每90天更换一次，由安全团队完成 [1]。")
    assert good.support == 0.5
    (bad,) = check("钥匙每60天更换一次，由安全团队完成 [1]。")
    assert bad.unsupported == ("60",)


def test_what_never_ends() -> None:
    """A text without an end of a sentence does not pile up."""
    checker = CitationChecker(PASSAGES)
    for _ in range(100):
        checker.feed("word " * 100 + "[1] ")
    assert len(checker._pending) <= MAX_PENDING_CHARS + 600


def test_dates_hold_together() -> None:
    """A month is carried by the month of that day and year, not by any month of the passage."""
    source = passage(1, "It was opened on 6 June 1998 and closed in May 2001.")
    checker = CitationChecker([source])
    (wrong,) = checker.feed("It was opened on 6 May 1998 [1].")
    assert "May" in wrong.unsupported
    (right,) = CitationChecker([source]).feed("It was closed in May 2001 [1].")
    assert right.supported


@pytest.mark.parametrize("word", ["not ", "不"])
def test_any_number_of_negations_is_found(word: str) -> None:
    """In one clause, each for itself, without reading the rest of the clause for each."""
    assert len(Text(word * 80_000).negations) == 80_000
