"""Files and folders: which documents a path stands for, what they are called, and their bytes."""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kbchat.errors import InvalidInputError, UnreadableDocumentError
from kbchat.loaders.formats import by_suffix
from kbchat.loaders.patterns import Patterns, in_bytes

_WELL_KNOWN = frozenset({"readme", "license", "licence", "notice", "changelog", "changes", "authors", "contributing"})
"""Files that are documents though they may have no suffix."""
_SHOWN_CHARS = 80
_WILDCARDS = frozenset("*?[")


class FileSource(NamedTuple):
    """A file to ingest. `name` is the document's: relative to the folder that was given, which it starts with.

    The path is as the disk has it, through the links that it was given with; the name is composed (NFC), as every name
    is.
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
    """Which files of a folder are documents: those of a known type, or else those that a pattern of `include` fits, or
    that lie in a folder which it fits.

    Patterns are written as in `.gitignore` and are relative to the folder that was given. `exclude` goes before
    `include`; with `gitignore` the files of that name are obeyed as git does.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = False


EVERYTHING = Selection()


class Root(NamedTuple):
    """A folder that was looked through."""

    path: str
    """With the system's separator at its end."""
    holds: bool
    """Whether it stands for anything."""
    identity: tuple[int, int] | None
    """What the system knows it by; None where that changed meanwhile."""


@dataclass(frozen=True, slots=True)
class Found:
    """What paths stand for: the files, and the folders that were looked through."""

    files: tuple[FileSource, ...]
    roots: tuple[Root, ...] = ()
    closed: tuple[FileSource, ...] = ()
    """Folders below those that may not be listed: what is in them is unknown, not gone."""
    passed: tuple[str, ...] = ()
    """Where the folder that was to be passed over stands below them."""


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
    roots: dict[str, Root] = {}
    closed: list[FileSource] = []
    passed: list[str] = []
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
            place, before = with_end(str(root)), _identity(root)
            passed += [seen for seen in [_below(root, without)] if seen]
            sources = list(_files(root, chosen, closed, passed))
            if not sources and not allow_empty:
                raise InvalidInputError(field, f"{str(path)!r} holds no readable documents; see `kbchat formats`")
            holds = bool(sources) or (place in roots and roots[place].holds)
            roots[place] = Root(place, holds, before if before == _identity(root) else None)
        found.update((source.path, source) for source in sources)
    return Found(tuple(found.values()), tuple(roots.values()), tuple(closed), tuple(passed))


def with_end(folder: str) -> str:
    """A folder's path with the separator at its end, which the root of a disk has anyway."""
    return folder.rstrip(os.sep) + os.sep


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        state = root.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _below(root: Path, folder: Path | None) -> str | None:
    """A folder's path as it is met below a root, which may be reached through links."""
    if folder is None or not (there := folder.resolve()).is_relative_to(real := root.resolve()):
        return None
    return str(root / there.relative_to(real))


def is_beneath(path: str, roots: Iterable[str]) -> bool:
    """Whether a file lies in one of the folders that were looked through."""
    return any(path.startswith(root) for root in roots)


def open_at_once(path: str) -> BinaryIO:
    """What stands at a path, to be read: a pipe that nobody writes to is not waited for. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        return os.fdopen(descriptor, "rb")
    except OSError:  # It is a folder.
        os.close(descriptor)
        raise


def read(source: FileSource, *, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """A file's bytes, with the state it had when it was opened. Raises `UnreadableDocumentError`.

    What is no regular file is never waited for, and a file that changes while it is read is read once more.
    """
    for last in (False, True):
        try:
            with open_at_once(source.path) as file:
                before = os.fstat(file.fileno())
                _check(source, before, max_bytes)
                data = file.read(max_bytes + 1)
                after = os.fstat(file.fileno())
        except OSError as error:
            raise UnreadableDocumentError(source.name, f"cannot be read: {error.strerror}") from None
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(data) == after.st_size:
            return data, before
        if last:
            raise UnreadableDocumentError(source.name, "changed while it was read; ingest it again when it is at rest")
    raise AssertionError("unreachable")


def changed_ns(state: os.stat_result) -> int:
    """When a file was last written, or put where it is: a packer may give any two releases' files one time."""
    return max(state.st_mtime_ns, state.st_ctime_ns)


