"""What a document's content is known by, so that what did not change is left alone."""

import hashlib
from typing import IO, NamedTuple, Self

from kbchat import loaders
from kbchat.chunking import Splitting
from kbchat.text import analysis
from kbchat.text.splitting import fingerprint

_BLOCK = 1 << 20


class Recipe(NamedTuple):
    """How documents are taken in. What was taken in by another recipe is written anew, though it is the same."""

    splitting: str
    """How it is split."""
    versions: str
    """How it is analysed and loaded."""

    @classmethod
    def by(cls, splitting: Splitting) -> Self:
        """How documents are taken in now."""
        return cls(fingerprint(splitting), f"{analysis.VERSION}.{loaders.VERSION}")

    @property
    def prefix(self) -> str:
        """What the text of a `ContentHash` begins with that is of this recipe, and of a file that came with nothing
        told. It is looked for in every file's there is, so that the text is not taken apart."""
        return f"{self.splitting}:{self.versions}:"


class ContentHash(NamedTuple):
    """What tells one content from another, and one way of taking it in from another. The catalog keeps its text:
    `SPLITTING:VERSIONS:DIGEST`, or `SPLITTING:VERSIONS.GIVEN:DIGEST`, in which SPLITTING may hold colons."""

    recipe: Recipe
    given: str
    """The hash of what was told along with a file; empty where nothing was."""
    digest: str
    """The hash of the content itself."""

    @classmethod
    def of(cls, *parts: bytes, recipe: Recipe, given: bytes = b"") -> Self:
        """That of a content, which may be in parts."""
        return cls(recipe, hashlib.sha256(given).hexdigest() if given else "", digest_of(*parts))

    @classmethod
    def parse(cls, kept: str) -> Self:
        """From its text. One that was made by nothing that we know is a digest by itself: equal to no other."""
        parts = kept.rsplit(":", 2)
        if len(parts) != 3:
            return cls(Recipe("", ""), "", kept)
        splitting, middle, digest = parts
        analysed, _, rest = middle.partition(".")
        loaded, _, given = rest.partition(".")
        return cls(Recipe(splitting, f"{analysed}.{loaded}"), given, digest)

    def __str__(self) -> str:
        given = f".{self.given}" if self.given else ""
        return f"{self.recipe.splitting}:{self.recipe.versions}{given}:{self.digest}"

    def same_content(self, other: "ContentHash") -> bool:
        """Whether both are of one content, told the same and read in the same way, however it is split."""
        one, another = (it._replace(recipe=Recipe("", it.recipe.versions)) for it in (self, other))
        return one == another


def digest_of(*parts: bytes) -> str:
    """The hash of a content. Each part's length goes before it, so that no two contents have the same bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def digest_of_file(file: IO[bytes], size: int) -> str | None:
    """The same of a file of so many bytes, read a piece at a time; None where it is longer."""
    digest = hashlib.sha256(size.to_bytes(8, "big"))
    while block := file.read(_BLOCK):
        digest.update(block)
        size -= len(block)
        if size < 0:
            return None
    return digest.hexdigest()
