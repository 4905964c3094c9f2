"""Documents by URL, fetched and ingested in turn: what is fetched is held in memory until it is in."""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING

from kbchat.errors import UnreadableDocumentError
from kbchat.ingestion.items import FileContent, Source
from kbchat.ingestion.looking import GIVEN_TWICE
from kbchat.ingestion.preparing import GROUP_BYTES
from kbchat.loaders.web import WebPolicy, fetch, suffix_of_url
from kbchat.models import DocumentFailure, IngestProgress, IngestReport
from kbchat.text.readable import printable
from kbchat.threads import side_by_side

if TYPE_CHECKING:
    from kbchat.ingestion.ingest import Ingester

FETCHES = 8
"""Documents that are fetched at once."""


class Fetching:
    """One ingest of documents by URL, and of others that are at hand.

    `writing` makes the caller the only one to write to the space, `ingester` then gives its writer. Nobody is kept from
    writing while documents are fetched.
    """

    def __init__(
        self,
        policy: WebPolicy,
        *,
        writing: Callable[[], AbstractAsyncContextManager[None]],
        ingester: Callable[[], Awaitable["Ingester"]],
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> None:
        self._policy = policy
        self._writing = writing
        self._ingester = ingester
        self._progress = progress
        self._total = 0
        self._report = IngestReport()
        self._lost: list[DocumentFailure] = []

    async def run(self, at_hand: Sequence[Source], urls: Sequence[str]) -> IngestReport:
        """Ingest what is at hand with the first documents that are fetched, then the others. No URL may come twice."""
        self._total = len(at_hand) + len(urls)
        # Told here: an ingest knows only of the names that are given to itself.
        taken = {source.name for source in at_hand}.intersection(urls)
        self._lost = [DocumentFailure(name=printable(url), reason=GIVEN_TWICE) for url in urls if url in taken]
        async with aclosing(_fetched([url for url in urls if url not in taken], self._policy)) as groups:
            async for group in groups:
                self._lost += [it for it in group if isinstance(it, DocumentFailure)]
                await self._ingest([*at_hand, *(it for it in group if isinstance(it, FileContent))])
                at_hand = ()
                del group  # The next one comes in its place.
        return self._report.model_copy(update={"failed": (*self._report.failed, *self._lost)})

    async def _ingest(self, sources: Sequence[Source]) -> None:
        if self._lost and not sources:
            self._tell(IngestProgress(done=0, total=0, chunks=0, name=self._lost[-1].name))
        async with self._writing():
            report = await (await self._ingester()).ingest(sources, progress=self._progress and self._tell)
        before = self._report
        self._report = IngestReport(
            added=before.added + report.added,
            updated=before.updated + report.updated,
            unchanged=before.unchanged + report.unchanged,
            failed=before.failed + report.failed,
            chunks=before.chunks + report.chunks,
            seconds=before.seconds + report.seconds,
        )

    def _tell(self, told: IngestProgress) -> None:
        """Say how far all of it is, where one of its ingests is that far."""
        if self._progress is None:
            return
        before = self._report
        behind = before.added + before.updated + before.unchanged + len(before.failed) + len(self._lost)
        changes = {
            "done": behind + told.done,
            "total": self._total,
            "chunks": before.chunks + told.chunks,
            "seconds": before.seconds + told.seconds,
        }
        self._progress(told.model_copy(update=changes))


async def _fetched(urls: Sequence[str], policy: WebPolicy) -> AsyncGenerator[list[FileContent | DocumentFailure], None]:
    """The documents, and those that cannot be had, in the order of the URLs: a group at a time, and one at least."""
    left = deque(urls)
    yield await _group(left, policy)
    while left:
        yield await _group(left, policy)


async def _group(left: deque[str], policy: WebPolicy) -> list[FileContent | DocumentFailure]:
    """The first documents of those that are left, until they are large enough. Some come above that: how large one is
    shows when it is there."""
    asked: list[str] = []
    outcomes: dict[str, FileContent | DocumentFailure] = {}
    size = 0

    async def fetch_some() -> None:
        nonlocal size
        while left and size < GROUP_BYTES:
            url = left.popleft()
            asked.append(url)
            outcomes[url] = outcome = await _outcome(url, policy)
            if isinstance(outcome, FileContent):
                size += len(outcome.data)

    await side_by_side([fetch_some] * FETCHES)
    return [outcomes[url] for url in asked]


async def _outcome(url: str, policy: WebPolicy) -> FileContent | DocumentFailure:
    try:
        return FileContent(url, await fetch(url, policy), url, suffixes=(suffix_of_url(url),))
    except UnreadableDocumentError as error:
        return DocumentFailure(name=url, reason=error.message)
