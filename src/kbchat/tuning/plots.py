"""Plots of trials, by matplotlib (the extra `bench`)."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

WIDE = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Arial Unicode MS"),
)
"""Fonts that hold Chinese, Japanese and Korean; matplotlib's own do not."""
MARKERS = "os^Dv"
"""One for each ten lines, which is how many colours there are."""


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

    with _any_script():
        figure = Figure(figsize=(10, 4) if spread is None else (15, 4), layout="constrained")
        by_size, by_time, *rest = figure.subplots(1, 2 if spread is None else 3)
        by_time.sharey(by_size)
        for number, (name, results) in enumerate(lines(record.results).items()):
            _draw(record.measure, name, results, by_size, by_time, number)
        by_size.set(xlabel="chunk size (tokens)", ylabel=f"{record.measure} (95 % interval)")
        by_time.set(xlabel="median time of a retrieval (ms)")
        by_time.set_xlim(left=0)
        for text in by_time.legend(fontsize="x-small").get_texts():
            text.set_parse_math(False)
        if spread is not None:
            draw_spread(rest[0], spread)
        title = f"{record.dataset}: {record.questions} questions, embedder {record.embedder}"
        figure.suptitle(title, parse_math=False)
        try:
            figure.savefig(path)
        except OSError as error:
            raise InvalidInputError("plot", f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def _any_script() -> Iterator[None]:
    """Names may be of any script: draw them by a font that has it, or else, without a word, as boxes."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    wide = [name for name in WIDE if name in there][:1]
    with warnings.catch_warnings(), matplotlib.rc_context({"font.family": ["DejaVu Sans", *wide]}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def lines(results: Sequence[Result]) -> dict[str, list[Result]]:
    """What a line joins, by its name: configurations that differ in their size alone.

    A `top_k` that goes with the size, so that all show as much, is no difference; one that was tried with each is.
    """
    for is_told in (False, True):
        found: dict[str, list[Result]] = {}
        for result in sorted(results, key=lambda each: each.chunk_tokens):
            name = result.label.replace(f"{result.strategy} {result.chunk_tokens}", result.strategy, 1)
            found.setdefault(name if is_told else re.sub(r", top \d+", "", name), []).append(result)
        if all(len({each.chunk_tokens for each in line}) == len(line) for line in found.values()):
            break
    return found


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


def _draw(measure: str, name: str, drawn: Sequence[Result], by_size: "Axes", by_time: "Axes", number: int) -> None:
    colour, marker = f"C{number % 10}", MARKERS[number // 10 % len(MARKERS)]
    figures = [result.figures[measure] for result in drawn]
    means = [each.mean for each in figures]
    reach = [[each.mean - each.low for each in figures], [each.high - each.mean for each in figures]]
    if drawn[0].strategy != ChunkStrategy.DOCUMENT:  # It has no size.
        sizes = [result.chunk_tokens for result in drawn]
        by_size.errorbar(sizes, means, yerr=reach, marker=marker, capsize=3, color=colour)
    times = [result.p50_ms for result in drawn]
    by_time.errorbar(times, means, yerr=reach, fmt=marker, capsize=3, color=colour, label=name)
