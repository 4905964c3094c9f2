"""Catalogs that cannot be used or were left in the middle of something: damage, disks, several processes."""

import os
import random
import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from catalogs import Child, child, file, opened, use
from kbchat.errors import CatalogCorruptError, CatalogUnavailableError
from kbchat.testing.catalog_samples import a_space, assert_consistent, generation, put

__all__ = ["child", "file"]

FULL_DISK = 600 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={FULL_DISK}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


# -- damaged files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [17, 100, 5000])
async def test_random_bytes_are_no_catalog(tmp_path: Path, size: int) -> None:
    """A file that is no database is left as it is; the error names it and the remedy."""
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(content := random.Random(size).randbytes(size))
    with pytest.raises(CatalogCorruptError) as caught:
        await use(path)
    assert repr(str(path)) in str(caught.value)
    assert "put a copy in its place" in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
async def test_a_truncated_file_is_noticed(file: Path, share: float) -> None:
    """However much of it is gone."""
    size = file.stat().st_size
    os.truncate(file, int(size * share))
    with pytest.raises(CatalogCorruptError, match=r"catalog\.sqlite"):
        await use(file)


@pytest.mark.parametrize("seed", range(5))
async def test_a_spoilt_file_is_never_taken_for_a_whole_one(file: Path, seed: int) -> None:
    """Pages that were overwritten with garbage are reported as damage when they are read."""
    size, page = file.stat().st_size, 4096
    chance = random.Random(seed)
    with file.open("r+b") as stream:
        for number in chance.sample(range(1, size // page), 20):
            stream.seek(number * page)
            stream.write(chance.randbytes(page))
    with pytest.raises(CatalogCorruptError):
        await use(file)


async def test_text_that_is_no_text_is_damage(file: Path) -> None:
    """Bytes that are not UTF-8, and metadata that is not JSON, are damage; the error does not quote them."""
    for column, value in (("name", b"secret\xff"), ("metadata", b"{secret")):
        with sqlite3.connect(file) as connection:
            connection.execute(f"UPDATE documents SET {column} = CAST(? AS TEXT) WHERE id = 3", (value,))
        connection.close()
        catalog = await opened(file)
        with pytest.raises(CatalogCorruptError) as caught:
            await catalog.list_documents(1)
        assert "secret" not in str(caught.value)
        await catalog.aclose()
        with sqlite3.connect(file) as connection:
            connection.execute(f"UPDATE documents SET {column} = '{{}}' WHERE id = 3")
        connection.close()


async def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    """A SQLite file with other tables is no catalog and stays as it is."""
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE spaces (id INTEGER PRIMARY KEY)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(CatalogCorruptError, match="another program"):
        await opened(path)
    assert path.read_bytes() == content


async def test_an_empty_file_is_a_new_catalog(tmp_path: Path) -> None:
    """As `touch` leaves it."""
    path = tmp_path / "catalog.sqlite"
    path.touch()
    catalog = await opened(path)
    assert await catalog.list_spaces() == ([], 0)
    await catalog.aclose()


# -- disks ------------------------------------------------------------------------------------------------------------


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A missing folder, or a folder in the file's place, is an error that names the file."""
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing" / "catalog.sqlite", tmp_path / "folder"):
        with pytest.raises(CatalogUnavailableError, match="cannot be opened") as caught:
            await opened(path)
        assert str(path) in str(caught.value)


async def test_a_full_disk(small_disk: Path) -> None:
    """What was acknowledged stays, what was not is not there, and with room again everything goes on."""
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 200 * 1024)
    catalog = await opened(small_disk / "catalog.sqlite")
    space = await a_space(catalog)
    stored = 0
    with pytest.raises(CatalogUnavailableError, match=r"full|cannot be written"):
        while True:
            await put(catalog, space, generation(f"d{stored}", "text " * 2000))
            stored += 1
    assert (await catalog.get_space(space.id)).document_count == stored
    await assert_consistent(catalog, space.id)
    filler.unlink()
    await put(catalog, space, generation("more", "x"))
    assert (await catalog.get_space(space.id)).document_count == stored + 1
    await assert_consistent(catalog, space.id)
    await catalog.aclose()


async def test_a_full_disk_from_the_start(small_disk: Path) -> None:
    """A catalog that cannot even be made says why; with room again it can."""
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * FULL_DISK * 2)
    with pytest.raises(CatalogUnavailableError):
        await opened(small_disk / "catalog.sqlite", timeout=0.2)
    filler.unlink()
    await (await opened(small_disk / "catalog.sqlite")).aclose()


