"""The embedded default: an answer made of the passages' own sentences, each with its number. No model, no network.

A sentence counts by the question's words it holds, weighed by how few of the passages' other sentences hold them: what
every passage has in common says which passages to read, not which sentence answers. Measured on questions with known
answers, that finds more of them than weights from the whole space do, and cosines of sentences add nothing to it.
"""

import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import anyio.lowlevel

from kbchat.citations import masked, unmarked
from kbchat.fusion import FIELD_WEIGHTS, idf
from kbchat.generators import Generated
from kbchat.models import Passage, Prompt, Sampling
from kbchat.prompting import Language, language_of
from kbchat.text.analysis import Terms, analyse, analyse_question
from kbchat.text.sentences import FENCE, is_heading, split
from kbchat.text.tokens import estimate

SENTENCES = 3
"""At most."""
NEIGHBOUR = 0.2
"""What the better neighbour adds to a sentence."""
LEAD = 0.6
"""What a heading or a question adds to the sentence after it: such a line asks, the next one answers."""

CODE = 0.5
"""What a sentence that looks like code keeps of its score: questions are answered in words where there are some."""


class ExtractiveGenerator:
    """Answers with at most three sentences of the best passages, in reading order, and says so when there are none."""

    def __init__(self, name: str = "extractive") -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_tokens(self) -> int:
        """Practically no limit: nothing is fed to a model."""
        return 10_000_000

    @asynccontextmanager
    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[AsyncIterator[Generated]]:
        async with aclosing(self._answer(prompt, sampling)) as pieces:
            yield pieces

    async def aclose(self) -> None:
        pass

    async def _answer(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Generated, None]:
        text = await _extract(prompt.question, prompt.passages)
        if not text:
            words = _NOTHING_FOUND if prompt.grounded else _NO_DOCUMENTS
            text = words[language_of(prompt.question)]
        for stop in sampling.stop:
            text = text.partition(stop)[0]
        pieces = _PIECE.findall(text)
        fitting = _fitting(pieces, sampling.max_tokens)
        yield Generated(tuple(pieces[:fitting]), "stop" if fitting == len(pieces) else "length")


_PIECE = re.compile(r"\s*[^\s\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]+|\s*\S|\s+")
"""About a word: with the space before it, as models send theirs. Together they are the text."""

_FENCE = re.compile(rf"^[ \t]*{FENCE}$", re.MULTILINE)
_SYMBOL = re.compile(r"[{}<>=\\;_]")
_CODE_SHARE = 0.05
"""Text with a larger share of such symbols is taken for code."""

_NOTHING_FOUND: dict[Language, str] = {
    "en": "I found nothing in the documents that answers this question.",
    "zh": "在文档中没有找到能回答这个问题的内容。",
}
_NO_DOCUMENTS: dict[Language, str] = {
    "en": (
        "This model has no knowledge of its own: it answers from documents only. Ask a knowledge space, or set a model "
        "server with KBCHAT_LLM_BASE_URL and KBCHAT_LLM_MODEL."
    ),
    "zh": (
        "此模型本身没有知识，只能依据文档作答。请向某个知识库提问，"
        "或用 KBCHAT_LLM_BASE_URL 和 KBCHAT_LLM_MODEL 设置模型服务器。"
    ),
}


@dataclass(slots=True)
class _Sentence:
    """A candidate. `held` are those of the question's terms that it holds, by field."""

    passage: Passage
    text: str
    held: tuple[frozenset[str], ...]
    is_code: bool
    """Whether it stands in a fence: what is quoted there is no sentence."""
    leads: bool
    """A heading or a question: not an answer itself, but the next sentence may be one."""
    score: float = 0.0


async def _extract(question: str, passages: Sequence[Passage]) -> str:
    asked = tuple(map(frozenset, analyse_question(question)))
    sentences: list[_Sentence] = []
    for passage in passages:
        sentences += _sentences(passage, asked)
        # Some milliseconds a passage: others have their turn in between.
        await anyio.lowlevel.checkpoint()
    return _compose(_choose(sentences, asked))


def _sentences(passage: Passage, asked: tuple[frozenset[str], ...]) -> list[_Sentence]:
    content = passage.content
    if passage.references[0].start > 0 and (closing := _closing_first(content)):
        content = f"{closing}\n{content}"
    fenced = list(_fenced(content))
    found = []
    # A document's own marks are none of the answer's: its numbers are those of other texts.
    for start, end in split(masked(content)):
        text = " ".join(content[start:end].split())
        is_code = any(first <= start < last for first, last in fenced)
        if (plain := unmarked(text)) != text:
            text = f"`{text}`" if (is_code or _is_like_code(text)) and "`" not in text else plain.strip()
        terms: Terms = analyse(text)
        held = tuple(wanted.intersection(field) for wanted, field in zip(asked, terms, strict=True))
        leads = text.endswith(("?", "？")) or is_heading(content, start)
        found.append(_Sentence(passage, text, held, is_code, leads))
    return found


