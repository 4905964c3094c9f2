"""The routes of knowledge spaces."""

from aiohttp import web

from kbchat.errors import SpaceNotFoundError
from kbchat.knowledge import KnowledgeBase
from kbchat.space import KnowledgeSpace
from kbchat_aiohttp.answers import Envelope, Page, success
from kbchat_aiohttp.auth import Principal, Role
from kbchat_aiohttp.bodies import read_json, read_query
from kbchat_aiohttp.routes import Call, Route
from kbchat_aiohttp.schemas import ID, CreateSpace, ListSpaces, SpaceObject, UpdateSpace

PATH = "/api/v2/serve/knowledge/spaces"


class Spaces:
    """Create, change, show, list and delete spaces."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb
        self._limit = kb.settings.max_body_bytes

    def routes(self) -> list[Route]:
        return [
            Route(
                method="POST",
                path=PATH,
                handler=self.create,
                role=Role.WRITER,
                summary="Create a space",
                body=CreateSpace,
                answer=Envelope[SpaceObject],
                fails=(400, 409),
            ),
            Route(
                method="PUT",
                path=PATH,
                handler=self.update,
                role=Role.WRITER,
                summary="Change a space",
                body=UpdateSpace,
                answer=Envelope[SpaceObject],
                fails=(400, 404, 409),
            ),
            Route(
                method="GET",
                path=PATH,
                handler=self.list,
                role=Role.READER,
                summary="List spaces",
                query=ListSpaces,
                answer=Envelope[Page[SpaceObject]],
                fails=(400,),
            ),
            Route(
                method="GET",
                path=PATH + "/{space_id}",
                handler=self.show,
                role=Role.READER,
                summary="Show a space",
                answer=Envelope[SpaceObject],
                fails=(404,),
            ),
            Route(
                method="DELETE",
                path=PATH + "/{space_id}",
                handler=self.delete,
                role=Role.WRITER,
                summary="Delete a space and all that is in it",
                answer=Envelope[SpaceObject],
                fails=(404,),
            ),
        ]

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

    async def update(self, call: Call) -> web.Response:
        asked = await read_json(call.request, UpdateSpace, limit=self._limit)
        if asked.owner is not None:
            call.principal.own(asked.owner)
        if asked.id is not None:
            found = await self._by_id(asked.id, call.principal)
        else:
            found = await self._kb.get_space(asked.name or "", owner=call.principal.scope)
        space = await self._kb.update_space(
            found.info.id,
            name=asked.name if asked.id is not None else None,
            owner=asked.owner,
            vector_type=asked.vector_type,
            desc=asked.desc,
            context=asked.context,
        )
        return success(SpaceObject.of(space.info))

    async def show(self, call: Call) -> web.Response:
        space = await self._by_id(call.request.match_info["space_id"], call.principal)
        return success(SpaceObject.of(space.info))

    async def delete(self, call: Call) -> web.Response:
        space = await self._by_id(call.request.match_info["space_id"], call.principal)
        return success(SpaceObject.of(await self._kb.delete_space(space.info.id)))

    async def list(self, call: Call) -> web.Response:
        asked = read_query(call.request, ListSpaces)
        owner = asked.owner
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
