"""By what and how large documents are split: the words for it, not the work."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ChunkStrategy(StrEnum):
    """By what a document is split into chunks."""

    STRUCTURE = "structure"
    """Along sections, paragraphs and sentences, as many whole ones as fit the size. The default."""
    TOKENS = "tokens"
    """Every so many tokens, between words, whatever the structure."""
    SEPARATOR = "separator"
    """At each occurrence of a separator; with `merge`, neighbours are joined up to the size."""
    PAGE = "page"
    """A page, slide or sheet a chunk."""
    HEADING = "heading"
    """A section a chunk: what stands under one heading."""
    DOCUMENT = "document"
    """The whole document is one chunk."""


class Splitting(BaseModel):
    """How documents are split. Sizes are in tokens.

    `max_tokens` is 256 unless set, for pages and sections 8192: a larger one is split along its structure. A whole
    document has no limit. `overlap` is for the first two strategies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: ChunkStrategy = ChunkStrategy.STRUCTURE
    max_tokens: int | None = Field(default=None, ge=16, le=8192)
    overlap: int = Field(default=0, ge=0)
    separator: str = Field(default="\n\n", min_length=1, max_length=100)
    merge: bool = True

    @property
    def size(self) -> int:
        """The size that holds."""
        if self.max_tokens is not None:
            return self.max_tokens
        return 8192 if self.strategy in (ChunkStrategy.PAGE, ChunkStrategy.HEADING) else 256

    @model_validator(mode="after")
    def _check(self) -> "Splitting":
        if self.overlap >= self.size:
            raise ValueError("overlap must be smaller than max_tokens")
        return self
