"""How clients say in what way a document is split: the wire's words for it, and what they mean here."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue, ValidationError

from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.errors import InvalidInputError
from kbchat_aiohttp.errors import InvalidRequestError
from kbchat_aiohttp.schemas.documents import ChunkParameters


def chunking(asked: ChunkParameters | None, *, at: str = "") -> Splitting | None:
    """How documents are split when a client asks for it in these words; None: as the space says. `at` is where in the
    body they stand."""
    try:
        return None if asked is None else requested(asked.model_dump())
    except InvalidInputError as error:
        place = f"{at}chunk_parameters."
        raise InvalidRequestError(f"{place}{error.message}", param=f"{place}{error.field}") from None


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
