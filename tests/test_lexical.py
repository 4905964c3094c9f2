"""The embedded lexical index against the suite, and what is its own: locks, damage, memory of what was seen."""

import asyncio
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from kbchat.errors import BusyError, LexicalIndexError
from kbchat.lexical import LexicalEntry, LexicalIndex
from kbchat.lexical.sparse import SparseIndex
from kbchat.lexical.tantivy import MAX_TERMS, TantivyIndex
from kbchat.stores import milvus_collection
from kbchat.stores.milvus import MilvusStore
from kbchat.stores.milvus_terms import MilvusTerms
from kbchat.testing.lexical_suite import LexicalIndexSuite
from kbchat.text.analysis import Terms, analyse
from kbchat.threads import Threads
from rights import unprivileged
from servers import MilvusEngineServer

NAME = "space-1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lexical"


class TestTantivy(LexicalIndexSuite):
    @pytest.fixture
    def open_index(self, folder: Path) -> Callable[[], LexicalIndex]:
        return lambda: TantivyIndex(folder, threads=Threads())


async def write(index: TantivyIndex, key: int, text: str) -> None:
    await index.upsert(NAME, [LexicalEntry(key, analyse(text))])
    await index.commit(NAME)


async def test_reading_leaves_no_trace(folder: Path) -> None:
    """Neither a search nor a commit of nothing makes a folder."""
    index = TantivyIndex(folder, threads=Threads())
    await index.search(NAME, analyse("keys"), limit=5)
    await index.commit(NAME)
    await index.delete(NAME, [1])
    assert not folder.exists()
    await index.aclose()


async def test_what_a_commit_cut_short_left_is_in_nobodys_way(folder: Path, tmp_path: Path) -> None:
    """A process that died in it has written a file of deletions that the next commit would make under the same name;
    also where the index was open here before that."""
    index = TantivyIndex(folder, threads=Threads())
    await index.upsert(NAME, [LexicalEntry(key, analyse(f"keys {key}")) for key in range(9)])
    await index.commit(NAME)
    shutil.copytree(folder, tmp_path / "dead")
    dead = TantivyIndex(tmp_path / "dead", threads=Threads())
    await dead.delete(NAME, [1])
    await dead.commit(NAME)
    await dead.aclose()
    left = list((tmp_path / "dead" / NAME).glob("*.del"))
    assert len(left) == 1
    for path in (*left, tmp_path / "dead" / NAME / ".managed.json"):
        shutil.copy(path, folder / NAME)
    await index.delete(NAME, [1])
    await index.commit(NAME)
    assert await index.count(NAME) == 8
    await index.aclose()


async def test_a_writer_let_go_of_is_free_for_others(folder: Path) -> None:
    """What was committed with more to come stays, what was written after it is lost."""
    one, other = TantivyIndex(folder, threads=Threads()), TantivyIndex(folder, threads=Threads())
    await one.upsert(NAME, [LexicalEntry(1, analyse("keys"))])
    await one.commit(NAME, more=True)
    with pytest.raises(BusyError, match="another process is writing"):
        await other.upsert(NAME, [LexicalEntry(3, analyse("keys"))])
    await one.upsert(NAME, [LexicalEntry(2, analyse("keys"))])
    await one.release(NAME)
    await write(other, 3, "keys")
    assert [hit.id for hit in (await one.search(NAME, analyse("keys"), limit=5)).hits] == [1, 3]
    await one.aclose()
    await other.aclose()


async def test_two_writers_at_once_are_refused(folder: Path) -> None:
    """The second is told that another one writes; after the commit it may."""
    one, other = TantivyIndex(folder, threads=Threads()), TantivyIndex(folder, threads=Threads())
    await one.upsert(NAME, [LexicalEntry(1, analyse("keys"))])
    with pytest.raises(BusyError, match="another process is writing"):
        await other.upsert(NAME, [LexicalEntry(2, analyse("keys"))])
    assert (await other.search(NAME, analyse("keys"), limit=5)).hits == []
    await one.commit(NAME)
    await write(other, 2, "keys")
    assert await one.count(NAME) == 2
    await one.aclose()
    await other.aclose()


