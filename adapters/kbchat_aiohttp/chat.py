"""The routes that answer questions: the documented one and OpenAI's own. One engine, and frames that differ little."""

import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from aiohttp import web

from kbchat.answers import AnswerStream
from kbchat.chat import collect
from kbchat.errors import ModelNotFoundError, SpaceNotFoundError
from kbchat.events import Deltas, EngineEvent, References
from kbchat.frames import DONE, Flavour, FrameEncoder, whole
from kbchat.knowledge import KnowledgeBase
from kbchat.models import Citation, Message, Reference, Sampling
from kbchat.space import KnowledgeSpace
from kbchat_aiohttp.answers import json_response
from kbchat_aiohttp.auth import Principal, Role
from kbchat_aiohttp.bodies import read_json
from kbchat_aiohttp.routes import Call, route
from kbchat_aiohttp.schemas.chat import (
    ChatCompletion,
    Completion,
    KnowledgeChatCompletion,
    ModelList,
    ModelObject,
    OpenAICompletion,
)
from kbchat_aiohttp.spaces import find_space
from kbchat_aiohttp.streams import EventStream, Readers

SPACE_PREFIX = "kb/"
"""A model of this name, on OpenAI's routes, is a space."""
SPACES_TOLD = 10
"""Number of spaces, at most, that are named to who asks for one that is not there."""
DEFAULT_MODEL = "chatgpt_proxyllm"
"""The documentation's model: it always means the default one."""


class Memory:
    """A conversation that a question belongs to: what was said before, and what is to be remembered of the answer.

    Who sends earlier turns along knows the conversation better: then only the newest question is kept.
    """

    def __init__(
        self, kb: KnowledgeBase, uid: str, owner: str, source: KnowledgeBase | KnowledgeSpace, turns: Sequence[Message]
    ) -> None:
        self._kb = kb
        self._uid = uid
        self._owner = owner
        self._space_id = source.id if isinstance(source, KnowledgeSpace) else None
        self._turns = tuple(turns)
        self._said: list[str] = []
        self._references: tuple[Reference, ...] = ()
        self._citations: list[Citation] = []

    async def complete(self) -> tuple[Message, ...]:
        """The turns, with what was said before where they are only a question."""
        before = [turn for turn in self._turns if turn.role == "system"]
        asked = [turn for turn in self._turns if turn.role != "system"]
        if len(asked) > 1:
            return self._turns
        return (*before, *await self._kb.conversations.turns(self._uid, owner=self._owner), *asked)

    def note(self, event: EngineEvent) -> None:
        match event:
            case Deltas():
                self._said += event.texts
            case References():
                self._references = event.references
            case Citation():
                self._citations.append(event)
            case _:
                pass

    async def keep(self) -> None:
        """Remember the question with the answer that was noted."""
        await self._kb.conversations.remember(
            self._uid,
            self._turns[-1].content,
            "".join(self._said),
            owner=self._owner,
            space_id=self._space_id,
            references=self._references,
            citations=self._citations,
        )


