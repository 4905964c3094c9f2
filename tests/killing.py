"""A process that ingests, updates, deletes and migrates, to be killed at a labelled step or at a random moment.

Its arguments: the data folder, the vector type, a seed, a label with how often it is passed before the process kills
itself (`catalog.publish:before:2`), or `-`, and `moves` where the space is also to go from store to store. It says on
stdout, a JSON line each, what was acknowledged. All the while it searches, and fails when what it finds is torn.
"""

import asyncio
import json
import os
import random
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import kbchat
from kbchat.ingestion import preparing
from kbchat.models import VectorType

DOCUMENTS = 40
STEPS = (
    ("catalog", "begin_generations"),
    ("catalog", "extend_generation"),
    ("catalog", "publish"),
    ("catalog", "collect"),
    ("catalog", "collectable"),
    ("catalog", "delete_document"),
    ("store", "upsert"),
    ("store", "delete"),
    ("store", "flush"),
    ("lexical", "upsert"),
    ("lexical", "delete"),
    ("lexical", "commit"),
    ("catalog", "replace_collection"),
    ("store", "create_collection"),
    ("store", "drop_collection"),
)
MOVES = [f"catalog.move_space:{when}" for when in ("before", "after")]
LABELS = [f"{part}.{method}:{when}" for part, method in STEPS for when in ("before", "after")]


def text(name: str, version: int) -> str:
    """A document of four chunks that all say its version; each fourth is a large one, of twelve."""
    words = "filler words here " * 60
    parts = 12 if name[1:].isdecimal() and int(name[1:]) % 4 == 0 else 4
    return "\n\n".join(f"## Part {part}\n\n{name} version{version} part{part} {words}" for part in range(parts))


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def watch(targets: Mapping[str, Sequence[object]], step: str, passed: Callable[[str], None]) -> None:
    """Say `before` and `after` when a step of one of a part's targets is passed; the product knows nothing of it."""
    part, method = step.split(".")

    def wrap(target: object) -> None:
        real = getattr(target, method)

        async def wrapped(*args: object, **kwargs: object) -> object:
            passed("before")
            result = await real(*args, **kwargs)
            passed("after")
            return result

        setattr(target, method, wrapped)

    for target in targets[part]:
        wrap(target)


def arm(targets: Mapping[str, Sequence[object]], label: str) -> None:
    """Kill this process when a label is passed for the given time."""
    step, when, number = label.rsplit(":", 2)
    left = int(number)

    def passed(now: str) -> None:
        nonlocal left
        left -= now == when
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    watch(targets, step, passed)


async def search(space: kbchat.KnowledgeSpace) -> None:
    """Search all the time. Each document that is found is of one version, and that one is its metadata's."""
    while True:
        found: dict[str, str] = {}
        for it in await space.retrieve("version part filler", top_k=100):
            (said,) = set(re.findall(r"version(\d+)", it.content))
            assert said == str(it.metadata["version"]), (it.name, said, it.metadata)
            assert found.setdefault(it.name, said) == said, (it.name, said)
        await asyncio.sleep(0.02)


async def change(space: kbchat.KnowledgeSpace, choose: random.Random, *, moves: bool) -> None:
    """Add, update and delete documents, embed the space anew and move it, in an order that is made up."""
    versions = {d.name: int(d.metadata["version"]) for d in await space.documents()}  # type: ignore[arg-type]
    kinds = ["put", "put", "put", "delete", "reembed", *(["move"] if moves else [])]
    for _ in range(12):
        names = choose.sample([f"d{number}" for number in range(DOCUMENTS)], 6)
        kind = choose.choice(kinds)
        if kind == "put":
            new = {name: versions.get(name, 0) + 1 for name in names}
            say(begun=new)
            report = await space.ingest(
                kbchat.TextDocument(name=name, text=text(name, version), metadata={"version": version})
                for name, version in new.items()
            )
            assert not report.failed
            versions |= new
            say(done=new)
        elif kind == "delete" and versions:
            name = choose.choice(sorted(versions))
            say(begun={name: 0})
            await space.delete_document(name)
            del versions[name]
            say(done={name: 0})
        elif kind == "reembed":
            await space.reembed()
        elif kind == "move":
            (other,) = set(VectorType) - {space.vector_type}
            await space.migrate(other)


async def work(data: Path, vector_type: str, seed: int, label: str, *, moves: bool) -> None:
    async with kbchat.KnowledgeBase(data) as kb:
        found = [space for space in await kb.list_spaces() if space.name == "killed"]
        space = found[0] if found else await kb.create_space("killed", vector_type=vector_type)
        if label != "-":
            parts = kb._open
            stores = [parts.store(it) for it in (VectorType if moves else (space.vector_type,))]
            arm({"catalog": [parts.catalog], "lexical": [parts.lexical], "store": stores}, label)
        say(ready=True)
        searching = asyncio.create_task(search(space))
        changing = asyncio.create_task(change(space, random.Random(seed), moves=moves))
        done, _ = await asyncio.wait([searching, changing], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        searching.cancel()
        say(end=True)


if __name__ == "__main__":
    # Large documents go in a part at a time.
    preparing.LARGE_CHARS, preparing.GROUP_WEIGHT = 8_000, 4_000
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], moves="moves" in sys.argv[5:]))
