"""Many streams at once through `kbchat serve`: is every word there, how long until the first, how much memory?

    python benchmarks/serve_load.py [--streams 500] [--deltas 200] [--pause 50] [--only-first-frames]
                                    [--json FILE] [--plot FILE]

Upstream, server and readers are a process each. The readers check that no word is lost, repeated or out of order. The
model says a word every `--pause` milliseconds, each in a write of its own. While so many are read, others leave at
their first word: how long until the model's server sees its client leave? Then: the first frame with one and with 64
questions at once to a space of kbchat's own documentation, retrieval included, from a model without delay.
"""

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reporting import Spread, about, add_outputs, canvas, draw, logarithmic, quantile, save, shares
from serve_relay import HERE, KBCHAT, PYTHON, ROOT, kbchat, process, read

SPACE = "kbchat-docs"
QUESTIONS_AT_ONCE = 64
ROUNDS = 5
LEAVERS = 50


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--streams", type=int, default=500)
    arguments.add_argument("--deltas", type=int, default=200)
    arguments.add_argument("--pause", type=float, default=50.0, help="milliseconds")
    arguments.add_argument("--only-first-frames", action="store_true")
    add_outputs(arguments)
    given = arguments.parse_args()
    held = {} if given.only_first_frames else {it: getattr(given, it) for it in ("streams", "deltas", "pause")}
    header = about("aiohttp", **held, rounds=ROUNDS)
    results: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        upstream_port = stack.enter_context(process(PYTHON, HERE / "upstream.py", "0"))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        ingest = [KBCHAT, "ingest", SPACE, ROOT / "docs", "--data-dir", folder]
        subprocess.run(ingest, check=True, capture_output=True)
        server = stack.enter_context(kbchat(folder, f"http://127.0.0.1:{upstream_port}/v1"))
        results["megabytes after start"] = memory(server.pid, "after start, one space on disk")
        if not given.only_first_frames:
            results["held"] = hold_many(server.port, server.pid, given.streams, given.deltas, given.pause)
            results["left"] = leave(server.port, upstream_port, given.streams, given.deltas, given.pause)
        firsts = first_frames(server.port, server.pid, upstream_port)
        results["first frames"] = {at: summary(of) for at, of in firsts.items()}
        results["megabytes at the end"] = memory(server.pid, "at the end")
    save(given.json, header, results)
    if given.plot:
        plot(firsts, given.plot)


def hold_many(port: int, pid: int, streams: int, deltas: int, pause: float) -> list[dict[str, float]]:
    """Have so many slow streams read twice: the second time shows whether memory stays flat."""
    read(port, 1, 1)
    before = resident(pid)
    results = []
    for attempt in ("first", "second"):
        with highest(pid) as seen:
            found = read(port, streams, deltas, pause=pause)
        rate = found["frames"] / found["seconds"]
        first = found["first"]
        print(
            f"{attempt} time: {streams} streams of {deltas} deltas, one every {pause:g} ms: all whole, "
            f"{rate:,.0f} frames/s, first frame p50 {told(first, 0.5)} p99 {told(first, 0.99)}, "
            f"{found['seconds']:.1f} s (the model alone takes {deltas * pause / 1000:.1f})"
        )
        each = (seen[0] - before) * 1024 / streams
        print(f"  memory: {seen[0]:.0f} MB at most, {each:.0f} KiB a stream")
        found = {"frames a second": rate, "seconds": found["seconds"], "first, p50": quantile(first, 0.5)}
        found |= {"first, p99": quantile(first, 0.99), "megabytes": seen[0], "KiB a stream": each}
        results.append(found)
    return results


