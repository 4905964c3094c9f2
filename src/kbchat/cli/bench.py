"""`kbchat bench`: how good retrieval is on questions whose answers are known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli import interrupts, screen, trying
from kbchat.cli.exits import Exit, say
from kbchat.cli.session import AsJson, read_settings

if TYPE_CHECKING:
    from kbchat import Settings
    from kbchat.tuning.grids import Configuration
    from kbchat.tuning.records import Record, Result
    from kbchat.tuning.sets import Dataset
    from kbchat.tuning.trials import Trial


TopK = Annotated[
    int | None, typer.Option(help="How many passages. Default: 10, or 5 where passages are judged.", show_default=False)
]
Threshold = Annotated[
    float | None, typer.Option(help="Leave out passages that score less, from 0 to 1.", show_default=False)
]
Gate = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Fail if worse than what --out wrote there.", show_default=False)
]


def bench(
    dataset: Annotated[
        Path,
        typer.Argument(metavar="DATASET", help="A folder in BEIR's layout or Chroma's report's.", show_default=False),
    ],
    chunk_tokens: trying.Sizes = None,
    chunk_overlap: trying.Overlaps = None,
    chunk_strategy: trying.Strategies = None,
    embedder: trying.Embedders = None,
    strategy: trying.Searches = None,
    dense_weight: trying.Dense = None,
    sentence_weight: trying.Sentence = None,
    diversity: trying.Diversities = None,
    expand: trying.Expands = None,
    rerank: trying.Reranks = None,
    top_k: TopK = None,
    score_threshold: Threshold = None,
    measure: trying.Measure = None,
    gate: Gate = None,
    out: trying.Out = None,
    plot: trying.Plot = None,
    json: AsJson = False,
) -> int:
    """Measure retrieval on questions whose answers are known, with intervals and times.

    Where several of something are given, every combination is tried and compared. It works in a folder of its own,
    which it removes.
    """
    from kbchat.tuning import plots, records, sets, trials

    settings = read_settings(embedder=next(iter(trying.parted(embedder)), None))
    given = sets.read(dataset)
    grid = trying.grid(
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
    )
    most = trials.customary_top_k(given) if top_k is None else top_k
    tried = grid.configurations(settings.splitting, settings, top_k=most)
    decides = trials.measure_named(measure, trials.measures(given, tried[0].options.top_k))
    trying.check_files(gate, out, plot)
    recorded = records.read_record(gate) if gate else None
    differing = records.check_comparable(recorded, given, tried, embedder=settings.embedder) if recorded else None
    trying.tell_left_out(grid, settings.splitting)
    ran = _run(given, tried, settings)
    made = records.record(given, ran, embedder=settings.embedder, measure=decides)
    if out:
        trying.write(out, made)
    if plot:
        best = next(trial for trial in ran if trial.configuration.label == made.best)
        plots.plot(made, plot, spread=best.spread)
    if json:
        screen.print_json(made.model_dump(mode="json"))
    else:
        _print(made)
    _tell_failures(ran)
    return _gated(recorded, made, differing) if recorded else Exit.DONE


def _gated(recorded: "Record", made: "Record", differing: str | None) -> Exit:
    from kbchat.tuning import records

    if differing:
        say(f"the gate compares other configurations: {differing}")
    missed = records.shortfalls(recorded, made)
    for shortfall in missed:
        say(f"worse than recorded: {shortfall}")
    return Exit.INCOMPLETE if missed else Exit.DONE


def _tell_failures(ran: "list[Trial]") -> None:
    for trial in ran:
        if trial.failed:
            told = f"documents that could not be taken in, so that nothing finds them: {trial.failed}"
            say(f"{trial.configuration.label}: {told}, such as {'; '.join(trial.reasons)}")


def _run(given: "list[Dataset]", tried: "list[Configuration]", settings: "Settings") -> "list[Trial]":
    from kbchat.tuning import trials

    with trying.working_folder("kbchat-bench-") as folder, screen.progress_bar() as advance:

        async def action() -> "list[Trial]":
            return await trials.run(given, tried, settings=settings, folder=folder, progress=advance)

        return interrupts.run(action)


def _print(record: "Record") -> None:
    out = screen.console()
    if record.left_out:
        say(f"questions left out, because nothing is judged relevant for them: {record.left_out}")
    head = f"{screen.one_line(record.dataset)}: {record.questions} questions, embedder {record.embedder}"
    out.print(f"{head}, top_k {record.results[0].top_k}")
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
