"""By what and how large documents are split: the words for it, not the work."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from kbchat.errors import InvalidInputError


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


def requested(parameters: Mapping[str, JsonValue] | None) -> Splitting | None:
    """What a client's `chunk_parameters` ask for; None when they ask for nothing.

    They are `chunk_strategy`, `chunk_size` and `chunk_overlap` in tokens, `separator` and `enable_merge`. Others
    (`text_splitter`, `splitter_type`) and nulls are ignored. Raises `InvalidInputError` naming the parameter.
    """
    given = {key: value for key, value in (parameters or {}).items() if value is not None and value != ""}
    strategy, fixed = _strategy(given.pop("chunk_strategy", None), has_separator="separator" in given)
    values = {ours: given[theirs] for theirs, ours in _PARAMETERS.items() if theirs in given}
    if strategy is None and not values:
        return None
    try:
        return Splitting.model_validate({"strategy": strategy or ChunkStrategy.STRUCTURE, **fixed, **values})
    except ValidationError as error:
        problem = error.errors()[0]
        ours = str(problem["loc"][0]) if problem["loc"] else "overlap"
        theirs = next((theirs for theirs, name in _PARAMETERS.items() if name == ours), "chunk_parameters")
        raise InvalidInputError(theirs, problem["msg"].removeprefix("Value error, ")) from None


_PARAMETERS = {
    "chunk_size": "max_tokens",
    "chunk_overlap": "overlap",
    "separator": "separator",
    "enable_merge": "merge",
}
_STRATEGIES: Mapping[str, tuple[ChunkStrategy, Mapping[str, JsonValue]]] = {
    "automatic": (ChunkStrategy.STRUCTURE, {}),
    "chunk_by_size": (ChunkStrategy.TOKENS, {}),
    "chunk_by_page": (ChunkStrategy.PAGE, {}),
    "chunk_by_paragraph": (ChunkStrategy.SEPARATOR, {"separator": "\n", "merge": False}),
    "chunk_by_separator": (ChunkStrategy.SEPARATOR, {"separator": "\n", "merge": False}),
    "chunk_by_markdown_header": (ChunkStrategy.HEADING, {}),
    **{strategy.value: (strategy, {}) for strategy in ChunkStrategy},
}


def _strategy(name: JsonValue, *, has_separator: bool) -> tuple[ChunkStrategy | None, Mapping[str, JsonValue]]:
    if name is None:
        return (ChunkStrategy.SEPARATOR, {"merge": False}) if has_separator else (None, {})
    if not isinstance(name, str) or name.lower() not in _STRATEGIES:
        raise InvalidInputError("chunk_strategy", f"{name!r} is unknown; there are: {', '.join(_STRATEGIES)}")
    return _STRATEGIES[name.lower()]
