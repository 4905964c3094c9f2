"""From a question to a streamed answer with references: retrieve, pack, generate, count."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import anyio

from kbchat.citations import CitationChecker
from kbchat.errors import GeneratorUnavailableError, InvalidInputError, KbchatError
from kbchat.events import Deltas, Done, EngineEvent, References, Retrieved
from kbchat.followups import is_follow_up, joined, rewriting_prompt, rewritten
from kbchat.generators import Generator
from kbchat.models import FOUND, Answer, Citation, Message, Reference, Sampling, Usage
from kbchat.prompting import Packed, pack, without_command
from kbchat.retrieval.explaining import Explanation, InPrompt, Room
from kbchat.settings import ANSWER_SHARE
from kbchat.telemetry import Span
from kbchat.text.tokens import TokenCounter, estimate
from kbchat.threads import Threads

REWRITE_TOKENS = 100
REWRITE_SECONDS = 5.0
"""How long a rewritten question may be, and how long it is waited for."""
_INLINE_CHARS = 8_000
"""A text up to this long is counted where it is: going to a thread and back takes as long."""
_PART_CHARS = 250_000

T = TypeVar("T")


def best_score(hits: Sequence[Reference]) -> float:
    """Of the best hit; -1 where there is none."""
    return max((hit.recall_score for hit in hits), default=-1.0)


def is_found(hits: Sequence[Reference]) -> bool:
    """Whether the best hit says that the space holds the answer."""
    return best_score(hits) >= FOUND


Retrieve = Callable[[str], Awaitable[Sequence[Reference]]]
"""The hits for a question, best first."""


@asynccontextmanager
async def open_chat(
    messages: Sequence[Message],
    *,
    retrieve: Retrieve | None,
    generator: Generator,
    sampling: Sampling,
    budget_tokens: int,
    counter: TokenCounter,
    threads: Threads,
    rewriter: Generator | None = None,
) -> AsyncIterator[AsyncIterator[EngineEvent]]:
    """Open the answer to the last question of a conversation.

    The events are `Retrieved`, `Deltas` as the model sends them (with a `Citation` after the one that ends a sentence,
    for each passage that it cites), `References` when the model was given any, and `Done`. Without `retrieve` the model
    answers alone: there is neither a `Retrieved` nor references. A question that leans on earlier ones is put into
    words of its own by `rewriter` before it is searched for, or joined with them where there is none. Nothing is done
    before the iterator is; leaving the block stops the generation at once.

    The prompt has at most `budget_tokens`, and leaves the model room to answer. While iterated, raises
    `InvalidInputError` when there is no question or it does not fit, and the errors of retrieval and generator.
    """
    events = _events(
        messages,
        retrieve=retrieve,
        generator=generator,
        sampling=sampling,
        budget_tokens=_budget(budget_tokens, generator, sampling),
        counter=counter,
        threads=threads,
        rewriter=rewriter,
    )
    async with aclosing(events):
        yield events


async def collect(events: AsyncIterator[EngineEvent]) -> Answer:
    """The whole answer that events make."""
    texts: list[str] = []
    references: tuple[Reference, ...] = ()
    dropped: tuple[Reference, ...] = ()
    question = ""
    citations: list[Citation] = []
    done = Done(finish_reason=None)
    async for event in events:
        match event:
            case Deltas():
                texts += event.texts
            case Retrieved():
                dropped, question = event.dropped, event.question
            case Citation():
                citations.append(event)
            case References():
                references = event.references
            case Done():
                done = event
    return Answer(
        text="".join(texts),
        references=references,
        citations=tuple(citations),
        usage=done.usage,
        finish_reason=done.finish_reason,
        model=done.model,
        dropped=dropped,
        question=question,
    )


async def explain_chat(
    asked: str | Sequence[Message],
    *,
    explain: Callable[[str], Awaitable[Explanation]],
    generator: Generator,
    budget_tokens: int,
    threads: Threads,
    rewriter: Generator | None = None,
) -> Explanation:
    """How a conversation's last question is searched for, and what a prompt makes of the hits, as `open_chat` does it;
    a question by itself is searched for as it stands."""
    messages = [Message(role="user", content=asked)] if isinstance(asked, str) else asked
    questions = [asked] if isinstance(asked, str) else await _asked(messages, rewriter)
    searches = await _until_found(questions, explain, hits_of=lambda explained: explained.references)
    best = searches.best.model_copy(update={"searched": searches.questions})
    budget = _budget(budget_tokens, generator, Sampling())
    try:
        packed = await _prompt(messages, best.references, budget, threads)
    except InvalidInputError:  # Retrieval is not to blame for the prompt.
        return best
    fates = _fates(best.references, packed)
    candidates = [it.model_copy(update={"prompt": fates.get(it.chunk_id)}) for it in best.candidates]
    room = Room(tokens=packed.tokens, budget=budget)
    return best.model_copy(update={"candidates": tuple(candidates), "prompt": room})


async def _events(
    messages: Sequence[Message],
    *,
    retrieve: Retrieve | None,
    generator: Generator,
    sampling: Sampling,
    budget_tokens: int,
    counter: TokenCounter,
    threads: Threads,
    rewriter: Generator | None,
) -> AsyncGenerator[EngineEvent, None]:
    said = _Said(counter, threads)
    finish_reason, usage = None, None
    with Span("kbchat.chat") as span:
        asked = () if retrieve is None else await _asked(messages, rewriter)
        question, hits = ("", None) if retrieve is None else await _hits(asked, retrieve, span)
        with Span("kbchat.prompt", span) as prompting:
            packed = await _prompt(messages, hits, budget_tokens, threads)
            prompting.tell({"kbchat.prompt_tokens": packed.tokens, "kbchat.passages": len(packed.passages)})
        if hits is not None:
            yield Retrieved(tuple(hits), packed.passages, packed.dropped, question)
        checker = CitationChecker(packed.passages)
        with Span("kbchat.generate", span) as generating:
            generating.tell({"gen_ai.request.model": generator.name})
            async with generator.stream(packed.prompt, sampling) as pieces:
                async for piece in pieces:
                    if piece.texts:
                        await said.add(piece.texts)
                        yield Deltas(piece.texts)
                        if packed.passages:
                            for citation in checker.feed("".join(piece.texts)):
                                yield citation
                    finish_reason = piece.finish_reason or finish_reason
                    usage = piece.usage or usage
            if finish_reason is None:
                raise GeneratorUnavailableError(generator.name, "the answer was cut: it ended without a finish reason")
            usage = usage or await said.usage(packed)
            generating.tell({"gen_ai.usage.input_tokens": usage.prompt_tokens})
            generating.tell({"gen_ai.usage.output_tokens": usage.completion_tokens})
        if packed.passages:
            for citation in checker.flush():
                yield citation
            yield References(packed.references)
        yield Done(finish_reason, usage, generator.name)


async def _asked(messages: Sequence[Message], rewriter: Generator | None) -> Sequence[str]:
    """What to search for: the last question, or first what it means after what was said."""
    asked = [without_command(message.content) for message in messages if message.role == "user"]
    if not asked or not asked[-1].strip():
        return ()
    if len(asked) == 1 or not is_follow_up(asked[-1]):
        return asked[-1:]
    # What looks like a follow-up may stand alone after all.
    return await _rewritten(messages, rewriter) or joined(asked), asked[-1]


async def _hits(asked: Sequence[str], retrieve: Retrieve, chat: Span) -> tuple[str, Sequence[Reference]]:
    """The question that was answered best, and its hits."""
    if not asked:
        return "", ()
    with Span("kbchat.retrieve", chat) as span:
        searches = await _until_found(asked, retrieve, hits_of=lambda hits: hits)
        hits = searches.best
        span.tell({"kbchat.hits": len(hits), "kbchat.best_score": best_score(hits)})
    return searches.question, hits


class _Searches(NamedTuple, Generic[T]):
    """The questions that were searched for; and the one with the best hit, with what its search brought."""

    questions: tuple[str, ...]
    question: str
    best: T


async def _until_found(
    questions: Sequence[str],
    search: Callable[[str], Awaitable[T]],
    *,
    hits_of: Callable[[T], Sequence[Reference]],
) -> _Searches[T]:
    """Search for one question after the other, there is one at least, until the space holds the answer to it."""
    done: list[tuple[str, T]] = []
    for question in questions:
        done.append((question, await search(question)))
        if is_found(hits_of(done[-1][1])):
            break
    question, best = max(done, key=lambda it: best_score(hits_of(it[1])))
    return _Searches(tuple(question for question, _ in done), question, best)


async def _rewritten(messages: Sequence[Message], rewriter: Generator | None) -> str | None:
    """The last question in the model's words; None where it gave none in time: the rule is good enough then."""
    if rewriter is None:
        return None
    texts: list[str] = []
    sampling = Sampling(temperature=0.0, max_tokens=REWRITE_TOKENS)
    try:
        with anyio.move_on_after(REWRITE_SECONDS) as scope:
            async with rewriter.stream(rewriting_prompt(messages), sampling) as pieces:
                async for piece in pieces:
                    texts += piece.texts
    except KbchatError:
        return None
    return None if scope.cancelled_caught else rewritten("".join(texts))


