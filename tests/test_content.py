"""A content's hash: kept as text, read back, and compared."""

import pytest

from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.ingestion.content import ContentHash, Recipe, digest_of

STRUCTURE = Splitting(max_tokens=256)
SEPARATOR = Splitting(strategy=ChunkStrategy.SEPARATOR, separator=":", max_tokens=256)


@pytest.mark.parametrize("splitting", [STRUCTURE, SEPARATOR], ids=["structure", "separator"])
@pytest.mark.parametrize("given", [b"", b"told"])
def test_it_is_read_back_as_it_was(splitting: Splitting, given: bytes) -> None:
    """Also where the splitting's own text holds colons."""
    made = ContentHash.of(b"text", recipe=Recipe.by(splitting), given=given)
    assert ContentHash.parse(str(made)) == made
    assert made.digest == digest_of(b"text")
    assert str(made).startswith(made.recipe.prefix) is (not given)
    assert not str(made).startswith(made.recipe._replace(versions="1").prefix)


def test_what_it_was_before_this_was_a_class() -> None:
    """The text is the one that catalogs hold, so nothing is taken in anew."""
    recipe = Recipe("by_structure-1:256:0", "1.1")
    zero = "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"
    assert str(ContentHash.of(b"", recipe=recipe)) == f"by_structure-1:256:0:1.1:{zero}"
    along = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert str(ContentHash.of(b"", recipe=recipe, given=b"x")) == f"by_structure-1:256:0:1.1.{along}:{zero}"


def test_what_is_the_same_content() -> None:
    """However it is split; but not read in another way, told otherwise, or with other parts."""
    recipe = Recipe.by(STRUCTURE)
    made = ContentHash.of(b"ab", recipe=recipe)
    assert made.same_content(ContentHash.of(b"ab", recipe=Recipe.by(SEPARATOR)))
    for other in (
        ContentHash.of(b"ab", recipe=recipe._replace(versions="0.0")),
        ContentHash.of(b"ab", recipe=recipe, given=b"told"),
        ContentHash.of(b"a", b"b", recipe=recipe),
        ContentHash.of(b"ac", recipe=recipe),
        ContentHash.parse(""),
        ContentHash.parse("ab"),
    ):
        assert not made.same_content(other)
