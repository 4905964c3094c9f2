"""Files become text: decoded, named by where they are, and refused with a reason."""

from pathlib import Path

import pytest

from kbchat.errors import InvalidInputError, UnreadableDocumentError
from kbchat.loaders.files import discover, load, read
from kbchat.loaders.text import decode


def test_text_is_utf8_or_what_its_mark_says() -> None:
    """Byte order marks are obeyed and removed; line ends become one kind."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert decode("知识\r\nb\rc".encode(encoding), name="a.txt") == "知识\nb\nc"


def test_another_encoding_is_refused_with_the_byte() -> None:
    """Latin-1 without a mark could be anything: the reason says where and what to do."""
    with pytest.raises(
        UnreadableDocumentError, match="not UTF-8 text: byte 0xe9 at offset 3; convert the file to UTF-8"
    ):
        decode("café".encode("latin-1"), name="a.txt")


@pytest.mark.parametrize("data", [b"\x00\x01\x02", b"GIF89a\x01\x00", b"text\x1b\x07bell"])
def test_binary_data_is_not_text(data: bytes) -> None:
    """Control characters that no text holds give it away."""
    with pytest.raises(UnreadableDocumentError, match="binary data, not text"):
        decode(data, name="a.txt")


def test_the_first_heading_is_the_title() -> None:
    """Markdown documents are shown under their title."""
    document = load(b"intro\n\n# The *title* #\n\n# Other\n", name="a.md")
    assert document.metadata == {"title": "The *title*"}
    assert document.markup == "markdown"
    assert load(b"# not markdown", name="a.txt").metadata == {}


def test_a_folder_is_its_known_files_in_order(tmp_path: Path) -> None:
    """Names are relative and begin with the folder; hidden and unknown files are passed over, links not followed."""
    root = tmp_path / "docs"
    (root / "b").mkdir(parents=True)
    (root / ".git").mkdir()
    for name in ("z.md", "a.TXT", "b/c.rst", ".hidden.md", ".git/x.md", "picture.png"):
        (root / name).write_text("x")
    (root / "loop").symlink_to(root)
    assert [source.name for source in discover([root])] == ["docs/a.TXT", "docs/z.md", "docs/b/c.rst"]


def test_a_file_given_twice_is_one_document(tmp_path: Path) -> None:
    """A folder and a file in it may both be given."""
    (tmp_path / "a.md").write_text("x")
    assert len(discover([tmp_path, tmp_path / "a.md"])) == 1


def test_paths_that_stand_for_nothing_are_refused(tmp_path: Path) -> None:
    """A missing path, an empty folder and a device are the caller's mistakes, said at once."""
    with pytest.raises(InvalidInputError, match="there is no file or folder"):
        discover([tmp_path / "missing"])
    with pytest.raises(InvalidInputError, match="holds no documents"):
        discover([tmp_path])
    with pytest.raises(InvalidInputError, match="neither a file nor a folder"):
        discover([Path("/dev/null")])


def test_a_file_over_the_limit_is_refused_by_size(tmp_path: Path) -> None:
    """No more than the limit is read."""
    path = tmp_path / "big.txt"
    path.write_bytes(b"x" * 101)
    (source,) = discover([path])
    with pytest.raises(UnreadableDocumentError, match="larger than the limit of 100 bytes"):
        read(source, max_bytes=100)
    data, stat = read(source, max_bytes=101)
    assert (data, stat.st_size) == (b"x" * 101, 101)


def test_a_file_that_vanished_says_so(tmp_path: Path) -> None:
    """What the folder listing saw may be gone when it is read."""
    path = tmp_path / "a.txt"
    path.write_text("x")
    (source,) = discover([path])
    path.unlink()
    with pytest.raises(UnreadableDocumentError, match="cannot be read: No such file"):
        read(source, max_bytes=100)
