"""Configurations of retrieval, and the grids that they come from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import TypeVar

from pydantic import ValidationError

from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.errors import InvalidInputError
from kbchat.inputs import Bounds, checked_bounds, checked_threshold, checked_top_k
from kbchat.settings import Settings
from kbchat.strategies import Expand, Stages, Strategy

_Choice = TypeVar("_Choice")


@dataclass(frozen=True, slots=True)
class Asking:
    """How a question is searched for."""

    strategy: Strategy = Strategy.HYBRID
    dense_weight: float | None = None
    sentence_weight: float | None = None
    """None: by the embedder."""
    diversity: float = 0.0
    expand: Expand = Expand.NONE
    rerank: bool = False

    @classmethod
    def of(cls, bounds: Bounds) -> "Asking":
        """The part of the bounds that says how. Other strategies than the hybrid one have no weights."""
        weights = (bounds.dense_weight, bounds.sentence_weight) if bounds.strategy is Strategy.HYBRID else (None, None)
        return cls(bounds.strategy, *weights, bounds.diversity, bounds.expand, bounds.rerank)

    @property
    def stages(self) -> Stages:
        return {
            "strategy": self.strategy,
            "dense_weight": self.dense_weight,
            "sentence_weight": self.sentence_weight,
            "diversity": self.diversity,
            "expand": self.expand,
            "rerank": self.rerank,
        }

    @property
    def label(self) -> str:
        """What is not as it is by default."""
        parts = [
            "" if self.strategy is Strategy.HYBRID else f"{self.strategy}",
            "" if self.dense_weight is None else f"dense weight {self.dense_weight:g}",
            "" if self.sentence_weight is None else f"sentence weight {self.sentence_weight:g}",
            "" if not self.diversity else f"diversity {self.diversity:g}",
            "" if self.expand is Expand.NONE else f"with {self.expand}",
            "reranked" if self.rerank else "",
        ]
        return "".join(f", {part}" for part in parts if part)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is tried."""

    splitting: Splitting
    top_k: int
    score_threshold: float | None = None
    asking: Asking = Asking()
    embedder: str | None = None
    """None: that of the settings."""

    @property
    def label(self) -> str:
        """Tells it from the others of its run: how it splits and embeds, and what is not by default of how it asks."""
        return self.indexing_label + self.asking.label

    @property
    def indexing_label(self) -> str:
        """What it takes another index for: strategy, size, the overlap if there is one, and another embedder."""
        how = self.splitting
        size = "" if how.strategy is ChunkStrategy.DOCUMENT else f" {how.size}"
        overlap = f"/{how.overlap}" if how.overlap else ""
        return f"{how.strategy}{size}{overlap}" + ("" if self.embedder is None else f", by {self.embedder}")

    @property
    def full_label(self) -> str:
        """Tells it from all others: with how much of what is found is used."""
        floor = "" if self.score_threshold is None else f", from {self.score_threshold:g}"
        return f"{self.label}, top {self.top_k}{floor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is to be tried: every combination. Of what is left out the settings' own is."""

    chunk_strategies: Sequence[str] = ()
    sizes: Sequence[int] = ()
    overlaps: Sequence[int] = ()
    embedders: Sequence[str] = ()
    strategies: Sequence[str] = ()
    dense_weights: Sequence[float] = ()
    sentence_weights: Sequence[float] = ()
    diversities: Sequence[float] = ()
    expands: Sequence[str] = ()
    reranks: Sequence[bool] = ()
    top_ks: Sequence[int] = ()
    thresholds: Sequence[float] = ()

    def configurations(self, present: Splitting, settings: Settings, *, top_k: int) -> list[Configuration]:
        """All of them, each once, those of an embedder side by side and of these those that split alike.

        Raises `InvalidInputError` naming the argument.
        """
        found: dict[str, Configuration] = {}
        embedders = [None if name == settings.embedder else name for name in self.embedders] or [None]
        splittings = self._splittings(present)
        askings = self._askings(settings)
        top_ks = [checked_top_k(k) for k in _each(self.top_ks, top_k)]
        floors = [checked_threshold(floor) for floor in _each(self.thresholds, settings.score_threshold)]
        for embedder, splitting, k, floor, asking in product(embedders, splittings, top_ks, floors, askings):
            made = Configuration(splitting, k, floor, asking, embedder)
            found.setdefault(made.full_label, made)
        return list(found.values())

    def variants(self, present: Splitting, settings: Settings) -> list[Configuration]:
        """The present configuration, then all others in the same order."""
        found = self.configurations(present, settings, top_k=settings.top_k)
        now = Configuration(present, settings.top_k, settings.score_threshold, present_asking(settings))
        known = {each.full_label: each for each in (now, *found)}
        embedders = list(dict.fromkeys(each.embedder for each in known.values()))
        indexes = list(dict.fromkeys(each.indexing_label for each in known.values()))
        return sorted(
            known.values(), key=lambda each: (embedders.index(each.embedder), indexes.index(each.indexing_label))
        )

    def left_out(self, present: Splitting) -> list[str]:
        """What is not tried because an overlap would be as long as its chunks, or longer."""
        strategies, sizes, overlaps = self._parts(present)
        wholes = [_splitting(strategy, size, 0) for strategy, size in product(strategies, sizes)]
        pairs = product(wholes, overlaps)
        return [f"{whole.strategy} {whole.size}/{overlap}" for whole, overlap in pairs if overlap >= whole.size]

    def _splittings(self, present: Splitting) -> list[Splitting]:
        made, first = [], None
        for strategy, size, overlap in product(*self._parts(present)):
            try:
                made.append(_splitting(strategy, size, overlap))
            except _TooLongError as error:
                first = first or error
        if first is not None and not made:
            raise first
        return made

    def _parts(self, present: Splitting) -> tuple[Sequence[str], Sequence[int | None], Sequence[int]]:
        return (
            _each(self.chunk_strategies, present.strategy),
            self.sizes or (present.max_tokens,),
            _each(self.overlaps, present.overlap),
        )

    def _askings(self, settings: Settings) -> list[Asking]:
        none: tuple[None] = (None,)
        chosen = product(
            self.strategies or none,
            self.dense_weights or none,
            self.sentence_weights or none,
            self.diversities or none,
            self.expands or none,
            self.reranks or none,
        )
        return [
            _asking(
                settings,
                {
                    "strategy": strategy,
                    "dense_weight": dense,
                    "sentence_weight": sentence,
                    "diversity": diversity,
                    "expand": expand,
                    "rerank": rerank,
                },
            )
            for strategy, dense, sentence, diversity, expand, rerank in chosen
        ]