class Chat:
    """Answer questions, streamed or whole."""

    def __init__(self, kb: KnowledgeBase, readers: Readers) -> None:
        self._kb = kb
        self._readers = readers

    @route(
        "POST",
        "/api/v2/chat/completions",
        Role.READER,
        "Answer a question, from a space or by the model alone",
        body=KnowledgeChatCompletion,
        answer=Completion,
        fails=(400, 404, 409, 502, 504),
        streams=True,
    )
    async def knowledge(self, call: Call) -> web.StreamResponse:
        asked = await read_json(call.request, KnowledgeChatCompletion, limit=self._kb.settings.max_body_bytes)
        source: KnowledgeBase | KnowledgeSpace = self._kb
        if asked.chat_mode == "chat_knowledge":
            source = await find_space(self._kb, asked.chat_param or "", call.principal)
        turns, memory = await self._recall(call, asked, source)
        stream = _ask(source, turns, asked.model, asked.sampling())
        return await self._answer(call, asked, stream, flavour="v2", incremental=asked.incremental, memory=memory)

    @route(
        "POST",
        "/v1/chat/completions",
        Role.READER,
        "Answer a question as OpenAI does; the model `kb/NAME` is a space",
        body=ChatCompletion,
        answer=OpenAICompletion,
        fails=(400, 404, 409, 502, 504),
        streams=True,
    )
    async def openai(self, call: Call) -> web.StreamResponse:
        asked = await read_json(call.request, ChatCompletion, limit=self._kb.settings.max_body_bytes)
        source: KnowledgeBase | KnowledgeSpace = self._kb
        model = asked.model
        if model is not None and model.startswith(SPACE_PREFIX):
            source, model = await self._space(model, call.principal), None
        turns, memory = await self._recall(call, asked, source)
        stream = _ask(source, turns, model, asked.sampling())
        return await self._answer(call, asked, stream, flavour="openai", incremental=True, memory=memory)

    @route("GET", "/v1/models", Role.READER, "List models, and spaces as models", answer=ModelList)
    async def models(self, call: Call) -> web.Response:
        spaces = await self._kb.list_spaces(owner=call.principal.scope)
        names = Counter(space.name for space in spaces)
        listed = [
            ModelObject(
                # Several owners may use one name: then only ids tell their spaces apart.
                id=f"{SPACE_PREFIX}{space.name if names[space.name] == 1 else space.id}",
                created=int(space.info.created_at.timestamp()),
            )
            for space in spaces
        ]
        listed += [ModelObject(id=name, created=0) for name in self._kb.models()]
        return json_response(ModelList(data=listed))

    async def _recall(
        self, call: Call, asked: ChatCompletion, source: KnowledgeBase | KnowledgeSpace
    ) -> tuple[tuple[Message, ...], Memory | None]:
        """The turns to answer, and the conversation that they belong to, where one is named."""
        if asked.conv_uid is None:
            return asked.turns(), None
        memory = Memory(self._kb, asked.conv_uid, call.principal.speaker, source, asked.turns())
        return await memory.complete(), memory

    async def _space(self, model: str, principal: Principal) -> KnowledgeSpace:
        try:
            return await find_space(self._kb, model.removeprefix(SPACE_PREFIX), principal)
        except SpaceNotFoundError:
            some = await self._kb.list_spaces(owner=principal.scope, limit=SPACES_TOLD)
            named = [f"{SPACE_PREFIX}{space.name}" for space in some]
            raise ModelNotFoundError(model, [*named, *self._kb.models()]) from None

    async def _answer(
        self,
        call: Call,
        asked: ChatCompletion,
        stream: AnswerStream,
        *,
        flavour: Flavour,
        incremental: bool,
        memory: Memory | None = None,
    ) -> web.StreamResponse:
        answer_id, created = f"chatcmpl-{uuid.uuid4()}", int(time.time())
        model = asked.model or self._kb.default_model
        if asked.stream:
            encoder = FrameEncoder(
                id=answer_id,
                model=model,
                created=created,
                incremental=incremental,
                flavour=flavour,
                include_usage=asked.stream_options.include_usage,
            )
            return await self._streamed(call, stream, encoder, memory)
        async with self._readers.admit(call) as reader, stream:
            answer = await collect(_noted(stream.batches(), call, memory))
            if memory is not None:
                await memory.keep()
        reader.raise_if_cut()
        if reader.left:
            return web.Response()  # which goes nowhere
        return json_response(whole(answer, id=answer_id, model=model, created=created, flavour=flavour))

    async def _streamed(
        self, call: Call, stream: AnswerStream, encoder: FrameEncoder, memory: Memory | None
    ) -> web.StreamResponse:
        """Send each event as soon as it comes, in one piece. The status goes out with the first frame."""
        events = EventStream(call.request, write_timeout=self._kb.settings.write_timeout)
        keep_alive = self._kb.settings.keep_alive_seconds
        try:
            async with self._readers.admit(call, events) as reader, events.kept_alive(keep_alive), stream:
                async for event in stream.batches():
                    call.note(event)
                    if memory is not None:
                        memory.note(event)
                    if frames := encoder.encode(event):
                        await events.write(frames)
                if memory is not None:
                    await memory.keep()  # before the end: whoever asks on finds it
                await events.write(DONE)
            reader.raise_if_cut()
        except Exception as error:
            if not events.begun:
                raise
            await events.fail(error)
        return events.response


def _ask(
    source: KnowledgeBase | KnowledgeSpace, turns: Sequence[Message], model: str | None, sampling: Sampling
) -> AnswerStream:
    """Ask a space, or the model alone."""
    if model == DEFAULT_MODEL:
        model = None
    if isinstance(source, KnowledgeSpace):
        return source.stream(turns, model=model, sampling=sampling)
    return source.stream(turns, spaces=None, model=model, sampling=sampling)


async def _noted(events: AsyncIterator[EngineEvent], call: Call, memory: Memory | None) -> AsyncIterator[EngineEvent]:
    async for event in events:
        call.note(event)
        if memory is not None:
            memory.note(event)
        yield event