def _check(source: FileSource, state: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise UnreadableDocumentError(source.name, "not a file but a folder, device, pipe or socket")
    if state.st_size > max_bytes:
        reason = f"{state.st_size:,} bytes are more than the limit of {max_bytes:,} bytes (max_document_bytes)"
        raise UnreadableDocumentError(source.name, reason)


def _resolved(path: Path, selection: Selection, field: str) -> tuple[Path, Selection]:
    """The file or folder meant, and what is taken from it: of a pattern, the folder before its first wildcard."""
    root = _absolute(path)
    with suppress(FileNotFoundError, NotADirectoryError):
        kind = root.stat().st_mode
        if stat.S_ISDIR(kind) or stat.S_ISREG(kind):
            return root, selection
        raise InvalidInputError(field, f"{str(path)!r} is neither a file nor a folder")
    parts = path.parts
    first = next((number for number, part in enumerate(parts) if _WILDCARDS & set(part)), None)
    if first is None or not (folder := _absolute(Path(*parts[:first]))).is_dir():
        raise InvalidInputError(field, f"there is no file or folder {str(path)!r}")
    pattern = "/" + "/".join(parts[first:])
    return folder, Selection((pattern,), selection.exclude, selection.gitignore)


def _absolute(path: Path) -> Path:
    """Links are kept: what is reached through one, such as a site's current release, is called by it whatever it leads
    to. Only what `..` leads out of is looked up."""
    parts = path.parts
    out = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    return Path(*parts[:out]).resolve().joinpath(*parts[out:])


def _files(root: Path, selection: Selection, closed: list[FileSource], passed: list[str]) -> Iterator[FileSource]:
    chosen = _Chosen(root, selection)
    prefix = len(with_end(str(root.parent)))
    pending = [] if chosen.ignores_all else [str(root)]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=attrgetter("name"))
        except OSError:
            closed.append(FileSource.named(folder, folder[prefix:]))
            continue
        takes = chosen.enter(folder)
        folders = []
        for entry in entries:
            name, path = entry.name, entry.path
            if name[0] == ".":
                continue
            if entry.is_dir(follow_symlinks=False):
                if path not in passed and chosen.takes_folder(path):
                    folders.append(path)
            elif takes(name) and not (entry.is_symlink() and Path(path).is_dir()):
                yield FileSource.named(path, path[prefix:])
        pending.extend(reversed(folders))


class _Chosen:
    """Decides for the files and folders below a root."""

    def __init__(self, root: Path, selection: Selection) -> None:
        self._cut = len(with_end(str(root)))
        self._suffixes = by_suffix()
        self._include = _given(selection.include)
        self._exclude = _given(selection.exclude)
        self._obeys_git = selection.gitignore
        # A repository is where its files are, whatever link leads there.
        real = root.resolve() if selection.gitignore else root
        self._real = with_end(str(real))
        self._ignored = _lists_above(real) if selection.gitignore else []
        self.ignores_all = any(self._is_ignored(str(folder), folder=True) for folder in (real, *real.parents))

    def enter(self, folder: str) -> Callable[[str], bool]:
        """Obey a folder's own list from now on, for what lies in it. What is given tells whether a file of a name is
        taken."""
        if self._obeys_git and (patterns := _ignore_file(real := self._placed(folder))) is not None:
            self._ignored.append((with_end(real), patterns))
        included = self._is_known if self._include is None else self._include.covers_in(self._below(folder))
        if self._exclude is None and not self._obeys_git:
            return included
        within = with_end(folder)
        return lambda name: included(name) and not self._is_out(within + name, folder=False)

    def takes_folder(self, path: str) -> bool:
        return not self._is_out(path, folder=True)

    def _is_known(self, name: str) -> bool:
        stem, dot, suffix = name.rpartition(".")
        return f".{suffix.lower()}" in self._suffixes if dot and stem else name.lower() in _WELL_KNOWN

    def _is_out(self, path: str, *, folder: bool) -> bool:
        if self._exclude is not None and self._exclude.verdict(self._below(path), folder=folder):
            return True
        return self._obeys_git and self._is_ignored(self._placed(path), folder=folder)

    def _below(self, path: str) -> str:
        return path[self._cut :].replace(os.sep, "/")

    def _placed(self, path: str) -> str:
        return self._real + path[self._cut :]

    def _is_ignored(self, path: str, *, folder: bool) -> bool:
        # The nearest list that says anything about a path decides.
        for above, patterns in reversed(self._ignored):
            if path.startswith(above):
                below = in_bytes(path[len(above) :].replace(os.sep, "/"))
                if (verdict := patterns.verdict(below, folder=folder)) is not None:
                    return verdict
        return False


def _given(lines: tuple[str, ...]) -> Patterns | None:
    """Patterns that somebody wrote for this call, who is told of one that is broken."""
    patterns = Patterns.of(lines)
    if patterns.void:
        raise InvalidInputError("patterns", f"cannot be used: no file can fit {patterns.void[0]!r}")
    return patterns if lines else None


def _ignore_file(folder: str) -> Patterns | None:
    try:
        return Patterns.of_file(Path(folder, ".gitignore").read_bytes())
    except OSError:
        return None


def _lists_above(root: Path) -> list[tuple[str, Patterns]]:
    """The lists of the folders above, up to the repository's, outermost first."""
    found: list[tuple[str, Patterns]] = []
    if (root / ".git").exists():
        return found
    for folder in root.parents:
        if (patterns := _ignore_file(str(folder))) is not None:
            found.insert(0, (with_end(str(folder)), patterns))
        if (folder / ".git").exists():
            return found
    return []  # Not in a repository.
