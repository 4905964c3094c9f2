"""The routes of conversations: one's own are listed, shown and forgotten."""

from aiohttp import web

from kbchat.errors import SpaceNotFoundError
from kbchat.knowledge import KnowledgeBase
from kbchat_aiohttp.answers import Envelope, Page, success
from kbchat_aiohttp.auth import Principal, Role
from kbchat_aiohttp.bodies import read_query
from kbchat_aiohttp.routes import Call, route
from kbchat_aiohttp.schemas.chat import ConversationObject, ListConversations, SaidTurn, WholeConversation

PATH = "/api/v2/conversations"


class ConversationRoutes:
    """What was said, by those who asked. Also an admin sees only its own; nobody sees a space that it has no more."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb

    @route(
        "GET",
        PATH,
        Role.READER,
        "List conversations, the newest first",
        query=ListConversations,
        answer=Envelope[Page[ConversationObject]],
        fails=(400,),
    )
    async def list_all(self, call: Call) -> web.Response:
        asked = read_query(call.request, ListConversations)
        owner, conversations = call.principal.speaker, self._kb.conversations
        if asked.space_id is not None and not await self._is_there(asked.space_id, call.principal):
            return success(Page[ConversationObject].of([], total=0, page=asked.page, page_size=asked.page_size))
        found = await conversations.list(
            owner=owner, space_id=asked.space_id, offset=asked.offset, limit=asked.page_size
        )
        total = await conversations.count(owner=owner, space_id=asked.space_id)
        items = [ConversationObject.of(info) for info in found]
        return success(Page[ConversationObject].of(items, total=total, page=asked.page, page_size=asked.page_size))

    @route(
        "GET",
        PATH + "/{conv_uid}",
        Role.READER,
        "Show a conversation",
        answer=Envelope[WholeConversation],
        fails=(400, 404),
    )
    async def show(self, call: Call) -> web.Response:
        uid, owner = call.request.match_info["conv_uid"], call.principal.speaker
        info = await self._kb.conversations.get(uid, owner=owner)
        said = await self._kb.conversations.show(uid, owner=owner, of_owner=call.principal.scope)
        messages = [SaidTurn.of(turn) for turn in said]
        return success(WholeConversation(**ConversationObject.of(info).model_dump(), messages=messages))

    @route(
        "DELETE",
        PATH + "/{conv_uid}",
        Role.READER,
        "Forget a conversation",
        answer=Envelope[ConversationObject],
        fails=(400, 404),
    )
    async def delete(self, call: Call) -> web.Response:
        uid, owner = call.request.match_info["conv_uid"], call.principal.speaker
        return success(ConversationObject.of(await self._kb.conversations.delete(uid, owner=owner)))

    async def _is_there(self, space_id: int, principal: Principal) -> bool:
        try:
            await self._kb.get_space(space_id, owner=principal.scope)
        except SpaceNotFoundError:
            return False
        return True