def leave(port: int, upstream_port: int, streams: int, deltas: int, pause: float) -> dict[str, float]:
    """How long the model's server goes on for readers that have left, while so many others read."""
    reading = threading.Thread(target=read, args=(port, streams, deltas), kwargs={"pause": pause})
    reading.start()
    time.sleep(2)  # until all of them have begun
    message = {"role": "user", "content": f"deltas=10000 pause={pause} leaves={{number}}"}
    body = json.dumps({"model": "bench", "stream": True, "messages": [message]})
    command = [PYTHON, HERE / "leavers.py", str(port), "/v1/chat/completions", str(LEAVERS), body]
    left = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    time.sleep(1)
    still = "while they read" if reading.is_alive() else "after they had read: ask for more deltas"
    reading.join()
    connection = http.client.HTTPConnection("127.0.0.1", upstream_port)
    connection.request("GET", "/left")
    seen = {int(number): at for number, at in json.loads(connection.getresponse().read()).items()}
    connection.close()
    waited = [seen[number] - at for number, at in enumerate(left)]
    print(
        f"{LEAVERS} readers left {still}: the model's server saw it after p50 {told(waited, 0.5)}, "
        f"{told(waited, 1.0)} at most"
    )
    return {"readers": LEAVERS, "seen after, p50": quantile(waited, 0.5), "at most": max(waited)}


class FirstFrames(NamedTuple):
    """Seconds until the first frame of each answer, and of processor time a question."""

    ours: list[float]
    model: list[float]
    spent: float


def first_frames(port: int, pid: int, upstream_port: int) -> dict[int, FirstFrames]:
    """The first frame of answers that rest on retrieval, and what a question costs, which other work on the machine
    changes least."""
    results = {}
    asked = {"model": f"kb/{SPACE}", "question": "How are API keys set?"}
    for streams in (1, QUESTIONS_AT_ONCE):
        firsts = [read(port, streams, 5, **asked)["first"]]  # warms up
        before = processor_seconds(pid)
        firsts += [read(port, streams, 5, **asked)["first"] for _ in range(ROUNDS)]
        spent = (processor_seconds(pid) - before) / (ROUNDS * streams)
        alone = [read(upstream_port, streams, 5)["first"] for _ in range(ROUNDS + 1)]
        ours = [value for values in firsts[1:] for value in values]
        theirs = [value for values in alone[1:] for value in values]
        print(
            f"first frame, {streams} at once, retrieval included: p50 {told(ours, 0.5)} "
            f"p95 {told(ours, 0.95)}; the model's own: p50 {told(theirs, 0.5)}; "
            f"{spent * 1000:.1f} ms of processor time a question"
        )
        halves = [quantile(values, 0.5) * 1000 for values in firsts[1:]]
        print(f"  p50 of each round: {Spread.of(halves):.1f} ms")
        results[streams] = FirstFrames(ours, theirs, spent)
    return results


def summary(of: FirstFrames) -> dict[str, object]:
    return {
        "seconds": Spread.of(of.ours),
        "p95": quantile(of.ours, 0.95),
        "the model's own": Spread.of(of.model),
        "processor seconds a question": of.spent,
    }


def plot(firsts: dict[int, FirstFrames], path: Path) -> None:
    figure, (axes,) = canvas()
    lines = {}
    for at, of in firsts.items():
        lines[f"{at} at once"] = [1000 * it for it in of.ours]
        lines[f"{at} at once, the model alone"] = [1000 * it for it in of.model]
    shares(axes, lines)
    logarithmic(axes)
    axes.set(xlabel="milliseconds until the first frame, retrieval included")
    draw(figure, path)


def told(values: list[float], share: float) -> str:
    return f"{quantile(values, share) * 1000:.1f} ms"


def processor_seconds(pid: int) -> float:
    """What a process has used so far, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def memory(pid: int, when: str) -> float:
    now = resident(pid)
    print(f"memory of kbchat serve {when}: {now:.0f} MB", flush=True)
    return now


@contextlib.contextmanager
def highest(pid: int) -> Iterator[list[float]]:
    """The most memory that a process held while the block ran."""
    seen = [resident(pid)]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            seen[0] = max(seen[0], resident(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
