"""A process that moves a space or embeds it anew, to be killed at a labelled step.

Its arguments: the data folder, what to do (`Chroma`, `Milvus` or `reembed`), and a label as `killing.py` has them.
"""

import asyncio
import sys
from pathlib import Path

import kbchat
import kbchat.maintenance.moving
import kbchat.maintenance.reembed
from kbchat.models import VectorType
from kbchat.settings import Settings
from killing import arm

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


async def act(space: kbchat.KnowledgeSpace, action: str) -> None:
    await (space.reembed() if action == "reembed" else space.migrate(action))


async def work(data: Path, action: str, label: str) -> None:
    kbchat.maintenance.moving.BATCH_CHUNKS = kbchat.maintenance.reembed.BATCH_CHUNKS = 8
    async with kbchat.KnowledgeBase(settings=settings_of(data)) as kb:
        space = await kb.get_space("moved")
        parts = kb._open
        stores = [parts.store(it) for it in VectorType]
        arm({"catalog": [parts.catalog], "words": [parts.words], "store": stores}, label)
        await act(space, action)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
