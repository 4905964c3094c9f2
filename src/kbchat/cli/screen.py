"""What commands print: results on stdout, progress on stderr.

The text of documents is shown, never obeyed: control characters are taken out, so it holds no terminal escape, and it
goes into `rich.text.Text`, so it holds no markup. Without a terminal there is neither colour nor wrapping.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from io import TextIOWrapper
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

from kbchat import display

if TYPE_CHECKING:
    from pydantic import JsonValue

    from kbchat.models import IngestProgress, Reference

_UNWRAPPED = 100_000
"""Columns where there is no terminal: nothing is wrapped there, so that other programs read whole lines."""
_NARROWEST = 40
"""In fewer columns a table would lose its words; the terminal wraps it."""

_BIDI_OVERRIDES = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SILENT = {
    code: None
    for code in (*range(0x20), *range(0x7F, 0xA0), *_BIDI_OVERRIDES)
    if code not in (0x09, 0x0A)  # tab, newline
}


def tolerate_any_text() -> None:
    """Let stdout and stderr show what their encoding lacks (a Chinese name on an ASCII terminal) as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def safe(text: str) -> str:
    """The text without what a terminal would act on. Works piece by piece: a sequence cut in two is harmless too."""
    return text.translate(_SILENT)


def one_line(text: str, limit: int | None = None) -> str:
    """The text safe and on one line, cut after `limit` characters."""
    line = " ".join(safe(text).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def console() -> Console:
    """The way to stdout."""
    plain = Console(highlight=False, markup=False, emoji=False)
    plain.width = max(plain.width, _NARROWEST) if plain.is_terminal else _UNWRAPPED
    return plain


def print_json(value: "JsonValue") -> None:
    """One JSON document on one line of ASCII: every reader, locale and terminal takes it."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[str] = ()) -> None:
    columns = [
        Column(name, justify="right" if name in numeric else "left", overflow="fold", no_wrap=name in numeric)
        for name in headers
    ]
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    console().print(table)


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
        console().print(Text(f"{name:<{width}}  {one_line(value)}"))


def print_hits(references: Sequence["Reference"]) -> None:
    """Found passages, best first: a line that says where, then the beginning of the passage."""
    out = console()
    for number, reference in enumerate(references, 1):
        head = Text(f"{number:>2}  {reference.recall_score:.2f}  ")
        head.append(one_line(reference.name), style="bold")
        out.print(head.append(f"  {place(reference)}", style="dim"))
        out.print(Text("    " + one_line(reference.content, 300)))


def print_references(references: Sequence["Reference"], numbers: Mapping[int, int]) -> None:
    """The table under an answer. `numbers` are what the answer cites, by chunk id."""
    rows = [
        (
            f"[{numbers[it.chunk_id]}]" if it.chunk_id in numbers else "",
            f"{it.recall_score:.2f}",
            it.name,
            place(it),
            one_line(it.content, 80),
        )
        for it in references
    ]
    print_table(("", "score", "document", "where", "text"), rows, numeric=("score",))


def place(reference: "Reference") -> str:
    """Where in its document a reference stands, and its characters."""
    found = display.place(reference.metadata)
    return one_line(", ".join(filter(None, [found, f"characters {reference.start}-{reference.end}"])))


class _Rate(ProgressColumn):
    """Documents a second."""

    def render(self, task: Task) -> Text:
        rate = task.fields.get("rate")
        return Text(f"{rate:.1f}/s" if rate else "", style="progress.data.speed")


class _Left(ProgressColumn):
    """The time that the rest takes."""

    def render(self, task: Task) -> Text:
        seconds = task.fields.get("seconds_left")
        return Text("" if seconds is None else str(timedelta(seconds=round(seconds))), style="progress.remaining")


@contextmanager
def progress_bar() -> Iterator[Callable[["IngestProgress"], None]]:
    """A bar on stderr with rate and time left; nothing at all where stderr is no terminal."""
    err = Console(stderr=True, highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), _Left(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task, began = progress.add_task("", total=None), time.monotonic()

        def advance(state: "IngestProgress") -> None:
            if not state.seconds:  # Not everybody who reports looks at a clock.
                state = state.model_copy(update={"seconds": time.monotonic() - began})
            progress.update(
                task,
                completed=state.done,
                total=state.total,
                description=Text(one_line(state.name, 40)).markup,
                rate=state.rate,
                seconds_left=state.seconds_left,
            )

        yield advance
