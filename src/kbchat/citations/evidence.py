"""Whether passages carry a sentence, and where: by words, numbers, names and negations, without a model. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from kbchat.citations import numbers
from kbchat.citations.chinese import unfamiliar
from kbchat.citations.claims import Negation, Text, Unit

ENOUGH = 0.34
"""The share of a sentence's words that a source must have for it to carry the sentence."""
MAX_SENTENCES = 4
SMALL = 3
"""Spelt numbers up to this are often the writer's own."""


class Source:
    """A passage to be compared with, taken apart once."""

    def __init__(self, text: str, context: str = "") -> None:
        """`context` is what the passage stands under: the document's name, headings."""
        self.whole = Text(text)
        self._context = Text(context)

    @cached_property
    def sentences(self) -> list["_Sentence"]:
        text = self.whole.text
        return [_Sentence(at, *span, Text(text[slice(*span)])) for at, span in enumerate(self.whole.sentences)]

    @cached_property
    def keys(self) -> frozenset[str]:
        return self._context.keys.union(*(one.text.keys for one in self.sentences))

    @cached_property
    def numbers(self) -> list[numbers.Number]:
        return [*self._context.numbers, *(number for one in self.sentences for number in one.text.numbers)]


class _Sentence(NamedTuple):
    position: int
    start: int
    end: int
    text: Text


class Verdict(NamedTuple):
    """What sources say to a sentence."""

    support: float
    """In [0, 1]; below 0.5 the sentence is not carried."""
    unsupported: tuple[tuple[int, int], ...]
    """Offsets in the sentence of what is not carried; empty where the sentence is."""
    places: tuple[tuple[int, int] | None, ...]
    """For each source where it carries most of the sentence; None where it carries nothing."""


def weigh(sentence: str, sources: Sequence[Source]) -> Verdict:
    """Compare a sentence with the sources that it cites, together.

    Of a sentence in another language than its sources only the numbers are compared.
    """
    claim = Text(sentence)
    chosen = _choose(claim, sources)
    places = tuple(_place(chosen, number) for number in range(len(sources)))
    if not sources:
        return Verdict(0.0, tuple(_missing_words(claim, chosen)), places)
    share = None if _is_foreign(claim, sources) else _share(claim, chosen)
    missing = set(_missing_numbers(claim, sources, chosen))
    if share is None:
        return Verdict(0.25 if missing else 0.5, tuple(sorted(missing)), places)
    missing.update(_missing_names(claim, sources), _missing_han(claim, sources), _missing_negations(claim, chosen))
    support = 0.5 * share / ENOUGH if share < ENOUGH else 0.5 + 0.5 * (share - ENOUGH) / (1 - ENOUGH)
    if missing:
        return Verdict(min(support, 0.4 * share), tuple(sorted(missing)), places)
    if share < ENOUGH:
        return Verdict(support, tuple(_missing_words(claim, chosen)), places)
    return Verdict(min(support, 1.0), (), places)


def _is_foreign(claim: Text, sources: Sequence[Source]) -> bool:
    """Whether a claim and its sources have no words in common because their languages have none."""
    language = claim.language
    return language is not None and all(
        source.whole.language is not None and source.whole.language != language for source in sources
    )


_Chosen = list[tuple[int, _Sentence]]


def _choose(claim: Text, sources: Sequence[Source]) -> _Chosen:
    """The source sentences that together carry most of a claim, each with its source's number: greedily, few."""
    left = _Items(claim)
    pool = [(number, one) for number, source in enumerate(sources) for one in source.sentences]
    least = 0.1 * left.weight
    chosen: _Chosen = []
    gains = [(left.covered_by(item[1].text), place, item) for place, item in enumerate(pool)]
    while gains and len(chosen) < MAX_SENTENCES:
        # Ties: the shorter sentence says it more exactly.
        gain, place, best = max(gains, key=lambda entry: (entry[0], -(entry[2][1].end - entry[2][1].start)))
        if gain <= (least if chosen else 0):
            break
        chosen.append(best)
        left.take(best[1].text)
        gains = [(left.covered_by(item[1].text), at, item) for old, at, item in gains if at != place and old > least]
    return chosen


