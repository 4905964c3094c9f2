"""How fast documents go in: kbchat beside LlamaIndex, LangChain and Haystack, and beside the raw parts, in one run.

    python benchmarks/ingest.py FOLDER... [--only kbchat raw] [--rounds 3] [--out FILE.json]

Each system runs in a process and an environment of its own (below `.bench`, made at the first run), with the same
static embedder, the same Chroma and chunks of 256 tokens, twice over the same files: fresh, and with nothing changed.
What each does is in `ingesting/systems.py`. `raw` embeds kbchat's chunks and writes their vectors to Chroma, no more.
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

from ingest_memory import LOOK_SECONDS, taken

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


def measure(system: str, folders: list[str]) -> dict[str, float]:
    """Run a system and read what it says of itself."""
    # Modules are compiled once, as wherever programs are installed.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(HERE)]), "TOKENIZERS_PARALLELISM": "true"}
    with tempfile.TemporaryDirectory() as data:
        command = [python_of(system), str(HERE / "ingesting" / "systems.py"), system, data, *folders]
        peak = 0
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                peak = max(peak, taken(process.pid)[0])
                time.sleep(LOOK_SECONDS)
            assert process.stdout is not None
            said = process.stdout.read()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return {**found, "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=1, help="each system once a round; the best counts")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    print(f"{'system':12} {'docs':>6} {'chunks':>7} {'docs/s':>8} {'chunks/s':>9} {'unchanged/s':>12} {'peak MB':>8}")
    for number in range(options.rounds):
        for system in options.only:
            found = measure(system, options.folders)
            show(system, found)
            known = results.setdefault(system, found)
            results[system] = {**known, **{it: min(known[it], found[it]) for it in ("fresh", "again")}}
        if number:
            print(f"best of {number + 1}")
            for system, best in results.items():
                show(system, best)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


def show(system: str, it: dict[str, float]) -> None:
    print(
        f"{system:12} {it['documents']:6.0f} {it['chunks']:7.0f} {it['documents'] / it['fresh']:8.1f} "
        f"{it['chunks'] / it['fresh']:9.1f} {it['documents'] / it['again']:12.0f} {it['peak'] / 1e6:8.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
