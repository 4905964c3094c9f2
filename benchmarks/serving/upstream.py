"""A model server that speaks OpenAI's protocol as fast as its client reads: `upstream.py PORT`.

The question says how: `deltas=N pause=MS`. Each delta is ` word-N`, N counting from 0, so that a reader can tell lost,
repeated and reordered ones. Without a pause as many deltas go out in a write as fit in 16 KiB; with one, each by
itself. `leaves=N` says that reader N will leave: `GET /left` tells when each was seen to, by the machine's own clock.
"""

import asyncio
import contextlib
import json
import re
import sys
import time
from functools import cache

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HOW = re.compile(r"deltas=(\d+) pause=([\d.]+)(?: leaves=(\d+))?")
WRITE_BYTES = 16 * 1024
MODELS = b'{"object":"list","data":[{"id":"bench","object":"model","created":0,"owned_by":"bench"}]}'


def frame(content: str, finish_reason: str | None = None) -> bytes:
    """A delta with all that model servers send around it."""
    delta = {"content": content} if finish_reason is None else {}
    body = {
        "id": "chatcmpl-7f1d0c3b9a5e4f0c8d2b6a1e",
        "object": "chat.completion.chunk",
        "created": 1735689600,
        "model": "bench",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@cache
def writes(deltas: int, *, apart: bool) -> list[bytes]:
    """What is written for an answer of so many deltas."""
    pieces = [b""]
    for number in range(deltas):
        if pieces[-1] and (apart or len(pieces[-1]) >= WRITE_BYTES):
            pieces.append(b"")
        pieces[-1] += frame(f" word-{number}")
    return [chunk(piece) for piece in pieces]


LEFT: dict[int, float] = {}
END = chunk(frame("", "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET"):
                found = json.dumps(LEFT).encode() if b"/left" in head.split(b"\r\n")[0] else MODELS
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(found), found)
                )
                continue
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            body = json.loads(await reader.readexactly(int(fields[b"content-length"])))
            await answer(reader, writer, body["messages"][-1]["content"])
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def note_leaving(reader: asyncio.StreamReader, number: int) -> None:
    with contextlib.suppress(ConnectionError):  # who leaves with something unread resets the connection
        await reader.read(1)
    LEFT[number] = time.monotonic()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: str) -> None:
    deltas, milliseconds, leaver = HOW.findall(question)[-1]
    pause = float(milliseconds) / 1000
    watch = asyncio.create_task(note_leaving(reader, int(leaver))) if leaver else None
    writer.write(HEAD)
    for piece in writes(int(deltas), apart=pause > 0):
        writer.write(piece)
        await writer.drain()
        if pause:
            await asyncio.sleep(pause)
    if watch is not None:
        watch.cancel()
    writer.write(END)
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(handle, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
