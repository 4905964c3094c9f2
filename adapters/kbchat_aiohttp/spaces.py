"""The routes of knowledge spaces."""

from functools import partial

from aiohttp import web

from kbchat.errors import SpaceNotFoundError
from kbchat.inputs import composed, named_or_numbered
from kbchat.knowledge import KnowledgeBase
from kbchat.space import KnowledgeSpace
from kbchat_aiohttp.answers import Envelope, Page, json_response, success
from kbchat_aiohttp.auth import Principal, Role
from kbchat_aiohttp.bodies import read_json, read_query
from kbchat_aiohttp.routes import Call, route
from kbchat_aiohttp.schemas.base import ID
from kbchat_aiohttp.schemas.spaces import (
    CreateSpace,
    FoundChunk,
    FoundChunks,
    ListSpaces,
    Retrieve,
    SpaceObject,
    StatsObject,
    UpdateSpace,
)

PATH = "/api/v2/serve/knowledge/spaces"


async def find_space(kb: KnowledgeBase, word: str, principal: Principal) -> KnowledgeSpace:
    """The space that a client's word means, which is a name or an id, among those that it may see."""
    return await named_or_numbered(partial(kb.get_space, owner=principal.scope), word)


class Spaces:
    """Create, change, show, list and delete spaces."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb
        self._limit = kb.settings.max_body_bytes

    @route(
        "POST", PATH, Role.WRITER, "Create a space", body=CreateSpace, answer=Envelope[SpaceObject], fails=(400, 409)
    )
    async def create(self, call: Call) -> web.Response:
        asked = await read_json(call.request, CreateSpace, limit=self._limit)
        space = await self._kb.create_space(
            asked.name,
            vector_type=asked.vector_type,
            desc=asked.desc,
            owner=call.principal.own(asked.owner),
            context=asked.context,
        )
        return success(SpaceObject.of(space.info))

    @route(
        "PUT",
        PATH,
        Role.WRITER,
        "Change a space",
        body=UpdateSpace,
        answer=Envelope[SpaceObject],
        fails=(400, 404, 409),
    )
    async def update(self, call: Call) -> web.Response:
        asked = await read_json(call.request, UpdateSpace, limit=self._limit)
        owner = None if asked.owner is None else call.principal.own(asked.owner)
        if asked.id is not None:
            found = await self._by_id(asked.id, call.principal)
        else:
            found = await find_space(self._kb, asked.name or "", call.principal)
        space = await self._kb.update_space(
            found.info.id,
            name=asked.name if asked.id is not None else None,
            owner=owner,
            vector_type=asked.vector_type,
            desc=asked.desc,
            context=asked.context,
        )
        return success(SpaceObject.of(space.info))

    @route("GET", PATH + "/{space_id}", Role.READER, "Show a space", answer=Envelope[SpaceObject], fails=(404,))
    async def show(self, call: Call) -> web.Response:
        space = await self._by_id(call.request.match_info["space_id"], call.principal)
        return success(SpaceObject.of(space.info))

    @route(
        "DELETE",
        PATH + "/{space_id}",
        Role.WRITER,
        "Delete a space and all that is in it",
        answer=Envelope[SpaceObject],
        fails=(404,),
    )
    async def delete(self, call: Call) -> web.Response:
        space = await self._by_id(call.request.match_info["space_id"], call.principal)
        return success(SpaceObject.of(await self._kb.delete_space(space.info.id)))

    @route(
        "POST",
        PATH + "/{space_id}/retrieve",
        Role.READER,
        "Find passages for a question",
        body=Retrieve,
        answer=FoundChunks,
        fails=(400, 404, 409, 502),
    )
    async def retrieve(self, call: Call) -> web.Response:
        asked = await read_json(call.request, Retrieve, limit=self._limit)
        space = await self._by_id(call.request.match_info["space_id"], call.principal)
        ask = space.explain if asked.explain else space.retrieve
        found = await ask(asked.query, top_k=asked.top_k, score_threshold=asked.score_threshold, where=asked.filter)
        references, trace = (found, None) if isinstance(found, list) else (found.references, found)
        return json_response(FoundChunks(data=[FoundChunk.of(it) for it in references], trace=trace))

    @route(
        "GET",
        "/api/v2/serve/knowledge/{space_id}/stats",
        Role.READER,
        "Count what is in a space",
        answer=Envelope[StatsObject],
        fails=(404,),
    )
    async def stats(self, call: Call) -> web.Response:
        space = await self._by_id(call.request.match_info["space_id"], call.principal)
        stats = await space.stats()
        return success(StatsObject(**stats.model_dump()))

    @route("GET", PATH, Role.READER, "List spaces", query=ListSpaces, answer=Envelope[Page[SpaceObject]], fails=(400,))
    async def list_all(self, call: Call) -> web.Response:
        asked = read_query(call.request, ListSpaces)
        owner = None if asked.owner is None else composed(asked.owner, field="owner")
        if call.principal.scope is not None:
            if owner not in (None, call.principal.scope):
                return success(Page[SpaceObject].of([], total=0, page=asked.page, page_size=asked.page_size))
            owner = call.principal.scope
        spaces = await self._kb.list_spaces(
            owner=owner,
            name=asked.name,
            vector_type=asked.vector_type,
            offset=asked.offset,
            limit=asked.page_size,
        )
        total = await self._kb.count_spaces(owner=owner, name=asked.name, vector_type=asked.vector_type)
        items = [SpaceObject.of(space.info) for space in spaces]
        return success(Page[SpaceObject].of(items, total=total, page=asked.page, page_size=asked.page_size))

    async def _by_id(self, space_id: str, principal: Principal) -> KnowledgeSpace:
        if not ID.fullmatch(space_id):
            raise SpaceNotFoundError(space_id)
        return await self._kb.get_space(int(space_id), owner=principal.scope)