def _is_like_code(text: str) -> bool:
    return len(_SYMBOL.findall(text)) > _CODE_SHARE * len(text)


def _fenced(content: str) -> Iterator[tuple[int, int]]:
    """Where code stands between fences, which may be open at the end."""
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(content):
        if opening is None:
            opening = fence
        elif _closes(fence, opening["mark"]):
            yield opening.start(), fence.end()
            opening = None
    if opening is not None:
        yield opening.start(), len(content)


def _closes(fence: re.Match[str], mark: str) -> bool:
    return fence["mark"].startswith(mark) and not fence["info"].strip()


def _closing_first(content: str) -> str | None:
    """The mark of the first fence where that closes code which began before the text; None where it opens some.

    One that closes has no language, and if it were taken for one that opens, another that opens would stand in the
    code, or the last would never be closed. That may also be because the text ends in code: then the first one opens
    where it stands apart from what is before it, or after a colon, and not from what is after it.
    """
    fences = list(_FENCE.finditer(content))
    if not fences or fences[0]["info"].strip():
        return None
    first, mark = fences[0], ""
    for fence in fences:
        if not mark:
            mark = fence["mark"]
        elif _closes(fence, mark):
            mark = ""
        elif fence["mark"].startswith(mark):
            return first["mark"]
    before, after = content[: first.start()], content[first.end() + 1 :].partition("\n")[0]
    opens = after.strip() and (not before or before.endswith("\n\n") or before.rstrip().endswith((":", "：")))
    return first["mark"] if mark and not opens else None


def _choose(sentences: list[_Sentence], asked: tuple[frozenset[str], ...]) -> list[_Sentence]:
    """The best ones in reading order. Where no sentence shares a word with the question, the first of the best
    passage: other means found it, and its beginning is the fairest guess."""
    _score(sentences, asked)
    words = [sentence for sentence in sentences if not sentence.is_code]
    if any(any(sentence.held) and not sentence.leads for sentence in words):
        sentences = words
    answers = _without_repeats([sentence for sentence in sentences if not sentence.leads] or sentences)
    if not answers:
        return []
    ranked = sorted(answers, key=lambda sentence: -sentence.score)
    if ranked[0].score <= 0.0:
        best = max((sentence.passage for sentence in answers), key=lambda passage: passage.score)
        return [sentence for sentence in answers if sentence.passage is best][:SENTENCES]
    chosen = {id(sentence) for sentence in ranked[:SENTENCES] if sentence.score > 0.0}
    return [sentence for sentence in answers if id(sentence) in chosen]


def _without_repeats(sentences: list[_Sentence]) -> list[_Sentence]:
    """Of sentences that two documents share, the better one."""
    best: dict[str, _Sentence] = {}
    for sentence in sentences:
        if sentence.text not in best or sentence.score > best[sentence.text].score:
            best[sentence.text] = sentence
    return [sentence for sentence in sentences if best[sentence.text] is sentence]


def _score(sentences: list[_Sentence], asked: tuple[frozenset[str], ...]) -> None:
    total = len(sentences)
    own: list[float] = [0.0] * total
    whole = 0.0
    for field, factor in enumerate(FIELD_WEIGHTS.values()):
        holding = Counter(term for sentence in sentences for term in sentence.held[field])
        weights = {term: factor * idf(total, holding[term]) for term in asked[field]}
        whole += math.fsum(weights.values())
        for at, sentence in enumerate(sentences):
            own[at] += math.fsum(weights[term] for term in sentence.held[field])  # whatever the order of a set
    best = max((sentence.passage.score for sentence in sentences), default=0.0)
    shares = [sentence.passage.score / best if best > 0 else 1.0 for sentence in sentences]
    own = [share * score / whole if whole > 0 else 0.0 for share, score in zip(shares, own, strict=True)]
    # A neighbour counts as it is, whatever it looks like.
    for at, sentence in enumerate(sentences):
        before = own[at - 1] if at > 0 and sentences[at - 1].passage is sentence.passage else 0.0
        after = own[at + 1] if at + 1 < total and sentences[at + 1].passage is sentence.passage else 0.0
        lead = LEAD if before and sentences[at - 1].leads else NEIGHBOUR
        form = CODE if _is_like_code(sentence.text) else 1.0
        sentence.score = form * (own[at] + max(lead * before, NEIGHBOUR * after))


def _compose(chosen: Sequence[_Sentence]) -> str:
    text = ""
    passage: Passage | None = None
    for sentence in chosen:
        if text:
            text += " " if sentence.passage is passage else "\n\n"
        passage = sentence.passage
        space = "" if sentence.text[-1] > "\u2e7f" else " "
        text += f"{sentence.text}{space}[{passage.number}]"
    return text


def _fitting(pieces: Sequence[str], max_tokens: int | None) -> int:
    """How many pieces may be said, at least one."""
    if max_tokens is None:
        return len(pieces)
    said = ""
    for number, piece in enumerate(pieces):
        said += piece
        if number and estimate(said) > max_tokens:
            return number
    return len(pieces)
