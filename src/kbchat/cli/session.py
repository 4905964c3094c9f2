"""From a command's arguments to an open knowledge base and back to an exit code."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli import interrupts
from kbchat.cli.exits import Exit

if TYPE_CHECKING:
    from kbchat import KnowledgeBase, KnowledgeSpace, Settings

# A text, not a Path: an empty one would become the working folder before the settings could refuse it.
DataDir = Annotated[
    str | None,
    typer.Option(
        metavar="PATH", help="Where everything is kept. Default: ./kb-data, or KBCHAT_DATA_DIR.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


def read_settings(data_dir: str | None = None, **given: object) -> "Settings":
    """The settings with what the command line gave on top; None means not given. Raises `SettingsError`."""
    from kbchat.settings import Settings

    arguments = {"data_dir": data_dir, **given}
    # pydantic checks them
    return Settings(**{name: value for name, value in arguments.items() if value is not None})  # type: ignore[arg-type]


async def find_space(kb: "KnowledgeBase", word: str, *, owner: str | None = None) -> "KnowledgeSpace":
    """The space that a word on the command line means, of an owner's if one is given: the name wins, then the id."""
    from kbchat.inputs import named_or_numbered

    return await named_or_numbered(partial(kb.get_space, owner=owner), word)


def run(settings: "Settings", action: Callable[["KnowledgeBase"], Awaitable[int | None]]) -> int:
    """Open the knowledge base, do the action, close it. The action returns an exit code; None means done."""
    from kbchat import KnowledgeBase
    from kbchat.processes.allocator import share_heaps

    share_heaps()

    async def session() -> int | None:
        async with KnowledgeBase(settings=settings) as kb:
            return await action(kb)

    try:
        return interrupts.run(session) or Exit.DONE
    except BrokenPipeError:
        # Said here, because typer would make its own exit of it.
        raise typer.Exit(Exit.PIPE) from None
