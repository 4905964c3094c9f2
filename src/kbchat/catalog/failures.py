"""What the database libraries raise, in kbchat's own errors. The only place that knows both."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from sqlalchemy import exc

from kbchat.errors import (
    BusyError,
    CatalogCorruptError,
    CatalogError,
    CatalogUnavailableError,
    InvalidInputError,
    KbchatError,
)

_SQLITE: dict[int, tuple[type[CatalogError], str]] = {
    sqlite3.SQLITE_CORRUPT: (CatalogCorruptError, "is damaged; put a copy in its place, or move it away to start anew"),
    sqlite3.SQLITE_NOTADB: (
        CatalogCorruptError,
        "is damaged or is not a catalog; put a copy in its place, or move it away to start anew",
    ),
    sqlite3.SQLITE_FULL: (CatalogUnavailableError, "cannot be written: the disk is full; make room and try again"),
    sqlite3.SQLITE_READONLY: (CatalogUnavailableError, "cannot be written: it is read-only; give this user the right"),
    sqlite3.SQLITE_PERM: (CatalogUnavailableError, "cannot be opened: this user has no right to it"),
    sqlite3.SQLITE_AUTH: (CatalogUnavailableError, "cannot be opened: this user has no right to it"),
    sqlite3.SQLITE_CANTOPEN: (
        CatalogUnavailableError,
        "cannot be opened; see that its folder is there and may be written by this user, and that the disk has room",
    ),
    sqlite3.SQLITE_IOERR: (
        CatalogUnavailableError,
        "cannot be read or written: the disk failed, is full or has a quota; look at its state and try again",
    ),
    sqlite3.SQLITE_PROTOCOL: (CatalogUnavailableError, "cannot be locked; its folder must be on a local disk"),
    sqlite3.SQLITE_NOLFS: (CatalogUnavailableError, "is too large for this file system"),
    sqlite3.SQLITE_BUSY: (BusyError, "is being written by another process; try again when it has finished"),
    sqlite3.SQLITE_LOCKED: (BusyError, "is being written by another process; try again when it has finished"),
}
"""By SQLite's primary result code. The message goes on after the file's name."""

_POSTGRESQL: dict[str, tuple[type[CatalogError], str]] = {
    "08": (CatalogUnavailableError, "cannot be reached; see that the server runs and its address is right"),
    "28": (CatalogUnavailableError, "refuses the user or password of the URL"),
    "3D": (CatalogUnavailableError, "is not there; create the database first"),
    "42501": (CatalogUnavailableError, "cannot be used: the user has no right to it"),
    "25006": (CatalogUnavailableError, "is read-only (a replica?); give the URL of the primary server"),
    "53100": (CatalogUnavailableError, "cannot be written: the server's disk is full; make room and try again"),
    "53": (CatalogUnavailableError, "has no resources left; raise the server's limits or try again later"),
    "57014": (CatalogUnavailableError, "did not answer in time; try again later"),
    "57": (CatalogUnavailableError, "is shutting down or starting; try again later"),
    "58": (CatalogUnavailableError, "cannot be read or written: the server's disk failed"),
    "40": (BusyError, "is being written by another process; try again"),
    "55P03": (BusyError, "is being written by another process; try again when it has finished"),
    "XX001": (CatalogCorruptError, "is damaged; restore it from a backup"),
    "XX002": (CatalogCorruptError, "is damaged; run REINDEX, or restore it from a backup"),
}
"""By SQLSTATE, or its class (the first two characters)."""

_UNUSABLE = "holds a value that the catalog cannot keep (a NUL, a lone surrogate, or far too long)"


def catalog_error(error: Exception, where: str) -> KbchatError | None:
    """The error of ours for one of a database library's; None for an error that is no such."""
    match error:
        case UnicodeEncodeError() | exc.StatementError(orig=UnicodeEncodeError()) | exc.DataError():
            return InvalidInputError("text", _UNUSABLE)
        case OverflowError() | exc.StatementError(orig=OverflowError()):
            return InvalidInputError("id", "is a larger number than the catalog can keep")
        case msgspec.DecodeError():
            message = f"catalog {where} holds metadata that cannot be read; put a copy in its place"
            return CatalogCorruptError(message, place=where)
        case exc.TimeoutError():
            return BusyError(f"all connections to catalog {where} are in use; try again later", place=where)
        case exc.DBAPIError(orig=sqlite3.Error() as cause):
            return _sqlite_error(cause, where)
        case exc.DBAPIError():
            return _postgresql_error(error, where)
        case sqlite3.Error():
            return _sqlite_error(error, where)
        case _:
            return None


def _sqlite_error(error: sqlite3.Error, where: str) -> KbchatError:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None and isinstance(error, sqlite3.OperationalError):
        # The module's own complaint of text that is not UTF-8. It quotes the text, so it is not repeated.
        message = f"catalog {where} holds text that cannot be read; put a copy in its place"
        return CatalogCorruptError(message, place=where)
    if code is None:
        return CatalogError(f"catalog {where} failed: {error}", place=where)
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_TOOBIG:
        return InvalidInputError("text", _UNUSABLE)
    kind, message = _SQLITE.get(primary, (CatalogError, f"failed: {error}"))
    return kind(f"catalog {where} {message}", place=where)


def _postgresql_error(error: exc.DBAPIError, where: str) -> KbchatError:
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        # No answer from a server: the connection was refused, timed out or was cut.
        if error.connection_invalidated or isinstance(error, exc.OperationalError):
            return CatalogUnavailableError(f"catalog {where} {_POSTGRESQL['08'][1]}", place=where)
        return CatalogError(f"catalog {where} failed: {error.orig}", place=where)
    if state.startswith("54"):
        return InvalidInputError("text", _UNUSABLE)
    kind, message = _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2], (CatalogError, f"failed: {error.orig}"))
    return kind(f"catalog {where} {message}", place=where)


@contextmanager
def catalog_errors(where: str) -> Iterator[None]:
    """Raise the errors of the database libraries as ours. `where` is the file or the URL without its password."""
    try:
        yield
    except Exception as error:
        ours = catalog_error(error, where)
        if ours is None:
            raise
        raise ours from error
