"""Patterns as git reads them: git itself is asked."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kbchat.errors import InvalidInputError
from kbchat.loaders.files import Selection, discover
from kbchat.loaders.patterns import Patterns

FILES = """docs/a.md docs/keep.md docs/sub/b.md other/c.md top.md build/x.md build/keep/y.md logs/l.txt logs/keep.txt
a/b/c/d.md a/d.md a/b/d.md ab/d.md Foo.txt temp/z.md.md x-y.md x]y.md [x].md a!b.md #c.md !d.md {e}.md 文档/说明.md
aab/aab.md aab/b/aab.md""".split()  # noqa: SIM905


def tree(root: Path, files: list[str]) -> Path:
    """A repository with these files."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    if not (root / ".git").exists():
        subprocess.run(["git", "init", "-q", root], check=True)
    return root


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: git takes longer to make one than to be asked."""
    return tree(tmp_path_factory.mktemp("repository"), FILES)


def seen_by_git(root: Path) -> set[str]:
    """The files that git does not ignore, but for hidden ones."""
    command = ["git", "-C", root, "-c", "core.excludesFile=/dev/null", "ls-files", "-z", "-o", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    return {name for name in listed if name and not any(part.startswith(".") for part in name.split("/"))}


def seen_by_us(root: Path, below: str = "") -> set[str]:
    found = discover([root / below], Selection(gitignore=True), allow_empty=True)
    return {str(Path(source.path).relative_to(root)) for source in found.files}


WRITTEN = [
    "docs/**\n!docs/keep.md|docs/*\n!docs/keep.md|/*\n!/docs/|/*\n!/docs|*\n!*/\n!*.md",
    "logs/*\n!logs/keep.txt|build/\n!build/keep/|build/*\n!build/keep/|**/build/**\n!**/keep/|docs/**/|foo.txt",
    "*.md\n!docs/**|docs/\n!docs/keep.md|a/**/d.md|# c\n\\#c.md|\\!d.md|temp/z.md.*|文档/|文档/??.md|文档/??????.md",
    "文档/[说]*.md|文[档]/|*.txt  |!top.md\n*.md|/docs/**\n!/docs/sub/\n!/docs/sub/**|docs/**/*\n!docs/keep.md",
    "[Bb]uild/|logs/**\n!logs/*.txt|**/keep.txt|docs/sub/..|docs|*.md\n!docs|d.md|/d.md|b/d.md|a/*/d.md|a**/d.md|a/**|**",
    "**/|*/|/|!|a/|x[]-]y.md|x[!a]y.md|x[^-]y.md|[[]x].md|[[:upper:]]*|[a-c]|[c-a]*|[|foo\\|*\\|a*b*/*b*.md|*a*a*b",
    "a/b/**/d.md|a\\/b|docs\\/|[[:nope:]]x|[[:upper]*|{e}.md|a?b.md|?oo.txt",
]
"""Lists, with `|` between them."""


@pytest.mark.parametrize(
    "written", ["\ufeffdocs/\n", "docs/\r\n*.txt\r\n", "*.txt\\ \n", *"|".join(WRITTEN).split("|")]
)
def test_lists_are_obeyed_as_git_does(repository: Path, written: str) -> None:
    """Such as people write, and some that they do not mean to."""
    (repository / ".gitignore").write_bytes(written.encode())
    assert seen_by_us(repository) == seen_by_git(repository)


TOKENS = st.sampled_from(
    ("*", "**", "/", "?", "!", "\\", "[a-c]", "[!a]", "[", "]", "a", "b", "d", "aab", ".md", "docs", "keep", "x", " -")
)
LISTS = st.lists(st.lists(TOKENS, min_size=1, max_size=6).map("".join), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LISTS, nested=LISTS)
@example(["a**/d.md"], ["x"])
@example(["!*/", "*", "!*.md"], ["x"])
def test_any_lists_are_obeyed_as_git_does(repository: Path, lines: list[str], nested: list[str]) -> None:
    """One at the top and one in a folder below, of any patterns."""
    (repository / ".gitignore").write_text("\n".join(lines))
    (repository / "a/.gitignore").write_text("\n".join(nested))
    try:
        seen = seen_by_git(repository)
        assert seen_by_us(repository) == seen
        # Also when only a part is looked at.
        for below in ("a", "a/b", "docs"):
            assert seen_by_us(repository, below) == {name for name in seen if name.startswith(f"{below}/")}
    finally:
        (repository / "a/.gitignore").unlink()


def test_names_that_are_no_text_are_told_apart(tmp_path: Path) -> None:
    """By their bytes, as everywhere on the disk."""
    root = tree(tmp_path, ["a.md"])
    for name in (b"x\xff.md", b"x\xfe.md"):
        Path(tmp_path, name.decode(errors="surrogateescape")).write_text("x")
    (root / ".gitignore").write_bytes(b"x\xff.md\n")
    found = discover([root], Selection(gitignore=True)).files
    assert sorted(Path(source.path).name for source in found) == ["a.md", b"x\xfe.md".decode(errors="surrogateescape")]


def test_a_folder_reached_through_a_link_is_in_its_own_repository(tmp_path: Path) -> None:
    """Whose lists are obeyed, and not those of where the link stands."""
    root = tree(tmp_path / "repository", ["docs/a.md", "docs/b.md"])
    (root / ".gitignore").write_text("docs/b.md\n")
    link = tmp_path / "elsewhere"
    link.symlink_to(root / "docs")
    assert [source.name for source in discover([link], Selection(gitignore=True)).files] == ["elsewhere/a.md"]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(exclude=("docs/**", "!docs/keep.md")), ["docs/keep.md", "top.md"]),
        (Selection(exclude=("docs/", "!docs/keep.md")), ["top.md"]),
        (Selection(include=("docs/",)), ["docs/keep.md", "docs/sub/b.md"]),
        (Selection(include=("docs", "!sub/")), ["docs/keep.md"]),
        (Selection(include=("docs/**", "!docs/keep.md")), ["docs/sub/b.md"]),
        (Selection(include=("*.md", "!docs")), ["top.md"]),
        (Selection(include=("/*",)), ["docs/keep.md", "docs/sub/b.md", "top.md"]),
    ],
)
def test_patterns_of_a_call_take_back_too(tmp_path: Path, selection: Selection, expected: list[str]) -> None:
    """The last that fits decides: `exclude` as git does, `include` also with all that lies in a folder."""
    root = tree(tmp_path / "r", ["docs/keep.md", "docs/sub/b.md", "top.md"])
    assert sorted(source.name.removeprefix("r/") for source in discover([root], selection).files) == expected


@pytest.mark.parametrize("pattern", ["[", "docs\\", "!", "[[:nope:]]"])
def test_a_pattern_that_nothing_fits_is_refused(tmp_path: Path, pattern: str) -> None:
    """Where it was written for this call: it was meant otherwise."""
    (tmp_path / "a.md").write_text("x")
    for selection in (Selection(include=(pattern,)), Selection(exclude=(pattern,))):
        with pytest.raises(InvalidInputError, match="no file can fit"):
            discover([tmp_path], selection)


def test_many_stars_are_settled_at_once() -> None:
    """A list that somebody else wrote holds nobody up."""
    patterns = Patterns.of(["*a" * 100 + "b", "**/" + "*a" * 100 + "b"])
    assert patterns.verdict("x/" + "a" * 250) is None
