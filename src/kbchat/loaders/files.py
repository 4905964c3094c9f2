"""Files and folders: which documents a path stands for, what they are called, and their bytes."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kbchat.errors import InvalidInputError, UnreadableDocumentError
from kbchat.loaders.formats import by_suffix

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_WELL_KNOWN = frozenset({"readme", "license", "licence", "notice", "changelog", "changes", "authors", "contributing"})
"""Files that are documents though they may have no suffix."""
_SHOWN_CHARS = 80
_WILDCARDS = frozenset("*?[")


class FileSource(NamedTuple):
    """A file to ingest. `name` is the document's: relative to the folder that was given, which it starts with.

    The path is as the disk has it; the name is composed (NFC), as every name is.
    """

    path: str
    name: str

    @classmethod
    def named(cls, path: str, name: str) -> "FileSource":
        if os.sep != "/":
            name = name.replace(os.sep, "/")
        return cls(path, name if name.isascii() else unicodedata.normalize("NFC", name))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a folder are documents: those of a known type, or else those that a pattern of `include` fits.

    Patterns are written as in `.gitignore` and are relative to the folder that was given. `exclude` goes before
    `include`; with `gitignore` the files of that name are obeyed as git does.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = False


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Found:
    """What paths stand for: the files, and the folders that were looked through (with `/` at their end)."""

    files: tuple[FileSource, ...]
    roots: tuple[str, ...] = ()
    closed: tuple[FileSource, ...] = ()
    """Folders below those that may not be listed: what is in them is unknown, not gone."""


def discover(
    paths: Iterable[Path],
    selection: Selection = EVERYTHING,
    *,
    field: str = "paths",
    allow_empty: bool = False,
    without: Path | None = None,
) -> Found:
    """The documents that paths stand for: a file for itself, a folder for the files in it that the selection takes.

    A path that does not exist and holds `*`, `?` or `[` is a pattern (`docs/**/*.md`). Hidden files and folders are
    passed over, links to folders are not followed. Sorted, so that runs are repeatable. Raises `InvalidInputError` for
    a path that is not there, and for a folder or pattern that stands for nothing unless `allow_empty`. `without` is a
    folder that is passed over wherever it is found, `field` what an error calls the paths.
    """
    found: dict[str, FileSource] = {}
    roots: list[str] = []
    closed: list[FileSource] = []
    for path in paths:
        try:
            root, chosen = _resolved(path, selection, field)
        except InvalidInputError:
            raise
        except (OSError, ValueError) as error:
            # A name that no file system takes: most likely a text.
            shown, reason = str(path)[:_SHOWN_CHARS], getattr(error, "strerror", None) or error
            remedy = "a text is given as kbchat.TextDocument(name=…, text=…)"
            raise InvalidInputError(field, f"{shown!r} cannot be a path ({reason}); {remedy}") from None
        sources = [FileSource.named(str(root), root.name)]
        if root.is_dir():
            roots.append(f"{root}{os.sep}")
            sources = list(_files(root, chosen, closed, str(without.resolve()) if without else ""))
            if not sources and not allow_empty:
                raise InvalidInputError(field, f"{str(path)!r} holds no readable documents; see `kbchat formats`")
        found.update((source.path, source) for source in sources)
    return Found(tuple(found.values()), tuple(roots), tuple(closed))


def is_beneath(path: str, roots: Iterable[str]) -> bool:
    """Whether a file lies in one of the folders that were looked through."""
    return any(path.startswith(root) for root in roots)


def read(source: FileSource, *, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """A file's bytes, with the state it had when it was opened. Raises `UnreadableDocumentError`.

    What is no regular file is never waited for, and a file that changes while it is read is read once more.
    """
    for last in (False, True):
        try:
            # Without O_NONBLOCK a pipe that nobody writes to would be waited for here.
            descriptor = os.open(source.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
            with os.fdopen(descriptor, "rb") as file:
                before = os.fstat(descriptor)
                _check(source, before, max_bytes)
                data = file.read(max_bytes + 1)
                after = os.fstat(descriptor)
        except OSError as error:
            raise UnreadableDocumentError(source.name, f"cannot be read: {error.strerror}") from None
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(data) == after.st_size:
            return data, before
        if last:
            raise UnreadableDocumentError(source.name, "changed while it was read; ingest it again when it is at rest")
    raise AssertionError("unreachable")


def _check(source: FileSource, state: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise UnreadableDocumentError(source.name, "not a file but a folder, device, pipe or socket")
    if state.st_size > max_bytes:
        reason = f"{state.st_size:,} bytes are more than the limit of {max_bytes:,} bytes (max_document_bytes)"
        raise UnreadableDocumentError(source.name, reason)


def _resolved(path: Path, selection: Selection, field: str) -> tuple[Path, Selection]:
    """The file or folder meant, and what is taken from it: of a pattern, the folder before its first wildcard."""
    root = path.resolve()
    if root.is_dir() or root.is_file():
        return root, selection
    if root.exists():
        raise InvalidInputError(field, f"{str(path)!r} is neither a file nor a folder")
    parts = path.parts
    first = next((number for number, part in enumerate(parts) if _WILDCARDS & set(part)), None)
    if first is None or not (folder := Path(*parts[:first]).resolve()).is_dir():
        raise InvalidInputError(field, f"there is no file or folder {str(path)!r}")
    pattern = "/" + "/".join(parts[first:])
    return folder, Selection((pattern,), selection.exclude, selection.gitignore)


def _files(root: Path, selection: Selection, closed: list[FileSource], without: str) -> Iterator[FileSource]:
    chosen = _Chosen(root, selection)
    prefix = len(str(root.parent).rstrip(os.sep)) + 1
    pending = [str(root)]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=attrgetter("name"))
        except OSError:
            closed.append(FileSource.named(folder, folder[prefix:]))
            continue
        chosen.enter(folder)
        folders = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.path != without and chosen.takes_folder(entry.path):
                    folders.append(entry.path)
            elif chosen.takes_file(entry.path, entry.name) and not (entry.is_symlink() and Path(entry.path).is_dir()):
                yield FileSource.named(entry.path, entry.path[prefix:])
        pending.extend(reversed(folders))


class _Chosen:
    """Decides for the files and folders below a root."""

    def __init__(self, root: Path, selection: Selection) -> None:
        self._cut = len(str(root)) + 1
        self._suffixes = by_suffix()
        self._include = _spec(selection.include)
        self._endings = _endings(selection.include)
        self._exclude = _spec(selection.exclude)
        self._ignored: list[tuple[str, GitIgnoreSpec]] = []
        self._obeys_git = selection.gitignore
        if selection.gitignore:
            self._ignored += _above(root)

    def enter(self, folder: str) -> None:
        """Obey a folder's own list from now on, for what lies in it."""
        if self._obeys_git and (spec := _ignore_file(folder)) is not None:
            self._ignored.append((f"{folder}{os.sep}", spec))

    def takes_folder(self, path: str) -> bool:
        below = self._below(path) + "/"
        return not (self._exclude is not None and self._exclude.match_file(below)) and not self._is_ignored(path + "/")

    def takes_file(self, path: str, name: str) -> bool:
        if self._include is None:
            stem, dot, suffix = name.rpartition(".")
            if f".{suffix.lower()}" not in self._suffixes if dot and stem else name.lower() not in _WELL_KNOWN:
                return False
        elif not name.endswith(self._endings) and not self._include.match_file(self._below(path)):
            return False
        if self._exclude is None and not self._obeys_git:
            return True
        return not (self._exclude is not None and self._exclude.match_file(self._below(path))) and not (
            self._is_ignored(path)
        )

    def _below(self, path: str) -> str:
        return path[self._cut :].replace(os.sep, "/")

    def _is_ignored(self, path: str) -> bool:
        # The nearest list that says anything about a file decides.
        for folder, spec in reversed(self._ignored):
            if path.startswith(folder):
                verdict = spec.check_file(path[len(folder) :].replace(os.sep, "/")).include
                if verdict is not None:
                    return verdict
        return False


