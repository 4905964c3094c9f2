"""The routes that answer questions: the documented one and OpenAI's own. One engine, and frames that differ little."""

import time
import uuid

from aiohttp import web
from kbchat.chat import collect

from kbchat.answers import AnswerStream
from kbchat.errors import ModelNotFoundError, SpaceNotFoundError
from kbchat.frames import DONE, Flavour, FrameEncoder, whole
from kbchat.knowledge import KnowledgeBase
from kbchat.space import KnowledgeSpace
from kbchat_aiohttp.answers import json_response
from kbchat_aiohttp.auth import Principal, Role
from kbchat_aiohttp.bodies import read_json
from kbchat_aiohttp.routes import Route
from kbchat_aiohttp.schemas import ChatCompletion, KnowledgeChatCompletion, ModelList, ModelObject
from kbchat_aiohttp.streams import EventStream, Readers

SPACE_PREFIX = "kb/"
"""A model of this name, on OpenAI's routes, is a space."""


class Chat:
    """Answer questions, streamed or whole."""

    def __init__(self, kb: KnowledgeBase, readers: Readers) -> None:
        self._kb = kb
        self._readers = readers

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/api/v2/chat/completions", self.knowledge, role=Role.READER),
            Route("POST", "/v1/chat/completions", self.openai, role=Role.READER),
            Route("GET", "/v1/models", self.models, role=Role.READER),
        ]

    async def knowledge(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        asked = await read_json(request, KnowledgeChatCompletion, limit=self._kb.settings.max_body_bytes)
        source: KnowledgeBase | KnowledgeSpace = self._kb
        if asked.chat_mode == "chat_knowledge":
            source = await self._kb.get_space(asked.chat_param or "", owner=principal.scope)
        stream = source.stream(asked.turns(), model=asked.model, sampling=asked.sampling())
        return await self._answer(request, asked, stream, flavour="v2", incremental=asked.incremental)

    async def openai(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        asked = await read_json(request, ChatCompletion, limit=self._kb.settings.max_body_bytes)
        source: KnowledgeBase | KnowledgeSpace = self._kb
        model = asked.model
        if model is not None and model.startswith(SPACE_PREFIX):
            source, model = await self._space(model, principal), None
        stream = source.stream(asked.turns(), model=model, sampling=asked.sampling())
        return await self._answer(request, asked, stream, flavour="openai", incremental=True)

    async def models(self, request: web.Request, principal: Principal) -> web.Response:
        spaces = await self._kb.list_spaces(owner=principal.scope)
        listed = [
            ModelObject(id=SPACE_PREFIX + space.name, created=int(space.info.created_at.timestamp()))
            for space in spaces
        ]
        listed += [ModelObject(id=name, created=0) for name in self._kb.models()]
        return json_response(ModelList(data=listed))

    async def _space(self, model: str, principal: Principal) -> KnowledgeSpace:
        try:
            return await self._kb.get_space(model.removeprefix(SPACE_PREFIX), owner=principal.scope)
        except SpaceNotFoundError:
            raise ModelNotFoundError(model, self._kb.models()) from None

    async def _answer(
        self,
        request: web.Request,
        asked: ChatCompletion,
        stream: AnswerStream,
        *,
        flavour: Flavour,
        incremental: bool,
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
            return await self._streamed(request, stream, encoder)
        async with self._readers.admit(request) as reader, stream:
            answer = await collect(stream.batches())
        reader.raise_if_cut()
        if reader.left:
            return web.Response()  # which goes nowhere
        body = whole(answer, id=answer_id, model=model, created=created, flavour=flavour)
        return json_response(body)

    async def _streamed(self, request: web.Request, stream: AnswerStream, encoder: FrameEncoder) -> web.StreamResponse:
        """Send each event as soon as it comes, in one piece. The status goes out with the first frame."""
        events = EventStream(request)
        try:
            async with (
                self._readers.admit(request) as reader,
                events.kept_alive(self._kb.settings.keep_alive_seconds),
                stream,
            ):
                async for event in stream.batches():
                    if frames := encoder.encode(event):
                        await events.write(frames)
                await events.write(DONE)
            reader.raise_if_cut()
        except Exception as error:
            if not events.begun:
                raise
            await events.fail(error)
        return events.response
