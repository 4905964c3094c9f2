"""Questions made from a space's own documents, for those who have none yet. They are marked as synthetic.

By a model, when there is one: it is shown a passage and asked for a question that the passage answers. Else by rule: of
a sentence that stands once in the space, the words that few other sentences hold, without the rarest one, in their
order. Such questions share their words with the documents, which people's seldom do.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import anyio

from kbchat.errors import InvalidInputError, KbchatError
from kbchat.models import IngestProgress
from kbchat.text import sentences
from kbchat.text.analysis import PAIRED, analyse
from kbchat.tuning.questions import Judged, Passage
from kbchat.tuning.trials import Progress

RULE = "rule"
WORDS = 5
"""A question of the rule has so many words at most."""
FEWEST = 5
"""A sentence must hold so many words that are not stop words."""
SYMBOLS = 0.02
"""Text with a larger share of signs that prose has not is passed over."""
LONGEST = 400
"""Characters of a passage that a model is shown."""
SHORTEST = 40
AT_ONCE = 4
"""Passages that a model is asked about side by side."""
GIVEN_UP = 8
"""A model that failed so many times, with no answer between, is asked no more."""
PROMPT = (
    "Write one question that a reader could ask who has not seen the passage below and whom it answers. Use other "
    "words than the passage where you can, and the passage's language. Do not mention the passage. Answer with the "
    "question alone, on one line.\n\nPassage:\n"
)
"""What a model is asked."""
CANNOT_TELL = (
    "these questions were made from the documents: they share their words more than people's do, so they flatter "
    "search by words and say nothing of what people ask, and none shows whether what is not there is refused"
)
"""What whoever sees a figure made with such questions must be told."""

_UNIT = re.compile(rf"[{PAIRED}]{{2,4}}|[^\W_{PAIRED}]+(?:['’-][^\W_{PAIRED}]+)*")
"""A word, or up to four characters where words are not separated."""

_ENDS = re.compile(r"[.!?。！？…][\"'”’」』）)\]*_]*$")
_SYMBOL = re.compile(r"[{}<>=\\;|_#]")

Ask = Callable[[str], Awaitable[str]]


class Made(NamedTuple):
    """The questions of a model, and of how many passages there are none because it failed, with the first reason."""

    questions: list[Judged]
    failed: int
    reason: KbchatError | None


def by_rule(texts: Mapping[str, str], count: int, *, seed: int = 0) -> list[Judged]:
    """At most `count` questions, from as many different documents as there are; the same for the same texts.

    Raises `InvalidInputError` where no sentence is long enough.
    """
    held = _sentences(texts)
    often = Counter(text[start:end] for text, spans in held.values() for start, end in spans)
    holding = Counter(
        term for text, spans in held.values() for start, end in spans for term in set(analyse(text[start:end]).unigrams)
    )
    total = sum(often.values())
    found: dict[str, Judged] = {}
    for name, (start, end) in _in_turn({name: spans for name, (_, spans) in held.items()}, seed):
        sentence = texts[name][start:end]
        question = _keywords(sentence, holding, total) if often[sentence] == 1 else None
        if question and question not in found:
            found[question] = Judged(question, {name: 1.0}, (Passage(name, start, end),), RULE)
        if len(found) == count:
            break
    return _some(list(found.values()))


async def by_model(
    texts: Mapping[str, str], count: int, *, model: str, ask: Ask, progress: Progress | None = None, seed: int = 0
) -> Made:
    """At most `count` questions by a model: `ask` puts a prompt to it.

    What it fails at costs that passage alone. Raises its first error where nothing at all was made.
    """
    held = {name: list(_stretches(text, spans)) for name, (text, spans) in _sentences(texts).items()}
    chosen = list(islice(_in_turn(held, seed), count))
    questions: list[Judged | None] = [None] * len(chosen)
    turns, done, failed, in_a_row = anyio.Semaphore(AT_ONCE), 0, 0, 0
    reason: KbchatError | None = None

    async def said_of(passage: str) -> str:
        nonlocal failed, in_a_row, reason
        async with turns:
            try:
                said = await ask(PROMPT + passage) if in_a_row < GIVEN_UP else None
            except KbchatError as error:
                said, reason, in_a_row = None, reason or error, in_a_row + 1
            else:
                in_a_row = in_a_row if said is None else 0
        failed += said is None
        return said or ""

    async def one(number: int, name: str, start: int, end: int) -> None:
        nonlocal done
        said = await said_of(texts[name][start:end])
        line = next((line.strip() for line in said.splitlines() if line.strip()), "")
        if line:
            questions[number] = Judged(line, {name: 1.0}, (Passage(name, start, end),), f"model {model}")
        done += 1
        if progress is not None:
            progress(IngestProgress(done=done, total=len(chosen), chunks=0, name=f"questions by {model}"))

    async with anyio.create_task_group() as tasks:
        for number, (name, (start, end)) in enumerate(chosen):
            tasks.start_soon(one, number, name, start, end)
    made = list({each.text: each for each in questions if each is not None}.values())
    if reason is not None and not made:
        raise reason
    return Made(_some(made), failed, reason)


def _some(questions: list[Judged]) -> list[Judged]:
    if not questions:
        raise InvalidInputError(
            "space", "no question could be made: its documents hold no sentence that is long enough"
        )
    return questions


def _sentences(texts: Mapping[str, str]) -> dict[str, tuple[str, list[sentences.Offsets]]]:
    """The sentences of each document that are prose."""
    return {
        name: (text, [span for span in sentences.split(text) if _is_prose(text, *span)]) for name, text in texts.items()
    }


def _is_prose(text: str, start: int, end: int) -> bool:
    """Whether a sentence is no heading, code, table row or bare address: nobody asks about these."""
    sentence = text[start:end]
    if sentences.is_heading(text, start) or "://" in sentence or not _ENDS.search(sentence):
        return False
    return len(_SYMBOL.findall(sentence)) <= SYMBOLS * len(sentence)


def _in_turn(held: Mapping[str, Sequence[sentences.Offsets]], seed: int) -> Iterator[tuple[str, sentences.Offsets]]:
    """One of each document, then a second one, and so on, each in an order by chance."""
    chance = random.Random(seed)  # noqa: S311 - draws samples, guards nothing
    names = sorted(name for name, spans in held.items() if spans)
    chance.shuffle(names)
    waiting = {name: chance.sample(list(held[name]), len(held[name])) for name in names}
    for name in cycle(names):
        if waiting[name]:
            yield name, waiting[name].pop()
        elif not any(waiting.values()):
            return


def _keywords(sentence: str, holding: Mapping[str, int], total: int) -> str | None:
    """Words of a sentence that few others hold, without the rarest, which people seldom know; None for too few."""
    units: dict[str, float] = {}
    for match in _UNIT.finditer(sentence):
        terms = analyse(match[0]).unigrams
        weights = [math.log1p(total / (1 + holding[term])) for term in terms if term in holding]
        if weights and not match[0].isdigit():
            units.setdefault(match[0].lower(), sum(weights) / len(weights))
    if len(units) < FEWEST:
        return None
    rarest = sorted(units, key=lambda unit: (-units[unit], unit))[1 : 1 + WORDS]
    return " ".join(unit for unit in units if unit in rarest)


def _stretches(text: str, spans: Sequence[sentences.Offsets]) -> Iterator[sentences.Offsets]:
    """Sentences that follow each other, as many as make a passage worth asking about."""
    first: int | None = None
    for start, end in spans:
        first = start if first is None or end - first > LONGEST else first
        if end - first >= SHORTEST and len(analyse(text[first:end]).unigrams) >= FEWEST:
            yield first, end
            first = None
