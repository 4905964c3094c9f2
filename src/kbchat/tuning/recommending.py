"""What a search of configurations ends with: the figures, a recommendation, and how sure it is."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import FiniteFloat

import kbchat
from kbchat.chunking import Splitting
from kbchat.models import Value
from kbchat.tuning.advice import Advice, advise
from kbchat.tuning.grids import Configuration
from kbchat.tuning.making import CANNOT_TELL
from kbchat.tuning.questions import Judged
from kbchat.tuning.records import Contrast, Figure, Record, figure_of, result_of
from kbchat.tuning.trials import Trial

FEW = 50
"""With fewer questions only large differences can be told from luck."""


class Setting(Value):
    """One to change, as in `kbchat.toml`."""

    name: str
    value: bool | str | int | float

    @property
    def toml(self) -> str:
        return f"{self.name} = {json.dumps(self.value)}"

    @property
    def variable(self) -> str:
        return f"KBCHAT_{self.name.upper()}={str(self.value).lower() if isinstance(self.value, bool) else self.value}"


class Tuning(Record):
    """What `kbchat tune --out` writes: a record of all that was tried, whose `dataset` is the space."""

    present: str
    recommended: str
    verdict: Literal["sure", "better", "none"]
    gain: Figure
    """Of the recommended over the present one."""
    p: FiniteFloat
    """How often chance would make the best of those tried look so much better than the present one."""
    others_half: FiniteFloat
    """What choosing on half of the questions gains on the other half."""
    alike: tuple[str, ...]
    """Those that cannot be told from the best."""
    settings: tuple[Setting, ...]
    """What to change; nothing where the present settings are recommended."""
    synthetic: int
    """How many of the questions were made up, not asked by people."""
    warnings: tuple[str, ...]


def summed_up(
    trials: Sequence[Trial],
    questions: Sequence[Judged],
    texts: Mapping[str, str],
    *,
    space: str,
    embedder: str,
    measure: str,
) -> Tuning:
    """Sum a search up; the first trial is of the present configuration. `measure` decides.

    Raises `InvalidInputError` for values that are not finite.
    """
    costs = [sum(trial.values["tokens"]) for trial in trials]
    advice = advise([trial.values[measure] for trial in trials], costs)
    labels = [trial.configuration.full_label for trial in trials]
    present, chosen = trials[0].configuration, trials[advice.recommended].configuration
    synthetic = sum(judged.synthetic is not None for judged in questions)
    best = trials[advice.best]
    return Tuning(
        kbchat=kbchat.__version__,
        dataset=space,
        data=_fingerprint(questions, texts),
        questions=len(questions),
        left_out=0,
        embedder=embedder,
        measure=measure,
        best=labels[advice.best],
        results=tuple(result_of(trial, label) for trial, label in zip(trials, labels, strict=True)),
        contrasts=tuple(
            _contrast(trial, trials[0], measure, label, p)
            for trial, label, p in zip(trials[1:], labels[1:], advice.against_present[1:], strict=True)
        ),
        present=labels[0],
        recommended=labels[advice.recommended],
        verdict=advice.verdict,
        gain=figure_of(advice.gain),
        p=advice.p,
        others_half=advice.others_half,
        alike=tuple(labels[each] for each in advice.alike),
        settings=tuple(_changed(present, chosen, embedder)),
        synthetic=synthetic,
        warnings=tuple(_warnings(questions, advice, best.values[measure])),
    )


def _contrast(trial: Trial, present: Trial, measure: str, label: str, p: float) -> Contrast:
    from kbchat import evaluation

    pairs = zip(trial.values[measure], present.values[measure], strict=True)
    return Contrast(label=label, difference=figure_of(evaluation.interval([a - b for a, b in pairs])), p=p)


def _changed(present: Configuration, chosen: Configuration, embedder: str) -> list[Setting]:
    was, now = _settings(present, embedder), _settings(chosen, embedder)
    return [Setting(name=name, value=value) for name, value in now.items() if was.get(name) != value]


def _settings(configuration: Configuration, embedder: str) -> dict[str, bool | str | int | float]:
    """The settings that mean a configuration."""
    how: Splitting = configuration.splitting
    found: dict[str, bool | str | int | float | None] = {
        "chunk_strategy": how.strategy.value,
        "chunk_overlap": how.overlap,
        "embedder": configuration.embedder or embedder,
        **configuration.options.model_dump(mode="json", exclude={"where"}),
    }
    if how.strategy != "document":
        found["chunk_tokens"] = how.size
    return {name: value for name, value in found.items() if value is not None}


def _warnings(questions: Sequence[Judged], advice: Advice, values: Sequence[float]) -> list[str]:
    told = []
    made = sum(judged.synthetic is not None for judged in questions)
    if made:
        told.append(f"synthetic: {made} of {len(questions)} questions; {CANNOT_TELL}")
    if len(values) < FEW:
        told.append(f"only {len(values)} questions: small differences cannot be told from luck; ask {4 * FEW}")
    if advice.verdict != "none" and advice.others_half <= 0:
        told.append("choosing on half of the questions gains nothing on the other half: it may be luck after all")
    return told


def _fingerprint(questions: Sequence[Judged], texts: Mapping[str, str]) -> str:
    known = hashlib.blake2b(digest_size=16)
    for name, text in sorted(texts.items()):
        known.update(json.dumps([name, text]).encode())
    for each in questions:
        passages = [[it.document, it.start, it.end] for it in each.passages]
        known.update(json.dumps([each.text, sorted(each.grades.items()), passages]).encode())
    return known.hexdigest()
