"""Documents are split by what one chooses; whatever that is, offsets are exact and no chunk is blank."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.loaders.formats import format_of
from kbchat.models import Block, LoadedDocument
from kbchat.text.outline import Outline
from kbchat.text.splitting import estimate_tokens, fingerprint, split
from made_files import CODE, good

PAGES = LoadedDocument(
    "one. two.\n\nthree\n\nfour",
    metadata={},
    blocks=(
        Block(0, 9, {"page": 1}),
        Block(11, 16, {"page": 2, "headings": ["A"]}),
        Block(18, 22, {"page": 2, "headings": ["B"]}),
    ),
)
GUIDE = LoadedDocument("intro\n\n# A\n\nfirst\n\n## B\n\nsecond\n\n# C\n\nthird\n", metadata={}, markup="markdown")


def contents(document: LoadedDocument, **how: object) -> list[str]:
    spans = split(document, Splitting.model_validate(how))
    return [document.text[span.start : span.end] for span in spans]


def test_a_page_a_chunk() -> None:
    """Also where a page has several blocks."""
    assert contents(PAGES, strategy="page") == ["one. two.", "three\n\nfour"]
    spans = split(PAGES, Splitting(strategy=ChunkStrategy.PAGE))
    assert [dict(span.metadata) for span in spans] == [{"page": 1}, {"page": 2}]


def test_a_section_a_chunk() -> None:
    """What stands under one heading, however short; a larger one is split along its structure."""
    assert contents(GUIDE, strategy="heading") == ["intro", "# A\n\nfirst", "## B\n\nsecond", "# C\n\nthird"]
    long = LoadedDocument("# A\n\n" + "word " * 200 + "\n\n# B\n\nx", metadata={}, markup="markdown")
    parts = contents(long, strategy="heading", max_tokens=64)
    assert len(parts) > 3
    assert parts[-1] == "# B\n\nx"


def test_the_whole_document_a_chunk() -> None:
    """Whatever its size."""
    assert contents(GUIDE, strategy="document") == [GUIDE.text.strip()]
    assert contents(PAGES, strategy="document") == [PAGES.text]
    assert contents(LoadedDocument(" \n ", metadata={}), strategy="document") == []


def test_separators() -> None:
    """Each part a chunk, or as many together as fit; what is larger is split along its structure."""
    text = LoadedDocument("a;b;;c; ;d", metadata={})
    assert contents(text, strategy="separator", separator=";", merge=False) == ["a", "b", "c", "d"]
    assert contents(text, strategy="separator", separator=";") == ["a;b;;c; ;d"]
    long = LoadedDocument(";".join("word " * 60 for _ in range(4)), metadata={})
    parts = contents(long, strategy="separator", separator=";", max_tokens=64)
    assert len(parts) == 4
    assert all(estimate_tokens(part) <= 64 for part in parts)


def test_windows_of_tokens() -> None:
    """As large as the size lets them, each repeating the end of the one before."""
    text = LoadedDocument(" ".join(f"w{number}" for number in range(400)), metadata={})
    parts = contents(text, strategy="tokens", max_tokens=100)
    assert all(70 <= estimate_tokens(part) <= 105 for part in parts[:-1])
    assert " ".join(parts) == text.text
    lapped = contents(text, strategy="tokens", max_tokens=100, overlap=30)
    for before, after in pairwise(lapped):
        shared = set(before.split()) & set(after.split())
        assert 5 <= len(shared) <= 20
    chinese = LoadedDocument("知识库支持多种文档格式" * 50, metadata={})
    assert len(contents(chinese, strategy="tokens", max_tokens=64)) > 5


@given(
    st.text(st.sampled_from("ab 知\n;.#é\t🎉"), max_size=300),
    st.sampled_from(ChunkStrategy),
    st.integers(16, 40),
    st.integers(0, 15),
    st.booleans(),
    st.sampled_from(["plain", "markdown", "rst", "code"]),
)
def test_offsets_are_exact_whatever_the_strategy(
    text: str, strategy: ChunkStrategy, size: int, overlap: int, merge: bool, markup: str
) -> None:
    """Chunks lie in order within the text, none is blank, and nothing but white space and separators is left out."""
    document = LoadedDocument(text, metadata={}, markup=markup)  # type: ignore[arg-type]
    how = Splitting(strategy=strategy, max_tokens=size, overlap=overlap, separator=";", merge=merge)
    position, covered = 0, set[int]()
    for span in split(document, how):
        assert position <= span.start < span.end <= len(text)
        assert text[span.start : span.end].strip()
        position = span.start
        covered |= set(range(span.start, span.end))
    left = {character for place, character in enumerate(text) if place not in covered and not character.isspace()}
    assert left <= ({";"} if strategy is ChunkStrategy.SEPARATOR else set())


@pytest.mark.parametrize("name", good())
@pytest.mark.parametrize("strategy", ChunkStrategy)
def test_every_format_with_every_strategy(name: str, strategy: ChunkStrategy) -> None:
    """Offsets are exact for each."""
    data = good()[name]
    document = format_of(data, name=name).load(data, name=name)
    spans = split(document, Splitting(strategy=strategy))
    assert spans
    assert all(document.text[span.start : span.end].strip() for span in spans)


def test_rst_has_an_outline() -> None:
    """Levels as docutils counts them; tables and transitions are no headings."""
    text = "=====\nGuide\n=====\n\nKeys\n====\n\nRotation\n--------\n\nx\n\n----\n\nOther\n=====\n"
    outline = Outline.of(text, "rst")
    assert list(outline.paths) == [("Guide",), ("Guide", "Keys"), ("Guide", "Keys", "Rotation"), ("Guide", "Other")]


def test_code_has_an_outline() -> None:
    """A chunk knows the definitions that it stands in, and no more once they have ended."""
    text = CODE + "\n\ndef other():\n    pass\n\n\nDONE = True\n"
    outline = Outline.of(text, "code")

    def path(phrase: str) -> tuple[str, ...]:
        return outline.path(text, text.index(phrase), len(text))

    assert path("os.urandom") == ("Vault", "rotate")
    assert path("Keeps keys") == ("Vault",)
    assert path("pass") == ("other",)
    assert path("DONE") == ()


def test_settings_of_splitting_are_checked() -> None:
    """Sizes that contradict each other are refused; each way of splitting has a fingerprint of its own."""
    with pytest.raises(ValidationError, match="overlap must be smaller"):
        Splitting(max_tokens=32, overlap=32)
    with pytest.raises(ValidationError):
        Splitting(max_tokens=8)
    ways = [Splitting(strategy=strategy) for strategy in ChunkStrategy]
    ways += [
        Splitting(strategy=ChunkStrategy.SEPARATOR, separator=";"),
        Splitting(max_tokens=128),
        Splitting(overlap=8),
    ]
    assert len({fingerprint(way) for way in ways}) == len(ways)
    assert fingerprint(Splitting()) == fingerprint()
