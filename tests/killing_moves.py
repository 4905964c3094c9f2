"""A process that moves a space or embeds it anew, to be killed at a labelled step.

Its arguments: the data folder, what to do (`Chroma`, `Milvus` or `reembed`), and a label as `killing.py` has them.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import kbchat
import kbchat.maintenance.moving
import kbchat.maintenance.reembed
from kbchat.models import VectorType
from kbchat.settings import Settings
from kbchat.wiring import Parts

STEPS = (
    ("catalog", "note_leftover"),
    ("catalog", "forget_leftover"),
    ("catalog", "move_space"),
    ("catalog", "replace_collection"),
    ("store", "create_collection"),
    ("store", "upsert"),
    ("store", "flush"),
    ("store", "drop_collection"),
    ("words", "fill"),
    ("words", "drop_collection"),
)
LABELS = [f"{part}.{method}:{when}" for part, method in STEPS for when in ("before", "after")]


def settings_of(data: Path) -> Settings:
    """Words go to Milvus with the vectors, so that a move takes both."""
    return Settings(data_dir=data, lexical="milvus")


def arm(parts: Parts, label: str) -> None:
    """Kill this process when a step is passed for the given time, on whichever store."""
    step, when, number = label.rsplit(":", 2)
    part, method = step.split(".")
    left = [int(number)]
    targets = {"catalog": [parts.catalog], "words": [parts.words], "store": [parts.store(it) for it in VectorType]}

    def wrap(target: object) -> None:
        real = getattr(target, method)

        async def wrapped(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if not left[0] and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = await real(*args, **kwargs)
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(target, method, wrapped)

    for target in targets[part]:
        wrap(target)


async def act(space: kbchat.KnowledgeSpace, action: str) -> None:
    await (space.reembed() if action == "reembed" else space.migrate(action))


async def work(data: Path, action: str, label: str) -> None:
    kbchat.maintenance.moving.BATCH_CHUNKS = kbchat.maintenance.reembed.BATCH_CHUNKS = 8
    async with kbchat.KnowledgeBase(settings=settings_of(data)) as kb:
        space = await kb.get_space("moved")
        arm(kb._open, label)
        await act(space, action)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
