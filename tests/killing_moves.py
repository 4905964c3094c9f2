"""A process that moves a space or embeds it anew, to be killed at a labelled step.

Its arguments: the data folder, what to do (`Chroma`, `Milvus` or `reembed`), and a label as `killing.py` has them; or
`-`, and it lives, and says in a line of JSON how often it passed each step.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import kbchat
import kbchat.maintenance.moving
import kbchat.maintenance.reembed
from kbchat.models import VectorType
from kbchat.settings import Settings
from killing import arm, watch

_MOVE = {
    "catalog.note_leftover": 1,
    "words.fill": 1,
    "store.create_collection": 2,
    "store.upsert": 4,
    "store.flush": 1,
    "catalog.move_space": 1,
    "store.drop_collection": 1,
    "catalog.forget_leftover": 1,
}
PASSED = {
    "Milvus": _MOVE | {"catalog.note_leftover": 2},
    "Chroma": _MOVE | {"words.drop_collection": 1, "store.drop_collection": 2, "catalog.forget_leftover": 2},
    "reembed": {
        "catalog.note_leftover": 1,
        "store.create_collection": 1,
        "store.upsert": 4,
        "store.flush": 1,
        "catalog.replace_collection": 1,
        "store.drop_collection": 1,
        "catalog.forget_leftover": 1,
    },
}
"""How often each of them passes each step that changes something, with thirty chunks. To Milvus go the words too, so
that one more place is noted, and from there they are dropped."""


def settings_of(data: Path) -> Settings:
    """Words go to Milvus with the vectors, so that a move takes both."""
    return Settings(data_dir=data, lexical="milvus")


async def act(space: kbchat.KnowledgeSpace, action: str) -> None:
    await (space.reembed() if action == "reembed" else space.migrate(action))


def count(targets: Mapping[str, Sequence[object]]) -> Counter[str]:
    """How often each step is passed from now on."""
    passed: Counter[str] = Counter()
    for step in {step for steps in PASSED.values() for step in steps}:
        watch(targets, step, lambda when, step=step: passed.update([step] if when == "before" else []))  # type: ignore[misc]
    return passed


async def work(data: Path, action: str, label: str) -> None:
    kbchat.maintenance.moving.BATCH_CHUNKS = kbchat.maintenance.reembed.BATCH_CHUNKS = 8
    async with kbchat.KnowledgeBase(settings=settings_of(data)) as kb:
        space = await kb.get_space("moved")
        parts = kb._open
        stores = [parts.store(it) for it in VectorType]
        targets = {"catalog": [parts.catalog], "words": [parts.words], "store": stores}
        passed = None
        if label == "-":
            passed = count(targets)
        else:
            arm(targets, label)
        await act(space, action)
        if passed is not None:
            sys.stdout.write(json.dumps(passed))


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
