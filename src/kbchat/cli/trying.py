"""The options that `bench` and `tune` share: what is tried, what decides, and where the results go."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli.exits import say
from kbchat.errors import InvalidInputError

if TYPE_CHECKING:
    from kbchat.chunking import Splitting
    from kbchat.tuning.grids import Grid
    from kbchat.tuning.records import Record


Sizes = Annotated[
    str | None, typer.Option(metavar="SIZES", help="Chunk sizes to try, such as 128,256,400.", show_default=False)
]
Overlaps = Annotated[
    str | None, typer.Option(metavar="SIZES", help="Overlaps to try, such as 0,32.", show_default=False)
]
Strategies = Annotated[
    str | None, typer.Option(metavar="NAMES", help="Such as structure,tokens,heading.", show_default=False)
]
Searches = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="How to search: such as hybrid,dense,lexical,ranks.", show_default=False),
]
Diversities = Annotated[
    str | None, typer.Option(metavar="SHARES", help="Such as 0,0.3: what likeness costs a hit.", show_default=False)
]
Expands = Annotated[
    str | None, typer.Option(metavar="NAMES", help="What to show around a hit: none,neighbours,section.")
]
Embedders = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="Such as static,openai:bge-m3. Default: KBCHAT_EMBEDDER.", show_default=False),
]
Dense = Annotated[
    str | None,
    typer.Option(metavar="WEIGHTS", help="What a passage's cosine counts, words counting 1.", show_default=False),
]
Sentence = Annotated[
    str | None,
    typer.Option(metavar="WEIGHTS", help="What its best sentence's cosine counts.", show_default=False),
]
Reranks = Annotated[
    str | None, typer.Option(metavar="WORDS", help="Whether the reranker is asked: on,off.", show_default=False)
]
Measure = Annotated[
    str | None, typer.Option(help="Which one decides. Default: ndcg, or recall for passages.", show_default=False)
]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures.", show_default=False)]
Plot = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw quality against chunk size.", show_default=False)]


def grid(
    *,
    chunk_strategy: str | None,
    chunk_tokens: str | None,
    chunk_overlap: str | None,
    embedder: str | None,
    strategy: str | None,
    dense_weight: str | None,
    sentence_weight: str | None,
    diversity: str | None,
    expand: str | None,
    rerank: str | None,
    top_ks: Sequence[int] = (),
    thresholds: Sequence[float] = (),
) -> "Grid":
    """What the options give to try. Raises `InvalidInputError` naming the option."""
    from kbchat.tuning.grids import Grid

    return Grid(
        chunk_strategies=listed(chunk_strategy),
        sizes=numbers(chunk_tokens, "chunk_tokens"),
        overlaps=numbers(chunk_overlap, "chunk_overlap"),
        embedders=parted(embedder),
        options={
            "top_k": top_ks,
            "score_threshold": thresholds,
            "strategy": listed(strategy),
            "dense_weight": shares(dense_weight, "dense_weight"),
            "sentence_weight": shares(sentence_weight, "sentence_weight"),
            "diversity": shares(diversity, "diversity"),
            "expand": listed(expand),
            "rerank": switches(rerank, "rerank"),
        },
    )


def tell_left_out(grid: "Grid", present: "Splitting") -> None:
    """Say which of the pairs that were asked for are not tried."""
    if pairs := grid.left_out(present):
        say(f"not tried, because an overlap must be smaller than its chunk: {', '.join(pairs)}")


@contextmanager
def working_folder(prefix: str) -> Iterator[Path]:
    """A folder that is removed in the end, also when the process is told to go: SIGTERM is as Ctrl-C meanwhile."""
    before = signal.getsignal(signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    if is_main:
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with TemporaryDirectory(prefix=prefix) as folder:
            yield Path(folder)
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def listed(text: str | None) -> list[str]:
    """A list with commas."""
    return (text or "").replace(",", " ").split()


def parted(text: str | None) -> list[str]:
    """A list with commas, whose parts may hold spaces."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def switches(text: str | None, name: str) -> list[bool]:
    """A list of `on` and `off` with commas. Raises `InvalidInputError` naming the option."""
    words = {"on": True, "off": False}
    if unknown := set(listed(text)) - words.keys():
        raise InvalidInputError(name, f"{min(unknown)!r} is neither on nor off")
    return [words[part] for part in listed(text)]


def shares(text: str | None, name: str) -> list[float]:
    """A list of numbers with commas. Raises `InvalidInputError` naming the option."""
    try:
        return [float(part) for part in listed(text)]
    except ValueError:
        raise InvalidInputError(name, f"{text!r} is no list of numbers such as 0.3,0.5") from None


def numbers(text: str | None, name: str) -> list[int]:
    """A list of whole numbers with commas. Raises `InvalidInputError` naming the option."""
    try:
        return [int(part) for part in listed(text)]
    except ValueError:
        raise InvalidInputError(name, f"{text!r} is no list of whole numbers such as 128,256") from None


def check_files(gate: Path | None, out: Path | None, plot: Path | None, **others: Path | None) -> None:
    """Know before a long run that its results can be written."""
    for name, path in {"out": out, "plot": plot, **others}.items():
        if path and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise InvalidInputError(name, f"{path} cannot be written: it is a folder, or its folder is not there")
    if gate and out and gate.absolute() == out.absolute():
        raise InvalidInputError("out", f"{out} is what the gate compares with; write to another file")
    if plot:
        from kbchat.tuning.plots import check_plot

        check_plot(plot)


def write(path: Path, record: "Record") -> None:
    """Write a record as JSON."""
    try:
        path.write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InvalidInputError("out", f"{path} cannot be written: {error.strerror}") from None
