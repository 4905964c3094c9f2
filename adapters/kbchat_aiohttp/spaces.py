"""The routes of knowledge spaces."""

from aiohttp import web

from kbchat.errors import SpaceNotFoundError
from kbchat.knowledge import KnowledgeBase
from kbchat.space import KnowledgeSpace
from kbchat_aiohttp.answers import Page, success
from kbchat_aiohttp.auth import Principal, Role
from kbchat_aiohttp.bodies import read_json, read_query
from kbchat_aiohttp.routes import Route
from kbchat_aiohttp.schemas import ID, CreateSpace, ListSpaces, SpaceObject, UpdateSpace

PATH = "/api/v2/serve/knowledge/spaces"


class Spaces:
    """Create, change, show, list and delete spaces."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb
        self._limit = kb.settings.max_body_bytes

    def routes(self) -> list[Route]:
        return [
            Route("POST", PATH, self.create, role=Role.WRITER),
            Route("PUT", PATH, self.update, role=Role.WRITER),
            Route("GET", PATH, self.list, role=Role.READER),
            Route("GET", PATH + "/{space_id}", self.show, role=Role.READER),
            Route("DELETE", PATH + "/{space_id}", self.delete, role=Role.WRITER),
        ]

    async def create(self, request: web.Request, principal: Principal) -> web.Response:
        asked = await read_json(request, CreateSpace, limit=self._limit)
        space = await self._kb.create_space(
            asked.name,
            vector_type=asked.vector_type,
            desc=asked.desc,
            owner=principal.own(asked.owner),
            context=asked.context,
        )
        return success(SpaceObject.of(space.info))

    async def update(self, request: web.Request, principal: Principal) -> web.Response:
        asked = await read_json(request, UpdateSpace, limit=self._limit)
        if asked.owner is not None:
            principal.own(asked.owner)
        if asked.id is not None:
            found = await self._by_id(asked.id, principal)
        else:
            found = await self._kb.get_space(asked.name or "", owner=principal.scope)
        space = await self._kb.update_space(
            found.info.id,
            name=asked.name if asked.id is not None else None,
            owner=asked.owner,
            vector_type=asked.vector_type,
            desc=asked.desc,
            context=asked.context,
        )
        return success(SpaceObject.of(space.info))

    async def show(self, request: web.Request, principal: Principal) -> web.Response:
        space = await self._by_id(request.match_info["space_id"], principal)
        return success(SpaceObject.of(space.info))

    async def delete(self, request: web.Request, principal: Principal) -> web.Response:
        space = await self._by_id(request.match_info["space_id"], principal)
        return success(SpaceObject.of(await self._kb.delete_space(space.info.id)))

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        asked = read_query(request, ListSpaces)
        owner = asked.owner
        if principal.scope is not None:
            if owner not in (None, principal.scope):
                return success(Page[SpaceObject].of([], total=0, page=asked.page, page_size=asked.page_size))
            owner = principal.scope
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
