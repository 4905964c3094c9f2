"""Many streams at once through `kbchat serve`: is every word there, how long until the first, how much memory?

    python benchmarks/serve_load.py [--streams 500] [--deltas 200] [--pause 50] [--only-first-frames]

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

from serve_relay import HERE, KBCHAT, PYTHON, ROOT, kbchat, process, read

SPACE = "kbchat-docs"
QUESTIONS_AT_ONCE = 64
ROUNDS = 5
LEAVERS = 50


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    arguments.add_argument("--streams", type=int, default=500)
    arguments.add_argument("--deltas", type=int, default=200)
    arguments.add_argument("--pause", type=float, default=50.0, help="milliseconds")
    arguments.add_argument("--only-first-frames", action="store_true")
    given = arguments.parse_args()
    with contextlib.ExitStack() as stack:
        upstream_port = stack.enter_context(process(PYTHON, HERE / "upstream.py", "0"))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        ingest = [KBCHAT, "ingest", SPACE, ROOT / "docs", "--data-dir", folder]
        subprocess.run(ingest, check=True, capture_output=True)
        server = stack.enter_context(kbchat(folder, f"http://127.0.0.1:{upstream_port}/v1"))
        memory(server.pid, "after start, one space on disk")
        if not given.only_first_frames:
            hold_many(server.port, server.pid, given.streams, given.deltas, given.pause)
            leave(server.port, upstream_port, given.streams, given.deltas, given.pause)
        first_frames(server.port, server.pid, upstream_port)
        memory(server.pid, "at the end")


def hold_many(port: int, pid: int, streams: int, deltas: int, pause: float) -> None:
    """Have so many slow streams read twice: the second time shows whether memory stays flat."""
    read(port, 1, 1)
    before = resident(pid)
    for attempt in ("first", "second"):
        with highest(pid) as seen:
            found = read(port, streams, deltas, pause=pause)
        rate = found["frames"] / found["seconds"]
        first = found["first"]
        print(
            f"{attempt} time: {streams} streams of {deltas} deltas, one every {pause:g} ms: all whole, "
            f"{rate:,.0f} frames/s, first frame p50 {quantile(first, 0.5)} p99 {quantile(first, 0.99)}, "
            f"{found['seconds']:.1f} s (the model alone takes {deltas * pause / 1000:.1f})"
        )
        print(f"  memory: {seen[0]:.0f} MB at most, {(seen[0] - before) * 1024 / streams:.0f} KiB a stream")


def leave(port: int, upstream_port: int, streams: int, deltas: int, pause: float) -> None:
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
        f"{LEAVERS} readers left {still}: the model's server saw it after p50 {quantile(waited, 0.5)}, "
        f"{quantile(waited, 1.0)} at most"
    )


def first_frames(port: int, pid: int, upstream_port: int) -> None:
    """The first frame of answers that rest on retrieval, and what a question costs, which other work on the machine
    changes least."""
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
            f"first frame, {streams} at once, retrieval included: p50 {quantile(ours, 0.5)} "
            f"p95 {quantile(ours, 0.95)}; the model's own: p50 {quantile(theirs, 0.5)}; "
            f"{spent * 1000:.1f} ms of processor time a question"
        )


def quantile(values: list[float], share: float) -> str:
    ordered = sorted(values)
    return f"{ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000:.1f} ms"


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


def memory(pid: int, when: str) -> None:
    print(f"memory of kbchat serve {when}: {resident(pid):.0f} MB")


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
