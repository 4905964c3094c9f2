"""A real process is killed while it moves a space or embeds it anew: the space answers, and nothing stays behind.

By default it is killed once before and once after each step, in whichever of the three; `KBCHAT_KILLS=380 python -m
pytest tests/test_killed_moves.py` kills in each of them, each time that it passes the step, with everything after it
that may come.
"""

import json
import os
import random
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
from killing_moves import PASSED, act, settings_of

KILLS = int(os.environ.get("KBCHAT_KILLS", "0"))
SEED = 29
"""By which the first kills are shared among the three, and among what comes then."""
PROGRAM = Path(__file__).with_name("killing_moves.py")
QUESTION = "Which note is about lighthouse seven?"

pytestmark = pytest.mark.timeout(300)

NEXT: dict[str, Callable[[kbchat.KnowledgeBase, kbchat.KnowledgeSpace], Awaitable[object]]] = {
    "ingest": lambda kb, space: space.ingest(kbchat.TextDocument(name="new", text="About bridges alone.")),
    "reembed": lambda kb, space: space.reembed(),
    "fsck": lambda kb, space: space.check(repair=True),
    "delete": lambda kb, space: kb.delete_space(space.id),
}


def kills(number: int) -> list[tuple[str, str, str]]:
    """`number` of all there are: what is done, where it is killed, what is done then. The first are one for each label,
    the others in an order made up."""
    every = [
        (action, f"{step}:{when}:{nth}", then)
        for action, steps in PASSED.items()
        for step, times in steps.items()
        for when in ("before", "after")
        for nth in range(1, times + 1)
        for then in (*NEXT, "again")
    ]
    random.Random(SEED).shuffle(every)
    first = {kill[1].rpartition(":")[0]: kill for kill in reversed(every)}
    return list(dict.fromkeys([*first.values(), *every]))[: max(number, len(first))]


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


async def run(spaces: dict[str, Path], data: Path, action: str, label: str) -> "subprocess.CompletedProcess[bytes]":
    """Let a process do it to a copy of a space."""
    await anyio.to_thread.run_sync(shutil.copytree, spaces["Milvus" if action == "Chroma" else "Chroma"], data)
    command = [sys.executable, str(PROGRAM), str(data), action, label]
    return await anyio.run_process(command, check=False, stderr=subprocess.PIPE)


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


@pytest.mark.parametrize("action", PASSED)
async def test_the_steps_that_are_passed(spaces: dict[str, Path], tmp_path: Path, action: str) -> None:
    """A process that lives passes each step as often as the table says, so that every label below is passed."""
    ran = await run(spaces, tmp_path / "data", action, "-")
    assert ran.returncode == 0, ran.stderr.decode()
    assert json.loads(ran.stdout) == PASSED[action]


@pytest.mark.parametrize(("action", "label", "then"), kills(KILLS))
async def test_killed_while_it_moves(
    spaces: dict[str, Path], tmp_path: Path, action: str, label: str, then: str
) -> None:
    """It answers as before from wherever it is; the same again finishes it, anything else clears the half away."""
    data = tmp_path / "data"
    ran = await run(spaces, data, action, label)
    assert ran.returncode == -signal.SIGKILL, ran.stderr.decode()
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
