"""Writes src/kbchat/sync/face.py: the async face once more, for programs without `await`.

    python tools/sync_face.py          # writes it
    python tools/sync_face.py --check  # fails if what is there is not what would be written

Every method delegates, with the signature and the docstring of the one it delegates to. Nothing is implemented twice.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "kbchat"
TARGET = SOURCE / "sync" / "face.py"
CLASSES = {
    "KnowledgeBase": "knowledge",
    "KnowledgeSpace": "space",
    "Keys": "keys",
    "Conversations": "conversations",
}
"""What is delegated to, and the modules it is in."""

HEAD = '''"""The face of kbchat for programs without `await`. Written by tools/sync_face.py: change that instead.

    import kbchat.sync

    with kbchat.sync.KnowledgeBase("./kb-data") as kb:
        space = kb.create_space("handbook")
        space.ingest("docs/")
        print(space.chat("How are keys rotated?").text)
"""

from __future__ import annotations

{imports}

if TYPE_CHECKING:
{typing_imports}


class _Delegate:
    """What every object here has: the loop that its calls run in, and what it came from, which it keeps open."""

    def __init__(self, loop: Loop, parent: object = None) -> None:
        self._loop = loop
        self._parent = parent


class KnowledgeBase(_Delegate):
    """Knowledge spaces in a data folder (or wherever the settings say), opened when first used.

        with kbchat.sync.KnowledgeBase("./kb-data") as kb:
            space = kb.create_space("handbook")

    A notebook may leave out the `with`: the end of the program closes it too. Several threads may use one object.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        generator: Generator | None = None,
        reranker: Reranker | None = None,
        stores: Mapping[VectorType | str, VectorStore] | None = None,
    ) -> None:
        """See `kbchat.KnowledgeBase`."""
        super().__init__(Loop())
        self._face = knowledge.KnowledgeBase(
            data_dir, settings=settings, embedder=embedder, generator=generator, reranker=reranker, stores=stores
        )
        self._opening = threading.Lock()
        self._opened = False
        self._close = closed_at_exit(self, partial(_close, self._loop, self._face))

    def __enter__(self) -> Self:
        """Open the catalog. Raises `CatalogError` when it cannot be used."""
        _ = self._async
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every file, thread and connection. Closing twice does nothing."""
        self._close()

    @property
    def settings(self) -> Settings:
        """What it was opened with."""
        return self._face.settings

    @property
    def _async(self) -> knowledge.KnowledgeBase:
        with self._opening:
            if not self._opened:
                self._loop.call(self._face.__aenter__)
                self._opened = True
        return self._face
'''
SPACE = '''

class KnowledgeSpace(_Delegate):
    """One space: what goes in, what is found in it, and what is answered from it.

    `info` is how the catalog held the space when this object was made, or last changed it or was asked a question.
    What others did since, `watch` among them, `refresh` reads.
    """

    def __init__(self, loop: Loop, face: space.KnowledgeSpace, parent: object) -> None:
        super().__init__(loop, parent)
        self._async = face

    def __repr__(self) -> str:
        return repr(self._async)

    @property
    def info(self) -> SpaceInfo:
        return self._async.info
'''
KEYS = '''

class Keys(_Delegate):
    """The keys of one knowledge base."""

    def __init__(self, loop: Loop, face: keys.Keys, parent: object) -> None:
        super().__init__(loop, parent)
        self._async = face
'''
CONVERSATIONS = '''

class Conversations(_Delegate):
    """The conversations of one knowledge base. Each belongs to an owner: the same name with another is another one."""

    def __init__(self, loop: Loop, face: conversations.Conversations, parent: object) -> None:
        super().__init__(loop, parent)
        self._async = face
'''
TAIL = '''

def _close(loop: Loop, face: knowledge.KnowledgeBase) -> None:
    """Holds no reference to the object that is closed, so that dropping that is enough."""
    loop.close(face.aclose)
'''
RETURNS = {
    "KnowledgeSpace": "KnowledgeSpace(self._loop, {call}, self)",
    "list[KnowledgeSpace]": "[KnowledgeSpace(self._loop, it, self) for it in {call}]",
    "AnswerStream": "AnswerStream(self._loop, {call}, self)",
    "AbstractAsyncContextManager[AsyncIterator[IngestReport]]": "ReportStream(self._loop, {call}, self)",
    "Keys": "Keys(self._loop, {call}, self)",
    "Conversations": "Conversations(self._loop, {call}, self)",
}
"""What is wrapped on its way out."""
SKIPPED = {"aclose", "info"}


def main() -> None:
    text = generate()
    if "--check" not in sys.argv:
        TARGET.write_text(text)
    elif TARGET.read_text() != text:
        sys.exit("src/kbchat/sync/face.py is not what the async face says; run: make sync")


def generate() -> str:
    trees = {module: ast.parse((SOURCE / f"{module}.py").read_text()) for module in CLASSES.values()}
    heads = dict(zip(CLASSES, (HEAD, SPACE, KEYS, CONVERSATIONS), strict=True))
    bodies = {}
    for name, module in CLASSES.items():
        node = next(it for it in trees[module].body if isinstance(it, ast.ClassDef) and it.name == name)
        bodies[name] = "".join(methods(node))
    used = set(re.findall(r"\w+", "".join(bodies.values()) + HEAD + SPACE)) - set(re.findall(r"\w+", IMPORTS))
    known = {name: line for tree in trees.values() for name, line in imports(tree)}
    wanted = sorted(
        {f"    {line}" for name, line in known.items() if name in used and name not in {*CLASSES, "annotations"}}
    )
    heads["KnowledgeBase"] = HEAD.replace("{imports}", IMPORTS).replace("{typing_imports}", "\n".join(wanted))
    text = "".join(heads[name] + bodies[name] for name in CLASSES) + TAIL
    return tidy(text)


IMPORTS = """import threading
from functools import partial
from typing import TYPE_CHECKING, Self

