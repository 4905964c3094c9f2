"""Frames a second through `kbchat serve`, beside three references measured in the same run.

    python benchmarks/serve_relay.py [--streams 1,16,64] [--deltas 4000] [--rounds 3]

The upstream speaks OpenAI's protocol as fast as it is read; upstream, server and readers are a process each. Every word
of every stream is checked. The references: aiohttp writing ready-made bytes, aiohttp passing the upstream's bytes
through, and the relay most people would write (FastAPI, uvicorn and the OpenAI SDK, in an environment of its own).
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent / "serving"
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from environments import make_python, python  # noqa: E402

PYTHON = sys.executable
KBCHAT = Path(sys.executable).with_name("kbchat")
SDK = ["fastapi==0.128.0", "uvicorn[standard]==0.40.0", "openai==3.57.0"]


@contextlib.contextmanager
def process(*command: str | Path, **variables: str) -> Iterator[int]:
    """A server that prints its port; ended with the block."""
    environment = {**os.environ, **variables}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert running.stdout is not None
    try:
        yield int(running.stdout.readline())
    finally:
        running.terminate()
        running.wait(10)


class Server(NamedTuple):
    port: int
    pid: int


@contextlib.contextmanager
def kbchat(folder: str, upstream: str) -> Iterator[Server]:
    """`kbchat serve`, which says on stderr where it listens."""
    environment = {**os.environ, "KBCHAT_LLM_BASE_URL": upstream, "KBCHAT_LLM_MODEL": "bench"}
    command = [KBCHAT, "serve", "--port", "0", "--data-dir", folder]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert running.stderr is not None
    try:
        while "listening" not in (line := running.stderr.readline()):
            assert line, "kbchat serve ended"
        yield Server(int(line.rpartition(":")[2]), running.pid)
    finally:
        running.terminate()
        running.communicate(timeout=10)


def read(
    port: int, streams: int, deltas: int, *, pause: float = 0.0, model: str = "bench", question: str = ""
) -> dict[str, Any]:
    """Have so many streams read; raises when one of them was not whole."""
    message = {"role": "user", "content": f"{question} deltas={deltas} pause={pause}"}
    body = json.dumps({"model": model, "stream": True, "messages": [message]})
    command = [PYTHON, HERE / "readers.py", str(port), "/v1/chat/completions", str(streams), body]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert not found["wrong"], found["wrong"]
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    arguments.add_argument("--streams", default="1,16,64")
    arguments.add_argument("--deltas", type=int, default=4000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--without-sdk", action="store_true", help="skip the relay most people would write")
    given = arguments.parse_args()
    streams = [int(number) for number in given.streams.split(",")]
    with contextlib.ExitStack() as stack:
        upstream = f"http://127.0.0.1:{stack.enter_context(process(PYTHON, HERE / 'upstream.py', '0'))}/v1"
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        ports = {
            "ready-made bytes (aiohttp)": stack.enter_context(
                process(PYTHON, HERE / "bare.py", "ready", "0", str(given.deltas))
            ),
            "pass-through (aiohttp)": stack.enter_context(process(PYTHON, HERE / "bare.py", "relay", "0", upstream)),
            "kbchat serve": stack.enter_context(kbchat(folder, upstream)).port,
        }
        if not given.without_sdk:
            make_python("sdk-relay", SDK)
            ports["FastAPI + OpenAI SDK"] = stack.enter_context(
                process(python("sdk-relay"), HERE / "sdk_relay.py", "0", upstream)
            )
        report(ports, streams, given.deltas, given.rounds)


def report(ports: dict[str, int], streams: list[int], deltas: int, rounds: int) -> None:
    print(f"frames a second, median of {rounds} rounds; {deltas} deltas a stream")
    print(f"{'streams':32}" + "".join(f"{number:>12}" for number in streams))
    seen: dict[str, list[float]] = {name: [] for name in ports}
    for number in streams:
        rates: dict[str, list[float]] = {name: [] for name in ports}
        for _ in range(rounds + 1):  # the first warms up
            for name, port in ports.items():
                few = max(1, deltas // 8) if "SDK" in name else deltas
                found = read(port, number, few)
                rates[name].append(found["frames"] / found["seconds"])
        for name in ports:
            seen[name].append(statistics.median(rates[name][1:]))
    for name, values in seen.items():
        print(f"{name:32}" + "".join(f"{value:>12,.0f}" for value in values))
    ours = seen["kbchat serve"]
    for other in ("pass-through (aiohttp)", "FastAPI + OpenAI SDK"):
        if other in seen:
            shares = (f"{mine / theirs:>11.2f}×" for mine, theirs in zip(ours, seen[other], strict=True))
            print(f"{'kbchat / ' + other:32}" + "".join(shares))


if __name__ == "__main__":
    main()