@pytest.mark.parametrize("make_first", [True, False])
async def test_a_read_only_disk(small_disk: Path, make_first: bool) -> None:
    """A catalog that may not be written is an error, one that would have to be made too."""
    path = small_disk / "catalog.sqlite"
    if make_first:
        await (await opened(path)).aclose()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(CatalogUnavailableError, match=r"read-only|cannot be opened") as caught:
        await use(path)
    assert str(path) in str(caught.value)


# -- several processes ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(200)
def test_processes_that_make_a_catalog_together(tmp_path: Path, child: Child) -> None:
    """Two that open a new file at the same moment both succeed."""
    body = """
print("ready", flush=True)
sys.stdin.readline()
await catalog.open()
await a_space(catalog, arguments[0])
await catalog.aclose()
"""
    path = tmp_path / "catalog.sqlite"
    children = [child(body, path, f"s{number}") for number in range(2)]
    for one in children:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in children:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    assert [one.communicate(timeout=150)[1] for one in children] == [""] * 2
    with sqlite3.connect(path) as connection:
        assert sorted(connection.execute("SELECT name FROM spaces")) == [("s0",), ("s1",)]
    connection.close()


@pytest.mark.timeout(200)
def test_a_file_that_may_not_grow(tmp_path: Path, child: Child) -> None:
    """A quota is an error like a full disk, and what was acknowledged stays."""
    body = """
from kbchat.errors import CatalogUnavailableError
await catalog.open()
space = await a_space(catalog)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
stored = 0
try:
    while True:
        await put(catalog, space, generation(f"d{stored}", "text " * 2000))
        stored += 1
except CatalogUnavailableError as error:
    print(stored, (await catalog.get_space(space.id)).document_count, error)
await catalog.aclose()
"""
    output, errors = child(body, tmp_path / "catalog.sqlite").communicate(timeout=150)
    assert errors == ""
    stored, counted, message = output.split(maxsplit=2)
    assert stored == counted
    assert "disk" in message


@pytest.mark.timeout(200)
async def test_an_open_catalog_needs_no_alembic(file: Path, child: Child) -> None:
    """One whose tables are up to date is opened without loading the migrations."""
    body = """
await catalog.open()
await catalog.aclose()
heavy = ("alembic", "mako", "psycopg", "sqlalchemy.orm")
print([name for name in heavy if name in sys.modules])
"""
    assert await anyio.to_thread.run_sync(child(body, file).communicate) == ("[]\n", "")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("seed", range(2))
async def test_a_killed_writer_leaves_a_whole_catalog(tmp_path: Path, child: Child, seed: int) -> None:
    """After SIGKILL at any moment: what was acknowledged is there, every document is whole, the rest is collectable."""
    body = """
await catalog.open()
space = await a_space(catalog)
for turn in range(1_000_000):
    batch = [generation(f"d{(turn + each) % 7}", *[str(turn)] * 20) for each in range(2)]
    await put(catalog, space, *batch)
    if turn % 3 == 2:
        document = await catalog.find_document(space.id, f"d{turn % 7}")
        await catalog.delete_document(space.id, document.id, writer="w")
        await catalog.collect(space.id, list(await catalog.collectable(space.id, pending=False)))
    print((await catalog.get_space(space.id)).revision, flush=True)
"""
    path = tmp_path / "catalog.sqlite"
    running = child(body, path)
    assert running.stdout is not None
    chance = random.Random(seed)
    acknowledged = 0
    for _ in range(chance.randrange(1, 12)):
        acknowledged = int(await anyio.to_thread.run_sync(running.stdout.readline))
    time.sleep(chance.random() / 50)  # Somewhere within the next turn: whatever moment it is must do.
    running.send_signal(signal.SIGKILL)
    await anyio.to_thread.run_sync(running.communicate)
    catalog = await opened(path)
    [space], _ = await catalog.list_spaces()
    assert space.revision >= acknowledged
    await assert_consistent(catalog, space.id)
    await catalog.collect(space.id, list(await catalog.collectable(space.id, pending=True)))
    await put(catalog, space, generation("d0", "x"))
    await assert_consistent(catalog, space.id)
    await catalog.aclose()


def test_the_quota_of_this_process_is_untouched() -> None:
    """The limit above was another process's."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