class _Items:
    """The words and characters of a claim that are still to be found."""

    def __init__(self, claim: Text) -> None:
        self._words = {unit.key: unit.weight for unit in claim.units if unit.kind != "char" and unit.weight}
        pairs: dict[str, float] = {}
        for unit in claim.units:
            if unit.kind == "char":
                pair = claim.text[unit.start : unit.start + 2]
                pairs[pair] = pairs.get(pair, 0.0) + unit.weight
        self._pairs = pairs
        self._values = list(claim.numbers)
        self.weight = sum(self._words.values()) + sum(pairs.values()) + len(self._values)

    def covered_by(self, text: Text) -> float:
        keys = text.keys
        words = sum(weight for key, weight in self._words.items() if key in keys)
        pairs = sum(weight for pair, weight in self._pairs.items() if pair in keys)
        return words + pairs + sum(_carried(number, text.numbers) for number in self._values)

    def take(self, text: Text) -> None:
        keys = text.keys
        self._words = {key: weight for key, weight in self._words.items() if key not in keys}
        self._pairs = {pair: weight for pair, weight in self._pairs.items() if pair not in keys}
        self._values = [number for number in self._values if not _carried(number, text.numbers)]


def _carried(number: numbers.Number, others: Iterable[numbers.Number]) -> bool:
    return any(numbers.same(number, other) for other in others)


def _place(chosen: _Chosen, number: int) -> tuple[int, int] | None:
    """The best sentence of a source and those chosen ones that adjoin it."""
    own = [one for at, one in chosen if at == number]
    if not own:
        return None
    start, end = own[0].start, own[0].end
    for one in sorted(own, key=lambda one: abs(one.start - start)):
        if one.end <= start and start - one.end < 3:
            start = one.start
        elif one.start >= end and one.start - end < 3:
            end = one.end
    return start, end


def _share(claim: Text, chosen: _Chosen) -> float | None:
    """The weight of a claim's words that the chosen sentences have; None where they cannot be compared."""
    whole, found = 0.0, 0.0
    keys = frozenset().union(*(one.text.keys for _, one in chosen)) if chosen else frozenset()
    values = [number for _, one in chosen for number in one.text.numbers]
    for unit, carried in _matched(claim, keys):
        whole += unit.weight
        found += unit.weight * carried
    for number in claim.numbers:
        whole += 1
        found += _carried(number, values)
    return found / whole if whole else None


def _matched(claim: Text, keys: frozenset[str]) -> Iterator[tuple[Unit, bool]]:
    """Each unit of a claim, and whether the keys hold it: a character by one of the two pairs it stands in."""
    text = claim.text
    for unit in claim.units:
        if unit.kind == "char":
            at = unit.start
            yield unit, text[at : at + 2] in keys or (at > 0 and text[at - 1 : at + 1] in keys)
        else:
            yield unit, unit.key in keys


def _missing_numbers(claim: Text, sources: Sequence[Source], chosen: _Chosen) -> Iterator[tuple[int, int]]:
    exact = [number for _, one in chosen for number in one.text.numbers]
    near = [number for at, one in chosen for number in _beside(sources[at], one)]
    everywhere = [number for source in sources for number in source.numbers]
    yield from _missing_dates(claim, chosen)
    for number in claim.numbers:
        if _carried(number, exact):
            continue
        if not _counted(claim, number, chosen):
            # Nothing else is counted in its place: it may stand elsewhere, or come from the writer, who says "both
            # parts" where the source lists them.
            small = number.spelt and number.values[0] <= SMALL and not number.month
            if small or _carried(number, everywhere if number.spelt else near):
                continue
        yield number.start, number.end


def _missing_dates(claim: Text, chosen: _Chosen) -> Iterator[tuple[int, int]]:
    """Months that have another day or year beside them in the source, and days and years that have another month: 6 May
    is not carried by 6 June and a May elsewhere."""
    theirs = [date for _, one in chosen for date in one.text.dates]
    for month, beside in claim.dates:
        same_kind = [(m, b) for m, b in theirs if _is_year(b) == _is_year(beside)]
        months = [m for m, b in same_kind if numbers.same(beside, b)]
        if months and not _carried(month, months):
            yield month.start, month.end
        others = [b for m, b in same_kind if m.month == month.month]
        if others and not _carried(beside, others):
            yield beside.start, beside.end


def _is_year(number: numbers.Number) -> bool:
    return number.values[0] > numbers.MAX_DAY


