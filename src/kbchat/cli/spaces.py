"""`kbchat spaces`: what there is, and making, changing and removing it."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kbchat.cli import screen
from kbchat.cli.exits import Exit, say
from kbchat.cli.session import AsJson, DataDir, find_space, read_settings, run

if TYPE_CHECKING:
    from kbchat import KnowledgeBase
    from kbchat.models import Document, SpaceInfo

app = typer.Typer(no_args_is_help=True, help="List, make, change and remove spaces.")

Space = Annotated[str, typer.Argument(metavar="SPACE", help="Name or id of a space.", show_default=False)]
# The names of kbchat.models.VectorType, written out because importing it would double the time `--help` takes.
Store = Literal["Chroma", "Milvus"]


@app.command("list", epilog="Example: kbchat spaces list --owner alice")
def list_spaces(
    owner: Annotated[str | None, typer.Option(help="Only this owner's.", show_default=False)] = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """List the spaces."""

    async def action(kb: "KnowledgeBase") -> None:
        spaces = [space.info for space in await kb.list_spaces(owner=owner)]
        if json:
            screen.print_json([space.model_dump(mode="json") for space in spaces])
            return
        if not spaces:
            say("there are no spaces yet; `kbchat ingest SPACE PATH` makes one")
            return
        rows = [
            (str(it.id), it.name, it.owner, str(it.vector_type), str(it.document_count), str(it.chunk_count), it.desc)
            for it in spaces
        ]
        screen.print_table(
            ("id", "name", "owner", "store", "documents", "chunks", "description"),
            rows,
            numeric=("id", "documents", "chunks"),
        )

    return run(read_settings(data_dir), action)


@app.command(epilog='Example: kbchat spaces create handbook --desc "How we work"')
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Any script; unique for its owner.", show_default=False)],
    vector_type: Annotated[Store, typer.Option(help="The store of its vectors.", case_sensitive=False)] = "Chroma",
    desc: Annotated[str, typer.Option(help="What it is about.")] = "",
    owner: Annotated[str, typer.Option(help="Whose it is.")] = "",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Make an empty space."""

    async def action(kb: "KnowledgeBase") -> None:
        space = await kb.create_space(name, vector_type=vector_type, desc=desc, owner=owner)
        show_space(space.info, json=json)

    return run(read_settings(data_dir), action)


@app.command(epilog="Example: kbchat spaces show handbook --json")
def show(
    space: Space,
    documents: Annotated[bool, typer.Option("--documents", help="Also list its documents.")] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Show a space, and with --documents what is in it."""

    async def action(kb: "KnowledgeBase") -> None:
        found = await find_space(kb, space)
        inside = await found.documents() if documents else []
        if json:
            listed = {"documents": [it.model_dump(mode="json", exclude={"text"}) for it in inside]}
            screen.print_json(found.info.model_dump(mode="json") | (listed if documents else {}))
            return
        show_space(found.info, json=False)
        if documents:
            show_documents(inside)

    return run(read_settings(data_dir), action)


@app.command(epilog="Example: kbchat spaces update handbook --name manual")
def update(
    space: Space,
    name: Annotated[str | None, typer.Option(help="New name.", show_default=False)] = None,
    desc: Annotated[str | None, typer.Option(help="New description.", show_default=False)] = None,
    owner: Annotated[str | None, typer.Option(help="New owner.", show_default=False)] = None,
    vector_type: Annotated[
        Store | None,
        typer.Option(help="New store; the space must be empty.", case_sensitive=False, show_default=False),
    ] = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Change a space. What is not given stays."""

    async def action(kb: "KnowledgeBase") -> None:
        found = await find_space(kb, space)
        changed = await kb.update_space(found.id, name=name, desc=desc, owner=owner, vector_type=vector_type)
        show_space(changed.info, json=json)

    return run(read_settings(data_dir), action)


@app.command(epilog="Example: kbchat spaces delete handbook --yes")
def delete(
    space: Space,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Remove a space and everything in it. Asks first on a terminal."""

    settings = read_settings(data_dir)
    asks = not yes and sys.stdin.isatty()
    found: list[SpaceInfo] = []

    async def look(kb: "KnowledgeBase") -> None:
        found.append((await find_space(kb, space)).info)

    async def action(kb: "KnowledgeBase") -> None:
        info = await kb.delete_space(found[0].id if asks else (await find_space(kb, space)).id)
        if json:
            screen.print_json(info.model_dump(mode="json"))
        else:
            screen.console().print(f"removed {screen.one_line(info.name)!r}")

    if asks:
        # While the answer is waited for nothing is open, and Ctrl-C is the prompt's own.
        run(settings, look)
        question = f"Remove {screen.one_line(found[0].name)!r} with its {found[0].document_count} documents?"
        if not typer.confirm(question, err=True):
            say("nothing was removed")
            return Exit.MISTAKE
    return run(settings, action)


def show_documents(documents: "Sequence[Document]") -> None:
    rows = [(str(it.id), it.name, str(it.status), str(it.chunk_count), it.error or "") for it in documents]
    screen.print_table(("id", "document", "status", "chunks", "error"), rows, numeric=("id", "chunks"))


def show_space(info: "SpaceInfo", *, json: bool) -> None:
    if json:
        screen.print_json(info.model_dump(mode="json"))
        return
    screen.print_facts(
        {
            "id": str(info.id),
            "name": info.name,
            "owner": info.owner,
            "description": info.desc,
            "store": str(info.vector_type),
            "embedder": f"{info.embedder.name}, {info.embedder.dimension} dimensions" if info.embedder else "",
            "documents": str(info.document_count),
            "chunks": str(info.chunk_count),
            "changed": f"{info.updated_at:%Y-%m-%d %H:%M}",
        }
    )
