"""Sentences: where they end in English, Chinese and Markdown, and exactly where they stand."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbchat.text import sentences
from kbchat.text.sentences import MAX_SENTENCE_CHARS, is_heading

MARKDOWN = """# Keys and locks

Keys are rotated every 90 days, e.g. in May. The new key
is active at once.
- first item. And more
  of it
- [ ] second item
12. step twelve
> quoted. Twice.

| a | b |
| --- | --- |
| 1 | 2 |

---

```bash
pip install kbchat
kbchat serve
```
After.
"""


def found(text: str) -> list[str]:
    return [" ".join(text[start:end].split()) for start, end in sentences.split(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
        ("Dr. J. Smith vs. Mr. Jones, e.g. in Fig. 3.", ["Dr. J. Smith vs. Mr. Jones, e.g. in Fig. 3."]),
        ("Version 3.5 is at http://x.org/a?b=1! Get it.", ["Version 3.5 is at http://x.org/a?b=1!", "Get it."]),
        ("It was 5 p.m. when it ended.", ["It was 5 p.m. when it ended."]),
        ("the flow is laminar . the wake is not .", ["the flow is laminar .", "the wake is not ."]),
        ("密钥每九十天轮换。新密钥“立即生效！”", ["密钥每九十天轮换。", "新密钥“立即生效！”"]),
        ("旧的呢？是的……好", ["旧的呢？", "是的……", "好"]),
        ("Really?对！ Yes", ["Really?", "对！", "Yes"]),
        ("", []),
        (" \n\n \t", []),
        ("... !!! ---", []),
    ],
)  # fmt: skip
def test_prose(text: str, expected: list[str]) -> None:
    """Stops end sentences, abbreviations, numbers and addresses do not."""
    assert found(text) == expected


def test_markdown() -> None:
    """Headings, items, rows and code stand by themselves; marks, rules and fences are left out."""
    assert found(MARKDOWN) == [
        "Keys and locks",
        "Keys are rotated every 90 days, e.g. in May.",
        "The new key is active at once.",
        "first item.",
        "And more of it",
        "[ ] second item",
        "step twelve",
        "quoted.",
        "Twice.",
        "| a | b |",
        "| 1 | 2 |",
        "pip install kbchat kbchat serve",
        "After.",
    ]


def test_headings_are_known() -> None:
    """A sentence says whether it is a heading."""
    spans = sentences.split(MARKDOWN)
    assert [is_heading(MARKDOWN, start) for start, _ in spans] == [True] + [False] * (len(spans) - 1)


def test_what_has_no_stop_is_cut() -> None:
    """At a comma or white space where there is one, else anywhere."""
    lengths = [len(text) for text in found("word, " * 1000)]
    assert max(lengths) <= MAX_SENTENCE_CHARS
    assert all(text.endswith(",") for text in found("word, " * 1000))
    assert [len(text) for text in found("x" * 1500)] == [600, 600, 300]


def test_a_long_text_takes_no_longer_than_it_is() -> None:
    """A paragraph of a million characters is split in one go."""
    assert len(sentences.split("It is so. " * 100_000)) == 100_000


signs = ["a", "B", "é", "中", ".", "!", "?", "。", "…", "”", '"', " ", "\n", "# ", "- ", "|", "```", "1. ", "\u2028"]
texts = st.lists(st.sampled_from(signs)).map("".join)


@given(texts | st.text())
def test_sentences_stand_where_they_say(text: str) -> None:
    """In order, apart, without white space around, never too long; no word is lost."""
    spans = sentences.split(text)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""
        assert end - start <= MAX_SENTENCE_CHARS
    kept = "".join(text[start:end] for start, end in spans)
    if "```" not in text and "~~~" not in text and "1" not in text:
        assert sorted(filter(str.isalpha, kept)) == sorted(filter(str.isalpha, text))