def _budget(budget_tokens: int, generator: Generator, sampling: Sampling) -> int:
    """What the prompt may have, so that the answer has room in the model's context too, but never less than half."""
    context = generator.context_tokens
    answer = sampling.max_tokens or int(context * ANSWER_SHARE)
    return min(budget_tokens, max(context - answer, context // 2))


async def _prompt(
    messages: Sequence[Message], hits: Sequence[Reference] | None, budget_tokens: int, threads: Threads
) -> Packed:
    """The prompt, in which hits count only when the best of them is one."""
    found = hits if hits is None or is_found(hits) else ()
    # Estimated, so that a prompt is the same on every machine.
    make = partial(pack, messages, found, budget_tokens=budget_tokens, count=estimate)
    size = sum(len(message.content) for message in messages) + sum(len(hit.content) for hit in found or ())
    return make() if size <= 2 * _INLINE_CHARS else await threads.read(make)


def _fates(hits: Sequence[Reference], packed: Packed) -> dict[int, InPrompt]:
    """What a prompt made of each hit, by chunk."""
    rest = InPrompt.TAIL if is_found(hits) else InPrompt.NOT_FOUND
    fates = dict.fromkeys([hit.chunk_id for hit in hits], rest)
    fates |= dict.fromkeys([hit.chunk_id for hit in packed.dropped], InPrompt.BUDGET)
    ends = {hit.chunk_id: hit.end for hit in hits}
    for quoted in packed.references:
        is_whole = quoted.end == ends[quoted.chunk_id]
        fates[quoted.chunk_id] = InPrompt.QUOTED if is_whole else InPrompt.SHORTENED
    return fates


class _Said:
    """The answer so far, for the case that the model server does not count.

    It is counted at the end, off the hot path; only of a very long answer parts are counted before, so that no
    stream holds more than one part.
    """

    def __init__(self, counter: TokenCounter, threads: Threads) -> None:
        self._counter = counter
        self._threads = threads
        self._texts: list[str] = []
        self._chars = 0
        self._tokens = 0

    async def add(self, texts: tuple[str, ...]) -> None:
        text = "".join(texts)
        self._texts.append(text)
        self._chars += len(text)
        if self._chars > _PART_CHARS:
            self._tokens += await self._count("".join(self._texts))
            self._texts.clear()
            self._chars = 0

    async def usage(self, packed: Packed) -> Usage:
        """What prompt and answer cost. Where all is estimated, the prompt was when it was packed."""
        answer = self._tokens + await self._count("".join(self._texts))
        if self._counter.estimates:
            return Usage(prompt_tokens=packed.text_tokens, completion_tokens=answer)
        prompt = await self._count("".join(message.content for message in packed.prompt.messages))
        return Usage(prompt_tokens=prompt, completion_tokens=answer)

    async def _count(self, text: str) -> int:
        if self._counter.ready and len(text) <= _INLINE_CHARS:
            return self._counter.count(text)
        return await self._threads.read(self._counter.count, text)
