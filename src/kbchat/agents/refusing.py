"""What an agent is told of a call that cannot be answered: what is wrong, and what to do instead."""

import difflib
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError

from kbchat.errors import InvalidInputError

SHOWN_NAME_CHARS = 80
"""What is repeated of a name that is not there."""
ARGUMENTS = {"where": "filter", "messages": "question"}
"""What the tools call the arguments of the face."""
FILTER = 'a filter is for example {"field": "lang", "eq": "de"}'
_WORDS = {"missing": "is needed", "extra_forbidden": "is no argument of this tool"}
_PATHS = ("/", "./", "../", "~", "file:")


def wrong_arguments(tool: str, model: type[BaseModel], error: ValidationError) -> InvalidInputError:
    """Each argument once, by its name, with those that there are."""
    told: dict[str, str] = {}
    for it in error.errors():
        name = str(it["loc"][0]) if it["loc"] else "arguments"
        words = _WORDS.get(it["type"], it["msg"][:1].lower() + it["msg"][1:])
        if len(it["loc"]) > 1 and it["loc"][1] in ("str", "int"):
            words = "must be a name or an id"
        told.setdefault(shortened(name), words)
    wrong = "; ".join(f"`{name}` {words}" for name, words in told.items())
    known = ", ".join(model.model_fields) or "none"
    return InvalidInputError(tool, f"{wrong} (its arguments are: {known})")


def renamed(error: InvalidInputError) -> InvalidInputError:
    """An error of the face in the words of the tools."""
    field = ARGUMENTS.get(error.field, error.field)
    message = error.message.removeprefix(f"{error.field}: ")
    return InvalidInputError(field, f"{message}; {FILTER}" if field == "filter" else message)


def not_there(what: str, name: str | int, known: Sequence[str], tool: str) -> str:
    """There is no such thing; what it may have meant, and which tool tells what there is."""
    shown = shortened(name) if isinstance(name, str) else str(name)
    words = f"there is no {what} {shown!r}" if isinstance(name, str) else f"there is no {what} {shown}"
    if isinstance(name, str) and (name.startswith(_PATHS) or "\\" in name):
        words += " (files of this machine cannot be read; what looks like a path must be a name in the space)"
    elif isinstance(name, str) and (alike := _alike(name, known)):
        words += f"; did you mean {' or '.join(map(repr, alike))}?"
        return f"{words} {tool} gives all there are"
    return f"{words}; {tool} gives those there are"


def _alike(name: str, known: Sequence[str]) -> list[str]:
    lower: Mapping[str, str] = {it.lower(): it for it in reversed(known)}
    inside = [it for it in known if name and name.lower() in it.lower()]
    close = [lower[it] for it in difflib.get_close_matches(name.lower()[:SHOWN_NAME_CHARS], lower, n=3, cutoff=0.75)]
    return list(dict.fromkeys([*close, *inside]))[:3]


def shortened(name: str) -> str:
    """A name as it is repeated."""
    return name if len(name) <= SHOWN_NAME_CHARS else name[: SHOWN_NAME_CHARS - 1] + "…"
