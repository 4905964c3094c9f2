"""Plots of trials, by matplotlib (the extra `bench`)."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from kbchat.chunking import ChunkStrategy
from kbchat.errors import InvalidInputError, MissingExtraError
from kbchat.models import FOUND
from kbchat.tuning.records import Record, Result
from kbchat.tuning.trials import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HITS = (("relevant", "hits that answer", "C2"), ("irrelevant", "other hits", "C7"))
BEST = (("best", "best hits, answer there", "C0"), ("foreign", "best hits, no answer there", "C3"))


def check_plot(path: Path) -> None:
    """Know before a long run that a plot can be drawn there. Raises `MissingExtraError` or `InvalidInputError`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise MissingExtraError("a plot", "bench") from None
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in kinds:
        raise InvalidInputError("plot", f"{path} is no kind of picture; there are: {', '.join(sorted(kinds))}")


def plot(record: Record, path: Path, *, spread: Spread | None = None) -> None:
    """Draw the measure that decides, with its intervals, against the chunk size and against the time of a question;
    and, of one of the trials, how the scores of hits that answer and of others are spread."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4) if spread is None else (15, 4), layout="constrained")
    by_size, by_time, *rest = figure.subplots(1, 2 if spread is None else 3)
    by_time.sharey(by_size)
    for number, (name, results) in enumerate(groupby(sorted(record.results, key=_line), key=_line_name)):
        _draw(record.measure, name, list(results), by_size, by_time, colour=f"C{number}")
    by_size.set(xlabel="chunk size (tokens)", ylabel=f"{record.measure} (95 % interval)")
    by_time.set(xlabel="median time of a retrieval (ms)")
    by_time.set_xlim(left=0)
    by_time.legend()
    if spread is not None:
        draw_spread(rest[0], spread)
    title = f"{record.dataset}: {record.questions} questions, embedder {record.embedder}"
    figure.suptitle(title, parse_math=False)
    try:
        figure.savefig(path)
    except OSError as error:
        raise InvalidInputError("plot", f"{path} cannot be written: {error.strerror}") from None


def draw_spread(axes: "Axes", spread: Spread, kinds: Sequence[tuple[str, str, str]] = (*HITS, *BEST)) -> None:
    """How the scores are spread, each kind as shares of its own hits, with the line between found and not found."""
    edges = [step / 25 for step in range(26)]
    for name, label, colour in kinds:
        scores = getattr(spread, name)
        if scores:
            weights = [1 / len(scores)] * len(scores)
            label = f"{label} ({len(scores):,})"
            axes.hist(scores, bins=edges, weights=weights, histtype="step", color=colour, label=label)
    axes.axvline(FOUND, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="recall_score", ylabel="share", xlim=(0, 1))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small", loc="upper left")


def _draw(measure: str, name: str, drawn: "list[Result]", by_size: "Axes", by_time: "Axes", *, colour: str) -> None:
    figures = [result.figures[measure] for result in drawn]
    means = [each.mean for each in figures]
    reach = [[each.mean - each.low for each in figures], [each.high - each.mean for each in figures]]
    if drawn[0].strategy != ChunkStrategy.DOCUMENT:  # It has no size.
        sizes = [result.chunk_tokens for result in drawn]
        by_size.errorbar(sizes, means, yerr=reach, marker="o", capsize=3, color=colour)
    times = [result.p50_ms for result in drawn]
    by_time.errorbar(times, means, yerr=reach, fmt="o", capsize=3, color=colour, label=name)


def _line(result: Result) -> tuple[str, int, int]:
    return result.strategy, result.chunk_overlap, result.chunk_tokens


def _line_name(result: Result) -> str:
    return result.strategy + (f", overlap {result.chunk_overlap}" if result.chunk_overlap else "")
