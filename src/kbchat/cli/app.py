"""The commands. Each one is: arguments, one call of the face, output."""

import gc
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer
from typer.core import TyperGroup

from kbchat.cli import asking, bench, doctor, documents, keys, moving, screen, spaces, tune
from kbchat.cli.exits import Exit, code_of, say
from kbchat.cli.session import AsJson, DataDir, find_space, read_settings, run
from kbchat.cli.spaces import Space
from kbchat.errors import KbchatError, SpaceNotFoundError

if TYPE_CHECKING:
    from kbchat import KnowledgeBase, KnowledgeSpace
    from kbchat.maintenance.checking import CheckReport
    from kbchat.models import IngestReport

FIRST = ("ingest", "ask", "search", "serve", "mcp", "spaces", "documents", "keys", "doctor")
"""What people do first stands at the top of the help, in this order; the rest follows."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: object) -> list[str]:
        return sorted(self.commands, key=(*FIRST, *self.commands).index)


app = typer.Typer(
    cls=_InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Chat with your own documents, with references that can be checked.",
)
app.add_typer(spaces.app, name="spaces")
app.add_typer(documents.app, name="documents")
app.add_typer(keys.app, name="keys")
app.command(epilog='Example: kbchat search handbook "key rotation" --top-k 3')(asking.search)
app.command(epilog='Example: kbchat ask handbook "How often are keys rotated?"')(asking.ask)
app.command(epilog="Example: kbchat migrate handbook --to Milvus")(moving.migrate)
app.command(epilog="Example: kbchat reembed handbook --embedder openai:bge-m3")(moving.reembed)
app.command(epilog="Example: kbchat doctor --data-dir ./kb-data")(doctor.doctor)
app.command(epilog="Example: kbchat bench data/my-questions --chunk-tokens 128,256,400")(bench.bench)
app.command(epilog="Example: kbchat tune handbook --questions questions.jsonl --chunk-tokens 128,256,400")(tune.tune)


class Chosen(TypedDict):
    """Which files of folders are taken."""

    include: Sequence[str]
    exclude: Sequence[str]
    gitignore: bool


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"kbchat {version('kbchat')}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: kbchat ingest handbook docs/ notes.md")
def ingest(
    space: Space,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Files, folders, patterns (docs/**/*.md) and URLs.", show_default=False),
    ],
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Of folders only files that fit, as in .gitignore.", show_default=False),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Of folders no files that fit, as in .gitignore.", show_default=False),
    ] = None,
    gitignore: Annotated[bool, typer.Option("--gitignore", help="Leave out what git ignores.")] = False,
    sync: Annotated[
        bool,
        typer.Option(
            "--sync",
            help="Also remove documents whose file is gone or no longer selected, and follow files that moved.",
        ),
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Sync, and go on with each change, until Ctrl-C.")] = False,
    owner: Annotated[
        str | None, typer.Option(help="Whose space it is, also where it is made.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Take files and folders into a space, which is made when it is missing. Unchanged files are skipped."""
    from kbchat.threads import undoing

    chosen = Chosen(include=include or (), exclude=exclude or (), gitignore=gitignore)

    async def action(kb: "KnowledgeBase") -> int:
        target, made = await _find_or_create(kb, space, owner)
        kept = f"the space {target.name!r}, made for this, stays"
        unmaking = undoing(lambda _: _remove_if_empty(kb, target), otherwise=kept)
        async with unmaking if made else nullcontext():
            if watch:
                return await _watch(target, paths, chosen, json=json)
            with screen.progress_bar() as advance:
                take = target.sync if sync else target.ingest
                report = await take(paths, progress=advance, **chosen)
        _print_report(report, target.info.name, json=json)
        return Exit.INCOMPLETE if report.failed else Exit.DONE

    return run(read_settings(data_dir), action)


