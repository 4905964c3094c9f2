"""Engine events to frames, and a model server's stream through the whole engine to frames: how many a second.

    python benchmarks/streaming.py [--deltas 200000]

The first table feeds `FrameEncoder` alone. The second relays from a model server in a process of its own, over
loopback, through `OpenAIGenerator`, `open_chat` and `FrameEncoder` in this one. CPU is this process's own, so it says
what a delta costs also on a machine that others use.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO

from kbchat.chat import open_chat
from kbchat.events import Deltas
from kbchat.frames import FrameEncoder
from kbchat.generators import Generator
from kbchat.generators.openai import OpenAIGenerator
from kbchat.models import Message, Reference, Sampling
from kbchat.text.tokens import TokenCounter
from kbchat.threads import Threads

TEXTS = {"English": " Workflow", "Chinese": "工作流", "with a line break": "end.\n"}
BATCHES = (1, 8, 40)
STREAMS = (1, 16, 64)
WRITE = 40
"""Frames that the model server writes at once."""


def encoder() -> FrameEncoder:
    return FrameEncoder(id="chatcmpl-86f60a0c-e686-11ee-9322-acde48001122", model="chatgpt_proxyllm", created=1)


def encode(text: str, batch: int, deltas: int) -> float:
    """Seconds of CPU a frame, the best of five."""
    made, event = encoder(), Deltas((text,) * batch)
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(deltas // batch):
            made.encode(event)
        best = min(best, (time.process_time() - began) / (deltas // batch * batch))
    return best


async def relay(generator: Generator, streams: int) -> tuple[int, float, float]:
    """Frames, seconds and seconds of CPU that so many streams at once took."""

    async def none(question: str) -> Sequence[Reference]:
        return ()

    async def one() -> int:
        made, frames = encoder(), 0
        async with open_chat(
            [Message(role="user", content="Go")],
            retrieve=none,
            generator=generator,
            sampling=Sampling(),
            budget_tokens=4096,
            counter=TokenCounter(lambda: None),
            threads=Threads(),
        ) as events:
            async for event in events:
                sent = made.encode(event)
                frames += len(event.texts) if isinstance(event, Deltas) else bool(sent)
        return frames

    cpu, wall = time.process_time(), time.perf_counter()
    counts = await asyncio.gather(*(one() for _ in range(streams)))
    return sum(counts), time.perf_counter() - wall, time.process_time() - cpu


async def upstream(deltas: int) -> None:
    """A model server that has its answer ready."""

    def frame(delta: object, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return b"data: " + json.dumps(head | {"choices": [choice]}).encode() + b"\n\n"

    def chunk(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)

    said = chunk(frame({"content": TEXTS["English"]}) * WRITE)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    end = chunk(frame({}, "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                length = int(request.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(head)
                for _ in range(deltas // WRITE):
                    writer.write(said)
                    await writer.drain()
                writer.write(end)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def relay_all(port: int, deltas: int) -> None:
    generator = OpenAIGenerator("bench", base_url=f"http://127.0.0.1:{port}/v1", model="m")
    print(f"\n{'streams':>8} {'frames/s':>12} {'µs a frame':>12} {'µs CPU a frame':>16}")
    await relay(generator, 1)
    for streams in STREAMS:
        frames, wall, cpu = await relay(generator, streams)
        assert frames == streams * (deltas // WRITE * WRITE + 1), frames
        print(f"{streams:>8} {frames / wall:>12,.0f} {1e6 * wall / frames:>12.2f} {1e6 * cpu / frames:>16.2f}")
    await generator.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deltas", type=int, default=200_000, help="frames to encode; a tenth of them a stream")
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream:
        asyncio.run(upstream(arguments.deltas))
        return
    print(f"{'text':<20} {'deltas an event':>16} {'frames/s':>12} {'ns a frame':>12}")
    for name, text in TEXTS.items():
        for batch in BATCHES:
            seconds = encode(text, batch, arguments.deltas)
            print(f"{name:<20} {batch:>16} {1 / seconds:>12,.0f} {1e9 * seconds:>12.0f}")
    deltas = arguments.deltas // 10
    command = [sys.executable, __file__, "--upstream", "--deltas", str(deltas)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output: IO[str] | None = process.stdout
        assert output is not None
        try:
            asyncio.run(relay_all(int(output.readline()), deltas))
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
