"""Documents that were uploaded beside files of folders: which of them a name belongs to, and what a file is read as."""

import os
from pathlib import Path

import pytest

import kbchat
from kbchat.models import DocumentStatus
from made_files import write

MAIL = b"""From: ann@example.org
Subject: Keys
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

S2V5cyBhcmUgcm90YXRlZC4=
"""


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return write(tmp_path / "docs", {"keys.md": b"Keys on the disk.", "vault.md": b"A vault on the disk."})


@pytest.mark.parametrize("before", [True, False])
async def test_a_name_that_was_uploaded_is_no_files(space: kbchat.KnowledgeSpace, docs: Path, before: bool) -> None:
    """While the upload waits and after it was indexed, until the document is deleted; each run says so."""
    if before:
        await space.sync(docs)
    added = await space.add_document("docs/keys.md", data=b"Keys that were uploaded.", replace=before)
    for status in (DocumentStatus.TODO, DocumentStatus.FINISHED):
        for take in (space.ingest, space.sync):
            [failure] = (await take(docs)).failed
            assert failure.name == "docs/keys.md"
            assert "uploaded; rename the file, or delete that document" in failure.reason
            assert (await space.get_document(added.id)).status is status
        await space.index_documents([added.id])
    assert (await space.get_document(added.id)).text == "Keys that were uploaded."
    await space.delete_document(added.id)
    report = await space.sync(docs)
    assert (report.added, report.failed) == (1, ())
    assert (await space.get_document("docs/keys.md")).text == "Keys on the disk."


async def test_one_file_by_two_ways_is_one_document(space: kbchat.KnowledgeSpace, docs: Path, tmp_path: Path) -> None:
    """A link to where a folder stands takes no name away, and what is reached last is known by that."""
    (tmp_path / "shared").symlink_to(tmp_path)
    for folder in (docs, tmp_path / "shared/docs", docs):
        report = await space.sync(folder)
        assert report.failed == ()
        assert (await space.get_document("docs/keys.md")).source == str(folder / "keys.md")
    assert await space.count_documents() == 2


async def test_a_turned_link_brings_other_content(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """Also where the files of both releases have one size and one time, as packers make them."""
    for release in ("v1", "v2"):
        files = {"keys.md": f"Keys of {release}.".encode(), f"{release}.md": b"Of one."}
        folder = write(tmp_path / release / "docs", files)
        os.utime(folder / "keys.md", (1_700_000_000, 1_700_000_000))
    current = tmp_path / "current"
    current.symlink_to("v1")
    assert (await space.sync(current / "docs")).added == 2
    current.unlink()
    current.symlink_to("v2")
    report = await space.sync(current / "docs")
    assert (report.updated, report.moved, report.added, report.removed) == (1, 1, 0, 0)
    assert sorted(document.name for document in await space.documents()) == ["docs/keys.md", "docs/v2.md"]
    assert (await space.get_document("docs/keys.md")).text == "Keys of v2."


async def test_the_data_folder_is_not_taken_in_by_a_link(tmp_path: Path) -> None:
    """Its files are of known types, whichever way leads to them."""
    write(tmp_path / "real", {"keys.md": b"Keys."})
    (tmp_path / "link").symlink_to("real")
    async with kbchat.KnowledgeBase(tmp_path / "real/kb-data") as kb:
        space = await kb.create_space("own")
        write(tmp_path / "real/kb-data", {"own.md": b"Ours."})
        await space.sync(tmp_path / "link")
        assert [document.name for document in await space.documents()] == ["link/keys.md"]


async def test_dots_lead_out_of_where_a_link_leads(space: kbchat.KnowledgeSpace, docs: Path, tmp_path: Path) -> None:
    """As the system takes them."""
    (tmp_path / "deep/er").mkdir(parents=True)
    (docs / "link").symlink_to(tmp_path / "deep/er")
    write(tmp_path / "deep/docs", {"a.md": b"Deep."})
    await space.ingest(docs / "link" / ".." / "docs")
    assert [document.source for document in await space.documents()] == [str(tmp_path / "deep/docs/a.md")]


@pytest.mark.parametrize(
    ("name", "file_name", "data", "text"),
    [
        ("Quarter mail", "q.eml", MAIL, "Keys are rotated."),
        ("Table", "T.CSV", b"name;age\nBob;31\n", "name: Bob; age: 31"),
        ("Version 1.2", "C:\\files\\v.json", b'{"a": {"b": 1}}', "a:\n  b: 1"),
        ("page.html", "p.tmp", b"<p>Para</p>", "Para"),
        ("plain.txt", "p.csv", b"name;age\nBob;31\n", "name;age\nBob;31"),
    ],
)
async def test_a_files_own_name_says_what_it_is(
    space: kbchat.KnowledgeSpace, name: str, file_name: str, data: bytes, text: str
) -> None:
    """Where the document's does not, and also when it is indexed again under another name."""
    added = await space.add_document(name, data=data, file_name=file_name)
    for splitting in (None, kbchat.Splitting(strategy="tokens")):
        await space.index_documents([added.id], splitting=splitting)
        document = await space.get_document(added.id)
        assert (document.status, document.error) == (DocumentStatus.FINISHED, None)
        assert text in (document.text or "")
    if not name.endswith((".html", ".txt")):
        await space.update_document(added.id, name="Another name")
        await space.index_documents([added.id])
        assert text in ((await space.get_document(added.id)).text or "")


async def test_the_name_a_document_had_says_what_it_is(space: kbchat.KnowledgeSpace) -> None:
    """When it is renamed, and read anew."""
    added = await space.add_document("q.eml", data=MAIL)
    await space.update_document(added.id, name="Quarter mail")
    await space.index_documents([added.id])
    assert "Keys are rotated." in ((await space.get_document(added.id)).text or "")


@pytest.mark.parametrize("file_name", ["", "x", "x.", "x.a\x00", "x." + "y" * 300, "../../x.md/", ".md", "\ud800.md"])
async def test_a_files_own_name_may_be_anything(space: kbchat.KnowledgeSpace, file_name: str) -> None:
    """It is a hint, and never in the way."""
    added = await space.add_document("keys", data=b"Keys are rotated.", file_name=file_name)
    await space.index_documents([added.id])
    assert (await space.get_document("keys")).text == "Keys are rotated."
