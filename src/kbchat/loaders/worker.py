"""The worker process: takes the text out of one file after another, within a bound of memory, and can be killed.

It reads requests from its standard input and writes replies to what was its standard output, each as its length (eight
bytes, the highest first) and that many bytes of MessagePack. It ends with its parent.
"""

import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

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
    """The document's text and blocks, or why there are none. After `broken` the worker cannot be used again."""

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


def main() -> None:
    """Serve until the standard input ends."""
    requests = sys.stdin.buffer
    # What a library prints must not get between the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    decoder = msgspec.msgpack.Decoder(Request)
    while (message := receive(requests)) is not None:
        reply = serve(decoder.decode(message))
        del message
        send(replies, msgspec.msgpack.encode(reply))
        if reply.broken:
            return
        gc.collect()


def serve(request: Request) -> Reply:
    """The reply to one request. Never raises: whatever a library does, one document fails with its reason."""
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


def send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(8, "big"))
    stream.write(message)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None at the end of the stream, wherever in a message that is."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    length = int.from_bytes(head, "big")
    message = stream.read(length)
    return message if len(message) == length else None


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


def _end_with_parent(parent: int) -> None:
    """Also in the middle of a file that is never done."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
