"""A streamed answer, as users hold it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kbchat.errors import InvalidInputError, ModelNotFoundError
from kbchat.events import Delta, Deltas, EngineEvent, Event
from kbchat.models import Answer, Message, Reference, Sampling

if TYPE_CHECKING:
    from kbchat.generators import Generator
    from kbchat.retrieval.explaining import Explanation
    from kbchat.wiring import Parts

Open = Callable[[], AbstractAsyncContextManager[AsyncIterator[EngineEvent]]]


class AnswerStream:
    """The events of one answer: `Retrieved`, then `Delta`s with the `Citation`s of the sentences that they end,
    `References` when something was found, and `Done`.

        async for event in space.stream("How are keys rotated?"):
            ...

    Nothing happens before it is iterated, and it can be iterated once. Leaving the loop early leaves the model working
    until Python drops the iterator; `async with space.stream(…) as events` stops it at once.
    """

    def __init__(self, open_events: Open) -> None:
        self._context = open_events()
        self._events: AsyncIterator[EngineEvent] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._closed:
            self._closed = True
            await self._context.__aexit__(kind, error, traceback)

    async def aclose(self) -> None:
        """Stop the answer. Closing twice does nothing."""
        if self._events is None:
            self._closed = True
        await self.__aexit__(None, None, None)

    async def batches(self) -> AsyncGenerator[EngineEvent, None]:
        """The same answer in the batches that the model sent: `Deltas` in place of `Delta`s."""
        events = await self._open()
        try:
            async for event in events:
                yield event
        finally:
            await self.aclose()

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        async with aclosing(self.batches()) as batches:
            async for event in batches:
                if isinstance(event, Deltas):
                    for text in event.texts:
                        yield Delta(text)
                else:
                    yield event

    async def _open(self) -> AsyncIterator[EngineEvent]:
        if self._closed:
            raise RuntimeError("this answer was streamed to its end or closed; ask again for another")
        if self._events is None:
            self._events = await self._context.__aenter__()
        return self._events


def open_answer(
    parts: Parts,
    turns: Sequence[Message],
    *,
    model: str | None,
    sampling: Sampling | None,
    retrieve: Callable[[str], Awaitable[Sequence[Reference]]] | None,
) -> AnswerStream:
    """An answer by the model asked for, grounded in what `retrieve` finds, or not at all when that is None."""
    from kbchat.chat import open_chat

    if sampling is not None and not isinstance(sampling, Sampling):
        raise InvalidInputError("sampling", f"must be a kbchat.Sampling, not {type(sampling).__name__}")
    if model is None:
        model = next(iter(parts.generators))
    elif model not in parts.generators:
        if parts.settings.unknown_model == "error":
            raise ModelNotFoundError(model, list(parts.generators))
        model = next(iter(parts.generators))
    generator = parts.generators[model]
    return AnswerStream(
        lambda: open_chat(
            turns,
            retrieve=retrieve,
            generator=generator,
            sampling=sampling or Sampling(),
            budget_tokens=parts.settings.prompt_tokens,
            counter=parts.counter,
            threads=parts.threads,
            rewriter=_rewriter(parts, generator),
        )
    )


async def whole(stream: AnswerStream) -> Answer:
    """The answer that a stream gives in pieces."""
    from kbchat.chat import collect

    async with stream:
        return await collect(stream.batches())


async def explain_answer(
    parts: Parts, asked: str | Sequence[Message], *, explain: Callable[[str], Awaitable[Explanation]]
) -> Explanation:
    """How the default model's answer comes to its passages."""
    from kbchat.chat import explain_chat

    generator = next(iter(parts.generators.values()))
    return await explain_chat(
        asked,
        explain=explain,
        generator=generator,
        budget_tokens=parts.settings.prompt_tokens,
        threads=parts.threads,
        rewriter=_rewriter(parts, generator),
    )


def _rewriter(parts: Parts, generator: Generator) -> Generator | None:
    """Who puts a follow-up into words of its own."""
    from kbchat.wiring import EXTRACTIVE

    return generator if parts.settings.rewrite == "model" and generator.name != EXTRACTIVE else None