from kbchat import conversations, keys, knowledge, space
from kbchat.models import KeyRole, VectorType
from kbchat.sync.calls import AnswerStream, Loop, ReportStream, closed_at_exit"""


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that a module imports, also for types only, and the line that imports each; and those it defines."""
    module = "kbchat.space"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.name, f"from {node.module} import {alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, f"import {alias.name}") for alias in node.names)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, f"from {module} import {node.targets[0].id}"


def methods(node: ast.ClassDef) -> Iterator[str]:
    for function in node.body:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            if function.name.startswith("_") or function.name in SKIPPED:
                continue
            yield method(function)


def method(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """One method that delegates."""
    is_property = any(ast.unparse(it) == "property" for it in function.decorator_list)
    returns = ast.unparse(function.returns) if function.returns else "None"
    shown = {"AbstractAsyncContextManager[AsyncIterator[IngestReport]]": "ReportStream"}.get(returns, returns)
    signature = ast.unparse(function.args)
    docstring = (
        (ast.get_docstring(function, clean=False) or "").replace("async with", "with").replace("async for", "for")
    )
    target = f"self._async.{function.name}"
    if is_property:
        call = target
    elif isinstance(function, ast.AsyncFunctionDef):
        call = f"self._loop.call({', '.join([target, *arguments(function.args)])})"
    else:
        call = f"{target}({', '.join(arguments(function.args))})"
    value = RETURNS.get(returns, "{call}").format(call=call)
    lines = ["", *(["    @property"] if is_property else []), f"    def {function.name}({signature}) -> {shown}:"]
    lines += [f'        """{docstring}"""'] if docstring else []
    lines += [f"        return {value}" if returns != "None" else f"        {value}", ""]
    return "\n".join(lines)


def arguments(args: ast.arguments) -> Iterator[str]:
    yield from (it.arg for it in args.args if it.arg != "self")
    yield from (f"{it.arg}={it.arg}" for it in args.kwonlyargs)
    if args.kwarg is not None:
        yield f"**{args.kwarg.arg}"


def tidy(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    for options in (("check", "--select", "I,F401", "--fix"), ("format",)):
        command = [ruff, *options, "--quiet", "--stdin-filename", str(TARGET), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return text


if __name__ == "__main__":
    main()
