"""How much memory an ingest takes as a folder grows: `kbchat ingest` on made text, its whole process tree measured.

    python benchmarks/ingest_memory.py [--megabytes 2000] [--store Chroma] [--keep FOLDER] [--seconds 500]
                                       [--json FILE] [--plot FILE]

Makes a folder of Markdown files (1 to 200 KB, and one of 60 MB for each 500 MB),
ingests it, and five times a second adds up what every process of the tree takes: PSS, in which what several share
counts once, and of that what is no file's copy (`anonymous`; the system may take the rest back). A line is printed for
every tenth of the way, with the most seen until then. At the end one of the documents is asked for. The text
repeats its words and pairs of words about as often as documentation in a dozen languages does. With `--keep`
folder and data stay, and a run that is cut short after `--seconds` goes on where it stopped. Linux only.

Stores are as the environment says: with KBCHAT_MILVUS_URI and `--store Milvus`, or KBCHAT_CHROMA_URL, it is a server,
whose memory and processor time are not counted. Time in which this process was held still (SIGSTOP) is left out.
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
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from reporting import about, add_outputs, canvas, draw, save

SMALL_BYTES = 1_000, 200_000
LARGE_BYTES = 60_000_000
LARGE_EVERY = 12_000
"""One file in so many is a large one: some 12 % of the text."""
WORDS = 100_000
PHRASES = 300_000
DRAWN = 4_000
"""Phrases that are drawn at once, at most."""
PLACES = 4_000_000
COMMON = """the of and to in a is that for it as with be on by this are or from at which an was not have has will can if
all you we its but one when they their other more no also these than been may into only""".split()  # noqa: SIM905
LOOK_SECONDS = 0.2
HELD_SECONDS = 1.0
NOTE_SECONDS = 2.0
SYLLABLES = [first + then for first in "bdfgklmnprstvz" for then in "aeiou"]


def make(folder: Path, megabytes: int) -> dict[Path, int]:
    """Make the files that are not there yet; returns all of them with their sizes."""
    number, left, files = 0, megabytes * 1_000_000, {}
    while left > 0:
        size = min(left, _size(number))
        files[folder / f"{number // 1000}" / f"{number}.md"] = size
        number, left = number + 1, left - size
    missing = [path for path in files if not path.exists()]
    some = phrases() if missing else np.empty(0, object)
    for path in missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(int(path.stem), files[path], some))
    return files


def _size(number: int) -> int:
    """How large a file is: as many are of 1 to 14 as of 14 to 200 KB."""
    if number % LARGE_EVERY == LARGE_EVERY // 10:
        return LARGE_BYTES
    least, most = SMALL_BYTES
    return int(least * (most / least) ** np.random.default_rng(number).random())


def phrases() -> "np.ndarray[Any, Any]":
    """Two to five words that are used together, each phrase in as many places as it is common. Words are English's
    commonest, which no index keeps, and many that are made up."""
    words = np.array([*COMMON, *(word(it) for it in range(WORDS - len(COMMON)))], object)[_zipf(WORDS, 1.1)]
    choose = np.random.default_rng(PHRASES)
    ends = np.cumsum(choose.integers(2, 6, PHRASES)).tolist()
    drawn = words[choose.integers(0, PLACES, ends[-1])].tolist()
    found = np.array([" ".join(drawn[first:end]) for first, end in pairwise([0, *ends])], object)
    chosen: np.ndarray[Any, Any] = found[_zipf(PHRASES, 1.0)]
    return chosen


def _zipf(number: int, exponent: float) -> "np.ndarray[Any, Any]":
    """Places, so many of each of some numbers as the law has it, the least most."""
    shares = np.cumsum(1 / (np.arange(number) + 2.7) ** exponent)
    return np.searchsorted(shares, (np.arange(PLACES) + 0.5) / PLACES * shares[-1])


def title(number: int) -> str:
    """What a file is about, and no other."""
    return f"{word(5_000 + 7 * number)} {word(400_000 + 11 * number)}".title()


def text(number: int, size: int, phrases: "np.ndarray[Any, Any]") -> str:
    """A file's text: sections of paragraphs, lists and code. One word in two hundred stands nowhere else."""
    choose = np.random.default_rng(number)
    parts = [f"# {title(number)}\n"]
    left = size - len(parts[0])
    while left > 0:
        some = phrases[choose.integers(0, PLACES, 10 + min(left // 15, DRAWN))].tolist()
        for place in choose.integers(0, len(some), len(some) // 60).tolist():
            some[place] = f"{some[place]}_{word(int(choose.integers(10**6, 10**8)))}"
        lengths = choose.integers(2, 6, len(some) // 2).tolist()
        first = 0
        for length, kind in zip(lengths, choose.random(len(lengths)).tolist(), strict=True):
            if first >= len(some):
                break
            parts.append(_line(" ".join(some[first : first + length]).capitalize(), kind))
            left -= len(parts[-1])
            first += length
    return "".join(parts)[: size - 1] + "\n"


def _line(sentence: str, kind: float) -> str:
    """A sentence as most stand in a document: among others, at a paragraph's end, as a heading, in a list, as code."""
    if kind < 0.6:
        return f"{sentence}. "
    if kind < 0.8:
        return f"{sentence}.\n\n"
    if kind < 0.84:
        return f"\n\n{'##' if kind < 0.82 else '###'} {sentence[:50]}\n\n"
    return f"\n- {sentence}" if kind < 0.96 else f"\n\n    {sentence.replace(' ', '_')} = 1\n\n"


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


@dataclass(frozen=True, slots=True)
class Taken:
    """What processes take: bytes of PSS, what of it is anonymous, and the processor time that they had, in seconds."""

    pss: int = 0
    anonymous: int = 0
    processor: float = 0.0

    def __add__(self, other: "Taken") -> "Taken":
        both = self.processor + other.processor
        return Taken(self.pss + other.pss, self.anonymous + other.anonymous, both)

    def most(self, other: "Taken") -> "Taken":
        longest = max(self.processor, other.processor)
        return Taken(max(self.pss, other.pss), max(self.anonymous, other.anonymous), longest)


def taken(pid: int) -> Taken:
    """By one process. Its processor time is with that of its children that ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    except OSError:
        return Taken()
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return Taken(values.get("Pss", 0), values.get("Pss_Anon", 0), ticks / os.sysconf("SC_CLK_TCK"))


def taken_by_all(root: int) -> Taken:
    """By a process and all below it."""
    return sum(map(taken, tree(root)), start=Taken())


def published(data: Path) -> tuple[int, int, int]:
    """How many documents and chunks there are, and how many bytes those files have."""
    try:
        with sqlite3.connect(f"file:{data / 'catalog.sqlite'}?mode=ro", uri=True) as connection:
            documents, chunks, size = connection.execute(
                "SELECT count(*), coalesce(sum(chunk_count), 0), coalesce(sum(size), 0) FROM documents WHERE visible"
            ).fetchone()
        connection.close()
        return documents, chunks, size
    except sqlite3.Error:
        return 0, 0, 0


@dataclass(frozen=True, slots=True)
class Note:
    """What was in after so many seconds, and what was taken then and at most until then: by all, and by the first
    process and its workers for themselves."""

    seconds: float
    documents: int
    chunks: int
    size: int
    now: Taken
    most: Taken
    first: Taken
    workers: Taken

    def __str__(self) -> str:
        return (
            f"{self.seconds:6.0f} s  {self.now.processor:6.0f} s of processors  {self.size / 1e6:6.0f} MB  "
            f"{self.chunks:9,} chunks  now {_of(self.now)}  most {_of(self.most)}  first {_of(self.first)}  "
            f"workers {_of(self.workers)}"
        )


def _of(taken: Taken) -> str:
    return f"{taken.pss / 1e6:5.0f} ({taken.anonymous / 1e6:.0f})"


def ingest(data: Path, folder: Path, store: str, *, seconds: float, size: int) -> dict[str, Any]:
    """Run `kbchat ingest` of so many bytes and look at it until it ends or its time is up."""
    if not json.loads(kbchat(data, "spaces", "list", "--json")):
        kbchat(data, "spaces", "create", "big", "--vector-type", store)
    process = subprocess.Popen(
        [*KBCHAT, "ingest", "big", str(folder), "--data-dir", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    last = started = time.monotonic()
    most = first = workers = Taken()
    notes: list[Note] = []
    told = 0
    while process.poll() is None:
        own, *others = (taken(it) for it in tree(process.pid))
        below = sum(others, start=Taken())
        most, first, workers = most.most(own + below), first.most(own), workers.most(below)
        last, before = time.monotonic(), last
        if last - before > HELD_SECONDS:
            started += last - before
        now = last - started
        if not notes or now - notes[-1].seconds > NOTE_SECONDS:
            notes.append(Note(now, *published(data), own + below, most, first, workers))
            if (tenth := 10 * notes[-1].size // size) > told:
                told = tenth
                print(notes[-1], flush=True)
        if now > seconds:
            process.send_signal(signal.SIGINT)
            process.wait()
        time.sleep(LOOK_SECONDS)
    notes.append(Note(time.monotonic() - started, *published(data), most, most, first, workers))
    print(notes[-1], flush=True)
    return {"code": process.returncode, "notes": notes}


KBCHAT = [sys.executable, "-m", "kbchat"]


def kbchat(data: Path, *command: str) -> bytes:
    """What a command answers."""
    return subprocess.run([*KBCHAT, *command, "--data-dir", str(data)], check=True, capture_output=True).stdout


def plot(found: dict[str, Any], path: Path) -> None:
    figure, (axes,) = canvas(width=7)
    # The first ones are of a process that starts.
    notes: list[Note] = [it for it in found["notes"] if it.documents]
    megabytes = [it.size / 1e6 for it in notes]
    for name, values in {
        "most until then": [it.most.pss for it in notes],
        "then": [it.now.pss for it in notes],
        "most that is no file's copy": [it.most.anonymous for it in notes],
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
        files = make(root / "text", given.megabytes)
        data = root / f"data-{given.store}"
        found = ingest(data, root / "text", given.store, seconds=given.seconds, size=sum(files.values()))
        last = found["notes"][-1]
        if not found["code"]:
            assert last.documents == len(files), f"{last.documents} of {len(files)} documents"
            # The last of the small ones that are whole.
            asked = list(files)[-2]
            (hit, *_) = json.loads(kbchat(data, "search", "big", title(int(asked.stem)), "--json"))
            print(f"asked for {asked.name}: {hit}")
    ended = "all" if not found["code"] else "cut short"
    print(f"{given.store}: {last.size / 1e6:,.0f} MB ({ended}), {last.documents:,} documents", end=", ")
    print(f"{last.chunks:,} chunks, {last.seconds:,.0f} s, {last.most.processor:,.0f} of processors", end=", ")
    print(f"at most {last.most.pss / 1e6:,.0f} MB, of which anonymous {last.most.anonymous / 1e6:,.0f}")
    save(given.json, header, found)
    if given.plot:
        plot(found, given.plot)


if __name__ == "__main__":
    main()
