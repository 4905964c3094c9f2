"""Engine events to frames, and a model server's stream through the whole engine to frames: how many a second.

    python benchmarks/streaming.py [--deltas 200000] [--rounds 5] [--json FILE] [--plot FILE]

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
from pathlib import Path
from typing import IO, NamedTuple

from kbchat.chat import open_chat
from kbchat.events import Deltas
from kbchat.frames import FrameEncoder
from kbchat.generators import Generator
from kbchat.generators.openai import OpenAIGenerator
from kbchat.models import Message, Reference, Sampling
from kbchat.text.tokens import TokenCounter
from kbchat.threads import Threads
from reporting import Spread, about, add_outputs, bars, canvas, draw, save

TEXTS = {"English": " Workflow", "Chinese": "工作流", "with a line break": "end.\n"}
BATCHES = (1, 8, 40)
STREAMS = (1, 16, 64)
WRITE = 40
"""Frames that the model server writes at once."""


def encoder() -> FrameEncoder:
    return FrameEncoder(id="chatcmpl-86f60a0c-e686-11ee-9322-acde48001122", model="chatgpt_proxyllm", created=1)


def encode(text: str, batch: int, deltas: int, rounds: int) -> Spread:
    """Nanoseconds of CPU a frame."""
    made, event = encoder(), Deltas((text,) * batch)
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(deltas // batch):
            made.encode(event)
        taken.append(1e9 * (time.process_time() - began) / (deltas // batch * batch))
    return Spread.of(taken)


class Relayed(NamedTuple):
    """How many frames so many streams at once had, and what that took."""

    frames: int
    seconds: float
    processor: float


async def relay(generator: Generator, streams: int) -> Relayed:

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
    return Relayed(sum(counts), time.perf_counter() - wall, time.process_time() - cpu)


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


Table = dict[str, dict[str, Spread]]


def encode_all(deltas: int, rounds: int) -> Table:
    """Nanoseconds of CPU a frame, by how many deltas an event has and by text."""
    found: Table = {f"{batch} an event": {} for batch in BATCHES}
    print(f"{'text':<20} {'deltas an event':>16} {'frames/s':>12} {'ns a frame':>24}")
    for name, text in TEXTS.items():
        for batch in BATCHES:
            spent = found[f"{batch} an event"][name] = encode(text, batch, deltas, rounds)
            print(f"{name:<20} {batch:>16} {1e9 / spent.median:>12,.0f} {format(spent, '.0f'):>24}", flush=True)
    return found


async def relay_all(port: int, deltas: int, rounds: int) -> Table:
    """Microseconds a frame, by clock and processor and by streams."""
    generator = OpenAIGenerator("bench", base_url=f"http://127.0.0.1:{port}/v1", model="m")
    found: Table = {"by the clock": {}, "of this process's CPU": {}}
    print(f"\n{'streams':>8} {'frames/s':>12} {'µs a frame':>24} {'µs CPU a frame':>24}")
    await relay(generator, 1)
    for streams in STREAMS:
        every = [await relay(generator, streams) for _ in range(rounds)]
        assert all(it.frames == streams * (deltas // WRITE * WRITE + 1) for it in every), every
        wall = Spread.of(1e6 * it.seconds / it.frames for it in every)
        cpu = Spread.of(1e6 * it.processor / it.frames for it in every)
        told = f"{format(wall, '.2f'):>24} {format(cpu, '.2f'):>24}"
        print(f"{streams:>8} {1e6 / wall.median:>12,.0f} {told}", flush=True)
        for name, each in zip(found, (wall, cpu), strict=True):
            found[name][str(streams)] = each
    await generator.aclose()
    return found


def plot(encoded: Table, relayed: Table, path: Path) -> None:
    figure, (alone, whole) = canvas(2, width=10)
    bars(alone, encoded)
    alone.set(xlabel="encoding alone: nanoseconds of CPU a frame (median, quartiles)")
    bars(whole, relayed, told=".2f")
    whole.set(xlabel="through the engine: microseconds a frame (median, quartiles)", ylabel="streams")
    draw(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deltas", type=int, default=200_000, help="frames to encode; a tenth of them a stream")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    add_outputs(parser)
    given = parser.parse_args()
    if given.upstream:
        asyncio.run(upstream(given.deltas))
        return
    header = about("aiohttp", "msgspec", deltas=given.deltas, rounds=given.rounds)
    encoded = encode_all(given.deltas, given.rounds)
    deltas = given.deltas // 10
    command = [sys.executable, __file__, "--upstream", "--deltas", str(deltas)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output: IO[str] | None = process.stdout
        assert output is not None
        try:
            relayed = asyncio.run(relay_all(int(output.readline()), deltas, given.rounds))
        finally:
            process.terminate()
    save(given.json, header, {"nanoseconds to encode": encoded, "microseconds through the engine": relayed})
    if given.plot:
        plot(encoded, relayed, given.plot)


if __name__ == "__main__":
    main()
