"""How fast documents go in over HTTP: uploaded, synchronised and FINISHED, through `kbchat serve` on a real socket.

    python benchmarks/serve_ingest.py FOLDER... [--files 199] [--at-once 8] [--rounds 3] [--json FILE] [--plot FILE]

The files are sent as forms, several at a time as browsers do, then asked for together, then their statuses are polled
until none is left. The server is a process of its own; each round has a space of its own, so that the first one also
pays for what is loaded once. The clock runs from the first upload to the last FINISHED.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import aiohttp

from reporting import Spread, about, add_outputs, canvas, draw, save
from serve_relay import kbchat

API = "/api/v2/serve/knowledge"
SUFFIXES = (".md", ".mdx")
PAUSE = 0.05


class Round(NamedTuple):
    """Seconds for the uploads, and until all was in; and how many documents were in after how many seconds."""

    uploaded: float
    whole: float
    path: list[tuple[float, int]]


async def one(session: aiohttp.ClientSession, space: str, files: list[tuple[str, bytes]], at_once: int) -> Round:
    async with session.post(f"{API}/spaces", json={"name": space}) as answer:
        space_id = str((await answer.json())["data"]["id"])
    turns = asyncio.Semaphore(at_once)
    started = time.perf_counter()

    async def send(name: str, data: bytes) -> int:
        form = aiohttp.FormData({"doc_name": name, "doc_type": "DOCUMENT", "space_id": space_id})
        form.add_field("doc_file", data, filename=name)
        async with turns, session.post(f"{API}/documents", data=form) as answer:
            made: int = (await answer.json())["data"]["id"]
            return made

    ids = await asyncio.gather(*(send(name, data) for name, data in files))
    uploaded = time.perf_counter() - started
    async with session.post(f"{API}/documents/batch_sync", json=[{"doc_id": it} for it in ids]) as answer:
        assert answer.status == 200, await answer.text()
    path = [(0.0, 0)]
    while True:
        page = {"space_id": space_id, "page_size": str(len(files))}
        async with session.get(f"{API}/documents", params=page) as answer:
            statuses = [it["status"] for it in (await answer.json())["data"]["items"]]
        path.append((time.perf_counter() - started, statuses.count("FINISHED")))
        if not {"TODO", "RUNNING"} & set(statuses):
            break
        await asyncio.sleep(PAUSE)
    assert statuses == ["FINISHED"] * len(files), set(statuses)
    return Round(uploaded, time.perf_counter() - started, path)


async def run(port: int, files: list[tuple[str, bytes]], at_once: int, rounds: int) -> list[Round]:
    made = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for number in range(rounds):
            found = await one(session, f"round-{number}", files, at_once)
            rate = len(files) / found.whole
            upload = f"{found.uploaded:.2f} s of {found.whole:.2f} s to upload"
            print(f"round {number + 1}: {rate:.0f} documents/s ({upload})", flush=True)
            made.append(found)
    return made


def plot(rounds: list[Round], path: Path) -> None:
    """How many documents are in as time goes by."""
    figure, (axes,) = canvas()
    for number, each in enumerate(rounds):
        axes.plot(*zip(*each.path, strict=True), color=f"C{number}", label=f"round {number + 1}")
        axes.axvline(each.uploaded, color=f"C{number}", linewidth=0.8, linestyle=":")
    axes.set(xlabel="seconds (dotted: all uploaded)", ylabel="documents FINISHED", xlim=(0, None), ylim=(0, None))
    axes.legend(fontsize=7)
    draw(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--files", type=int, default=199)
    parser.add_argument("--spread", action="store_true", help="not the first files but some of all, of every language")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    add_outputs(parser)
    given = parser.parse_args()
    found = sorted(it for folder in given.folders for it in folder.rglob("*") if it.suffix in SUFFIXES)
    files = [(str(it), data) for it in found if (data := it.read_bytes()).strip()]
    step = max(1, len(files) // given.files) if given.spread else 1
    files = files[::step][: given.files]
    header = about(
        "aiohttp",
        files=len(files),
        bytes=sum(len(data) for _, data in files),
        at_once=given.at_once,
        rounds=given.rounds,
    )
    with tempfile.TemporaryDirectory() as folder, kbchat(folder, "http://127.0.0.1:9/v1") as server:
        rounds = asyncio.run(run(server.port, files, given.at_once, given.rounds))
    rates = Spread.of(len(files) / each.whole for each in rounds)
    print(f"{rates:.0f} documents/s, the first round's start included")
    made = [{"upload seconds": each.uploaded, "seconds": each.whole} for each in rounds]
    save(given.json, header, {"documents a second": rates, "rounds": made})
    if given.plot:
        plot(rounds, given.plot)


if __name__ == "__main__":
    main()