@app.command(epilog="Example: kbchat fsck handbook --repair")
def fsck(
    spaces_: Annotated[
        list[str] | None, typer.Argument(metavar="SPACE", help="Default: all spaces.", show_default=False)
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Check spaces: vectors, lexical index, texts and original files against the catalog."""

    async def action(kb: "KnowledgeBase") -> int:
        named = [await find_space(kb, name) for name in spaces_] if spaces_ else await kb.list_spaces()
        reports: list[CheckReport] = []
        code: int = Exit.DONE
        for each in named:
            try:
                reports.append(await each.check(repair=repair))
            except KbchatError as error:
                code = max(code, code_of(error))  # Which is said; what is to be said of the others is said as well.
        if not all(report.sound for report in reports):
            code = max(code, Exit.INCOMPLETE)
        if json and (reports or not named):  # An empty list would say that there is nothing to mend.
            screen.print_json([report.model_dump(mode="json") for report in reports])
        else:
            for report in reports:
                _print_check(report)
        return code

    return run(read_settings(data_dir), action)


@app.command(epilog="Example: kbchat export handbook handbook.kbchat")
def export(
    space: Space,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What to write.", show_default=False)],
    data_dir: DataDir = None,
) -> int:
    """Write a space to one file that `kbchat import` reads, on any machine and store, without embedding again."""

    async def action(kb: "KnowledgeBase") -> None:
        target = await find_space(kb, space)
        with screen.progress_bar() as advance:
            documents = await target.export(path, progress=advance)
        screen.console().print(f"{screen.one_line(target.name)}: {documents} documents written to {path}")

    return run(read_settings(data_dir), action)


@app.command("import", epilog="Example: kbchat import handbook.kbchat --vector-type Milvus")
def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What `kbchat export` wrote.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Another name than the space had.", show_default=False)] = None,
    vector_type: Annotated[
        str | None, typer.Option(help="Chroma or Milvus. Default: what the space was in.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
) -> int:
    """Make a space of a file that `kbchat export` wrote."""

    async def action(kb: "KnowledgeBase") -> None:
        with screen.progress_bar() as advance:
            made = await kb.import_space(path, name=name, vector_type=vector_type, progress=advance)
        screen.console().print(f"{screen.one_line(made.name)}: {made.info.document_count} documents imported")

    return run(read_settings(data_dir), action)


@app.command(epilog="Example: kbchat formats --json")
def formats(json: AsJson = False) -> int:
    """List the kinds of files that are taken of a folder, with their suffixes."""
    from kbchat.loaders.formats import BUILT_IN, plugins

    known = [(kind.name, sorted(kind.suffixes)) for kind in (*BUILT_IN, *plugins())]
    if json:
        screen.print_json({name: [*suffixes] for name, suffixes in known})
    else:
        screen.print_table(["format", "suffixes"], [[name, " ".join(suffixes)] for name, suffixes in known])
    return Exit.DONE


@app.command(epilog="Example: kbchat serve --host 0.0.0.0 --port 8000")
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address. Default: 127.0.0.1, or KBCHAT_HOST.", show_default=False)
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port. Default: 5670, or KBCHAT_PORT.", show_default=False)] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve another address than loopback without any key.")
    ] = False,
    data_dir: DataDir = None,
) -> int:
    """Serve the HTTP interface until SIGTERM or Ctrl-C."""

    async def action(kb: "KnowledgeBase") -> None:
        from kbchat_aiohttp import serve as serve_http

        # An answer is thousands of small objects without cycles: by default a fifth of its time goes into looking.
        gc.set_threshold(50_000, 20, 50)
        await serve_http(kb, insecure=insecure, on_ready=lambda urls: say(f"listening at {' and '.join(urls)}"))

    return run(read_settings(data_dir, host=host, port=port), action)


@app.command(epilog="Example: kbchat mcp --data-dir ./kb-data")
def mcp(
    write: Annotated[bool, typer.Option("--write", help="Let the agent add and delete documents too.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Give an agent tools to search and read, by the Model Context Protocol on standard input and output."""

    async def action(kb: "KnowledgeBase") -> None:
        from kbchat.agents.mcp import serve_stdio
        from kbchat.agents.tools import Toolbox

        await serve_stdio(Toolbox(kb, writable=write))

    return run(read_settings(data_dir), action)


async def _watch(target: "KnowledgeSpace", paths: list[str], chosen: "Chosen", *, json: bool) -> int:
    async with target.watch(paths, **chosen) as reports:
        async for report in reports:
            _print_report(report, target.info.name, json=json)
    return Exit.DONE


async def _find_or_create(kb: "KnowledgeBase", name: str, owner: str | None) -> "tuple[KnowledgeSpace, bool]":
    try:
        return await find_space(kb, name, owner=owner), False
    except SpaceNotFoundError:
        return await kb.create_space(name, owner=owner or ""), True


async def _remove_if_empty(kb: "KnowledgeBase", space: "KnowledgeSpace") -> None:
    if not (await kb.get_space(space.info.id)).info.document_count:
        await kb.delete_space(space.info.id)


def _print_report(report: "IngestReport", space: str, *, json: bool) -> None:
    for failure in report.failed:
        say(f"{failure.name}: {failure.reason}")
    if json:
        screen.print_json(report.model_dump(mode="json"))
        return
    counts = f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, "
    counts += "".join(f"{number} {what}, " for number, what in _moves(report) if number)
    counts += f"{len(report.failed)} failed"
    screen.console().print(
        f"{screen.one_line(space)}: {counts}; {report.chunks} chunks written in {report.seconds:.1f} s"
    )


def _print_check(report: "CheckReport") -> None:
    out = screen.console()
    out.print(f"{screen.one_line(report.space)}: {report.documents} documents, {report.chunks} chunks")
    for finding in report.findings:
        done = "mended: " if finding.mended else ""
        out.print(f"  {done}{finding.count} {screen.one_line(finding.detail)}")
    if not report.findings:
        out.print("  nothing to mend")


def _moves(report: "IngestReport") -> list[tuple[int, str]]:
    return [(report.moved, "moved"), (report.removed, "removed")]
