"""By what and how large documents are split: the words for it, not the work."""

from collections.abc import Mapping, Sequence
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
    """What a client's `chunk_parameters` ask for; None when they leave it to the space.

    They are `chunk_strategy`, `chunk_size` and `chunk_overlap` in tokens, `separator` and `enable_merge`. Published
    clients always send all of them, so each strategy looks at its own ones alone, and `Automatic` at none; sizes
    without a strategy are those of `structure`. Others (`text_splitter`, `splitter_type`) and nulls are ignored. Raises
    `InvalidInputError` naming the parameter.
    """
    given = {key: value for key, value in (parameters or {}).items() if value is not None and value != ""}
    strategy, looks_at, fixed = _strategy(given.pop("chunk_strategy", None))
    values = {_PARAMETERS[theirs]: given[theirs] for theirs in looks_at if theirs in given}
    if strategy is None and not values:
        return None
    if isinstance(separator := values.get("separator"), str):
        # Forms show a line end as it is written in code, and send it so.
        values["separator"] = separator.replace("\\n", "\n").replace("\\t", "\t")
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
_SIZES = ("chunk_size", "chunk_overlap")
_LINES: Mapping[str, JsonValue] = {"separator": "\n", "merge": False}
_Known = tuple[ChunkStrategy | None, Sequence[str], Mapping[str, JsonValue]]
_STRATEGIES: Mapping[str, _Known] = {
    "automatic": (None, (), {}),
    # Theirs goes along paragraphs and sentences too.
    "chunk_by_size": (ChunkStrategy.STRUCTURE, _SIZES, {}),
    "chunk_by_page": (ChunkStrategy.PAGE, (), {}),
    "chunk_by_paragraph": (ChunkStrategy.SEPARATOR, ("separator",), _LINES),
    "chunk_by_separator": (ChunkStrategy.SEPARATOR, ("separator", "enable_merge", "chunk_size"), _LINES),
    "chunk_by_markdown_header": (ChunkStrategy.HEADING, (), {}),
    **{strategy.value: (strategy, tuple(_PARAMETERS), {}) for strategy in ChunkStrategy},
}
"""By what name: which strategy, the parameters that it looks at, and what holds where they are not given."""


def _strategy(name: JsonValue) -> _Known:
    if name is None:
        return None, _SIZES, {}
    if not isinstance(name, str) or name.lower() not in _STRATEGIES:
        raise InvalidInputError("chunk_strategy", f"{name!r} is unknown; there are: {', '.join(_STRATEGIES)}")
    return _STRATEGIES[name.lower()]