def _spec(patterns: Iterable[str]) -> "GitIgnoreSpec | None":
    lines = tuple(patterns)
    if not lines:
        return None
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise InvalidInputError("patterns", f"cannot be used: {error}") from None


def _endings(patterns: Iterable[str]) -> tuple[str, ...]:
    """How names end that such patterns as `*.md` fit for sure: to find that out by the pattern takes longer than all
    else that is done with a file that did not change. None where another pattern takes something back."""
    if any(pattern.startswith("!") for pattern in patterns):
        return ()
    return tuple(found[1] for pattern in patterns if (found := _ENDING.fullmatch(pattern)))


_ENDING = re.compile(r"\*([\w.]*\w)")


def _ignore_file(folder: str) -> "GitIgnoreSpec | None":
    try:
        lines = Path(folder, ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
        return _spec(lines)
    except (OSError, InvalidInputError):
        return None


def _above(root: Path) -> list[tuple[str, "GitIgnoreSpec"]]:
    """The lists of the folders above, up to the repository's, outermost first."""
    found: list[tuple[str, GitIgnoreSpec]] = []
    if (root / ".git").exists():
        return found
    for folder in root.parents:
        if (spec := _ignore_file(str(folder))) is not None:
            found.insert(0, (f"{folder}{os.sep}", spec))
        if (folder / ".git").exists():
            return found
    return []  # Not in a repository.
