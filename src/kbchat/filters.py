"""Filters on documents' metadata: one small language, typed in Python, JSON on the wire, with one meaning.

    {"field": "lang", "eq": "de"}                      {"and": [filter, …]}
    {"field": "year", "ge": 2020}                      {"or": [filter, …]}
    {"field": "team", "in": ["ops", "dev"]}            {"not": filter}
    {"field": "reviewed", "exists": true}
    {"field": "path", "prefix": "docs/"}

`matches` is the meaning, and what every search is filtered by; nothing translates a filter into a store's own language
(`narrowing` only spares the catalog documents that cannot match).

A field is a key of the metadata. Values are texts, numbers and truth values; each kind equals and compares only with
its own (`1` and `1.0` are one number, `true` is none). Texts compare by code points. A list in the metadata stands for
each of its elements: it is enough that one fits. `ne` is exactly `not eq`, so it holds where the field is missing, as
`not` does; everything else but `exists: false` fails there. A field that is null is there, and equals nothing. An empty
`and` holds, an empty `or` does not.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, assert_never

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    PlainValidator,
    StrictBool,
    StrictStr,
    Tag,
    TypeAdapter,
    ValidationError,
)

from kbchat.errors import InvalidInputError

MAX_DEPTH = 32
MAX_TERMS = 1000
"""Conditions and listed values in one filter."""


def _scalar(value: object) -> object:
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError("must be a text, a finite number, true or false")


def _ordered(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or value in (math.inf, -math.inf):
        raise ValueError("must be a text or a finite number")
    return _scalar(value)


Scalar: TypeAlias = Annotated[
    bool | int | float | str, PlainValidator(_scalar, json_schema_input_type=bool | int | float | str)
]
Ordered: TypeAlias = Annotated[int | float | str, PlainValidator(_ordered, json_schema_input_type=int | float | str)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def __and__(self, other: "Filter") -> "And":
        return And(and_=(self, other))

    def __or__(self, other: "Filter") -> "Or":
        return Or(or_=(self, other))

    def __invert__(self) -> "Not":
        return Not(not_=self)


class And(_Part):
    """All of them hold."""

    and_: tuple["Filter", ...] = Field(alias="and")


class Or(_Part):
    """One of them holds, at least."""

    or_: tuple["Filter", ...] = Field(alias="or")


class Not(_Part):
    """It does not hold."""

    not_: "Filter" = Field(alias="not")


class Eq(_Part):
    field: StrictStr
    eq: Scalar


class Ne(_Part):
    field: StrictStr
    ne: Scalar


class In(_Part):
    field: StrictStr
    in_: tuple[Scalar, ...] = Field(alias="in")


class Lt(_Part):
    field: StrictStr
    lt: Ordered


class Le(_Part):
    field: StrictStr
    le: Ordered


class Gt(_Part):
    field: StrictStr
    gt: Ordered


class Ge(_Part):
    field: StrictStr
    ge: Ordered


class Exists(_Part):
    field: StrictStr
    exists: StrictBool


class Prefix(_Part):
    field: StrictStr
    prefix: StrictStr


_OPERATORS = ("eq", "ne", "in", "lt", "le", "gt", "ge", "exists", "prefix")
_WORDS = ("and", "or", "not", *_OPERATORS)


_LONGEST_REMEDY = 200
"""Characters."""


def _kind(value: object) -> str | None:
    """Which part it is: by its class, or by the one word in it that says so."""
    if isinstance(value, _Part):
        return type(value).__name__.lower()
    if not isinstance(value, Mapping):
        return None
    words = [word for word in _WORDS if word in value]
    return words[0] if len(words) == 1 else None


Filter = Annotated[
    Annotated[And, Tag("and")]
    | Annotated[Or, Tag("or")]
    | Annotated[Not, Tag("not")]
    | Annotated[Eq, Tag("eq")]
    | Annotated[Ne, Tag("ne")]
    | Annotated[In, Tag("in")]
    | Annotated[Lt, Tag("lt")]
    | Annotated[Le, Tag("le")]
    | Annotated[Gt, Tag("gt")]
    | Annotated[Ge, Tag("ge")]
    | Annotated[Exists, Tag("exists")]
    | Annotated[Prefix, Tag("prefix")],
    Discriminator(
        _kind,
        custom_error_type="filter",
        custom_error_message=f"must hold exactly one of {', '.join(_WORDS)}",
    ),
]

for _part in (And, Or, Not):
    _part.model_rebuild()
_ADAPTER: TypeAdapter[Filter] = TypeAdapter(Filter)


def parse(value: object, *, field: str = "filter") -> Filter:
    """A filter from JSON's values (or from a filter). Raises `InvalidInputError`, which names the spot."""
    _check_size(value, field)
    try:
        where = _ADAPTER.validate_python(value)
        json.dumps(dump(where), ensure_ascii=False).encode()
        return where
    except UnicodeEncodeError:
        raise InvalidInputError(field, "holds a lone surrogate; decode the text again") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        spot = _spot(problem["loc"])
        told = f"{f'at {spot}: ' if spot else ''}{problem['msg'].removeprefix('Value error, ')}"
        raise InvalidInputError(field, told + _remedy(problem["input"])) from None


