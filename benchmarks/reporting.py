"""What every benchmark says and leaves behind, in one way: the machine and versions, spreads, JSON and plots."""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kbchat.evaluation import Interval

About = dict[str, dict[str, Any]]


def about(*packages: str, **counts: object) -> About:
    """The machine, the versions of kbchat and of those packages that are installed, and how many of what is measured.
    Prints them."""
    found = {"machine": machine(), "versions": versions("kbchat", *packages), "counts": counts}
    has = found["machine"]
    print(f"{has['cpus']} × {has['processor']}, {has['memory'] / 1e9:.1f} GB, {has['system']}, Python {has['python']}")
    print(*(f"{name} {number}" for name, number in found["versions"].items()), sep=", ")
    if counts:
        print(*(f"{name.replace('_', ' ')} {value}" for name, value in counts.items()), sep=", ")
    print(flush=True)
    return found


def machine() -> dict[str, Any]:
    """Memory is in bytes."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpus": os.cpu_count(),
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def versions(*packages: str) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values and the quartiles around it; of fewer than four, the least and the greatest."""

    low: float
    median: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        known = sorted(values)
        if len(known) < 4:
            return cls(known[0], statistics.median(known), known[-1], len(known))
        low, median, high = statistics.quantiles(known, n=4)
        return cls(low, median, high, len(known))

    def __format__(self, of_each: str) -> str:
        """`12.1 [11.8, 12.6]`, each number as asked for; one value is itself."""
        median = format(self.median, of_each)
        return median if self.count == 1 else f"{median} [{self.low:{of_each}}, {self.high:{of_each}}]"


def quantile(values: Iterable[float], share: float) -> float:
    """The value that so large a share lies below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def add_outputs(parser: argparse.ArgumentParser, *, plot: bool = True) -> None:
    """The options `--json` and, where there is something to draw, `--plot`."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there")
    if plot:
        parser.add_argument("--plot", type=picture, metavar="FILE", help="draw it there (.svg, .png, .pdf)")


def picture(name: str) -> Path:
    """A file that can be drawn: known before anything is measured."""
    from kbchat.errors import InvalidInputError, MissingExtraError
    from kbchat.tuning.plots import check_plot

    try:
        check_plot(Path(name))
    except (InvalidInputError, MissingExtraError) as error:
        raise argparse.ArgumentTypeError(error.message) from None
    return Path(name)


def save(path: Path | None, about: About, results: object) -> None:
    """Write all of it as JSON, if that was asked for. Results may hold data classes."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**about, "results": results}, indent=2, ensure_ascii=False, default=asdict)
        path.write_text(text + "\n")


def blank(width: float, height: float) -> "Figure":
    """A figure of so many inches, with nothing in it."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.hashsalt": "kbchat", "svg.fonttype": "path", "font.size": 9}
    return Figure(figsize=(width, height), layout="constrained")


def canvas(columns: int = 1, *, width: float = 8.0, height: float = 3.6) -> tuple["Figure", "Sequence[Axes]"]:
    """A figure and its plots, side by side."""
    figure = blank(width, height)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def draw(figure: "Figure", path: Path) -> None:
    """Write the figure. The same data give the same SVG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
    print(path)


def logarithmic(axes: "Axes", *, y: bool = False) -> None:
    """Make the axis logarithmic, with plain numbers; where it is short, at some between the powers of ten too."""
    axes.set(**{"yscale" if y else "xscale": "log"})
    axis = axes.yaxis if y else axes.xaxis

    def plain(value: float, place: int | None) -> str:
        return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"

    def between(value: float, place: int | None) -> str:
        low, high = axis.get_view_interval()
        few = high < 50 * low and f"{value:.2e}"[:4] in ("2.00", "3.00", "5.00")
        return plain(value, place) if few or high < 4 * low else ""

    axis.set_major_formatter(plain)
    axis.set_minor_formatter(between)


def bars(axes: "Axes", series: "Mapping[str, Mapping[str, Spread | Interval]]", *, told: str = ",.0f") -> None:
    """A group of bars for each thing, one for each series that has it: its median or mean and its reach."""
    things = list(dict.fromkeys(thing for of in series.values() for thing in of))
    thick = 0.8 / len(series)
    for number, (name, of) in enumerate(series.items()):
        places = [things.index(thing) - 0.4 + thick * (number + 0.5) for thing in of]
        middles = [it.median if isinstance(it, Spread) else it.mean for it in of.values()]
        highs = [it.high for it in of.values()]
        reach = [
            [max(0.0, middle - it.low) for middle, it in zip(middles, of.values(), strict=True)],
            [max(0.0, high - middle) for middle, high in zip(middles, highs, strict=True)],
        ]
        axes.barh(places, middles, 0.92 * thick, xerr=reach, color=f"C{number}", ecolor="0.35", label=name)
        for place, middle, high in zip(places, middles, highs, strict=True):
            end, behind = (max(high, 0.0), place), {"color": "white", "alpha": 0.7, "pad": 0.5}
            axes.annotate(
                f"{middle:{told}}", end, (3, 0), textcoords="offset points", va="center", fontsize=7, bbox=behind
            )
    axes.set_yticks(range(len(things)), things)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    if len(series) > 1:  # above, where no bar is
        axes.legend(fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def shares(axes: "Axes", values: Mapping[str, Sequence[float]]) -> None:
    """What share of the values lies below each: a line of steps for each series."""
    for name, each in values.items():
        axes.ecdf(each, label=f"{name} ({len(each)})")
    axes.set(ylabel="share")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
