"""`kbchat search` and `kbchat ask`: a question, and what is shown of the answer."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli import screen
from kbchat.cli.exits import say
from kbchat.cli.explained import print_trace
from kbchat.cli.session import AsJson, DataDir, find_space, read_settings, run
from kbchat.cli.spaces import Space
from kbchat.strategies import Expand, Stages, Strategy

if TYPE_CHECKING:
    from kbchat import AnswerStream, KnowledgeBase
    from kbchat.filters import Filter

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
Strategies = Annotated[
    Strategy | None,
    typer.Option(
        "--strategy", help="Which searches are made. Default: hybrid, or KBCHAT_STRATEGY.", show_default=False
    ),
]
Rerank = Annotated[
    bool | None,
    typer.Option(
        "--rerank/--no-rerank",
        help="Ask the reranker. Default: where KBCHAT_RERANK_MODEL names one.",
        show_default=False,
    ),
]
Diversity = Annotated[
    float | None,
    typer.Option(help="What being unlike better passages counts, from 0 to 1. Default: 0.", show_default=False),
]
Expanded = Annotated[
    Expand | None,
    typer.Option("--expand", help="Show each passage with the text around it. Default: none.", show_default=False),
]


def search(
    space: Space,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.", show_default=False)],
    top_k: TopK = None,
    score_threshold: Threshold = None,
    where: Where = None,
    strategy: Strategies = None,
    rerank: Rerank = None,
    diversity: Diversity = None,
    expand: Expanded = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how each passage came to its place, and what was cut and why.")
    ] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Find passages, best first, with their scores. A best score below 0.5 means: the answer is not here."""

    async def action(kb: "KnowledgeBase") -> None:
        target = await find_space(kb, space)
        chosen = _filter(where)
        stages = Stages(strategy=strategy, rerank=rerank, diversity=diversity, expand=expand)
        if explain:
            trace = await target.explain(query, top_k=top_k, score_threshold=score_threshold, where=chosen, **stages)
            screen.print_json(trace.model_dump(mode="json")) if json else print_trace(trace)
            return
        found = await target.retrieve(query, top_k=top_k, score_threshold=score_threshold, where=chosen, **stages)
        if json:
            screen.print_json([reference.model_dump(mode="json") for reference in found])
        elif found:
            screen.print_hits(found)
        else:
            say("nothing was found")

    return run(read_settings(data_dir), action)


def ask(
    space: Space,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to answer.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="One of the configured models. Default: the default one.", show_default=False)
    ] = None,
    top_k: TopK = None,
    score_threshold: Threshold = None,
    where: Where = None,
    strategy: Strategies = None,
    rerank: Rerank = None,
    diversity: Diversity = None,
    expand: Expanded = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Answer a question from a space. The answer streams; the passages it was given follow as a table."""

    async def action(kb: "KnowledgeBase") -> None:
        target = await find_space(kb, space)
        chosen = _filter(where)
        stages = Stages(strategy=strategy, rerank=rerank, diversity=diversity, expand=expand)
        if json:
            answer = await target.chat(
                question, model=model, top_k=top_k, score_threshold=score_threshold, where=chosen, **stages
            )
            screen.print_json(answer.model_dump(mode="json"))
        else:
            await _print_answer(
                target.stream(
                    question, model=model, top_k=top_k, score_threshold=score_threshold, where=chosen, **stages
                )
            )

    return run(read_settings(data_dir), action)


def _filter(text: str | None) -> "Filter | None":
    from kbchat.filters import loads

    return None if text is None else loads(text, field="--where")


async def _print_answer(stream: "AnswerStream") -> None:
    from kbchat.display import doubt_text
    from kbchat.events import Delta, Done, References, Retrieved
    from kbchat.models import Citation

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
