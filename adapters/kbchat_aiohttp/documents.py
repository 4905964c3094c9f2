"""The routes of documents: taken in, indexed in the background, shown, read and deleted."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from kbchat.chunking import Splitting
from kbchat.errors import DocumentNotFoundError, InvalidInputError, SpaceNotFoundError
from kbchat.knowledge import KnowledgeBase
from kbchat.models import Document
from kbchat.space import KnowledgeSpace
from kbchat_aiohttp.answers import Envelope, Page, success
from kbchat_aiohttp.auth import Principal, Role
from kbchat_aiohttp.bodies import Upload, media_type, read_form, read_json, read_query, validate
from kbchat_aiohttp.chunking import chunking
from kbchat_aiohttp.errors import InvalidRequestError, in_wire_words
from kbchat_aiohttp.indexer import Indexer
from kbchat_aiohttp.routes import Call, route
from kbchat_aiohttp.schemas.base import ID
from kbchat_aiohttp.schemas.documents import (
    ContentRange,
    CreateDocument,
    DocumentContent,
    DocumentObject,
    ListDocuments,
    SyncDocument,
    SyncDocuments,
    SyncOne,
)
from kbchat_aiohttp.spaces import find_space

PATH = "/api/v2/serve/knowledge/documents"
ONE = PATH + "/{document_id:(?!sync$|batch_sync$)[^/]+}"
"""The words are routes of their own."""
MAX_ANSWER_BYTES = 1024 * 1024
"""Of a document's text at once."""
WIRE_NAMES = {"name": "doc_name", "data": "doc_file", "text": "content", "source": "doc_source"}
"""What the wire calls the arguments of the face."""


