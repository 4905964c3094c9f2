"""A real process is killed while it moves a space or embeds it anew: the space answers, and nothing stays behind.

`KBCHAT_KILLS=200 python -m pytest tests/test_killed_moves.py` kills at every labelled step; by default at some.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import kbchat
from kbchat.models import VectorType
from killing_moves import LABELS, act, settings_of

ALL = int(os.environ.get("KBCHAT_KILLS", "2")) > 2
PROGRAM = Path(__file__).with_name("killing_moves.py")
QUESTION = "Which note is about lighthouse seven?"

pytestmark = pytest.mark.timeout(120)

SOME = [
    ("Milvus", "catalog.note_leftover:after:1", "fsck"),
    ("Milvus", "store.upsert:after:2", "again"),
    ("Milvus", "store.flush:before:1", "delete"),
    ("Milvus", "catalog.move_space:after:1", "ingest"),
    ("Chroma", "catalog.move_space:after:1", "again"),
    ("Chroma", "words.drop_collection:before:1", "fsck"),
    ("reembed", "store.create_collection:after:1", "ingest"),
    ("reembed", "store.upsert:after:2", "again"),
]
NEXT: dict[str, Callable[[kbchat.KnowledgeBase, kbchat.KnowledgeSpace], Awaitable[object]]] = {
    "ingest": lambda kb, space: space.ingest(kbchat.TextDocument(name="new", text="About bridges alone.")),
    "reembed": lambda kb, space: space.reembed(),
    "fsck": lambda kb, space: space.check(repair=True),
    "delete": lambda kb, space: kb.delete_space(space.id),
}
EVERY = [
    (action, f"{label}:1", [*NEXT, "again"][number % 5])
    for action in ("Milvus", "Chroma", "reembed")
    for number, label in enumerate(LABELS)
]


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A data folder with a space on each store."""

    async def make(kind: VectorType) -> Path:
        data = tmp_path_factory.mktemp(kind.value)
        async with kbchat.KnowledgeBase(settings=settings_of(data)) as kb:
            space = await kb.create_space("moved", vector_type=kind)
            numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
            await space.ingest(
                kbchat.TextDocument(name=f"{n}{k}", text=f"Note {k} is about lighthouse {n}.")
                for n in numbers
                for k in "abc"
            )
        return data

    return {kind.value: anyio.run(make, kind) for kind in VectorType}


async def found(space: kbchat.KnowledgeSpace) -> list[tuple[str, float]]:
    # Words in Milvus weigh the same to two digits.
    return [(hit.name, round(hit.recall_score, 1)) for hit in await space.retrieve(QUESTION, top_k=3)]


async def in_stores(kb: kbchat.KnowledgeBase) -> set[str]:
    """Every collection there is, words and all, as `store/collection`."""
    milvus = kb._open.store(VectorType.MILVUS)

    def there() -> list[str]:
        with milvus.using() as opened:  # type: ignore[attr-defined]
            return [name.replace("_", "-") for name in opened.engine.client.list_collections()]

    chroma = await kb._open.store(VectorType.CHROMA).list_collections()
    return {f"Chroma/{name}" for name in chroma} | {f"Milvus/{it}" for it in await anyio.to_thread.run_sync(there)}


async def own(space: kbchat.KnowledgeSpace) -> set[str]:
    info = await space.refresh()
    words = {f"Milvus/{info.terms_collection}"} if info.words == "milvus" else set()
    return {f"{info.vector_type}/{info.collection}"} | words


@pytest.mark.parametrize(("action", "label", "then"), EVERY if ALL else SOME)
async def test_killed_while_it_moves(
    spaces: dict[str, Path], tmp_path: Path, action: str, label: str, then: str
) -> None:
    """It answers as before from wherever it is; the same again finishes it, anything else clears the half away."""
    data = tmp_path / "data"
    await anyio.to_thread.run_sync(shutil.copytree, spaces["Milvus" if action == "Chroma" else "Chroma"], data)
    command = [sys.executable, str(PROGRAM), str(data), action, label]
    ran = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    assert ran.returncode in ((-signal.SIGKILL, 0) if ALL else (-signal.SIGKILL,)), ran.stderr.decode()
    async with kbchat.KnowledgeBase(settings=settings_of(data)) as kb:
        space = await kb.get_space("moved")
        before = await found(space)
        assert before[0][0].startswith("seven")
        if then == "again":
            await act(space, action)
        else:
            await NEXT[then](kb, space)
        if then == "delete":
            assert await in_stores(kb) == set()
            return
        assert await in_stores(kb) == await own(space)
        assert (await space.check()).findings == ()
        assert await found(space) == before
        if then == "again" and action != "reembed":
            assert space.vector_type == action