def _remedy(given: object) -> str:
    """How to write what other languages write as `{"lang": "de"}`."""
    if not isinstance(given, Mapping) or not given or {*_WORDS, "field"} & given.keys():
        return ""
    tests = [{"field": key, "in" if isinstance(it, list | tuple) else "eq": it} for key, it in given.items()]
    try:
        written = json.dumps(tests[0] if len(tests) == 1 else {"and": tests}, ensure_ascii=False)
    except (TypeError, ValueError):
        return ""
    return f"; write {written}" if len(written) <= _LONGEST_REMEDY else ""


def loads(text: str, *, field: str = "filter") -> Filter:
    """A filter from JSON text. Raises `InvalidInputError`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInputError(field, 'must be JSON such as {"field": "lang", "eq": "de"}') from None
    return parse(value, field=field)


def dump(where: Filter) -> JsonValue:
    """The filter's JSON form, which `parse` reads."""
    value: JsonValue = where.model_dump(mode="json", by_alias=True)
    return value


def _check_size(value: object, field: str) -> None:
    level, depth, terms = [value], 0, 0
    while level:
        depth, terms = depth + 1, terms + len(level)
        # Each condition is two levels: its object, and the list that it stands in.
        if depth > 2 * MAX_DEPTH or terms > 4 * MAX_TERMS:
            raise InvalidInputError(field, f"at most {MAX_DEPTH} levels and {MAX_TERMS} conditions and values")
        level = [child for each in level for child in _children(each)]


def _children(value: object) -> Sequence[object]:
    match value:
        case _Part():
            return [getattr(value, name) for name in type(value).model_fields]
        case Mapping():
            return list(value.values())
        case list() | tuple():
            return value
        case _:
            return ()


def _spot(loc: tuple[int | str, ...]) -> str:
    """Where in the JSON it is: `and[1].not`. pydantic names each part's kind and then its key, which are the same."""
    spot, before = "", None
    for step in loc:
        if isinstance(step, int):
            spot += f"[{step}]"
        elif step in _WORDS and step != before:
            spot += f".{step}"
        elif step == "field":
            spot += ".field"
        before = step
    return spot.removeprefix(".")


Test = Callable[[Mapping[str, JsonValue]], bool]


def matches(where: Filter, metadata: Mapping[str, JsonValue]) -> bool:
    """Whether the filter holds for a document with that metadata."""
    return tester(where)(metadata)


def tester(where: Filter) -> Test:
    """`matches` for one filter and many documents."""
    match where:
        case And():
            parts = [tester(part) for part in where.and_]
            return lambda metadata: all(part(metadata) for part in parts)
        case Or():
            parts = [tester(part) for part in where.or_]
            return lambda metadata: any(part(metadata) for part in parts)
        case Not():
            inner = tester(where.not_)
            return lambda metadata: not inner(metadata)
        case Exists(field=field, exists=exists):
            return lambda metadata: (field in metadata) is exists
        case Ne(field=field, ne=other):
            equal = _on_any(field, lambda value: _equal(value, other))
            return lambda metadata: not equal(metadata)
        case _:
            return _on_any(where.field, _test(where))


def _test(where: Eq | In | Lt | Le | Gt | Ge | Prefix) -> Callable[[JsonValue], bool]:
    match where:
        case Eq():
            return lambda value: _equal(value, where.eq)
        case In():
            return lambda value: any(_equal(value, one) for one in where.in_)
        case Lt():
            return lambda value: _order(value, where.lt) == -1
        case Le():
            return lambda value: _order(value, where.le) in (-1, 0)
        case Gt():
            return lambda value: _order(value, where.gt) == 1
        case Ge():
            return lambda value: _order(value, where.ge) in (0, 1)
        case Prefix():
            return lambda value: isinstance(value, str) and value.startswith(where.prefix)
        case _:
            assert_never(where)


def _on_any(field: str, test: Callable[[JsonValue], bool]) -> Test:
    """Whether a field's value, or one of its list, passes."""

    def of(metadata: Mapping[str, JsonValue]) -> bool:
        if field not in metadata:
            return False
        value = metadata[field]
        return any(map(test, value)) if isinstance(value, list | tuple) else test(value)

    return of


def _kind_of(value: object) -> type | None:
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | float):
        return float
    return str if isinstance(value, str) else None


def _equal(value: JsonValue, other: Scalar) -> bool:
    # Most values that are not equal are not so to Python either; what is may still be of another kind.
    return value == other and _kind_of(value) == _kind_of(other)


def _order(value: Any, other: Any) -> int | None:
    """-1, 0 or 1; None for what cannot be compared."""
    kind = _kind_of(value)
    if kind is None or kind is bool or kind != _kind_of(other):
        return None
    return -1 if value < other else int(value > other)
