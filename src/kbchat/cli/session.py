"""From a command's arguments to an open knowledge base and back to an exit code."""

import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kbchat.cli.exits import Exit
from kbchat.errors import SettingsError, SpaceNotFoundError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from kbchat import KnowledgeBase, KnowledgeSpace, Settings

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where everything is kept. Default: ./kb-data, or KBCHAT_DATA_DIR.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


def read_settings(data_dir: Path | None = None, **given: object) -> "Settings":
    """The settings with what the command line gave on top; None means not given. Raises `SettingsError`."""
    import pydantic
    import pydantic_settings

    from kbchat.settings import Settings

    arguments: dict[str, Any] = {"data_dir": data_dir, **given}
    try:
        return Settings(**{name: value for name, value in arguments.items() if value is not None})
    except pydantic.ValidationError as error:
        raise SettingsError(_complaint(error)) from None
    except pydantic_settings.SettingsError as error:
        raise SettingsError(str(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"kbchat.toml is not TOML: {error}") from None


def _complaint(error: "ValidationError") -> str:
    # The values stay out of the message: one of them may be a key.
    parts = []
    for detail in error.errors(include_input=False, include_url=False, include_context=False):
        name = ".".join(map(str, detail["loc"]))
        parts.append(f"{name}: {detail['msg']}" if name else detail["msg"].removeprefix("Value error, "))
    return f"{'; '.join(parts)} (set by an option, a KBCHAT_* variable or kbchat.toml)"


def run(settings: "Settings", action: Callable[["KnowledgeBase"], Awaitable[int | None]]) -> int:
    """Open the knowledge base, do the action, close it. The action returns an exit code; None means done."""
    import anyio

    from kbchat import KnowledgeBase

    async def session() -> int | None:
        async with KnowledgeBase(settings=settings) as kb:
            return await action(kb)

    try:
        return anyio.run(session) or Exit.DONE
    except BrokenPipeError:
        # Said here, because typer would make its own exit of it.
        raise typer.Exit(Exit.PIPE) from None


async def find_space(kb: "KnowledgeBase", name_or_id: str) -> "KnowledgeSpace":
    """The space of that name, else the one of that id. Raises `SpaceNotFoundError` and `AmbiguousSpaceError`."""
    try:
        return await kb.get_space(name_or_id)
    except SpaceNotFoundError:
        if not (name_or_id.isascii() and name_or_id.isdigit()):
            raise
    try:
        return await kb.get_space(int(name_or_id))
    except SpaceNotFoundError:
        raise SpaceNotFoundError(name_or_id) from None
