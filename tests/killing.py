"""A process that ingests, updates and deletes, to be killed at a labelled step or at a random moment.

Its arguments: the data folder, the vector type, a seed, and a label with how often it is passed before the process
kills itself (`catalog.publish:before:2`), or `-`. It says on stdout, a JSON line each, what was acknowledged.
"""

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

import kbchat
from kbchat.wiring import Parts

DOCUMENTS = 40
STEPS = (
    ("catalog", "begin_generations"),
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
LABELS = [f"{part}.{method}:{when}" for part, method in STEPS for when in ("before", "after")]


def text(name: str, version: int) -> str:
    """A document of four chunks that all say its version."""
    words = "filler words here " * 60
    return "\n\n".join(f"## Part {part}\n\n{name} version{version} part{part} {words}" for part in range(4))


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def arm(parts: Parts, vector_type: kbchat.VectorType, label: str) -> None:
    """Kill this process when a step is passed for the given time. The product knows nothing of it."""
    step, when, number = label.rsplit(":", 2)
    part, method = step.split(".")
    target = {"catalog": parts.catalog, "store": parts.store(vector_type), "lexical": parts.lexical}[part]
    real, left = getattr(target, method), [int(number)]

    async def wrapped(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if not left[0] and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await real(*args, **kwargs)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(target, method, wrapped)


async def work(data: Path, vector_type: str, seed: int, label: str) -> None:
    """Add, update and delete documents, and embed the space anew, in an order that the seed makes up."""
    choose = random.Random(seed)
    async with kbchat.KnowledgeBase(data) as kb:
        space = await kb.create_space("killed", vector_type=vector_type, exist_ok=True)
        versions = {d.name: int(d.metadata["version"]) for d in await space.documents()}  # type: ignore[arg-type]
        if label != "-":
            arm(kb._open, space.vector_type, label)
        say(ready=True)
        for _ in range(12):
            names = choose.sample([f"d{number}" for number in range(DOCUMENTS)], 6)
            kind = choose.choice(["put", "put", "put", "delete", "reembed"])
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
        say(end=True)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
