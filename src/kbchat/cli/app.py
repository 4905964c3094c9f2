"""The commands. Each one is: arguments, one call of the face, output."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli import keys, screen, spaces
from kbchat.cli.exits import Exit, say
from kbchat.cli.session import AsJson, DataDir, read_settings, run
from kbchat.cli.spaces import Space
from kbchat.errors import KbchatError, SpaceNotFoundError

if TYPE_CHECKING:
    from kbchat import AnswerStream, KnowledgeBase, KnowledgeSpace
    from kbchat.filters import Filter
    from kbchat.models import IngestReport

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Chat with your own documents, with references that can be checked.",
)
app.add_typer(spaces.app, name="spaces")
app.add_typer(keys.app, name="keys")

TopK = Annotated[
    int | None, typer.Option(help="How many passages at most. Default: 5, or KBCHAT_TOP_K.", show_default=False)
]
Threshold = Annotated[
    float | None, typer.Option(help="Leave out passages that score less, from 0 to 1.", show_default=False)
]

Where = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        help='Only documents whose metadata fits, such as {"field": "lang", "eq": "de"}.',
        show_default=False,
    ),
]


def _filter(text: str | None) -> "Filter | None":
    from kbchat.filters import loads

    return None if text is None else loads(text, field="--where")


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


@app.command()
def ingest(
    space: Space,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Files and folders.", exists=True, show_default=False),
    ],
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Take files and folders into a space, which is made when it is missing. Unchanged files are skipped."""

    async def action(kb: "KnowledgeBase") -> int:
        target, made = await _find_or_create(kb, space)
        try:
            with screen.progress_bar() as advance:
                report = await target.ingest(paths, progress=advance)
        except KbchatError:
            if made:
                await _remove_if_empty(kb, target)
            raise
        _print_report(report, target.info.name, json=json)
        return Exit.INCOMPLETE if report.failed else Exit.DONE

    return run(read_settings(data_dir), action)


@app.command()
def search(
    space: Space,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.", show_default=False)],
    top_k: TopK = None,
    score_threshold: Threshold = None,
    where: Where = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Find passages, best first, with their scores. A best score below 0.5 means: the answer is not here."""

    async def action(kb: "KnowledgeBase") -> None:
        target = await kb.get_space(space)
        found = await target.retrieve(query, top_k=top_k, score_threshold=score_threshold, where=_filter(where))
        if json:
            screen.print_json([reference.model_dump(mode="json") for reference in found])
        elif found:
            screen.print_hits(found)
        else:
            say("nothing was found")

    return run(read_settings(data_dir), action)


@app.command()
def ask(
    space: Space,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to answer.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="One of the configured models. Default: the default one.", show_default=False)
    ] = None,
    top_k: TopK = None,
    score_threshold: Threshold = None,
    where: Where = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Answer a question from a space. The answer streams; the passages it rests on follow as a table."""

    async def action(kb: "KnowledgeBase") -> None:
        target = await kb.get_space(space)
        chosen = _filter(where)
        if json:
            answer = await target.chat(
                question, model=model, top_k=top_k, score_threshold=score_threshold, where=chosen
            )
            screen.print_json(answer.model_dump(mode="json"))
        else:
            await _print_answer(
                target.stream(question, model=model, top_k=top_k, score_threshold=score_threshold, where=chosen)
            )

    return run(read_settings(data_dir), action)


@app.command()
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

        await serve_http(kb, insecure=insecure, on_ready=lambda urls: say(f"listening at {' and '.join(urls)}"))

    return run(read_settings(data_dir, host=host, port=port), action)


async def _find_or_create(kb: "KnowledgeBase", name: str) -> "tuple[KnowledgeSpace, bool]":
    try:
        return await kb.get_space(name), False
    except SpaceNotFoundError:
        return await kb.create_space(name), True


async def _remove_if_empty(kb: "KnowledgeBase", space: "KnowledgeSpace") -> None:
    if not (await kb.get_space(space.info.id)).info.document_count:
        await kb.delete_space(space.info.id)


def _print_report(report: "IngestReport", space: str, *, json: bool) -> None:
    for failure in report.failed:
        say(f"{failure.name}: {failure.reason}")
    if json:
        screen.print_json(report.model_dump(mode="json"))
        return
    counts = (
        f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, {len(report.failed)} failed"
    )
    screen.console().print(
        f"{screen.one_line(space)}: {counts}; {report.chunks} chunks written in {report.seconds:.1f} s"
    )


async def _print_answer(stream: "AnswerStream") -> None:
    from kbchat.display import doubt_text
    from kbchat.models import Citation, Delta, Done, References, Retrieved

    numbers: dict[int, int] = {}
    doubtful: list[Citation] = []
    references: References | None = None
    async with stream as events:
        async for event in events:
            match event:
                case Retrieved(passages=passages):
                    numbers = {it.chunk_id: passage.number for passage in passages for it in passage.references}
                case Delta(text=text):
                    sys.stdout.write(screen.safe(text))
                    sys.stdout.flush()
                case Citation(supported=False):
                    doubtful.append(event)
                case References():
                    references = event
                case Done(finish_reason=reason):
                    sys.stdout.write("\n")
                    if reason == "length":
                        say("the answer was cut at the model's limit")
    if references is not None:
        screen.console().print()
        screen.print_references(references.references, numbers)
    for doubt in dict.fromkeys(map(doubt_text, doubtful)):
        say(screen.one_line(doubt))
