"""The options that choose retrieval's stages."""

from typing import Annotated

import typer

from kbchat.strategies import Expand, Strategy

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
