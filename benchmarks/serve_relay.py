"""Frames a second through `kbchat serve`, beside three references measured in the same run.

    python benchmarks/serve_relay.py [--streams 1,16,64] [--deltas 4000] [--rounds 3] [--json FILE] [--plot FILE]

The upstream speaks OpenAI's protocol as fast as it is read; upstream, server and readers are a process each. Every word
of every stream is checked. The references: aiohttp writing ready-made bytes, aiohttp passing the upstream's bytes
through, and the relay most people would write (FastAPI, uvicorn and the OpenAI SDK, in an environment of its own).
"""

import argparse
import contextlib
import json
import os
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

from reporting import Spread, about, add_outputs, bars, canvas, draw, logarithmic, save  # noqa: E402

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
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--streams", default="1,16,64")
    arguments.add_argument("--deltas", type=int, default=4000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--without-sdk", action="store_true", help="skip the relay most people would write")
    add_outputs(arguments)
    given = arguments.parse_args()
    streams = [int(number) for number in given.streams.split(",")]
    header = about("aiohttp", streams=given.streams, deltas=given.deltas, rounds=given.rounds)
    if not given.without_sdk:
        header["versions"] |= dict(it.replace("[standard]", "").split("==") for it in SDK)
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
        rates = measure(ports, streams, given.deltas, given.rounds)
    results = show(rates, streams)
    save(given.json, header, results)
    if given.plot:
        plot(results["frames a second"], given.plot)


Rates = dict[str, dict[int, list[float]]]
"""Frames a second by system and number of streams, in each round."""


def measure(ports: dict[str, int], streams: list[int], deltas: int, rounds: int) -> Rates:
    rates: Rates = {name: {number: [] for number in streams} for name in ports}
    for number in streams:
        for attempt in range(rounds + 1):
            for name, port in ports.items():
                few = max(1, deltas // 8) if "SDK" in name else deltas
                found = read(port, number, few)
                if attempt:  # the first warms up
                    rates[name][number].append(found["frames"] / found["seconds"])
    return rates


Spreads = dict[str, dict[int, Spread]]


def show(rates: Rates, streams: list[int]) -> dict[str, Spreads]:
    """Rates, and how many times others' kbchat's is, round by round."""
    frames: Spreads = {name: {at: Spread.of(each) for at, each in of.items()} for name, of in rates.items()}
    times: Spreads = {}
    for other in ("pass-through (aiohttp)", "FastAPI + OpenAI SDK"):
        if other in rates:
            pairs = {at: zip(rates["kbchat serve"][at], rates[other][at], strict=True) for at in streams}
            times[f"kbchat / {other}"] = {at: Spread.of(ours / its for ours, its in of) for at, of in pairs.items()}
    print(f"{'frames a second, by streams':32}" + "".join(f"{number:>32}" for number in streams))
    for spreads, told in ((frames, ",.0f"), (times, ".2f")):
        for name, of in spreads.items():
            print(f"{name:32}" + "".join(f"{format(of[number], told):>32}" for number in streams))
    return {"frames a second": frames, "times": times}


def plot(frames: Spreads, path: Path) -> None:
    figure, (axes,) = canvas(height=4.2)
    bars(axes, {name: {str(at): it for at, it in of.items()} for name, of in frames.items()})
    logarithmic(axes)
    axes.set(xlabel="frames a second (median, quartiles)", ylabel="streams")
    draw(figure, path)


if __name__ == "__main__":
    main()
