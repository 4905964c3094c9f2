"""How fast documents go in over HTTP: uploaded, synchronised and FINISHED, through `kbchat serve` on a real socket.

    python benchmarks/serve_ingest.py FOLDER... [--files 199] [--at-once 8] [--rounds 3]

The files are sent as forms, several at a time as browsers do, then asked for together, then their statuses are polled
until none is left. The server is a process of its own; each round has a space of its own, so that the first one also
pays for what is loaded once. The clock runs from the first upload to the last FINISHED.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import aiohttp

from serve_relay import kbchat

API = "/api/v2/serve/knowledge"
SUFFIXES = (".md", ".mdx")
PAUSE = 0.05


async def one(session: aiohttp.ClientSession, space: str, files: list[tuple[str, bytes]], at_once: int) -> list[float]:
    """Seconds for the uploads, and until all was in."""
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
    while True:
        page = {"space_id": space_id, "page_size": str(len(files))}
        async with session.get(f"{API}/documents", params=page) as answer:
            statuses = [it["status"] for it in (await answer.json())["data"]["items"]]
        if not {"TODO", "RUNNING"} & set(statuses):
            break
        await asyncio.sleep(PAUSE)
    assert statuses == ["FINISHED"] * len(files), set(statuses)
    return [uploaded, time.perf_counter() - started]


async def run(port: int, files: list[tuple[str, bytes]], at_once: int, rounds: int) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for number in range(rounds):
            uploaded, whole = await one(session, f"round-{number}", files, at_once)
            rate = len(files) / whole
            print(
                f"round {number + 1}: {rate:.0f} documents/s ({uploaded:.2f} s of {whole:.2f} s to upload)", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--files", type=int, default=199)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found = sorted(it for folder in given.folders for it in folder.rglob("*") if it.suffix in SUFFIXES)
    files = [(str(it), it.read_bytes()) for it in found]
    # Every so many, so that all languages and sizes are among them.
    files = [(name, data) for name, data in files if data.strip()][:: max(1, len(files) // given.files)][: given.files]
    print(f"{len(files)} files, {sum(len(data) for _, data in files) / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder, kbchat(folder, "http://127.0.0.1:9/v1") as server:
        asyncio.run(run(server.port, files, given.at_once, given.rounds))


if __name__ == "__main__":
    main()
