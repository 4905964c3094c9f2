"""Splitting: chunks with exact offsets, along the structure, within the size."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbchat.models import Block, LoadedDocument, Span
from kbchat.text.splitting import chunk_key, embedded_text, estimate_tokens, fingerprint, split


def plain(text: str, *blocks: Block) -> LoadedDocument:
    return LoadedDocument(text, metadata={}, blocks=blocks)


def markdown(text: str) -> LoadedDocument:
    return LoadedDocument(text, metadata={}, markup="markdown")


def contents(document: LoadedDocument, spans: list[Span]) -> list[str]:
    return [document.text[span.start : span.end] for span in spans]


def prose(words: int, *, start: int = 0) -> str:
    return " ".join(f"Word{n} stands here." for n in range(start, start + words))


# fmt: off
MARKS = (
    "# Title\n", "## Sub\n\n", "\n", "\n\n", "  ", "```\n", "~~~\n", "- item\n", "| a | b |\n", "Setext\n===\n",
    "---\n", "A sentence. ", "第一句。",
    "word " * 40, "x" * 300, "\u2028", "\x1c", "\x00", "🙂", "\r\n", "\t", "a\n---\n",
)
# fmt: on
PIECES = st.lists(st.sampled_from(MARKS), max_size=30).map("".join)


@settings(deadline=None)
@given(PIECES, st.sampled_from(["plain", "markdown"]), st.sampled_from([16, 40, 256]), st.sampled_from([0, 8]))
def test_every_character_that_is_not_blank_is_in_a_chunk(text: str, markup: str, size: int, overlap: int) -> None:
    """Chunks stand in order, none is blank, together they leave out nothing but white space."""
    document = LoadedDocument(text, metadata={}, markup=markup)  # type: ignore[arg-type]
    spans = split(document, max_tokens=size, overlap=overlap)
    covered = 0
    for span in spans:
        assert text[span.start : span.end].strip()
        assert span.start >= covered or overlap
        assert text[covered : span.start].strip() == ""
        assert span.end > covered
        covered = span.end
    assert text[covered:].strip() == ""


@given(PIECES, st.sampled_from(["plain", "markdown"]), st.sampled_from([16, 40, 256]))
def test_no_chunk_is_larger_than_asked(text: str, markup: str, size: int) -> None:
    """The size holds for every chunk but those that end a section or the document: they may be a quarter larger."""
    document = LoadedDocument(text, metadata={}, markup=markup)  # type: ignore[arg-type]
    sizes = [estimate_tokens(content) for content in contents(document, split(document, max_tokens=size))]
    assert all(tokens <= size * 1.25 for tokens in sizes)
    if markup == "plain":
        assert all(tokens <= size for tokens in sizes[:-1])


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\n", "\u3000\x1c"])
def test_a_blank_document_has_no_chunks(text: str) -> None:
    """White space of any kind is nothing to find."""
    assert split(plain(text)) == split(markdown(text)) == []


def test_a_short_document_is_one_chunk() -> None:
    """What fits is not split; white space around it stays outside."""
    assert split(plain("\n Hello there. \n")) == [Span(2, 14)]


def test_paragraphs_stay_whole() -> None:
    """A border between paragraphs is preferred to one between sentences."""
    document = plain("\n\n".join(prose(30, start=100 * n) for n in range(6)))
    assert contents(document, split(document, max_tokens=256)) == document.text.split("\n\n")


def test_headings_lead_to_a_chunk() -> None:
    """The path is outermost first, and that of the text below the headings a chunk begins with."""
    some = prose(30)
    text = f"# Guide\n\n{some}\n\n## Keys {{ #keys }}\n\n### Rotation **now** ##\n\n{some}\n\n## Last\n\n{some}"
    spans = split(markdown(text))
    assert [span.headings for span in spans] == [
        ("Guide",),
        ("Guide", "Keys", "Rotation now"),
        ("Guide", "Last"),
    ]


def test_a_long_section_keeps_its_path() -> None:
    """Later chunks of a section stand under the same headings as the first."""
    spans = split(markdown(f"# Guide\n\n## Keys\n\n{prose(200)}"), max_tokens=128)
    assert len(spans) > 5
    assert {span.headings for span in spans} == {("Guide", "Keys")}


def test_a_number_sign_in_code_is_no_heading() -> None:
    """Fences of any kind and depth hide their lines, and close only with their own sign."""
    code = "```python\n# comment\n~~~\n# still code\n```\n\n    # indented\n\n  ~~~~\n# code\n~~~\n# code\n  ~~~~\n"
    (span,) = split(markdown(f"# Real\n\n{code}\ntext"))
    assert span.headings == ("Real",)


def test_underlined_headings_count() -> None:
    """A line of equals signs or dashes under a line of text makes it a heading; front matter is none."""
    text = (
        f"---\ntitle: x\n---\n\nGuide\n=====\n\n{prose(30)}\n\nKeys\n----\n\n{prose(30)}\n\n- item\n---\n\n{prose(30)}"
    )
    assert [span.headings for span in split(markdown(text))][:3] == [(), ("Guide",), ("Guide", "Keys")]


def test_plain_text_has_no_headings() -> None:
    """Without markup a number sign is a number sign."""
    assert split(plain("# one\n\ntext")) == [Span(0, 11)]


def test_a_heading_stays_with_its_section() -> None:
    """A heading is no chunk of its own when text follows, however long that is."""
    document = markdown(f"# Guide\n\n## Keys\n\n{prose(400)}")
    first, *rest = contents(document, split(document))
    assert first.startswith("# Guide\n\n## Keys\n\nWord0")
    assert rest


def test_a_title_stays_with_its_text() -> None:
    """A line far below the size begins the chunk after it instead of being one."""
    document = plain(f"On keys\n\n{prose(400)}")
    assert contents(document, split(document))[0].startswith("On keys\n\nWord0")


def test_a_short_section_stays_alone() -> None:
    """Small sections are not drawn into the next one when both do not fit."""
    document = markdown(f"# One\n\nShort.\n\n# Two\n\n{prose(60)}")
    assert contents(document, split(document))[0] == "# One\n\nShort."


def test_what_is_left_over_stays_with_the_last_chunk() -> None:
    """A text a little over the size is one chunk, a longer one is split."""
    assert len(split(plain(prose(50)), max_tokens=estimate_tokens(prose(42)))) == 1
    assert len(split(plain(prose(50)), max_tokens=estimate_tokens(prose(36)))) == 2


def test_pages_are_told_and_crossed() -> None:
    """A chunk knows the page it begins on and, where it goes on, the one it ends on."""
    pages = [prose(20, start=100 * n) for n in range(4)]
    text, blocks = "", []
    for number, page in enumerate(pages, 1):
        blocks.append(Block(len(text), len(text) + len(page), {"page": number}))
        text += page + "\n"
    spans = split(plain(text, *blocks))
    assert [span.metadata for span in spans] == [{"page": 1, "page_end": 2}, {"page": 3, "page_end": 4}]


def test_slides_and_sheets_are_not_crossed() -> None:
    """A block that is no page ends its last chunk; text between blocks is split as well, without their metadata."""
    text = "One.\nloose\nTwo."
    blocks = (Block(0, 4, {"slide": 1}), Block(11, 15, {"slide": 2, "headings": ["Deck"]}))
    assert split(plain(text, *blocks)) == [
        Span(0, 4, (), {"slide": 1}),
        Span(5, 10),
        Span(11, 15, ("Deck",), {"slide": 2}),
    ]


def test_overlap_repeats_the_end() -> None:
    """With an overlap each chunk begins before the last one ended."""
    spans = split(plain(prose(300)), max_tokens=128, overlap=32)
    assert all(after.start < before.end for before, after in pairwise(spans))


def test_the_heading_path_is_embedded_once() -> None:
    """What a chunk already says is not said again above it."""
    assert embedded_text(("Guide", "Keys"), "## Keys\n\nRotate them.") == "Guide\n## Keys\n\nRotate them."
    assert embedded_text((), "Rotate them.") == "Rotate them."


def test_a_key_tells_what_is_embedded() -> None:
    """Equal texts under equal headings have equal keys, others have not."""
    assert chunk_key(("A",), "text") == chunk_key(("A",), "text")
    assert len({chunk_key(("A",), "text"), chunk_key(("B",), "text"), chunk_key((), "text")}) == 3
    assert re.fullmatch("[0-9a-f]{32}", chunk_key((), "\udc80"))


def test_the_fingerprint_tells_the_settings() -> None:
    """Another size or overlap is another way of splitting."""
    prints = {fingerprint(), fingerprint(max_tokens=128), fingerprint(overlap=16)}
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("text", "tokens"),
    [  # counted by the encoding of GPT-4o
        ("How do I declare a dependency with yield, and when does its exit code run?", 17),
        ("生命数耗完即算为踢爆。若水泡未在时间内踢爆，则会从水泡中释放或被队友救援。", 34),
        ("Для установки выполните команду и перезапустите сервер приложений.", 17),
        ("", 0),
    ],
)
def test_sizes_are_estimated(text: str, tokens: int) -> None:
    """The estimate is near the real count; only the empty text has none."""
    assert estimate_tokens(text) == pytest.approx(tokens, rel=0.25)


@given(st.text(max_size=40))
def test_estimates_add_up(text: str) -> None:
    """A hundred times the text has a hundred times the tokens, however long it is."""
    assert estimate_tokens(text * 10_000) == 100 * estimate_tokens(text * 100)


@pytest.mark.parametrize(
    "text", ["x" * 400_000, "生命数" * 20_000, "a b " * 100_000, "# h\n" * 30_000, "|a|b|\n" * 50_000]
)
def test_odd_texts_take_no_more_than_their_time(text: str) -> None:
    """What has no borders, or nothing else, is split in time that grows with its length."""
    began = time.perf_counter()
    assert split(markdown(text))
    assert time.perf_counter() - began < 10
