"""What is kept of trials: figures with intervals, comparisons, and the gate that later runs must pass."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, FiniteFloat, ValidationError

import kbchat
from kbchat import evaluation
from kbchat.errors import InvalidInputError
from kbchat.models import Value
from kbchat.tuning.grids import Configuration
from kbchat.tuning.sets import Dataset, fingerprint
from kbchat.tuning.trials import Trial, measures


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
    results: Annotated[tuple[Result, ...], Field(min_length=1)]
    contrasts: tuple[Contrast, ...] = ()


class Shortfall(NamedTuple):
    """A figure that is below the recorded one by more than that one's interval."""

    label: str
    measure: str
    recorded: Figure
    now: Figure

    def __str__(self) -> str:
        return f"{self.label}: {self.measure} is {self.now.mean:.4f}, recorded was {self.recorded}"


def record(datasets: Sequence[Dataset], trials: Sequence[Trial], *, embedder: str, measure: str) -> Record:
    """Sum trials up. `measure` decides between them. Raises `InvalidInputError` for values that are not finite."""
    best = max(trials, key=lambda trial: sum(trial.values[measure]))  # The first of equals.
    return Record(
        kbchat=kbchat.__version__,
        dataset=datasets[0].name.partition("/")[0],
        data=fingerprint(datasets),
        questions=sum(len(dataset.questions) for dataset in datasets),
        left_out=sum(dataset.left_out for dataset in datasets),
        embedder=embedder,
        measure=measure,
        best=best.configuration.label,
        results=tuple(result_of(trial, trial.configuration.label) for trial in trials),
        contrasts=tuple(_contrast(trial, best, measure) for trial in trials if trial is not best),
    )


def read_record(path: Path) -> Record:
    """What `--out` wrote. Raises `InvalidInputError` for anything else."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInputError("gate", f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        if any(each["loc"] == ("recommended",) and each["type"] == "extra_forbidden" for each in error.errors()):
            raise InvalidInputError("gate", f"{path} is of `kbchat tune`, not of `kbchat bench`") from None
        raise InvalidInputError("gate", f"{path} is not what --out wrote: {where}: {problem['msg']}") from None


def check_comparable(
    recorded: Record, datasets: Sequence[Dataset], tried: Sequence[Configuration], *, embedder: str
) -> str | None:
    """Know before a long run that its figures compare with the recorded ones. Where each run has but one configuration
    these compare whatever they are; what is told is how they differ, if they do.

    Raises `InvalidInputError` for other data, another `top_k`, and a configuration that was not recorded.
    """
    if recorded.data != fingerprint(datasets):
        what = f"was recorded on other texts, questions or judgements ({recorded.dataset}); record it anew with --out"
        raise InvalidInputError("gate", what)
    now, k = tried[0].options.top_k, recorded.results[0].top_k
    if k != now:
        raise InvalidInputError("gate", f"was recorded with a top_k of {k}, not {now}; give the same")
    if {*recorded.results[0].figures} != {*(names := measures(datasets, k))}:
        raise InvalidInputError("gate", f"has other measures than {', '.join(names)}; record it anew with --out")
    known = [_named(each.label, each.score_threshold, recorded.embedder) for each in recorded.results]
    wanted = [_named(each.label, each.options.score_threshold, embedder) for each in tried]
    missing = [name for name in wanted if name not in known]
    if not missing:
        return None
    if len(known) == len(wanted) == 1:
        return f"{wanted[0]}, is held against {known[0]}"
    raise InvalidInputError("gate", f"has no {missing[0]!r}; recorded are: {'; '.join(known)}")


def _named(label: str, score_threshold: float | None, embedder: str) -> str:
    """A configuration's whole name: a run's own embedder and threshold are in no label."""
    own = "" if ", by " in label else f", by {embedder}"
    floor = "" if score_threshold is None else f", from {score_threshold:g}"
    return f"{label}{own}{floor}"


def shortfalls(recorded: Record, now: Record) -> list[Shortfall]:
    """What a gate holds back, of records that compare. Times are not looked at: they are the machine's.

    Where each run tried one configuration the two are compared, whatever they are: so a change of the defaults has to
    pass as well. Else each one is compared with the recorded one of its name.
    """
    known = {result.label: result for result in recorded.results}
    alone = recorded.results[0] if len(recorded.results) == len(now.results) == 1 else None
    return [
        Shortfall(result.label, name, figure, result.figures[name])
        for result in now.results
        for name, figure in (alone or known[result.label]).figures.items()
        if result.figures[name].mean < figure.low - 1e-9
    ]


def result_of(trial: Trial, label: str) -> Result:
    """A trial summed up."""
    tried = trial.configuration
    times = sorted(trial.seconds) or [0.0]
    return Result(
        label=label,
        strategy=tried.splitting.strategy,
        chunk_tokens=tried.splitting.size,
        chunk_overlap=tried.splitting.overlap,
        top_k=tried.options.top_k,
        score_threshold=tried.options.score_threshold,
        documents=trial.documents,
        chunks=trial.chunks,
        failed=trial.failed,
        figures={name: figure_of(evaluation.interval(values)) for name, values in trial.values.items()},
        p50_ms=1000 * times[(len(times) - 1) // 2],
        p95_ms=1000 * times[min(len(times) - 1, int(len(times) * 0.95))],
        ingest_seconds=trial.ingest_seconds,
    )


def _contrast(trial: Trial, best: Trial, measure: str) -> Contrast:
    difference, p = evaluation.compare(trial.values[measure], best.values[measure])
    return Contrast(label=trial.configuration.label, difference=figure_of(difference), p=p)


def figure_of(interval: evaluation.Interval) -> Figure:
    return Figure(mean=interval.mean, low=interval.low, high=interval.high)
