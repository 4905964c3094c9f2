"""Configurations of retrieval, and the grids that they come from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import TypeVar

from pydantic import ValidationError

from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.errors import InvalidInputError
from kbchat.inputs import RetrievalOptions, checked_options
from kbchat.settings import RetrievalSettings, Settings
from kbchat.strategies import Expand, Strategy

_Choice = TypeVar("_Choice")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is tried."""

    splitting: Splitting
    options: RetrievalOptions = field(default_factory=RetrievalOptions)
    embedder: str | None = None
    """None: that of the settings."""

    @property
    def label(self) -> str:
        """Tells it from the others of its run: how it splits and embeds, and what is not by default of how it asks."""
        return self.indexing_label + "".join(f", {part}" for part in _asking(self.options) if part)

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
        least = self.options.score_threshold
        return f"{self.label}, top {self.options.top_k}" + ("" if least is None else f", from {least:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is to be tried: every combination. Of what is left out the settings' own is.

    `options` are by their names in `RetrievalOptions`.
    """

    chunk_strategies: Sequence[str] = ()
    sizes: Sequence[int] = ()
    overlaps: Sequence[int] = ()
    embedders: Sequence[str] = ()
    options: Mapping[str, Sequence[object]] = field(default_factory=dict)

    def configurations(self, present: Splitting, settings: Settings, *, top_k: int) -> list[Configuration]:
        """All of them, each once, those of an embedder side by side and of these those that split alike.

        Raises `InvalidInputError` naming the argument.
        """
        found: dict[str, Configuration] = {}
        embedders = [None if name == settings.embedder else name for name in self.embedders] or [None]
        splittings = self._splittings(present)
        for embedder, splitting, options in product(embedders, splittings, self._options(settings, top_k)):
            made = Configuration(splitting, options, embedder)
            found.setdefault(made.full_label, made)
        return list(found.values())

    def variants(self, present: Splitting, settings: Settings) -> list[Configuration]:
        """The present configuration, then all others in the same order."""
        found = self.configurations(present, settings, top_k=settings.top_k)
        now = Configuration(present, _options(settings, {}))
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

    def _options(self, settings: Settings, top_k: int) -> list[RetrievalOptions]:
        given = {"top_k": (top_k,), **{name: values for name, values in self.options.items() if values}}
        names = [name for name in RetrievalSettings.model_fields if name in given]
        return [
            _options(settings, dict(zip(names, chosen, strict=True)))
            for chosen in product(*(given[name] for name in names))
        ]


def by_embedder(tried: Iterable[Configuration]) -> list[tuple[str | None, list[Configuration]]]:
    """Those of each embedder, side by side as they come."""
    return [(embedder, list(each)) for embedder, each in groupby(tried, key=lambda one: one.embedder)]


def _options(settings: Settings, given: Mapping[str, object]) -> RetrievalOptions:
    """Other strategies than the hybrid one have no weights, so that they are not tried once for each."""
    reranks = settings.rerank_model is not None
    found = checked_options(given, settings=settings, reranks=reranks, caller="a trial")
    unweighed = {"dense_weight": None, "sentence_weight": None}
    return found if found.strategy is Strategy.HYBRID else found.model_copy(update=unweighed)


def _asking(options: RetrievalOptions) -> list[str]:
    """How a question is searched for, where that is not as it is by default."""
    return [
        "" if options.strategy is Strategy.HYBRID else f"{options.strategy}",
        "" if options.dense_weight is None else f"dense weight {options.dense_weight:g}",
        "" if options.sentence_weight is None else f"sentence weight {options.sentence_weight:g}",
        "" if not options.diversity else f"diversity {options.diversity:g}",
        "" if options.expand is Expand.NONE else f"with {options.expand}",
        "reranked" if options.rerank else "",
    ]


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
