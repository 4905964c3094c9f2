"""`kbchat keys`: who may ask a server what."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kbchat.cli import screen
from kbchat.cli.exits import say
from kbchat.cli.session import AsJson, DataDir, read_settings, run

if TYPE_CHECKING:
    from kbchat import KnowledgeBase

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")

# The values of kbchat.models.KeyRole, written out because importing it would double the time `--help` takes.
RoleName = Literal["admin", "writer", "reader"]


@app.command(epilog="Example: kbchat keys create --name laptop --owner alice --role writer")
def create(
    name: Annotated[str, typer.Option(help="What to call it.", show_default=False)],
    owner: Annotated[str, typer.Option(help="Whose things it sees and touches, unless it is an admin's.")] = "",
    role: Annotated[RoleName, typer.Option(help="What it may do.")] = "reader",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Make a key and print it, once: only a hash of it is kept."""

    async def action(kb: "KnowledgeBase") -> None:
        from kbchat.models import KeyRole

        info, key = await kb.keys.create(name, owner=owner, role=KeyRole(role))
        if json:
            screen.print_json(info.model_dump(mode="json") | {"key": key})
            return
        print(key)
        say("keep it safe: it is not shown again")

    return run(read_settings(data_dir), action)


@app.command("list", epilog="Example: kbchat keys list --all")
def list_keys(
    everything: Annotated[bool, typer.Option("--all", help="Also those that were revoked.")] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """List the keys, by name."""

    async def action(kb: "KnowledgeBase") -> None:
        keys = [key for key in await kb.keys.list() if everything or key.revoked_at is None]
        if json:
            screen.print_json([key.model_dump(mode="json") for key in keys])
            return
        if not keys:
            say("there are no keys; `kbchat keys create --name NAME --role admin` makes one")
            return
        rows = [
            (
                str(key.id),
                key.name,
                key.owner,
                str(key.role),
                f"{key.created_at:%Y-%m-%d %H:%M}",
                f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "",
            )
            for key in keys
        ]
        screen.print_table(("id", "name", "owner", "role", "made", "revoked"), rows, numeric=("id",))

    return run(read_settings(data_dir), action)


@app.command(epilog="Example: kbchat keys revoke laptop")
def revoke(
    key: Annotated[str, typer.Argument(metavar="NAME", help="The name of a key, or its id.", show_default=False)],
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Make a key worthless, at once and for ever."""

    async def action(kb: "KnowledgeBase") -> None:
        from kbchat.inputs import named_or_numbered

        info = await named_or_numbered(kb.keys.revoke, key)
        if json:
            screen.print_json(info.model_dump(mode="json"))
        else:
            screen.console().print(f"revoked {screen.one_line(info.name)!r}")

    return run(read_settings(data_dir), action)