def present_asking(settings: Settings) -> Asking:
    """How the settings ask."""
    return _asking(settings, {})


def by_embedder(tried: Iterable[Configuration]) -> list[tuple[str | None, list[Configuration]]]:
    """Those of each embedder, side by side as they come."""
    return [(embedder, list(each)) for embedder, each in groupby(tried, key=lambda one: one.embedder)]


def _asking(settings: Settings, stages: Stages) -> Asking:
    reranks = settings.rerank_model is not None
    return Asking.of(checked_bounds(None, None, None, stages, settings=settings, reranks=reranks, caller="a trial"))


def _each(given: Sequence[_Choice], otherwise: _Choice) -> Sequence[_Choice]:
    return given or (otherwise,)


def _splitting(strategy: str | None, size: int | None, overlap: int | None) -> Splitting:
    try:
        return Splitting.model_validate({"strategy": strategy, "max_tokens": size, "overlap": overlap})
    except ValidationError as error:
        problem = error.errors()[0]
        names = {"strategy": "chunk_strategy", "max_tokens": "chunk_tokens", "overlap": "chunk_overlap"}
        what = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            raise _TooLongError("chunk_overlap", what) from None
        raise InvalidInputError(names[str(problem["loc"][0])], what) from None


class _TooLongError(InvalidInputError):
    """An overlap that does not fit its chunks."""
