"""What deleting one document costs, among a thousand and among a million.

    python benchmarks/deletion.py [--documents 1000000] [--deletions 50] [--json FILE] [--plot FILE]

A thousand short documents are ingested, then the catalog (SQLite) is filled up with copies of one of them, by SQL: each
with a text and a chunk of its own. Vectors and words are those of the thousand alone: indexes delete by id. The same
number of the ingested ones is deleted before and after, each by `delete_document`, which returns when nobody finds it.
"""

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import kbchat
from reporting import Spread, about, add_outputs, canvas, draw, save, shares

INGESTED = 1000
# What differs from copy to copy, by table; `i` counts them.
OWN = {
    "documents": {"id": "id + i", "name": "'copy ' || i", "live_generation_id": "live_generation_id + i"},
    "generations": {"id": "id + i", "document_id": "document_id + i"},
    "chunks": {"id": "id + i", "document_id": "document_id + i", "generation_id": "generation_id + i"},
}


def fill(catalog: Path, copies: int) -> None:
    """Copy the document that was made last so many times."""
    with closing(sqlite3.connect(catalog)) as connection, connection:
        for table, own in OWN.items():
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            columns = ", ".join(f'"{name}"' for name in names)
            values = ", ".join(own.get(name, f'"{name}"') for name in names)
            connection.execute(
                f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                f"INSERT INTO {table} ({columns}) "
                f"SELECT {values} FROM n, (SELECT * FROM {table} ORDER BY id DESC LIMIT 1)",
                (copies,),
            )
        counts = "document_count = document_count + ?, chunk_count = chunk_count + ?"
        connection.execute(f"UPDATE spaces SET {counts}", (copies, copies))


async def deletions(data: str, names: Sequence[str]) -> tuple[int, list[float]]:
    """Among how many, and the milliseconds of each."""
    taken = []
    async with kbchat.KnowledgeBase(data) as kb:
        space = await kb.get_space("many")
        for name in names:
            started = time.perf_counter()
            await space.delete_document(name)
            taken.append((time.perf_counter() - started) * 1e3)
        print(f"among {space.info.document_count:,}: {told(taken)}", flush=True)
    return space.info.document_count, taken


def told(taken: Sequence[float]) -> str:
    rest = taken[1:]  # The first one also opens the indexes.
    return f"{Spread.of(rest):.1f} ms, longest {max(rest):.1f} ms, the first {taken[0]:.1f} ms"


async def measure(documents: int, number: int) -> dict[int, list[float]]:
    """Milliseconds of each deletion, by how many documents there were."""
    with tempfile.TemporaryDirectory() as data:
        async with kbchat.KnowledgeBase(data) as kb:
            space = await kb.create_space("many")
            await space.ingest(
                kbchat.TextDocument(name=f"note {it}", text=f"Note {it} is about lighthouse {it * 7}.")
                for it in range(INGESTED)
            )
        few = await deletions(data, [f"note {it}" for it in range(number)])
        fill(Path(data) / "catalog.sqlite", documents - INGESTED)
        many = await deletions(data, [f"note {it}" for it in range(number, 2 * number)])
    return dict([few, many])


def plot(taken: dict[int, list[float]], path: Path) -> None:
    figure, (axes,) = canvas(width=6)
    shares(axes, {f"among {among:,}": each[1:] for among, each in taken.items()})
    axes.set(xlabel="milliseconds of a deletion", xlim=(0, None))
    draw(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--deletions", type=int, default=50)
    add_outputs(parser)
    given = parser.parse_args()
    header = about(documents=given.documents, deletions=given.deletions)
    taken = asyncio.run(measure(given.documents, given.deletions))
    results = [
        {"among": among, "first": each[0], "milliseconds": Spread.of(each[1:]), "longest": max(each[1:])}
        for among, each in taken.items()
    ]
    save(given.json, header, results)
    if given.plot:
        plot(taken, given.plot)


if __name__ == "__main__":
    main()
