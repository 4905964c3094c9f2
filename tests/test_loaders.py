"""Files become text: found in their folders, decoded, named by where they are, and refused with a reason."""

import os
import threading
from pathlib import Path

import pytest

from kbchat.errors import InvalidInputError, UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.loaders.files import EVERYTHING, FileSource, Selection, discover, read
from kbchat.loaders.formats import format_of
from kbchat.loaders.text import CodeLoader, MarkdownLoader, RstLoader, TextLoader
from rights import unprivileged

COMPOUND, BOOK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Workbook\0".encode("utf-16-le")
MEMBER = b"PK\x03\x04" + bytes(26)
CHINESE = "知识库支持多种文档格式，检索结果包含引用。"


def names(*paths: Path, selection: Selection = EVERYTHING) -> list[str]:
    return [source.name for source in discover(paths, selection).files]


def tree(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_text_is_utf8_or_what_its_mark_says() -> None:
    """Byte order marks are obeyed and removed; line ends become one kind."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert decode("知识\r\nb\rc".encode(encoding), name="a.txt") == ("知识\nb\nc", None)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", CHINESE),
        ("big5", "知識庫支援多種文件格式，檢索結果包含引用。"),
        ("utf-16-le", f"RAG\n{CHINESE}\n"),
        ("utf-16-be", "keys are rotated"),
        ("shift_jis", "鍵は九十日ごとに交換されます。"),
        ("euc-kr", "열쇠는 구십 일마다 교체됩니다."),
        ("cp1251", "Ключи меняются каждые девяносто дней в хранилище."),
        ("latin-1", "Die Schlüssel werden alle neunzig Tage gewechselt; die Größe ist für alle gleich."),
        ("latin-1", "café"),
    ],
)
def test_other_encodings_are_guessed(encoding: str, text: str) -> None:
    """Without a mark, from the bytes; what was guessed is said."""
    found, guessed = decode(text.encode(encoding), name="a.txt")
    assert found == text
    assert guessed


def test_what_a_file_declares_goes_before_a_guess() -> None:
    """A web page's charset, for example; nonsense there is passed over."""
    data = "é".encode("latin-1")
    assert decode(data, name="a", declared="iso-8859-1") == ("é", None)
    assert decode(data, name="a", declared="no-such-thing")[0] == "é"


def test_broken_utf8_is_not_taken_for_another_encoding() -> None:
    """A few bad bytes in much good text would make nonsense of all of it: they are named."""
    data = CHINESE.encode() * 20 + b"\xff" + CHINESE.encode() * 20
    with pytest.raises(UnreadableDocumentError, match="not UTF-8 text: byte 0xff at offset 1260"):
        decode(data, name="a.txt")
    with pytest.raises(UnreadableDocumentError, match="not UTF-8 text: byte 0xe3 at offset 1257"):
        decode((CHINESE.encode() * 20)[:-1], name="a.txt")


@pytest.mark.parametrize("data", [b"\x00\x01\x02", b"text\x1b\x07bell", bytes(range(256)) * 4])
def test_binary_data_is_not_text(data: bytes) -> None:
    """Control characters that no text holds give it away."""
    with pytest.raises(UnreadableDocumentError, match="binary data, not text"):
        decode(data, name="a.txt")


def test_titles() -> None:
    """Markdown and reStructuredText are shown under their first title; plain text and code have none."""
    markdown = MarkdownLoader().load(b"intro\n\n# The *title* #\n\n# Other\n", name="a.md")
    assert (markdown.metadata, markdown.markup) == ({"title": "The *title*"}, "markdown")
    rst = RstLoader().load(b"=====\nTitle\n=====\n\nText\n----\n", name="a.rst")
    assert (rst.metadata, rst.markup) == ({"title": "Title"}, "rst")
    assert TextLoader().load(b"# not markdown", name="a.txt").metadata == {}
    assert CodeLoader().load(b"# a comment", name="a.py").markup == "code"


def test_a_folder_is_its_known_files_in_order(tmp_path: Path) -> None:
    """Names are relative and begin with the folder; hidden and unknown files are passed over, links not followed."""
    root = tree(tmp_path / "docs", "z.md", "a.TXT", "b/c.rst", "b/d.PDF", "README", ".hidden.md", ".git/x.md", "p.png")
    (root / "loop").symlink_to(root)
    assert names(root) == ["docs/README", "docs/a.TXT", "docs/z.md", "docs/b/c.rst", "docs/b/d.PDF"]


def test_a_file_given_twice_is_one_document(tmp_path: Path) -> None:
    """A folder and a file in it may both be given."""
    tree(tmp_path, "a.md")
    assert len(names(tmp_path, tmp_path / "a.md")) == 1


def test_patterns_choose(tmp_path: Path) -> None:
    """`include` replaces the known types, `exclude` goes before it; both are written as in .gitignore."""
    root = tree(tmp_path / "docs", "a.md", "b.txt", "drafts/c.md", "x/y/d.md", "x/data.weird")
    chosen = [
        (Selection(include=("*.md",)), ["a.md", "drafts/c.md", "x/y/d.md"]),
        (Selection(include=("/*.md",)), ["a.md"]),
        (Selection(include=("x/**",), exclude=("*.md",)), ["x/data.weird"]),
        (Selection(exclude=("drafts/", "b.*")), ["a.md", "x/y/d.md"]),
    ]
    for selection, expected in chosen:
        assert names(root, selection=selection) == [f"docs/{name}" for name in expected]


def test_a_pattern_may_be_given_as_a_path(tmp_path: Path) -> None:
    """What a shell did not expand; names begin with the folder before the first wildcard."""
    tree(tmp_path / "docs", "a.md", "b.txt", "x/c.md")
    assert names(tmp_path / "docs/**/*.md") == ["docs/a.md", "docs/x/c.md"]
    assert names(tmp_path / "docs/*.md") == ["docs/a.md"]
    with pytest.raises(InvalidInputError, match="holds no readable documents"):
        names(tmp_path / "docs/*.pdf")


def test_git_is_obeyed_on_request(tmp_path: Path) -> None:
    """Lists in folders below and above count, the nearest first; without the request they are ignored."""
    root = tree(tmp_path / "repo", "docs/a.md", "docs/secret.md", "docs/build/out.md", "docs/x/keep.md", "docs/x/b.md")
    (root / ".git").mkdir()
    (root / ".gitignore").write_text("secret.md\nbuild/\n")
    (root / "docs/x/.gitignore").write_text("*.md\n!keep.md\n")
    assert len(names(root / "docs")) == 5
    assert names(root / "docs", selection=Selection(gitignore=True)) == ["docs/a.md", "docs/x/keep.md"]
    assert names(root, selection=Selection(gitignore=True)) == ["repo/docs/a.md", "repo/docs/x/keep.md"]


def test_a_closed_folder_is_said(tmp_path: Path) -> None:
    """What cannot be listed is unknown, not empty."""
    root = tree(tmp_path / "docs", "a.md", "x/b.md")
    (root / "x").chmod(0)
    with unprivileged(root):
        found = discover([root])
    (root / "x").chmod(0o700)
    assert [folder.name for folder in found.closed] == ["docs/x"]


def test_the_root_of_the_disk_is_a_folder_as_others() -> None:
    """Patterns are relative to it, whole names of them."""
    root = Path(Path.cwd().anchor)
    chosen = tuple(f"/{folder.name}/" for folder in root.iterdir() if folder.is_dir())
    found = discover([root], Selection(include=("/*.nothing",), exclude=chosen), allow_empty=True)
    assert [place.path for place in found.roots] == [str(root)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell what is open")
def test_a_folder_in_place_of_a_file_is_not_left_open(tmp_path: Path) -> None:
    """As where a folder took the file's place since it was found."""
    before = [*Path("/proc/self/fd").iterdir()]
    with pytest.raises(UnreadableDocumentError):
        read(FileSource(str(tmp_path), "a"), max_bytes=10)
    assert len([*Path("/proc/self/fd").iterdir()]) == len(before)


def test_paths_that_stand_for_nothing_are_refused(tmp_path: Path) -> None:
    """A missing path, an empty folder and a device are the caller's mistakes, said at once."""
    with pytest.raises(InvalidInputError, match="there is no file or folder"):
        discover([tmp_path / "missing"])
    with pytest.raises(InvalidInputError, match="holds no readable documents"):
        discover([tmp_path])
    with pytest.raises(InvalidInputError, match="neither a file nor a folder"):
        discover([Path("/dev/null")])
    assert discover([tmp_path], allow_empty=True).files == ()


def test_a_file_over_the_limit_is_refused_by_size(tmp_path: Path) -> None:
    """Nothing of it is read: a file of a gigabyte costs as little."""
    path = tmp_path / "big.txt"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    (source,) = discover([path]).files
    with pytest.raises(UnreadableDocumentError, match="1,073,741,824 bytes are more than the limit of 100 bytes"):
        read(source, max_bytes=100)
    path.write_bytes(b"x" * 100)
    data, stat = read(source, max_bytes=100)
    assert (data, stat.st_size) == (b"x" * 100, 100)


def test_a_file_that_vanished_says_so(tmp_path: Path) -> None:
    """What the folder listing saw may be gone when it is read."""
    with pytest.raises(UnreadableDocumentError, match="cannot be read: No such file"):
        read(FileSource(str(tmp_path / "a.txt"), "a.txt"), max_bytes=100)


def test_links_in_a_circle_devices_and_pipes_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    """They stand in a folder like files; each has its reason."""
    root = tree(tmp_path / "docs", "a.md")
    (root / "loop.md").symlink_to(root / "loop.md")
    (root / "device.md").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.md")
    reasons = {}
    for source in discover([root]).files:
        try:
            read(source, max_bytes=100)
        except UnreadableDocumentError as error:
            reasons[source.name] = error.message
    assert "Too many levels of symbolic links" in reasons["docs/loop.md"]
    assert reasons["docs/device.md"] == reasons["docs/pipe.md"] == "not a file but a folder, device, pipe or socket"


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; one that goes on changing is refused, so that no half of it goes in."""
    path = tmp_path / "log.txt"
    path.write_text("one")
    source = FileSource(str(path), "log.txt")
    real, changes = os.fstat, [b"two", b"three"]

    def fstat(descriptor: int) -> os.stat_result:
        stat = real(descriptor)
        if changes and threading.current_thread() is threading.main_thread() and len(calls) % 2 == 0:
            with path.open("ab") as file:
                file.write(changes.pop())
        calls.append(descriptor)
        return stat

    calls: list[int] = []
    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(UnreadableDocumentError, match="changed while it was read"):
        read(source, max_bytes=100)
    assert read(source, max_bytes=100)[0] == b"onethreetwo"


def test_the_type_is_decided_by_content_first() -> None:
    """A name is believed only where the content says nothing."""
    cases = {
        ("page.txt", b"<!DOCTYPE html><p>x"): "html",
        ("feed.txt", b"<?xml version='1.0'?><rss/>"): "xml",
        ("wrong.pdf", b"just text"): "text",
        ("saved.docx", b"<html><p>Not found"): "html",
        ("paper.md", b"%PDF-1.7"): "pdf",
        ("letter", b"{\\rtf1 x}"): "rtf",
        ("a.md", b"<html>is a tag"): "markdown",
        ("a.py", b"x = 1"): "code",
        ("unknown.xyz", b"words"): "text",
    }
    for (name, data), expected in cases.items():
        assert format_of(data, name=name).name == expected, name


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n....", "a PNG image"),
        (b"\x1f\x8b\x08....", "a gzip archive"),
        (b"PK\x05\x06" + bytes(18), "a zip archive of no kind that is known"),
        (COMPOUND + "WordDocument\0".encode("utf-16-le"), "save it as .docx"),
        (COMPOUND + "EncryptedPackage\0".encode("utf-16-le"), "encrypted with a password"),
        (COMPOUND + BOOK + b"\x09\x08\x10\x00\x00\x06\x05\x00" + bytes(12) + b"\x2f\x00", "encrypted with a password"),
        (COMPOUND + BOOK + b"\x09\x08\x08\x00\x00\x05\x05\x00" + bytes(4) + b"\x86\x00\x00\x00\x2f\x00", "encrypted"),
        (MEMBER + b"mimetypeapplication/vnd.oasis.opendocument.text", "OpenDocument text; save it as .docx"),
        (MEMBER + b"mimetypeapplication/vnd.oasis.opendocument.presentation", "save it as .pptx"),
    ],
)
def test_files_without_text_are_refused_by_what_they_are(data: bytes, reason: str) -> None:
    """Whatever they are called."""
    with pytest.raises(UnreadableDocumentError, match=reason):
        format_of(data, name="report.txt")