async def test_a_killed_writer_leaves_nothing_but_its_commits(folder: Path) -> None:
    """The next writer gets the lock at once and finds what was committed."""
    code = f"""
import anyio, os, signal
from pathlib import Path
from kbchat.text.analysis import Terms, analyse
from kbchat.lexical import LexicalEntry
from kbchat.lexical.tantivy import TantivyIndex
from kbchat.threads import Threads

async def main():
    index = TantivyIndex(Path({str(folder)!r}), threads=Threads())
    await index.upsert({NAME!r}, [LexicalEntry(1, analyse("keys"))])
    await index.commit({NAME!r})
    await index.upsert({NAME!r}, [LexicalEntry(2, analyse("keys"))])
    os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""
    process = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert process.returncode == -9
    index = TantivyIndex(folder, threads=Threads())
    await write(index, 3, "keys")
    assert [hit.id for hit in (await index.search(NAME, analyse("keys"), limit=5)).hits] == [1, 3]
    await index.aclose()


@pytest.mark.parametrize("damage", [b"", b"not json", b'{"segments": []}'])
async def test_a_damaged_index_says_how_to_mend_it(folder: Path, damage: bytes) -> None:
    """Reading and writing both name the folder and the command that rebuilds it."""
    index = TantivyIndex(folder, threads=Threads())
    await write(index, 1, "keys")
    await index.aclose()
    (folder / NAME / "meta.json").write_bytes(damage)
    index = TantivyIndex(folder, threads=Threads())
    with pytest.raises(LexicalIndexError, match="fsck --repair"):
        await index.search(NAME, analyse("keys"), limit=5)
    with pytest.raises(LexicalIndexError, match="fsck --repair"):
        await write(index, 2, "keys")
    await index.drop(NAME)
    await write(index, 2, "keys")
    assert await index.count(NAME) == 1
    await index.aclose()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Reading goes on, writing says why it cannot."""

    async def use() -> None:
        index = TantivyIndex(tmp_path / "lexical", threads=Threads())
        with pytest.raises(LexicalIndexError, match="cannot be read or written"):
            await write(index, 1, "keys")
        await index.aclose()

    tmp_path.chmod(0o555)
    # Its threads have the rights of the one that starts them.
    with unprivileged(tmp_path):
        asyncio.run(use())
    tmp_path.chmod(0o700)


async def test_a_folder_in_the_way_is_an_error(folder: Path) -> None:
    """A file where the folder should be is told of, not overwritten."""
    folder.write_text("in the way")
    index = TantivyIndex(folder, threads=Threads())
    with pytest.raises(LexicalIndexError, match="cannot be read or written"):
        await write(index, 1, "keys")
    await index.aclose()
    assert folder.read_text() == "in the way"


async def test_of_an_endless_question_the_rarest_terms_are_looked_up(folder: Path) -> None:
    """Beyond the limit the commonest ones find nothing, though all have their weight."""
    index = TantivyIndex(folder, threads=Threads())
    words = [f"word{n:04}" for n in range(MAX_TERMS + 1)]
    await index.upsert(NAME, [LexicalEntry(1, analyse(" ".join(words))), LexicalEntry(2, analyse(words[-1]))])
    await index.commit(NAME)
    result = await index.search(NAME, Terms(tuple(words), (), ()), limit=5)
    assert len(result.weights.unigrams) == MAX_TERMS + 1
    assert [hit.id for hit in result.hits] == [1]
    await index.aclose()


async def test_a_closed_index_is_not_used(folder: Path) -> None:
    """Every use after closing is an error of ours."""
    index = TantivyIndex(folder, threads=Threads())
    await index.aclose()
    with pytest.raises(LexicalIndexError, match="closed"):
        await index.count(NAME)


class TestSparseInMilvusLite(LexicalIndexSuite):
    @pytest.fixture
    async def open_index(self, folder: Path) -> AsyncIterator[Callable[[], LexicalIndex]]:
        threads = Threads()
        async with aclosing(MilvusStore(uri=folder, threads=threads)) as store:
            yield lambda: SparseIndex(MilvusTerms(store), threads=threads)

    @pytest.fixture
    def name(self) -> str:
        return f"terms-{uuid.uuid4().hex}"

    async def test_too_many_to_be_told(self, index: LexicalIndex, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of ids that are more than Milvus is told the best are searched for: the same ones."""
        monkeypatch.setattr(milvus_collection, "TOLD_LITE", 900)
        await self.test_a_search_among_thousands(index, name)


@pytest.mark.server
@pytest.mark.timeout(300)  # a server is started first
class TestSparseInMilvusEngine(LexicalIndexSuite):
    @pytest.fixture
    async def open_index(self, milvus_engine: MilvusEngineServer) -> AsyncIterator[Callable[[], LexicalIndex]]:
        threads = Threads()
        async with aclosing(MilvusStore(uri=milvus_engine.uri, threads=threads, timeout=30)) as store:
            yield lambda: SparseIndex(MilvusTerms(store), threads=threads)

    @pytest.fixture
    def name(self) -> str:
        return f"terms-{uuid.uuid4().hex}"
