"""Writes tests/typing/signatures.txt: every public name of kbchat, a line each, with what it takes and gives.

    python tools/signatures.py          # writes it
    python tools/signatures.py --check  # fails if what is there is not what would be written

A change of the face is so a change of that file, which a reviewer sees.
"""

import ast
import dataclasses
import enum
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

import kbchat
import kbchat.sync

TARGET = Path(__file__).parent.parent / "tests" / "typing" / "signatures.txt"


def main() -> None:
    text = "\n".join(lines()) + "\n"
    if "--check" not in sys.argv:
        TARGET.write_text(text)
    elif TARGET.read_text() != text:
        sys.exit("tests/typing/signatures.txt is not what the face says; run: make sync")


def lines() -> Iterator[str]:
    for name in kbchat.__all__:
        yield from described(f"kbchat.{name}", getattr(kbchat, name))
    for name in kbchat.sync.__all__:
        yield from described(f"kbchat.sync.{name}", getattr(kbchat.sync, name))


def described(path: str, value: object) -> Iterator[str]:
    if isinstance(value, ModuleType):
        for name, each in sorted(vars(value).items()):
            if not name.startswith("_") and getattr(each, "__module__", None) == value.__name__ and callable(each):
                yield from described(f"{path}.{name}", each)
    elif isinstance(value, type) and issubclass(value, enum.Enum):
        yield f"{path} = {' | '.join(repr(member.value) for member in value)}"
    elif isinstance(value, type):
        yield from _class(path, value)
    elif inspect.isroutine(value):
        yield f"{path}{_signature(value)}"


def _class(path: str, kind: type) -> Iterator[str]:
    if issubclass(kind, BaseModel):
        fields = (
            f"{name}: {_written(kind, name)}{'' if it.is_required() else ' = …'}"
            for name, it in kind.model_fields.items()
        )
        yield f"{path}({', '.join(fields)})"
    elif dataclasses.is_dataclass(kind):
        yield f"{path}({', '.join(f'{it.name}: {_written(kind, it.name)}' for it in dataclasses.fields(kind))})"
    elif "__init__" in vars(kind):
        yield f"{path}{_signature(vars(kind)['__init__'])}".removesuffix(" -> None")
    else:
        yield f"{path}: {', '.join(base.__name__ for base in kind.__bases__)}"
    for name, member in sorted(vars(kind).items()):
        if name.startswith("_") or name == "model_config":
            continue
        if isinstance(member, property):
            yield f"{path}.{name}{_signature(member.fget).removeprefix('()')}"
        elif inspect.isfunction(member):
            yield f"{'async ' if inspect.iscoroutinefunction(member) else ''}{path}.{name}{_signature(member)}"


def _written(kind: type, field: str) -> str:
    """A field's annotation as it stands in the source, which is the same on every Python."""
    for base in kind.__mro__:
        if base.__module__.startswith("kbchat") and field in inspect.get_annotations(base):
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(node, ast.ClassDef)
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and ast.unparse(each.target) == field:
                    return ast.unparse(each.annotation)
    raise LookupError(f"{kind.__name__}.{field}")


def _signature(function: object) -> str:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body  # type: ignore[arg-type]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    node.args.args = [it for it in node.args.args if it.arg not in ("self", "cls")]
    return f"({ast.unparse(node.args)})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


if __name__ == "__main__":
    main()
