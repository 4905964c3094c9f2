"""What a worker process does with a file: takes the text out of it, within a bound of memory."""

from pathlib import Path
from typing import Any

import msgspec

from kbchat.errors import MissingExtraError, UnreadableDocumentError
from kbchat.models import Block, LoadedDocument, Markup


class Request(msgspec.Struct):
    """A file to read. `format` names one of `formats`; `memory` is how many bytes more than now may be used."""

    format: str
    name: str
    data: bytes
    memory: int


class Reply(msgspec.Struct):
    """The document's text and blocks, or why there are none. After `broken` the process cannot be used again."""

    text: str = ""
    metadata: dict[str, Any] = {}
    markup: Markup = "plain"
    blocks: list[tuple[int, int, dict[str, Any]]] = []
    reason: str | None = None
    broken: bool = False

    def document(self) -> LoadedDocument:
        """What was loaded."""
        blocks = tuple(Block(start, end, metadata) for start, end, metadata in self.blocks)
        return LoadedDocument(self.text, metadata=self.metadata, blocks=blocks, markup=self.markup)


def serve(argument: bytes) -> tuple[bytes, bool]:
    """The reply to a request, both encoded. Never raises: one document fails, with its reason."""
    reply = read(msgspec.msgpack.decode(argument, type=Request))
    return msgspec.msgpack.encode(reply), reply.broken


def read(request: Request) -> Reply:
    """The reply to one request."""
    from kbchat.loaders.formats import by_name

    _limit_memory(request.memory)
    try:
        document = by_name(request.format).load(request.data, name=request.name)
        blocks = [(block.start, block.end, dict(block.metadata)) for block in document.blocks]
        return Reply(document.text, dict(document.metadata), document.markup, blocks)
    except (UnreadableDocumentError, MissingExtraError) as error:
        return Reply(reason=error.message)
    except MemoryError:
        return Reply(reason=f"reading it needs more than {request.memory:,} bytes of memory", broken=True)
    except RecursionError:
        return Reply(reason="nested too deeply to be read")
    except Exception as error:  # Any of a dozen libraries, given a file that its authors never saw.
        return Reply(reason=f"its reader failed: {type(error).__name__}: {error}"[:500], broken=True)


def _limit_memory(more: int) -> None:
    """Bound what this process may use from now on. Without effect where the system has no such limit."""
    try:
        import resource
    except ImportError:
        return
    try:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (now + more, hard))
    except (OSError, ValueError):
        return
