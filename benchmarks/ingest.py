"""How fast documents go in: kbchat beside LlamaIndex, LangChain and Haystack, and beside the raw parts, in one run.

    python benchmarks/ingest.py FOLDER... [--only kbchat raw] [--rounds 3] [--json FILE] [--plot FILE]

Each system runs in a process and an environment of its own (below `.bench`, made at the first run), with the same
static embedder, the same Chroma and chunks of 256 tokens, over the same files: fresh, and then with nothing changed
(the median of up to nine runs): in the same process, and with all that is kept opened anew. What each does is in
`ingesting/systems.py`. `raw` embeds kbchat's chunks and writes their vectors to Chroma, no more; `raw_wordllama` does
so by the library that the embedder's model is from, instead of kbchat's way of reckoning it.
The memory is the most seen of the whole process tree, what several processes share counted once (PSS; on Linux).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ingest_memory import LOOK_SECONDS, taken_by_all
from reporting import Spread, about, add_outputs, bars, canvas, draw, save

HERE = Path(__file__).parent
ROOT = HERE.parent
SHARED = [
    "chromadb>=1.5",
    "numpy",
    "pydantic>=2.10",
    "anyio",
    "msgspec",
    "tokenizers",
    "wordllama",
    "charset-normalizer",
]
SHARED += ["semantic-text-splitter>=0.25", "pydantic-settings"]
SYSTEMS = {
    "kbchat": [],
    "raw": [],
    "raw_wordllama": [],
    "llamaindex": ["llama-index-core", "llama-index-vector-stores-chroma", *SHARED],
    "langchain": [
        "langchain-core",
        "langchain-classic",
        "langchain-chroma",
        "langchain-text-splitters",
        "greenlet",
        *SHARED,
    ],
    "haystack": ["haystack-ai", "chroma-haystack", *SHARED],
}

FRESH, UNCHANGED = "documents a second, fresh", "documents a second, nothing changed"
ANEW = "documents a second, nothing changed, opened anew"


def python_of(system: str) -> str:
    """The interpreter of a system's environment, which is made when it is missing."""
    if not SYSTEMS[system]:
        return sys.executable
    folder = ROOT / ".bench" / system
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        uv = Path(sys.executable).with_name("uv")
        subprocess.run(
            [str(uv), "pip", "install", "--quiet", "--link-mode=copy", "--python", str(python), *SYSTEMS[system]],
            check=True,
        )
        (folder / ".ready").touch()
    return str(python)


def measure(system: str, folders: list[str]) -> dict[str, Any]:
    """Run a system and read what it says of itself."""
    # Modules are compiled once, as wherever programs are installed.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(HERE)]), "TOKENIZERS_PARALLELISM": "true"}
    with tempfile.TemporaryDirectory() as data:
        command = [python_of(system), str(HERE / "ingesting" / "systems.py"), system, data, *folders]
        peak = 0
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                peak = max(peak, taken_by_all(process.pid).pss)
                time.sleep(LOOK_SECONDS)
            assert process.stdout is not None
            said = process.stdout.read()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return {**found, "peak": peak}


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    last = rounds[-1]
    kept = {
        name: Spread.of(it["documents"] / it[which] for it in rounds)
        for name, which in ((UNCHANGED, "again"), (ANEW, "anew"))
        if last[which] is not None
    }
    return {
        "versions": last["versions"],
        "documents": last["documents"],
        "chunks": last["chunks"],
        FRESH: Spread.of(it["documents"] / it["fresh"] for it in rounds),
        "chunks a second": Spread.of(it["chunks"] / it["fresh"] for it in rounds),
        **kept,
        "peak megabytes": Spread.of(it["peak"] / 1e6 for it in rounds),
    }


def show(system: str, it: dict[str, Any]) -> None:
    unchanged, anew = (format(it[name], ",.0f") if name in it else "–" for name in (UNCHANGED, ANEW))
    print(
        f"{system:13} {it['documents']:6} {it['chunks']:7} {format(it[FRESH], '.1f'):>21} "
        f"{format(it['chunks a second'], '.1f'):>26} {unchanged:>24} {anew:>24} "
        f"{format(it['peak megabytes'], ',.0f'):>20}",
        flush=True,
    )


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    figure, axes = canvas(2, width=9, height=1.2 + 0.5 * len(results))
    for each, what in zip(axes, (FRESH, UNCHANGED), strict=True):
        bars(each, {what: {system: it[what] for system, it in results.items() if what in it}})
        each.set(xlabel=what)
    draw(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=1, help="each system once a round")
    add_outputs(parser)
    options = parser.parse_args()
    header = about("chromadb", "wordllama", rounds=options.rounds)
    rounds: dict[str, list[dict[str, Any]]] = {system: [] for system in options.only}
    print(
        f"{'system':13} {'docs':>6} {'chunks':>7} {'docs/s':>21} {'chunks/s':>26} {'unchanged/s':>24} "
        f"{'opened anew/s':>24} {'peak MB':>20}"
    )
    for _ in range(options.rounds):
        for system in options.only:
            rounds[system].append(measure(system, options.folders))
            show(system, summary(rounds[system][-1:]))
    results = {system: summary(each) for system, each in rounds.items()}
    print(f"\n{options.rounds} rounds" if options.rounds > 1 else "")
    for system, it in results.items():
        if options.rounds > 1:
            show(system, it)
        print(f"{'':13} {', '.join(f'{name} {number}' for name, number in it['versions'].items())}")
    save(options.json, header, {system: {**it, "rounds": rounds[system]} for system, it in results.items()})
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
