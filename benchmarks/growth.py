"""How well found and not found are told apart as a space grows, from 250 to 100,000 pieces.

    python benchmarks/growth.py OWN --foreign DATASET... --fill FOLDER... [--sizes 250,1000,...] [--json FILE]

The space begins with documents of the set OWN and grows by the rest of it, then by the Markdown and, when that is used
up, the Python sources of the FOLDERs, which no question is about. At each size OWN's questions whose relevant documents
are all there are asked, and those of the other sets, at most `MOST` of each. Found is a best hit of 0.5 or more.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import kbchat
from kbchat.chat import is_found
from kbchat.tuning.sets import Dataset, read
from kbchat.tuning.trials import Asked
from reporting import About, about, add_outputs, save

MOST = 150
BATCH = 200
"""Documents taken in between two looks at the size."""


def fill(folders: Sequence[Path]) -> Iterator[kbchat.TextDocument]:
    for pattern in ("*.md*", "*.py"):
        for folder in folders:
            for path in sorted(folder.rglob(pattern)):
                text = path.read_text("utf-8", "replace").replace("\0", "")
                if text.strip() and len(text) < 200_000:
                    yield kbchat.TextDocument(name=str(path), text=text)


async def measured(asked: Asked, own: Dataset, foreign: Sequence[Dataset], names: set[str]) -> dict[str, float]:
    answerable = [it.text for it in own.questions.values() if {n for n, g in it.grades.items() if g > 0} <= names]
    best = [await asked.ask(text, top_k=1) for text in answerable[:MOST] if text.strip()]
    result = {"kept": statistics.fmean(map(is_found, best)), "questions": float(len(best))}
    for dataset in foreign:
        texts = [it.text for it in dataset.questions.values() if it.text.strip()]
        texts = texts[:: max(1, len(texts) // MOST)][:MOST]
        result[dataset.name] = statistics.fmean([not is_found(await asked.ask(text, top_k=1)) for text in texts])
    return result


async def run(options: argparse.Namespace, own: Dataset, foreign: Sequence[Dataset], header: About) -> None:
    sizes = sorted(map(int, options.sizes.split(",")))
    # Documents that a question is about come together, so that small spaces can answer some.
    first = [name for it in own.questions.values() for name, grade in it.grades.items() if grade > 0]
    texts = [kbchat.TextDocument(name=name, text=own.texts[name]) for name in dict.fromkeys([*first, *own.texts])]
    results: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with kbchat.KnowledgeBase(folder) as base:
            space = await base.create_space("growing")
            more = fill(options.fill)
            names: set[str] = set()
            for size in sizes:
                while (missing := size - (await space.refresh()).chunk_count) > 0:
                    batch = texts[: min(BATCH, max(1, missing * 2 // 3))]
                    del texts[: len(batch)]
                    batch = batch or [it for it, _ in zip(more, range(min(BATCH, max(1, missing // 10))), strict=False)]
                    if not batch:
                        break
                    await space.ingest(batch)
                    names |= {it.name for it in batch}
                pieces = (await space.refresh()).chunk_count
                results[pieces] = await measured(Asked(space), own, foreign, names)
                print(pieces, {name: round(value, 3) for name, value in results[pieces].items()}, flush=True)
                save(options.json, header, {own.name: results})
                if missing > 0:
                    break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("own", type=Path, metavar="OWN")
    parser.add_argument("--foreign", nargs="+", type=Path, required=True, metavar="DATASET")
    parser.add_argument("--fill", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sizes", default="250,500,1000,2000,5000,10000,20000,50000,100000")
    add_outputs(parser, plot=False)
    options = parser.parse_args()
    foreign = [dataset for folder in options.foreign for dataset in read(folder)]
    (own,) = read(options.own)
    header = about("wordllama", questions_at_most=MOST, sets=1 + len(foreign))
    asyncio.run(run(options, own, foreign, header))


if __name__ == "__main__":
    main()
