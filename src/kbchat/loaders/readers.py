"""Files that may be slow to read, huge or hostile: read in worker processes, within limits."""

from types import TracebackType
from typing import Self

import msgspec

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.formats import Format
from kbchat.loaders.reading import Reply, Request
from kbchat.models import LoadedDocument
from kbchat.processes import Processes
from kbchat.threads import Threads


class DocumentReaders:
    """Reads files in a pool of worker processes, which it ends when it is closed.

    `seconds` and `memory` (bytes) bound what one document may take; `limit` is the number of processes.
    """

    def __init__(self, *, threads: Threads, seconds: float, memory: int, limit: int | None = None) -> None:
        self.processes = Processes(threads=threads, limit=limit)
        self.seconds = seconds
        self._memory = memory

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def load(self, known: Format, data: bytes, *, name: str) -> LoadedDocument:
        """The text of a file's bytes. Raises `UnreadableDocumentError`. When it is cancelled, its worker is killed."""
        request = msgspec.msgpack.encode(Request(known.name, name, data, self._memory))
        try:
            answer = await self.processes.call("kbchat.loaders.reading:serve", request, seconds=self.seconds)
        except TimeoutError:
            reason = f"reading it took longer than {self.seconds:g} s (document_timeout)"
            raise UnreadableDocumentError(name, reason) from None
        if answer is None:
            raise UnreadableDocumentError(name, "its reader crashed; the file is damaged or needs too much memory")
        reply = msgspec.msgpack.decode(answer, type=Reply)
        if reply.reason is not None:
            raise UnreadableDocumentError(name, reply.reason)
        return reply.document()

    async def aclose(self) -> None:
        """End the workers. They are started anew when they are needed again."""
        await self.processes.aclose()
