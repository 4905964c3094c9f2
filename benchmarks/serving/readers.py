"""Readers of streams, in a process of their own: `readers.py PORT PATH STREAMS BODY`.

Prints one line of JSON: seconds from the first request to the last frame, frames, the times of the first frames, and
what was wrong with any stream: every ` word-N` must be there, once, in order.
"""

import asyncio
import json
import re
import sys
import time

WORD = re.compile(rb" word-(\d+)")


class Reader(asyncio.Protocol):
    """One stream. It keeps what it gets, to be looked through when time no longer counts."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.pieces: list[bytes] = []
        self.first = 0.0
        self.last = 0.0
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        assert isinstance(transport, asyncio.Transport)
        self.started = time.perf_counter()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        if not self.first and b"data: " in data:
            self.first = time.perf_counter()
        if b"[DONE]" in data or b"[DONE]" in b"".join(self.pieces[-2:]):
            self.last = time.perf_counter()
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def check(self, deltas: int) -> tuple[int, str]:
        """Frames, and what is wrong; chunked encoding may cut anywhere, so its lines are taken out first."""
        raw = b"".join(self.pieces)
        body = unchunk(raw.partition(b"\r\n\r\n")[2])
        numbers = [int(number) for number in WORD.findall(body)]
        wrong = "" if numbers == list(range(deltas)) else f"{len(numbers)} words of {deltas}: {raw[:300]!r}"
        if not body.rstrip().endswith(b"data: [DONE]"):
            wrong = wrong or f"no end: {raw[-300:]!r}"
        return body.count(b"data: {"), wrong


def unchunk(data: bytes) -> bytes:
    parts = []
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not length:
            break
        parts.append(data[:length])
        data = data[length + 2 :]
    return b"".join(parts)


async def main() -> None:
    port, path, streams, body = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4].encode()
    deltas = int(re.findall(rb"deltas=(\d+)", body)[-1])
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    readers = [(await loop.create_connection(lambda: Reader(request), "127.0.0.1", port))[1] for _ in range(streams)]
    await asyncio.gather(*(reader.over for reader in readers))
    checked = [reader.check(deltas) for reader in readers]
    print(
        json.dumps(
            {
                "seconds": max(reader.last for reader in readers) - started,
                "frames": sum(frames for frames, _ in checked),
                "first": sorted(reader.first - reader.started for reader in readers),
                "wrong": [wrong for _, wrong in checked if wrong][:3],
            }
        )
    )


asyncio.run(main())
