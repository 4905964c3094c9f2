"""What is kept of trials: figures with intervals, comparisons, and the gate that later runs must pass."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, FiniteFloat, ValidationError

import kbchat
from kbchat import evaluation
from kbchat.errors import InvalidInputError
from kbchat.models import Value
from kbchat.tuning.sets import Dataset, fingerprint
from kbchat.tuning.trials import Trial


class Figure(Value):
    """A mean over the questions, and its 95 % interval by bootstrap: where it would fall with others of their kind."""

    mean: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


class Result(Value):
    """A configuration and its figures. Times are in milliseconds, of one retrieval after another."""

    label: str
    strategy: str
    chunk_tokens: int
    chunk_overlap: int
    top_k: int
    score_threshold: float | None
    documents: int
    chunks: int
    failed: int
    figures: dict[str, Figure]
    p50_ms: FiniteFloat
    p95_ms: FiniteFloat
    ingest_seconds: FiniteFloat


class Contrast(Value):
    """A configuration against the best one, question by question."""

    label: str
    difference: Figure
    p: float
    """How often chance alone makes a difference as large."""


class Record(Value):
    """A run. What `kbchat bench --out` writes and `--gate` reads."""

    kbchat: str
    dataset: str
    data: str = Field(description="Tells other texts, questions and judgements apart")
    questions: int
    left_out: int
    embedder: str
    measure: str
    best: str
    results: tuple[Result, ...]
    contrasts: tuple[Contrast, ...] = ()


class Shortfall(NamedTuple):
    """A figure that is below the recorded one by more than that one's interval."""

    label: str
    measure: str
    recorded: Figure
    now: Figure

    def __str__(self) -> str:
        return f"{self.label}: {self.measure} is {self.now.mean:.4f}, recorded was {self.recorded}"


def record(
    datasets: Sequence[Dataset], trials: Sequence[Trial], *, embedder: str, measure: str | None = None
) -> Record:
    """Sum trials up. `measure` decides between them: `ndcg`, or `recall` where passages are judged, unless given.

    Raises `InvalidInputError` for a measure that there is none of, and for values that are not finite.
    """
    chosen = measure_named(measure, trials[0])
    best = max(trials, key=lambda trial: sum(trial.values[chosen]))  # The first of equals.
    return Record(
        kbchat=kbchat.__version__,
        dataset=datasets[0].name.partition("/")[0],
        data=fingerprint(datasets),
        questions=sum(len(dataset.questions) for dataset in datasets),
        left_out=sum(dataset.left_out for dataset in datasets),
        embedder=embedder,
        measure=chosen,
        best=best.configuration.label,
        results=tuple(map(_result, trials)),
        contrasts=tuple(_contrast(trial, best, chosen) for trial in trials if trial is not best),
    )


def measure_named(name: str | None, trial: Trial) -> str:
    """The measure of that name, with or without its `@k`."""
    known = {full: full for full in trial.values} | {full.partition("@")[0]: full for full in trial.values}
    if name is None:
        return known.get("ndcg") or known["recall"]
    if name not in known:
        raise InvalidInputError("measure", f"{name!r} is none of this set's: {', '.join(trial.values)}")
    return known[name]


def read_record(path: Path) -> Record:
    """What `--out` wrote. Raises `InvalidInputError` for anything else."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInputError("gate", f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise InvalidInputError("gate", f"{path} is not what --out wrote: {where}: {problem['msg']}") from None


def shortfalls(recorded: Record, now: Record) -> list[Shortfall]:
    """What a gate holds back. Times are not compared: they are the machine's.

    Where each run tried one configuration the two are compared, whatever they are: so a change of the defaults has to
    pass as well. Else each one is compared with the recorded one of its name. Raises `InvalidInputError` where they do
    not compare: other data, or a configuration or measure that only one of them has.
    """
    if recorded.data != now.data:
        what = f"was recorded on other texts, questions or judgements ({recorded.dataset}); record it anew with --out"
        raise InvalidInputError("gate", what)
    return [
        Shortfall(after.label, name, before.figures[name], after.figures[name])
        for before, after in _pairs(recorded.results, now.results)
        for name in _same_measures(before, after)
        if after.figures[name].mean < before.figures[name].low
    ]


def _pairs(recorded: Sequence[Result], now: Sequence[Result]) -> Iterator[tuple[Result, Result]]:
    if len(recorded) == len(now) == 1:
        yield recorded[0], now[0]
        return
    known = {result.label: result for result in recorded}
    for result in now:
        if result.label not in known:
            raise InvalidInputError("gate", f"has no {result.label!r}; recorded are: {', '.join(known)}")
        yield known[result.label], result


def _same_measures(recorded: Result, now: Result) -> list[str]:
    if recorded.figures.keys() != now.figures.keys():
        what = f"was recorded with top_k {recorded.top_k} and measures {', '.join(recorded.figures)}"
        raise InvalidInputError("gate", f"{what}; here there are {', '.join(now.figures)}")
    return list(recorded.figures)


def _result(trial: Trial) -> Result:
    tried = trial.configuration
    times = sorted(trial.seconds) or [0.0]
    return Result(
        label=tried.label,
        strategy=tried.splitting.strategy,
        chunk_tokens=tried.splitting.size,
        chunk_overlap=tried.splitting.overlap,
        top_k=tried.top_k,
        score_threshold=tried.score_threshold,
        documents=trial.documents,
        chunks=trial.chunks,
        failed=trial.failed,
        figures={name: _figure(evaluation.interval(values)) for name, values in trial.values.items()},
        p50_ms=1000 * times[(len(times) - 1) // 2],
        p95_ms=1000 * times[min(len(times) - 1, int(len(times) * 0.95))],
        ingest_seconds=trial.ingest_seconds,
    )


def _contrast(trial: Trial, best: Trial, measure: str) -> Contrast:
    difference, p = evaluation.compare(trial.values[measure], best.values[measure])
    return Contrast(label=trial.configuration.label, difference=_figure(difference), p=p)


def _figure(interval: evaluation.Interval) -> Figure:
    return Figure(mean=interval.mean, low=interval.low, high=interval.high)
