"""`kbchat bench`: how good retrieval is on questions whose answers are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli import screen
from kbchat.cli.exits import Exit, say
from kbchat.cli.session import AsJson, read_settings
from kbchat.errors import InvalidInputError

if TYPE_CHECKING:
    from kbchat import Settings
    from kbchat.tuning.grids import Configuration, Grid
    from kbchat.tuning.records import Record, Result
    from kbchat.tuning.sets import Dataset
    from kbchat.tuning.trials import Trial


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
TopK = Annotated[
    int | None, typer.Option(help="How many passages. Default: 10, or 5 where passages are judged.", show_default=False)
]
Threshold = Annotated[
    float | None, typer.Option(help="Leave out passages that score less, from 0 to 1.", show_default=False)
]
Measure = Annotated[
    str | None, typer.Option(help="Which one decides. Default: ndcg, or recall for passages.", show_default=False)
]
Gate = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Fail if worse than what --out wrote there.", show_default=False)
]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures.", show_default=False)]
Plot = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw quality against chunk size.", show_default=False)]


def bench(
    dataset: Annotated[
        Path,
        typer.Argument(metavar="DATASET", help="A folder in BEIR's layout or Chroma's report's.", show_default=False),
    ],
    chunk_tokens: Sizes = None,
    chunk_overlap: Overlaps = None,
    chunk_strategy: Strategies = None,
    embedder: Embedders = None,
    strategy: Searches = None,
    dense_weight: Dense = None,
    sentence_weight: Sentence = None,
    diversity: Diversities = None,
    expand: Expands = None,
    rerank: Reranks = None,
    top_k: TopK = None,
    score_threshold: Threshold = None,
    measure: Measure = None,
    gate: Gate = None,
    out: Out = None,
    plot: Plot = None,
    json: AsJson = False,
) -> int:
    """Measure retrieval on questions whose answers are known, with intervals and times.

    Where several of something are given, every combination is tried and compared. It works in a folder of its own,
    which it removes.
    """
    from kbchat.tuning import plots, records, sets, trials

    settings = read_settings(embedder=next(iter(parted(embedder)), None))
    given = sets.read(dataset)
    tried = grid(
        chunk_strategy=chunk_strategy,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        embedder=embedder,
        strategy=strategy,
        dense_weight=dense_weight,
        sentence_weight=sentence_weight,
        diversity=diversity,
        expand=expand,
        rerank=rerank,
        thresholds=[] if score_threshold is None else [score_threshold],
    ).configurations(settings.splitting, settings, top_k=trials.customary_top_k(given) if top_k is None else top_k)
    decides = trials.measure_named(measure, trials.measures(given, tried[0].top_k))
    check_files(gate, out, plot)
    recorded = records.read_record(gate) if gate else None
    if recorded:
        records.check_comparable(recorded, given, tried)
    ran = _run(given, tried, settings)
    made = records.record(given, ran, embedder=settings.embedder, measure=decides)
    missed = records.shortfalls(recorded, made) if recorded else []
    if out:
        write(out, made)
    if plot:
        best = next(trial for trial in ran if trial.configuration.label == made.best)
        plots.plot(made, plot, spread=best.spread)
    if json:
        screen.print_json(made.model_dump(mode="json"))
    else:
        _print(made)
    for shortfall in missed:
        say(f"worse than recorded: {shortfall}")
    return Exit.INCOMPLETE if missed else Exit.DONE


def _run(given: "list[Dataset]", tried: "list[Configuration]", settings: "Settings") -> "list[Trial]":
    from tempfile import TemporaryDirectory

    import anyio

    from kbchat.tuning import trials

    with TemporaryDirectory(prefix="kbchat-bench-") as folder, screen.progress_bar() as advance:

        async def action() -> "list[Trial]":
            return await trials.run(given, tried, settings=settings, folder=Path(folder), progress=advance)

        return anyio.run(action)


def check_files(gate: Path | None, out: Path | None, plot: Path | None) -> None:
    """Know before a long run that its results can be written."""
    for name, path in (("out", out), ("plot", plot)):
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


def _print(record: "Record") -> None:
    out = screen.console()
    if record.left_out:
        say(f"questions left out, because nothing is judged relevant for them: {record.left_out}")
    head = f"{screen.one_line(record.dataset)}: {record.questions} questions, embedder {record.embedder}"
    out.print(f"{head}, top_k {record.results[0].top_k}")
    for result in record.results:
        if result.failed:
            say(f"{result.label}: documents that could not be taken in: {result.failed}")
    if len(record.results) == 1:
        _print_one(record.results[0])
    else:
        _print_grid(record)


def _print_one(result: "Result") -> None:
    out = screen.console()
    out.print(f"{result.label}: {result.documents} documents, {result.chunks} chunks\n")
    rows = [
        (name, f"{figure.mean:.4f}", f"{figure.low:.4f} to {figure.high:.4f}")
        for name, figure in result.figures.items()
    ]
    screen.print_table(("measure", "mean", "95 % interval"), rows, numeric=("mean",))
    out.print(f"\na retrieval takes {result.p50_ms:.1f} ms (p50), {result.p95_ms:.1f} ms (p95)")


def _print_grid(record: "Record") -> None:
    """A row a configuration; then whether the others are really worse than the best."""
    out = screen.console()
    out.print()
    names = list(record.results[0].figures)
    heads = ("configuration", "chunks", *names, "p50 ms", "p95 ms")
    rows = [
        (
            result.label,
            str(result.chunks),
            *(f"{result.figures[name].mean:.4f}" for name in names),
            f"{result.p50_ms:.1f}",
            f"{result.p95_ms:.1f}",
        )
        for result in record.results
    ]
    screen.print_table(heads, rows, numeric=heads[1:])
    best = next(result for result in record.results if result.label == record.best)
    out.print(f"\nbest {record.measure}: {best.label}, {best.figures[record.measure]}; against it:\n")
    against = [
        (
            each.label,
            f"{each.difference.mean:+.4f}",
            f"{each.difference.low:+.4f} to {each.difference.high:+.4f}",
            "<0.001" if each.p < 0.001 else f"{each.p:.3f}",
            "worse" if each.p < 0.05 else "may be luck",
        )
        for each in record.contrasts
    ]
    heads = ("configuration", "difference", "95 % interval", "p", "")
    screen.print_table(heads, against, numeric=("difference", "p"))


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
        strategies=listed(strategy),
        dense_weights=shares(dense_weight, "dense_weight"),
        sentence_weights=shares(sentence_weight, "sentence_weight"),
        diversities=shares(diversity, "diversity"),
        expands=listed(expand),
        reranks=switches(rerank, "rerank"),
        top_ks=top_ks,
        thresholds=thresholds,
    )


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
