"""The tools: what an agent may ask of a knowledge base. They know nothing of the protocol they are called by."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictStr, ValidationError

from kbchat.agents import refusing, results
from kbchat.agents.grep import Pattern, matcher
from kbchat.errors import DocumentNotFoundError, InvalidInputError, NotFoundError, SpaceNotFoundError
from kbchat.inputs import named_or_numbered
from kbchat.models import FOUND, MAX_ID, Document, TextDocument
from kbchat.numbering import numbers
from kbchat.threads import Threads

if TYPE_CHECKING:
    from kbchat.knowledge import KnowledgeBase
    from kbchat.space import KnowledgeSpace

SHOWN_CHARS = 800
"""What a search shows of a passage."""
READ_CHARS = 20_000
"""What a read gives at once."""
GREP_SECONDS = 5.0
LISTED = 200
ALIKE_AMONG = 2000
"""Names that are looked through for one that may have been meant."""
_PAGE = 500

_Id = Annotated[int, Field(strict=True, ge=0, le=MAX_ID)]

SpaceName = Annotated[StrictStr | _Id, Field(description="A space's name or id, as list_spaces gives them.")]
DocumentName = Annotated[StrictStr | _Id, Field(description="A document's name or id, as list_documents gives them.")]
Glob = Annotated[str, Field(description="Which documents, by name: `*.md`, `guide/*`. `*` crosses `/`.")]
Where = Annotated[
    dict[str, JsonValue] | None,
    Field(
        description='Which documents, by their metadata: {"field": "lang", "eq": "de"}, with eq, ne, in, ge, gt, '
        "le, lt, prefix or exists; joined by and, or, not."
    ),
]
Offset = Annotated[int, Field(ge=0, le=MAX_ID, description="How many documents to pass over.")]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NoArguments(_Arguments):
    pass


class ListArguments(_Arguments):
    space: SpaceName
    glob: Glob = "*"
    offset: Offset = 0
    limit: int = Field(default=100, ge=1, le=LISTED)


class SearchArguments(_Arguments):
    space: SpaceName
    query: str = Field(description="A question or words to look for.")
    top_k: int = Field(default=5, ge=1, le=50, description="How many passages at most.")
    filter: Where = None


class ReadArguments(_Arguments):
    space: SpaceName
    document: DocumentName
    start: int = Field(default=0, ge=0, le=MAX_ID, description="The first character.")
    end: int | None = Field(
        default=None, ge=0, le=MAX_ID, description=f"At most {READ_CHARS} characters are given at once."
    )


class GrepArguments(_Arguments):
    space: SpaceName
    pattern: str = Field(description="A regular expression; `^` and `$` are the ends of lines.")
    glob: Glob = "*"
    ignore_case: bool = False
    literal: bool = Field(default=False, description="Search for the pattern as it stands.")
    offset: Offset = 0
    start: int = Field(default=0, ge=0, le=MAX_ID, description="The first character, of the first document alone.")
    limit: int = Field(default=50, ge=1, le=LISTED)


class AskArguments(_Arguments):
    space: SpaceName
    question: str
    top_k: int | None = Field(default=None, ge=1, le=50)
    filter: Where = None


class AddArguments(_Arguments):
    space: SpaceName
    name: str = Field(description="The document's name. A document of that name is replaced.")
    text: str


class DeleteArguments(_Arguments):
    space: SpaceName
    document: DocumentName


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as an agent sees it."""

    name: str
    description: str
    arguments: type[BaseModel]
    result: type[BaseModel]
    call: Callable[[Any], Awaitable[BaseModel]]
    writes: bool = False


