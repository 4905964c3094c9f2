"""Plots of trials, by matplotlib (the extra `bench`)."""

from itertools import groupby
from pathlib import Path

from kbchat.chunking import ChunkStrategy
from kbchat.errors import InvalidInputError, MissingExtraError
from kbchat.tuning.records import Record, Result


def check_plot(path: Path) -> None:
    """Know before a long run that a plot can be drawn there. Raises `MissingExtraError` or `InvalidInputError`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise MissingExtraError("a plot", "bench") from None
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in kinds:
        raise InvalidInputError("plot", f"{path} is no kind of picture; there are: {', '.join(sorted(kinds))}")


def plot(record: Record, path: Path) -> None:
    """Draw the measure that decides, with its intervals, against the chunk size and against the time of a question."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    by_size, by_time = figure.subplots(1, 2, sharey=True)
    for number, (name, results) in enumerate(groupby(sorted(record.results, key=_line), key=_line_name)):
        drawn, colour = list(results), f"C{number}"
        figures = [result.figures[record.measure] for result in drawn]
        means = [each.mean for each in figures]
        reach = [[each.mean - each.low for each in figures], [each.high - each.mean for each in figures]]
        if drawn[0].strategy != ChunkStrategy.DOCUMENT:  # It has no size.
            sizes = [result.chunk_tokens for result in drawn]
            by_size.errorbar(sizes, means, yerr=reach, marker="o", capsize=3, color=colour)
        times = [result.p50_ms for result in drawn]
        by_time.errorbar(times, means, yerr=reach, fmt="o", capsize=3, color=colour, label=name)
    by_size.set(xlabel="chunk size (tokens)", ylabel=f"{record.measure} (95 % interval)")
    by_time.set(xlabel="median time of a retrieval (ms)")
    by_time.set_xlim(left=0)
    by_time.legend()
    title = f"{record.dataset}: {record.questions} questions, embedder {record.embedder}"
    figure.suptitle(title, parse_math=False)
    try:
        figure.savefig(path)
    except OSError as error:
        raise InvalidInputError("plot", f"{path} cannot be written: {error.strerror}") from None


def _line(result: Result) -> tuple[str, int, int]:
    return result.strategy, result.chunk_overlap, result.chunk_tokens


def _line_name(result: Result) -> str:
    return result.strategy + (f", overlap {result.chunk_overlap}" if result.chunk_overlap else "")
