"""The errors as values: what they tell in fields, and that they travel whole."""

import copy
import inspect
import pickle
from collections.abc import Iterator

import pytest

from kbchat import errors
from kbchat.errors import KbchatError

FILLED = {"str": "x", "str | int": 7, "list[str]": ["a", "b"], "list[int]": [1, 2], "float | None": 1.5}
"""What each kind of argument is given."""


def tree(kind: type[KbchatError] = KbchatError) -> Iterator[type[KbchatError]]:
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from tree(each)


def made(kind: type[KbchatError]) -> KbchatError:
    """One of that class, with every argument given."""
    if not any("__init__" in vars(base) for base in kind.__mro__ if base.__module__ == errors.__name__):
        return kind("went wrong; mend it")
    given = inspect.signature(kind).parameters.values()
    values = {it.name: FILLED[str(it.annotation).removeprefix("<class '").removesuffix("'>")] for it in given}
    return kind(**values)


@pytest.mark.parametrize("kind", [*tree()], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("travel", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy])
def test_an_error_travels_whole(kind: type[KbchatError], travel: object) -> None:
    """Pickled and copied it is of the same class, says the same and carries the same values."""
    error = made(kind)
    error.add_note("seen on the way")
    other = travel(error)  # type: ignore[operator]
    assert type(other) is kind
    assert (str(other), other.message, other.args) == (str(error), error.message, error.args)
    assert vars(other) == vars(error)


def test_the_value_at_fault_is_an_attribute() -> None:
    """Every argument of an error but the words of its message can be asked for."""
    for kind in tree():
        error = made(kind)
        for name in inspect.signature(kind).parameters if vars(error) else ():
            if name not in ("message", "what", "reason"):
                assert hasattr(error, name), f"{kind.__name__}.{name}"
    for kind in (errors.SpaceInUseError, errors.EmbedderMismatchError):
        assert made(kind).space == "x"  # type: ignore[attr-defined]
    assert made(errors.BusyError).place == "x"  # type: ignore[attr-defined]


def test_python_s_own_kinds() -> None:
    """A bad value is a ValueError too, and a part that is not installed an ImportError."""
    with pytest.raises(ValueError, match="top_k: must be"):
        raise errors.InvalidInputError("top_k", "must be between 1 and 10")
    with pytest.raises(ImportError, match=r"pip install 'kbchat\[milvus\]'"):
        raise errors.MissingExtraError("Milvus", "milvus")