def _beside(source: Source, one: _Sentence) -> list[numbers.Number]:
    beside = source.sentences[max(0, one.position - 1) : one.position + 2]
    return [number for near in beside for number in near.text.numbers]


def _counted(claim: Text, number: numbers.Number, chosen: _Chosen) -> bool:
    """Whether the chosen sentences count, with another number, what a claim counts."""
    counted = _after(claim, number)
    return bool(counted) and any(
        _after(one.text, other) == counted for _, one in chosen for other in one.text.numbers if not other.month
    )


def _after(text: Text, number: numbers.Number) -> str:
    """What is counted: the key of the word, or the two characters, after a number."""
    for unit in text.units:
        if number.end <= unit.start <= number.end + 2:
            return text.text[unit.start : unit.start + 2] if unit.kind == "char" else unit.key
    return ""


def _missing_names(claim: Text, sources: Sequence[Source]) -> Iterator[tuple[int, int]]:
    keys = frozenset().union(*(source.keys for source in sources)) if sources else frozenset()
    for unit in claim.units:
        if unit.kind == "name" and unit.key not in keys and not _akin(unit.key, keys):
            yield unit.start, unit.end


def _akin(key: str, keys: frozenset[str]) -> bool:
    """Whether a name is there in another form: American for America, Italian for Italy."""
    return len(key) > 3 and any(
        other[:4] == key[:4] and len(other) > 3 and _prefix(key, other) >= max(4, min(len(key), len(other)) - 2)
        for other in keys
    )


def _prefix(one: str, other: str) -> int:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length


def _missing_han(claim: Text, sources: Sequence[Source]) -> Iterator[tuple[int, int]]:
    """Chinese names: stretches that are no common words and that no source has."""
    keys = frozenset().union(*(source.keys for source in sources)) if sources else frozenset()
    uncarried = {unit.start for unit, carried in _matched(claim, keys) if unit.kind == "char" and not carried}
    return unfamiliar(claim.text, uncarried) if uncarried else iter(())


def _missing_negations(claim: Text, chosen: _Chosen) -> Iterator[tuple[int, int]]:
    """What a claim denies and its source does not, and what it affirms and its source denies."""
    texts = [one.text for _, one in chosen]
    for negation in claim.negations:
        if not _denied(negation, texts):
            yield negation.start, negation.end
    for text in texts:
        for negation in text.negations:
            yield from _affirmed(negation, claim)


def _denied(negation: Negation, texts: Sequence[Text]) -> bool:
    """Whether a source denies what a claim denies. Where it says the same without a denial, it does not."""
    said = False
    for text in texts:
        if any(_same_focus(negation, other) for other in text.negations):
            return True
        said = said or any(_says(text, key) for key in negation.focus[:2])
    return not said and any(text.denies for text in texts)


def _same_focus(one: Negation, other: Negation) -> bool:
    return any(key in other.focus for key in one.focus[:2]) or not (one.focus or other.focus)


def _says(text: Text, key: str) -> bool:
    return key in text.text if _is_han(key) else key in text.keys


def _is_han(key: str) -> bool:
    return "\u3400" <= key[0] <= "\u9fff"


def _affirmed(negation: Negation, claim: Text) -> Iterator[tuple[int, int]]:
    """Where a claim says what a source's negation denies, in the same words before and after, and denies nothing."""
    if not negation.focus or any(_same_focus(negation, own) for own in claim.negations):
        return
    if _is_han(negation.focus[0]):
        for before in negation.before:
            for focus in negation.focus:
                at = claim.text.find(before[-1:] + focus[:2])
                if at >= 0:
                    yield at + 1, at + 1 + len(focus[:2])
                    return
        return
    if claim.denies or not _says(claim, negation.focus[0]):
        return
    around = [*negation.before[-1:], *negation.focus[1:2]]
    if all(_says(claim, key) for key in around):
        yield next((unit.start, unit.end) for unit in claim.units if unit.key == negation.focus[0])


def _missing_words(claim: Text, chosen: _Chosen) -> Iterator[tuple[int, int]]:
    keys = frozenset().union(*(one.text.keys for _, one in chosen)) if chosen else frozenset()
    for unit, carried in _matched(claim, keys):
        if not carried and unit.weight:
            yield unit.start, unit.end
