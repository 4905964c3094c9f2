"""Draws the figures of `docs/retrieval.md` from what the other programs measured.

    kbchat bench DATASET --chunk-tokens 64,128,192,256,320,400,512,800 --out SIZES.json      # for each set
    python benchmarks/quality.py DATASET... --large FOLDER... --json QUALITY.json
    python benchmarks/growth.py OWN --foreign DATASET... --fill FOLDER... --json GROWTH.json
    python benchmarks/plots.py --sizes SIZES.json... --quality QUALITY.json --growth GROWTH.json... --out docs/images

Needs the extra `bench`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from kbchat.tuning.plots import BEST, HITS, draw_spread
from kbchat.tuning.records import Record
from kbchat.tuning.trials import Spread
from reporting import blank, draw


def sizes(records: Sequence[Record], out: Path) -> None:
    """Quality against chunk size, and against the time of a retrieval."""
    figure = blank(9, 3.4)
    by_size, by_time = figure.subplots(1, 2, sharey=True)
    for record in records:
        figures = [result.figures[record.measure] for result in record.results]
        means = [each.mean for each in figures]
        reach = [[each.mean - each.low for each in figures], [each.high - each.mean for each in figures]]
        label = f"{record.dataset}, {record.measure}"
        tokens = [result.chunk_tokens for result in record.results]
        by_size.errorbar(tokens, means, yerr=reach, marker="o", markersize=4, capsize=3, label=label)
        by_time.errorbar([result.p50_ms for result in record.results], means, yerr=reach, fmt="o", markersize=4)
    by_size.axvline(256, color="black", linewidth=0.8, linestyle=":")
    by_size.set(xlabel="chunk size (tokens)", ylabel="mean (95 % interval)", ylim=(0, 1.02))
    by_time.set(xlabel="median time of a retrieval (ms)", xlim=(0, None))
    by_size.legend()
    draw(figure, out / "retrieval-sizes.svg")


def scores(spreads: dict[str, Spread], out: Path) -> None:
    """How scores are spread: of hits, and of best hits."""
    figure = blank(9, 5.4)
    shown = list(spreads.items())
    rows = figure.subplots(2, len(shown), sharex=True)
    for (name, spread), hits, best in zip(shown, *rows, strict=True):
        draw_spread(hits, spread, HITS)
        draw_spread(best, spread, BEST)
        hits.set(title=name, xlabel="", ylabel="")
        best.set(ylabel="")
    rows[0][0].set(ylabel="share of hits")
    rows[1][0].set(ylabel="share of questions")
    draw(figure, out / "retrieval-scores.svg")


def grouped(spreads: dict[str, dict[str, list[float]]]) -> dict[str, Spread]:
    """Sets of one group together, and only those that have questions of their own."""
    found: dict[str, Spread] = {}
    for name, of in spreads.items():
        spread = found.setdefault(name.partition("/")[0], Spread())
        for kind, values in of.items():
            getattr(spread, kind).extend(values)
    return {name: spread for name, spread in found.items() if spread.relevant}


Shares = dict[str, dict[str, float]]


def pairs(rejected: Shares, inside: Shares, kept: dict[str, float], out: Path) -> None:
    """The share of each set's questions that each space refuses; of its own and those of sets `inside` it, that it
    keeps."""
    known = {name for of in rejected.values() for name in of}
    asked = [name for name in rejected if name in known]
    figure = blank(9, 4.4)
    axes = figure.subplots()
    table = [[of.get(name, float("nan")) for name in asked] for of in rejected.values()]
    axes.imshow(table, vmin=0.75, vmax=1.0, cmap="RdYlGn", aspect="auto")
    for row, (space, of) in enumerate(rejected.items()):
        for column, name in enumerate(asked):
            own = kept.get(space.partition("/")[0]) if name == space else inside.get(space, {}).get(name)
            text = f"{of[name]:.3f}" if name in of else "" if own is None else f"kept: {own:.3f}"
            axes.text(column, row, text, ha="center", va="center")
    short = [name.rpartition("/")[2] for name in asked]
    axes.set_xticks(range(len(asked)), short, rotation=15)
    axes.set_yticks(range(len(rejected)), [name.rpartition("/")[2] for name in rejected])
    axes.set(xlabel="questions of", ylabel="space")
    draw(figure, out / "retrieval-pairs.svg")


def growth(curves: dict[str, dict[str, dict[str, float]]], out: Path) -> None:
    """Kept and refused against the size of the space."""
    figure = blank(9, 3.4)
    for axes, (own, curve) in zip(
        figure.subplots(1, len(curves), sharey=True, squeeze=False)[0], curves.items(), strict=True
    ):
        pieces = [int(size) for size in curve]
        names = [name for name in next(iter(curve.values())) if name != "questions"]
        for name in names:
            values = [of[name] for of in curve.values()]
            if name == "kept":
                axes.plot(pieces, values, marker="o", color="black", label=f"kept: {own}")
            else:
                axes.plot(pieces, values, marker=".", linewidth=1, label=f"refused: {name.rpartition('/')[2]}")
        axes.set(xscale="log", xlabel="pieces in the space", ylim=(0.5, 1.01))
        axes.legend(fontsize=7)
    draw(figure, out / "retrieval-growth.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", type=Path, default=[], metavar="FILE")
    parser.add_argument("--quality", type=Path, metavar="FILE")
    parser.add_argument("--growth", nargs="*", type=Path, default=[], metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    if options.sizes:
        sizes([Record.model_validate_json(path.read_bytes()) for path in options.sizes], options.out)
    if options.quality:
        measured = json.loads(options.quality.read_text())["results"]
        scores(grouped(measured["scores"]), options.out)
        kept = {name: of["kept"] for name, of in measured["means"].items()}
        pairs(measured["rejected"], measured["kept"], kept, options.out)
    if options.growth:
        growth(
            {own: of for path in options.growth for own, of in json.loads(path.read_text())["results"].items()},
            options.out,
        )


if __name__ == "__main__":
    main()
