"""Archives that somebody made up: refused in our own words, with little memory, and nothing is left of them."""

import hashlib
import json
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import kbchat
from kbchat.errors import InvalidInputError
from kbchat.settings import Settings

MIB = 1024 * 1024
DOCUMENTS, VECTORS, PACKED = "documents.jsonl", "vectors.f32", "packed.bin"


class Made:
    """An archive of a space with one document, to be put together anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.about: dict[str, Any] = json.loads(self.members.pop("kbchat.json"))

    def line(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.members[DOCUMENTS])
        return line

    def write(self, *, about: bytes | None = None, compression: int = zipfile.ZIP_DEFLATED) -> None:
        self.about["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in self.members.items()}
        with zipfile.ZipFile(self.path, "w", compression) as archive:
            archive.writestr("kbchat.json", about or json.dumps(self.about))
            for name, data in self.members.items():
                archive.writestr(name, data)


@pytest.fixture
async def kb(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeBase]:
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path / "data", max_document_bytes=MIB)) as kb:
        yield kb


@pytest.fixture
async def made(kb: kbchat.KnowledgeBase, tmp_path: Path) -> Made:
    space = await kb.create_space("handbook")
    await space.ingest(kbchat.TextDocument(name="keys", text="Keys are rotated every ninety days."))
    await space.export(tmp_path / "archive")
    return Made(tmp_path / "archive")


async def refused(kb: kbchat.KnowledgeBase, made: Made, reason: str, *, field: str = "path") -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        await kb.import_space(made.path, name="copy")
    assert caught.value.field == field
    assert "pydantic" not in caught.value.message
    assert [space.name for space in await kb.list_spaces()] == ["handbook"]
    assert await kb._open.catalog.deleted_spaces() == []


BOMBS: dict[str, Callable[[Made], str]] = {
    "kbchat.json": lambda made: "larger than",
    DOCUMENTS: lambda made: "more than .* bytes; raise max_document_bytes",
    PACKED: lambda made: "packed.bin is damaged",
}


@pytest.mark.parametrize("member", BOMBS)
async def test_a_small_file_takes_little_memory(kb: kbchat.KnowledgeBase, made: Made, member: str) -> None:
    """However much it would unpack to: 64 MiB in one piece here."""
    much = b" " * (64 * MIB)
    if member == "kbchat.json":
        made.write(about=much)
    else:
        made.members[member] = much if member == DOCUMENTS else b"\xff\xff\xff\xff" + much
        made.write()
    del much, made.members
    tracemalloc.start()
    try:
        await refused(kb, made, BOMBS[member](made))
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda about: about.update(dimension=5), "vectors of 5 dimensions, by an embedder of 256"),
        (lambda about: about.update(dimension=10**30), "damaged"),
        (lambda about: about["space"]["embedder"].update(dimension=0), "damaged"),
        (lambda about: about["space"].update(embedder=None), "does not say by whom"),
        (lambda about: about["space"].update(splitting={"strategy": "none"}), "space's splitting.* cannot be"),
    ],
)
async def test_what_it_says_of_itself_must_fit(
    kb: kbchat.KnowledgeBase, made: Made, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    """Its vectors, their embedder and the space."""
    change(made.about)
    made.write()
    await refused(kb, made, reason)


@pytest.mark.parametrize("field", ["desc", "context"])
@pytest.mark.parametrize("value", ["a\0b", "x" * 3 * MIB])
async def test_what_a_space_may_not_have(kb: kbchat.KnowledgeBase, made: Made, field: str, value: str) -> None:
    """It may not have from an archive either."""
    made.about["space"][field] = value
    made.write()
    await refused(kb, made, "NUL|characters; at most", field=field)


async def test_what_questions_would_stumble_over(kb: kbchat.KnowledgeBase, made: Made) -> None:
    """What is kept for scoring is what kbchat makes, and there are no more chunks than characters."""
    kept = made.members[PACKED]
    made.members[PACKED] = kept[:4] + b"\x00\x7c" + kept[6:]  # Infinity, as a half float.
    made.write()
    await refused(kb, made, "packed.bin is damaged")
    made.members[PACKED] = kept
    made.members[DOCUMENTS] = json.dumps(made.line() | {"chunks": [[0, 1, {}]] * 1000}).encode() + b"\n"
    made.write()
    await refused(kb, made, "more chunks than characters")


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
async def test_compressions_that_kbchat_does_not_write(kb: kbchat.KnowledgeBase, made: Made, compression: int) -> None:
    """Are not tried: some take gigabytes because they say so."""
    made.write(compression=compression)
    await refused(kb, made, "compressed in a way")