class Documents:
    """Take documents in, have them indexed, show and delete them."""

    def __init__(self, kb: KnowledgeBase, indexer: Indexer) -> None:
        self._kb = kb
        self._indexer = indexer
        self._limit = kb.settings.max_body_bytes

    @route(
        "POST",
        PATH,
        Role.WRITER,
        "Take a document in: as JSON, as query parameters, or with a file as multipart/form-data",
        query=CreateDocument,
        body=CreateDocument,
        answer=Envelope[DocumentObject],
        fails=(400, 404, 409),
        has_file=True,
    )
    async def create(self, call: Call) -> web.Response:
        asked, upload = await self._read(call.request)
        space = await find_space(self._kb, asked.space_id, call.principal)
        if asked.doc_type == "URL":
            raise InvalidRequestError("doc_type: URLs are not fetched; send the file or its text", param="doc_type")
        if asked.doc_type == "TEXT":
            upload = None
            if asked.content is None:
                reason = "Field required; for TEXT it is the document's text"
                raise InvalidRequestError(f"content: {reason}", param="content")
        name = asked.doc_name or (upload.name if upload else None)
        if name is None:
            raise InvalidRequestError("doc_name: Field required", param="doc_name")
        try:
            document = await space.add_document(
                name,
                data=upload.data if upload else None,
                text=None if upload else asked.content,
                source=asked.doc_source,
                file_name=upload.name if upload else None,
                replace=asked.replace,
            )
        except InvalidInputError as error:
            param, message = in_wire_words(error, WIRE_NAMES)
            raise InvalidRequestError(message, param=param) from None
        return success(self._object(document, space.name))

    async def _read(self, request: web.Request) -> tuple[CreateDocument, Upload | None]:
        """What is asked for, in whichever of the three ways: body first, then query."""
        query = {key: request.query[key] for key in request.query}
        if media_type(request) == "multipart/form-data":
            fields, upload = await read_form(request, limit=self._limit)
            return validate(CreateDocument, query | fields), upload
        if request.body_exists and request.headers.get("Content-Length") != "0":
            return await read_json(request, CreateDocument, limit=self._limit), None
        return validate(CreateDocument, query), None

    @route(
        "GET",
        PATH,
        Role.READER,
        "List documents",
        query=ListDocuments,
        answer=Envelope[Page[DocumentObject]],
        fails=(400, 404),
    )
    async def list_all(self, call: Call) -> web.Response:
        asked = read_query(call.request, ListDocuments)
        scope = call.principal.scope
        if asked.space_id is not None:
            space = await find_space(self._kb, asked.space_id, call.principal)
            documents = await space.documents(offset=asked.offset, limit=asked.page_size)
            total = space.info.document_count
        else:
            documents = await self._kb.list_documents(owner=scope, offset=asked.offset, limit=asked.page_size)
            total = await self._kb.count_documents(owner=scope)
        items = await self._objects(documents)
        return success(Page[DocumentObject].of(items, total=total, page=asked.page, page_size=asked.page_size))

    async def _objects(self, documents: Sequence[Document]) -> Sequence[DocumentObject]:
        names: dict[int, str] = {}
        for space_id in {it.space_id for it in documents}:
            with suppress(SpaceNotFoundError):  # It was deleted meanwhile, and its documents with it.
                names[space_id] = (await self._kb.get_space(space_id)).name
        return [self._object(it, names[it.space_id]) for it in documents if it.space_id in names]

    def _object(self, document: Document, space: str) -> DocumentObject:
        return DocumentObject.of(document, space, self._indexer.progress(document.space_id, document.name))

    @route(
        "POST",
        f"{PATH}/sync",
        Role.WRITER,
        "Have documents indexed; how far each is shows in its status",
        body=SyncDocuments,
        answer=Envelope[list[int]],
        fails=(400, 404),
    )
    @route(
        "POST",
        f"{PATH}/batch_sync",
        Role.WRITER,
        "Have documents indexed; how far each is shows in its status",
        body=SyncDocuments,
        answer=Envelope[list[int]],
        fails=(400, 404),
    )
    async def sync(self, call: Call) -> web.Response:
        asked = await read_json(call.request, SyncDocuments, limit=self._limit)
        found = await self._synced(asked.root, call.principal)
        places = [f"[{at}]." for at in range(len(found))]
        splittings = [chunking(one.chunk_parameters, at=at) for one, at in zip(asked.root, places, strict=True)]
        await self._check_uploaded(found, splittings, places)
        # All are there: now, and only now, something is begun.
        for document, splitting in zip(found, splittings, strict=True):
            self._indexer.submit(document.space_id, document.id, splitting)
        return success([document.id for document in found])

    async def _synced(self, asked: Sequence[SyncDocument], principal: Principal) -> Sequence[Document]:
        for one in asked:
            if not ID.fullmatch(one.doc_id):
                raise DocumentNotFoundError(one.doc_id)
        found = await self._kb.get_documents([int(one.doc_id) for one in asked], owner=principal.scope)
        named = {one.space_id for one in asked if one.space_id is not None}
        spaces = {name: (await find_space(self._kb, name, principal)).id for name in named}
        for one, document in zip(asked, found, strict=True):
            if one.space_id is not None and spaces[one.space_id] != document.space_id:
                raise DocumentNotFoundError(one.doc_id)
        return found

    @route(
        "POST",
        f"{ONE}/sync",
        Role.WRITER,
        "Have a document indexed",
        body=SyncOne,
        answer=Envelope[list[int]],
        fails=(400, 404),
    )
    async def sync_one(self, call: Call) -> web.Response:
        document = await self._document(call.request.match_info["document_id"], call.principal)
        asked = SyncOne()
        if call.request.body_exists and call.request.headers.get("Content-Length") != "0":
            asked = await read_json(call.request, SyncOne, limit=self._limit)
        splitting = chunking(asked.chunk_parameters)
        await self._check_uploaded([document], [splitting], [""])
        self._indexer.submit(document.space_id, document.id, splitting)
        return success([document.id])

    async def _check_uploaded(
        self, documents: Sequence[Document], splittings: Sequence[Splitting | None], places: Sequence[str]
    ) -> None:
        """Refuse to split what nobody uploaded in another way: there is only its text, and nothing would be done."""
        asked = [(it, at) for it, how, at in zip(documents, splittings, places, strict=True) if how is not None]
        added: set[int] = set()
        for space_id in {document.space_id for document, _ in asked}:
            space = await self._kb.get_space(space_id)
            added.update(await space.added_documents([it.id for it, _ in asked if it.space_id == space_id]))
        for document, at in asked:
            if document.id not in added:
                reason = f"document {document.id} was not uploaded, but ingested; it is split as its space says"
                raise InvalidRequestError(f"{at}chunk_parameters: {reason}", param=f"{at}chunk_parameters")

    @route("GET", ONE, Role.READER, "Show a document", answer=Envelope[DocumentObject], fails=(404,))
    async def show(self, call: Call) -> web.Response:
        document = await self._document(call.request.match_info["document_id"], call.principal)
        space = await self._kb.get_space(document.space_id)
        return success(self._object(document, space.name))

    @route(
        "GET",
        f"{ONE}/content",
        Role.READER,
        "Read the extracted text of a document, at most 1 MiB at once",
        query=ContentRange,
        answer=Envelope[DocumentContent],
        fails=(400, 404),
    )
    async def content(self, call: Call) -> web.Response:
        asked = read_query(call.request, ContentRange)
        document = await self._document(call.request.match_info["document_id"], call.principal, with_text=True)
        text = document.text or ""
        part = await asyncio.to_thread(_part, text, asked.start, asked.end)
        return success(DocumentContent(content=part, start=asked.start, end=asked.start + len(part), total=len(text)))

    @route("DELETE", ONE, Role.WRITER, "Delete a document", answer=Envelope[DocumentObject], fails=(404,))
    async def delete(self, call: Call) -> web.Response:
        document = await self._document(call.request.match_info["document_id"], call.principal)
        space: KnowledgeSpace = await self._kb.get_space(document.space_id)
        return success(self._object(await space.delete_document(document.id), space.name))

    async def _document(self, document_id: str, principal: Principal, *, with_text: bool = False) -> Document:
        if not ID.fullmatch(document_id):
            raise DocumentNotFoundError(document_id)
        return await self._kb.get_document(int(document_id), owner=principal.scope, with_text=with_text)


def _part(text: str, start: int, end: int | None) -> str:
    """So much of a text as one answer may hold."""
    part = text[start:end][:MAX_ANSWER_BYTES]
    return part.encode()[:MAX_ANSWER_BYTES].decode(errors="ignore")
