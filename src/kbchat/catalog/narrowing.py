"""What the JSON text of a document's metadata must hold for a filter to match it: a search in texts, for any database.

It lets through too much, never too little; `filters.matches` decides. It only spares reading what cannot match.
"""

from dataclasses import dataclass

import msgspec

from kbchat.filters import And, Eq, Exists, Filter, Ge, Gt, In, Le, Lt, Ne, Not, Or, Prefix, Scalar

MOST_TEXTS = 40
"""A database may refuse a longer condition."""
EXACT_TO = 10**9
"""Whole numbers to here are written as their digits, whether as 17 or as 17.0."""


@dataclass(frozen=True, slots=True)
class All:
    """Each of these texts, and each of these conditions."""

    texts: tuple[str, ...] = ()
    parts: tuple["Either", ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """One of these, at least."""

    parts: tuple[All, ...]


def narrowed(where: Filter) -> All:
    """What a document's metadata must hold, as `msgspec` writes it; nothing where that cannot be said."""
    try:
        found = _all(where)
    except UnicodeEncodeError:
        return All()
    return found if _size(found) <= MOST_TEXTS else All()


def _all(where: Filter) -> All:
    match where:
        case And():
            parts = [_all(part) for part in where.and_]
            texts = dict.fromkeys(text for part in parts for text in part.texts)
            return All(tuple(texts), tuple(inner for part in parts for inner in part.parts))
        case Or():
            return _either([_all(part) for part in where.or_])
        case Not() | Ne() | Exists(exists=False):
            return All()
        case Eq():
            return All((_key(where.field), _value(where.eq)))
        case In():
            values = _either([All((_value(value),)) for value in where.in_])
            return All((_key(where.field),), values.parts if _size(values) <= MOST_TEXTS // 2 else ())
        case Prefix():
            return All((_key(where.field), _json(where.prefix).removesuffix('"')))
        case Lt() | Le() | Gt() | Ge() | Exists():
            return All((_key(where.field),))


def _either(parts: list[All]) -> All:
    if not parts or any(part == All() for part in parts):
        return All()
    return All(parts=(Either(tuple(parts)),))


def _key(field: str) -> str:
    return f"{_json(field)}:"


def _value(value: Scalar) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) <= EXACT_TO else ""
    return _json(value)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _size(found: All | Either) -> int:
    parts = sum(map(_size, found.parts))
    return parts + len(found.texts) if isinstance(found, All) else parts
