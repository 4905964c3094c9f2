"""How much memory an ingest takes as a folder grows: `kbchat ingest` on made text, its whole process tree measured.

    python benchmarks/ingest_memory.py [--megabytes 2000] [--store Chroma] [--keep FOLDER] [--seconds 500]
                                       [--json FILE] [--plot FILE]

Makes a folder of text files (200 KB each, two million different words), ingests it, and five times a second adds up
what every process of the tree takes: PSS, in which what several share counts once, and of that what is no file's copy
(`anonymous`; the system may take the rest back). A line is printed for every tenth of the way, with the most seen until
then. With `--keep` folder and data stay, and a run that is cut short after `--seconds` goes on where it stopped. Linux
only.
"""

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reporting import about, add_outputs, canvas, draw, save

FILE_BYTES = 200_000
WORDS = 2_000_000
LOOK_SECONDS = 0.2
NOTE_SECONDS = 2.0
SENTENCE = 14
SYLLABLES = [first + then for first in "bdfgklmnprstvz" for then in "aeiou"]


def make(folder: Path, megabytes: int) -> int:
    """Make the files that are not there yet; returns how many bytes there are in all."""
    folder.mkdir(parents=True, exist_ok=True)
    number = megabytes * 1_000_000 // FILE_BYTES
    missing = [it for it in range(number) if not (folder / f"{it // 1000}" / f"{it}.md").exists()]
    vocabulary = [word(it) for it in range(WORDS)] if missing else []
    for place in missing:
        path = folder / f"{place // 1000}" / f"{place}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text(place, vocabulary))
    return number * FILE_BYTES


def text(place: int, vocabulary: list[str]) -> str:
    """A file's text. Common words are commoner, as in any language."""
    choose = np.random.default_rng(place)
    lines, size = [f"# File {place}"], 0
    while size < FILE_BYTES:
        words = [vocabulary[it] for it in (WORDS ** choose.random(100 * SENTENCE)).astype(int).tolist()]
        for first in range(0, len(words), SENTENCE):
            end = "\n" if choose.random() < 0.2 else ""
            lines.append(f"{' '.join(words[first : first + SENTENCE]).capitalize()}.{end}")
            size += len(lines[-1]) + 1
    return "\n".join(lines)


def word(number: int) -> str:
    """A word that can be spoken, the shorter the smaller its number."""
    syllables = ""
    while True:
        number, last = divmod(number, len(SYLLABLES))
        syllables += SYLLABLES[last]
        if not number:
            return syllables


def tree(root: int) -> list[int]:
    """A process and all below it."""
    found = [root]
    for pid in found:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 (names, not paths)
                children = Path(f"/proc/{pid}/task/{thread}/children").read_text()
                found += map(int, children.split())
        except OSError:
            continue
    return found


def taken(root: int) -> tuple[int, int]:
    """PSS of the tree in bytes, and what of it is anonymous."""
    pss = anonymous = 0
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
        pss += values.get("Pss", 0)
        anonymous += values.get("Pss_Anon", 0)
    return pss, anonymous


def published(data: Path) -> tuple[int, int]:
    """How many documents and chunks there are."""
    try:
        with sqlite3.connect(f"file:{data / 'catalog.sqlite'}?mode=ro", uri=True) as connection:
            documents, chunks = connection.execute(
                "SELECT coalesce(sum(document_count), 0), coalesce(sum(chunk_count), 0) FROM spaces"
            ).fetchone()
        connection.close()
        return documents, chunks
    except sqlite3.Error:
        return 0, 0


@dataclass(frozen=True)
class Note:
    """What was in after so many seconds, and the bytes of memory that were taken then and at most until then."""

    seconds: float
    documents: int
    chunks: int
    pss: int
    most: int
    anonymous: int

    def __str__(self) -> str:
        then = f"{self.seconds:6.0f} s  {self.chunks:9,} chunks  now {self.pss / 1e6:5.0f} MB"
        return f"{then}  most {self.most / 1e6:5.0f}  anonymous {self.anonymous / 1e6:5.0f}"


def ingest(data: Path, folder: Path, store: str, *, seconds: float, documents: int) -> dict[str, Any]:
    """Run `kbchat ingest` of so many documents and look at it until it ends or its time is up."""
    base = [sys.executable, "-m", "kbchat"]
    options = ["--data-dir", str(data)]
    there = json.loads(
        subprocess.run([*base, "spaces", "list", "--json", *options], check=True, capture_output=True).stdout
    )
    if not there:
        subprocess.run(
            [*base, "spaces", "create", "big", "--vector-type", store, *options], check=True, stdout=subprocess.DEVNULL
        )
    process = subprocess.Popen(
        [*base, "ingest", "big", str(folder), *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    started, most, most_anonymous, told = time.monotonic(), 0, 0, 0
    notes: list[Note] = []
    while process.poll() is None:
        pss, anonymous = taken(process.pid)
        most, most_anonymous = max(most, pss), max(most_anonymous, anonymous)
        now = time.monotonic() - started
        if not notes or now - notes[-1].seconds > NOTE_SECONDS:
            notes.append(Note(now, *published(data), pss, most, most_anonymous))
            if (tenth := 10 * notes[-1].documents // documents) > told:
                told = tenth
                print(notes[-1], flush=True)
        if now > seconds:
            process.send_signal(signal.SIGINT)
            process.wait()
        time.sleep(LOOK_SECONDS)
    shown = subprocess.run([*base, "spaces", "list", "--json", *options], check=True, capture_output=True)
    (space,) = json.loads(shown.stdout)
    return {
        "seconds": time.monotonic() - started,
        "pss": most,
        "anonymous": most_anonymous,
        "documents": space["document_count"],
        "chunks": space["chunk_count"],
        "code": process.returncode,
        "notes": notes,
    }


def plot(found: dict[str, Any], path: Path) -> None:
    figure, (axes,) = canvas(width=7)
    # The first ones are of a process that starts.
    notes: list[Note] = [it for it in found["notes"] if it.documents]
    megabytes = [it.documents * FILE_BYTES / 1e6 for it in notes]
    for name, values in {
        "most until then": [it.most for it in notes],
        "then": [it.pss for it in notes],
        "most that is no file's copy": [it.anonymous for it in notes],
    }.items():
        axes.plot(megabytes, [it / 1e6 for it in values], marker=".", label=name)
    axes.set(xlabel="megabytes of text taken in", ylabel="MB of memory, all processes", ylim=(0, None))
    axes.legend(fontsize=7)
    draw(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--store", default="Chroma")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    add_outputs(parser)
    given = parser.parse_args()
    header = about("chromadb", "pymilvus", "milvus-lite", megabytes=given.megabytes, store=given.store)
    with tempfile.TemporaryDirectory() as temporary:
        root = given.keep or Path(temporary)
        size = make(root / "text", given.megabytes)
        data, documents = root / f"data-{given.store}", size // FILE_BYTES
        found = ingest(data, root / "text", given.store, seconds=given.seconds, documents=documents)
    ended = "all" if not found["code"] else "cut short"
    done = found["documents"] * FILE_BYTES
    print(
        f"{given.store}: {done / 1e6:,.0f} of {size / 1e6:,.0f} MB ({ended}), {found['chunks']:,.0f} chunks", end=", "
    )
    print(f"{found['seconds']:,.0f} s, at most {found['pss'] / 1e6:,.0f} MB", end=", ")
    print(f"of which anonymous {found['anonymous'] / 1e6:,.0f}")
    save(given.json, header, found)
    if given.plot:
        plot(found, given.plot)


if __name__ == "__main__":
    main()