class Toolbox:
    """The tools over one knowledge base, for one who asks.

    `owner` is whose spaces there are (None: everybody's). Only with `writable` are there tools that change anything.
    """

    def __init__(self, kb: KnowledgeBase, *, owner: str | None = None, writable: bool = False) -> None:
        self._kb = kb
        self._owner = owner
        self._threads = Threads(2)
        self.tools: dict[str, Tool] = {tool.name: tool for tool in self._all() if writable or not tool.writes}

    async def call(self, name: str, arguments: Mapping[str, JsonValue]) -> BaseModel:
        """Call a tool. Raises `NotFoundError` or `InvalidInputError`, in words an agent can act upon, and the errors
        of the knowledge base."""
        tool = self.tools.get(name)
        if tool is None:
            writes = any(it.name == name for it in self._all())
            words = (
                f"{name} is not allowed here: this server only reads"
                if writes
                else (f"there is no tool {refusing.shortened(name)!r}")
            )
            raise NotFoundError(f"{words}; there are: {', '.join(self.tools)}")
        try:
            return await tool.call(tool.arguments.model_validate(arguments))
        except ValidationError as error:
            raise refusing.wrong_arguments(name, tool.arguments, error) from None
        except InvalidInputError as error:
            raise refusing.renamed(error) from None

    def _all(self) -> list[Tool]:
        return [
            Tool("list_spaces", "The knowledge spaces there are.", NoArguments, results.SpaceList, self._list_spaces),
            Tool(
                "list_documents", "The documents of a space.", ListArguments, results.DocumentList, self._list_documents
            ),
            Tool(
                "search",
                f"Find the passages of a space that fit a question best, with their places. A best score below {FOUND} "
                "means that the space does not hold the answer.",
                SearchArguments,
                results.SearchResult,
                self._search,
            ),
            Tool(
                "read",
                "Read a document's text, or the part between two characters.",
                ReadArguments,
                results.Excerpt,
                self._read,
            ),
            Tool(
                "grep",
                "Find the lines of a space's documents that a regular expression matches.",
                GrepArguments,
                results.GrepResult,
                self._grep,
            ),
            Tool(
                "ask",
                "Have a question answered from a space's documents, with references.",
                AskArguments,
                results.AnswerResult,
                self._ask,
            ),
            Tool(
                "add_document",
                "Put a text into a space as a document.",
                AddArguments,
                results.WriteResult,
                self._add,
                writes=True,
            ),
            Tool(
                "delete_document",
                "Remove a document from a space.",
                DeleteArguments,
                results.WriteResult,
                self._delete,
                writes=True,
            ),
        ]

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _list_spaces(self, arguments: NoArguments) -> results.SpaceList:
        spaces = [space.info for space in await self._kb.list_spaces(owner=self._owner)]
        return results.SpaceList(
            spaces=[
                results.SpaceLine(
                    name=it.name, id=it.id, desc=it.desc, documents=it.document_count, chunks=it.chunk_count
                )
                for it in spaces
            ]
        )

    async def _list_documents(self, arguments: ListArguments) -> results.DocumentList:
        space = await self._space(arguments.space)
        lines: list[results.DocumentLine] = []
        async for offset, document in _documents(space, arguments.glob, arguments.offset):
            if len(lines) == arguments.limit:
                return results.DocumentList(documents=lines, next_offset=offset, in_space=space.info.document_count)
            lines.append(
                results.DocumentLine(
                    name=document.name, id=document.id, status=document.status.value, chunks=document.chunk_count
                )
            )
        return results.DocumentList(documents=lines, next_offset=None, in_space=space.info.document_count)

    async def _search(self, arguments: SearchArguments) -> results.SearchResult:
        space = await self._space(arguments.space)
        found = await space.retrieve(arguments.query, top_k=arguments.top_k, where=arguments.filter)
        return results.SearchResult(hits=[results.Hit.of(reference, chars=SHOWN_CHARS) for reference in found])

    async def _read(self, arguments: ReadArguments) -> results.Excerpt:
        document = await self._document(await self._space(arguments.space), arguments.document)
        text = document.text or ""
        if arguments.end is not None and arguments.end < arguments.start:
            raise InvalidInputError("end", f"must not lie before start, which is {arguments.start}")
        start = min(arguments.start, len(text))
        wanted = len(text) if arguments.end is None else min(arguments.end, len(text))
        end = max(start, min(wanted, start + READ_CHARS))
        return results.Excerpt(
            document=document.name,
            start=start,
            end=end,
            length=len(text),
            next_start=end if end < wanted else None,
            text=text[start:end],
        )

    async def _grep(self, arguments: GrepArguments) -> results.GrepResult:
        space = await self._space(arguments.space)
        pattern = Pattern(arguments.pattern, ignore_case=arguments.ignore_case, literal=arguments.literal)
        until = time.monotonic() + GREP_SECONDS
        matches: list[results.Match] = []
        searched = 0

        def told(next_offset: int | None, note: str | None, *, next_start: int = 0) -> results.GrepResult:
            return results.GrepResult(
                matches=matches, searched=searched, next_offset=next_offset, next_start=next_start, note=note
            )

        async for offset, document in _documents(space, arguments.glob, arguments.offset):
            left = until - time.monotonic()
            if left <= 0:
                return told(offset, "out of time; go on with `offset`")
            start = arguments.start if offset == arguments.offset else 0
            # One more than is shown tells whether there are more.
            search = partial(pattern.search, limit=arguments.limit - len(matches) + 1, seconds=left, start=start)
            text = (await space.get_document(document.id)).text or ""
            searched += 1
            try:
                found = await self._threads.read(search, text)
            except TimeoutError:
                simpler = "use a simpler one, or `literal`"
                return told(offset + 1, f"the pattern takes too long in {document.name!r}; {simpler}")
            shown = found[: arguments.limit - len(matches)]
            matches += [
                results.Match(document=document.name, line=it.line, start=it.start, end=it.end, text=it.text)
                for it in shown
            ]
            if len(found) > len(shown):
                more = "there are more; narrow it down, or go on with `offset` and `start`"
                return told(offset, more, next_start=found[len(shown)].start)
        return told(None, None)

    async def _ask(self, arguments: AskArguments) -> results.AnswerResult:
        space = await self._space(arguments.space)
        answer = await space.chat(arguments.question, top_k=arguments.top_k, where=arguments.filter)
        cited_as = numbers(answer.references)
        return results.AnswerResult(
            answer=answer.text,
            references=[
                results.CitedHit.of(reference, chars=SHOWN_CHARS, number=cited_as[reference.chunk_id])
                for reference in answer.references
            ],
            doubts=[results.Doubt.of(it, answer.text) for it in answer.citations if not it.supported],
        )

    # -- writing -----------------------------------------------------------------------------------------------------

    async def _add(self, arguments: AddArguments) -> results.WriteResult:
        space = await self._space(arguments.space)
        report = await space.ingest(TextDocument(name=arguments.name, text=arguments.text))
        for failure in report.failed:
            raise InvalidInputError("text", failure.reason)
        done = "added" if report.added else "replaced" if report.updated else "unchanged"
        return results.WriteResult(document=arguments.name, done=done)

    async def _delete(self, arguments: DeleteArguments) -> results.WriteResult:
        space = await self._space(arguments.space)
        document = await self._document(space, arguments.document)
        await space.delete_document(document.id)
        return results.WriteResult(document=document.name, done="deleted")

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _space(self, name: str | int) -> KnowledgeSpace:
        try:
            return await named_or_numbered(partial(self._kb.get_space, owner=self._owner), name)
        except SpaceNotFoundError:
            known = [space.name for space in await self._kb.list_spaces(owner=self._owner, limit=ALIKE_AMONG)]
            raise NotFoundError(refusing.not_there("space", name, known, "list_spaces")) from None

    async def _document(self, space: KnowledgeSpace, name: str | int) -> Document:
        try:
            return await named_or_numbered(space.get_document, name)
        except DocumentNotFoundError:
            known = [document.name for document in await space.documents(limit=ALIKE_AMONG)]
            words = await self._threads.read(refusing.not_there, "document", name, known, "list_documents")
            raise NotFoundError(words) from None


async def _documents(space: KnowledgeSpace, glob: str, offset: int) -> AsyncIterator[tuple[int, Document]]:
    """The documents that match, each with its place in the space's order."""
    matches = matcher(glob)
    while page := await space.documents(offset=offset, limit=_PAGE):
        for place, document in enumerate(page, offset):
            if matches(document.name):
                yield place, document
        offset += len(page)
