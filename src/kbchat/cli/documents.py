"""`kbchat documents`: what is in a space, and taking single documents out of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli import screen
from kbchat.cli.exits import say
from kbchat.cli.session import AsJson, DataDir, find_space, read_settings, run
from kbchat.cli.spaces import Space, show_documents

if TYPE_CHECKING:
    from kbchat import KnowledgeBase

app = typer.Typer(no_args_is_help=True, help="List and remove the documents of a space.")


@app.command("list", epilog="Example: kbchat documents list handbook --json")
def list_documents(
    space: Space,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """List the documents of a space, without their texts."""

    async def action(kb: "KnowledgeBase") -> None:
        inside = await (await find_space(kb, space)).documents()
        if json:
            screen.print_json([it.model_dump(mode="json", exclude={"text"}) for it in inside])
        elif inside:
            show_documents(inside)
        else:
            say("there are no documents yet; `kbchat ingest SPACE PATH` takes some in")

    return run(read_settings(data_dir), action)


@app.command(epilog="Example: kbchat documents delete handbook docs/keys.md")
def delete(
    space: Space,
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="Name or id of a document.", show_default=False)],
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Remove a document from a space. The file that it was read from stays."""

    async def action(kb: "KnowledgeBase") -> None:
        from kbchat.inputs import named_or_numbered

        found = await named_or_numbered((await find_space(kb, space)).delete_document, document)
        if json:
            screen.print_json(found.model_dump(mode="json", exclude={"text"}))
        else:
            screen.console().print(f"removed {screen.one_line(found.name)!r}")

    return run(read_settings(data_dir), action)
