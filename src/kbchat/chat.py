"""From a question to a streamed answer with references: retrieve, pack, generate, count."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext

import anyio

from kbchat.citations import CitationChecker
from kbchat.errors import GeneratorUnavailableError, KbchatError
from kbchat.following import is_follow_up, joined, rewriting_prompt, rewritten
from kbchat.generators import Generator
from kbchat.models import (
    Answer,
    Citation,
    Deltas,
    Done,
    EngineEvent,
    Message,
    Reference,
    References,
    Retrieved,
    Sampling,
    Usage,
)
from kbchat.prompting import Packed, pack, without_command
from kbchat.settings import ANSWER_SHARE
from kbchat.telemetry import Span
from kbchat.text.tokens import TokenCounter, estimate
from kbchat.threads import Threads

FOUND = 0.5
"""A best hit with a lower `recall_score` means that the space does not hold the answer."""
REWRITE_TOKENS = 100
REWRITE_SECONDS = 5.0
"""How long a rewritten question may be, and how long it is waited for."""
_INLINE_CHARS = 8_000
"""A text up to this long is counted where it is: going to a thread and back takes as long."""
_PART_CHARS = 250_000


def best_score(hits: Sequence[Reference]) -> float:
    """Of the best hit; -1 where there is none."""
    return max((hit.recall_score for hit in hits), default=-1.0)


def is_found(hits: Sequence[Reference]) -> bool:
    """Whether the best hit says that the space holds the answer."""
    return best_score(hits) >= FOUND


Retrieve = Callable[[str], Awaitable[Sequence[Reference]]]
"""The hits for a question, best first."""
Turn = AbstractAsyncContextManager[object]
"""Held while a question is this machine's own work, so that of many at once the first are answered first."""


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
    turn: Turn | None = None,
) -> AsyncIterator[AsyncIterator[EngineEvent]]:
    """Open the answer to the last question of a conversation.

    The events are `Retrieved`, `Deltas` as the model sends them (with a `Citation` after the one that ends a sentence,
    for each passage that it cites), `References` when the model was given any, and `Done`. Without `retrieve` the model
    answers alone: there is neither a `Retrieved` nor references. A question that leans on earlier ones is put into
    words of its own by `rewriter` before it is searched for, or joined with them where there is none. Nothing is done
    before the iterator is; leaving the block stops the generation at once. `turn` is held from the search until the
    prompt is made.

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
        turn=turn or nullcontext(),
    )
    async with aclosing(events):
        yield events


async def collect(events: AsyncIterator[EngineEvent]) -> Answer:
    """The whole answer that events make."""
    texts: list[str] = []
    references: tuple[Reference, ...] = ()
    dropped: tuple[Reference, ...] = ()
    citations: list[Citation] = []
    done = Done(finish_reason=None)
    async for event in events:
        match event:
            case Deltas():
                texts += event.texts
            case Retrieved():
                dropped = event.dropped
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
    )


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
    turn: Turn,
) -> AsyncGenerator[EngineEvent, None]:
    said = _Said(counter, threads)
    finish_reason, usage = None, None
    with Span("kbchat.chat") as span:
        asked = () if retrieve is None else await _asked(messages, rewriter)
        async with turn:
            hits = None if retrieve is None else await _hits(asked, retrieve, span)
            packed = await _pack(messages, hits, budget_tokens, threads, span)
        if hits is not None:
            yield Retrieved(tuple(hits), packed.passages, packed.dropped)
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


async def _hits(asked: Sequence[str], retrieve: Retrieve, chat: Span) -> Sequence[Reference]:
    """What is found for the first of the questions that the space holds an answer to, else the best of it all."""
    best: Sequence[Reference] = ()
    with Span("kbchat.retrieve", chat) as span:
        for question in asked:
            best = max(best, await retrieve(question), key=best_score)
            if is_found(best):
                break
        span.tell({"kbchat.hits": len(best), "kbchat.best_score": best_score(best)})
    return best


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


async def _pack(
    messages: Sequence[Message],
    hits: Sequence[Reference] | None,
    budget_tokens: int,
    threads: Threads,
    chat: Span,
) -> Packed:
    """The prompt, in which hits count only when the best of them is one."""
    found = hits if hits is None or is_found(hits) else ()

    def packed() -> Packed:
        # Estimated, so that a prompt is the same on every machine.
        return pack(messages, found, budget_tokens=budget_tokens, count=estimate)

    size = sum(len(message.content) for message in messages) + sum(len(hit.content) for hit in found or ())
    with Span("kbchat.prompt", chat) as span:
        made = packed() if size <= 2 * _INLINE_CHARS else await threads.read(packed)
        span.tell({"kbchat.prompt_tokens": made.tokens, "kbchat.passages": len(made.passages)})
    return made


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
        prompt = "".join(message.content for message in packed.prompt.messages)
        return Usage(
            prompt_tokens=await self._count(prompt),
            completion_tokens=self._tokens + await self._count("".join(self._texts)),
        )

    async def _count(self, text: str) -> int:
        if self._counter.ready and len(text) <= _INLINE_CHARS:
            return self._counter.count(text)
        return await self._threads.read(self._counter.count, text)
