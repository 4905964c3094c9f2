"""Database libraries' errors: each becomes one of ours that names the catalog and the remedy."""

import sqlite3

import msgspec
import pytest
from sqlalchemy import exc

from kbchat.catalog.failures import catalog_error, catalog_errors
from kbchat.errors import (
    BusyError,
    CatalogCorruptError,
    CatalogError,
    CatalogUnavailableError,
    InvalidInputError,
    KbchatError,
)

BY_SQLITE_NAME: dict[str, type[KbchatError]] = {
    "SQLITE_CORRUPT": CatalogCorruptError,
    "SQLITE_CORRUPT_INDEX": CatalogCorruptError,
    "SQLITE_NOTADB": CatalogCorruptError,
    "SQLITE_FULL": CatalogUnavailableError,
    "SQLITE_READONLY": CatalogUnavailableError,
    "SQLITE_READONLY_DIRECTORY": CatalogUnavailableError,
    "SQLITE_CANTOPEN": CatalogUnavailableError,
    "SQLITE_PERM": CatalogUnavailableError,
    "SQLITE_AUTH": CatalogUnavailableError,
    "SQLITE_IOERR": CatalogUnavailableError,
    "SQLITE_IOERR_FSYNC": CatalogUnavailableError,
    "SQLITE_PROTOCOL": CatalogUnavailableError,
    "SQLITE_NOLFS": CatalogUnavailableError,
    "SQLITE_BUSY": BusyError,
    "SQLITE_BUSY_SNAPSHOT": BusyError,
    "SQLITE_LOCKED": BusyError,
    "SQLITE_TOOBIG": InvalidInputError,
}
UNFORESEEN = [
    "SQLITE_ERROR",
    "SQLITE_INTERNAL",
    "SQLITE_ABORT",
    "SQLITE_INTERRUPT",
    "SQLITE_NOTFOUND",
    "SQLITE_EMPTY",
    "SQLITE_SCHEMA",
    "SQLITE_CONSTRAINT",
    "SQLITE_MISMATCH",
    "SQLITE_MISUSE",
    "SQLITE_FORMAT",
    "SQLITE_RANGE",
    "SQLITE_NOMEM",
]
"""Codes that only a mistake of ours could bring about."""
NO_FAILURE = {"SQLITE_OK", "SQLITE_ROW", "SQLITE_DONE", "SQLITE_NOTICE", "SQLITE_WARNING", "SQLITE_IGNORE"}

BY_SQLSTATE: dict[str, type[KbchatError]] = {
    "08006": CatalogUnavailableError,
    "28P01": CatalogUnavailableError,
    "3D000": CatalogUnavailableError,
    "42501": CatalogUnavailableError,
    "25006": CatalogUnavailableError,
    "53100": CatalogUnavailableError,
    "53300": CatalogUnavailableError,
    "57014": CatalogUnavailableError,
    "57P01": CatalogUnavailableError,
    "57P03": CatalogUnavailableError,
    "58030": CatalogUnavailableError,
    "40001": BusyError,
    "40P01": BusyError,
    "55P03": BusyError,
    "XX001": CatalogCorruptError,
    "XX002": CatalogCorruptError,
    "54000": InvalidInputError,
    "42P01": CatalogError,
}


def wrapped(cause: Exception, kind: type[exc.DBAPIError] = exc.OperationalError) -> exc.DBAPIError:
    return kind("SELECT 1", {"secret": "text"}, cause, hide_parameters=True)


def sqlite_error(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError("what it says")
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


@pytest.mark.parametrize("name", [*BY_SQLITE_NAME, *UNFORESEEN])
def test_sqlites_codes(name: str) -> None:
    """Extended codes are as their primary one; bare errors are as those that SQLAlchemy wrapped."""
    expected = BY_SQLITE_NAME.get(name, CatalogError)
    for error in (sqlite_error(name), wrapped(sqlite_error(name))):
        ours = catalog_error(error, "'x.sqlite'")
        assert type(ours) is expected
        assert isinstance(ours, InvalidInputError) or "'x.sqlite'" in ours.message


def test_every_code_of_sqlite_was_thought_of() -> None:
    """A primary code that this Python knows and this test does not is a code that nobody decided on."""
    names = [name for name in dir(sqlite3) if name.startswith("SQLITE_") and name.count("_") == 1]
    primary = {name for name in names if isinstance(getattr(sqlite3, name), int)}
    # Actions of an authorizer and kinds of limits share the prefix; result codes are those an exception can carry.
    codes = {"SQLITE_" + name for name in RESULT_CODES}
    assert codes <= primary
    assert codes - NO_FAILURE == {name for name in BY_SQLITE_NAME if name.count("_") == 1} | {*UNFORESEEN}


RESULT_CODES = [
    "OK",
    "ERROR",
    "INTERNAL",
    "PERM",
    "ABORT",
    "BUSY",
    "LOCKED",
    "NOMEM",
    "READONLY",
    "INTERRUPT",
    "IOERR",
    "CORRUPT",
    "NOTFOUND",
    "FULL",
    "CANTOPEN",
    "PROTOCOL",
    "EMPTY",
    "SCHEMA",
    "TOOBIG",
    "CONSTRAINT",
    "MISMATCH",
    "MISUSE",
    "NOLFS",
    "AUTH",
    "FORMAT",
    "RANGE",
    "NOTADB",
    "NOTICE",
    "WARNING",
    "ROW",
    "DONE",
]
"""SQLite's primary result codes, 0 to 28, 100 and 101."""


@pytest.mark.parametrize("state", BY_SQLSTATE)
def test_postgresqls_states(state: str) -> None:
    """By the state, or by its class."""
    psycopg = pytest.importorskip("psycopg")
    cause = psycopg.errors.lookup(state)("what it says") if state != "08006" else psycopg.OperationalError("gone")
    if state == "08006":
        cause.sqlstate = state
    ours = catalog_error(wrapped(cause), "postgresql://h/d")
    assert type(ours) is BY_SQLSTATE[state]
    assert isinstance(ours, InvalidInputError) or "postgresql://h/d" in ours.message


def test_every_state_of_postgresql_is_mapped() -> None:
    """Whatever the server says, it is an error of kbchat."""
    psycopg = pytest.importorskip("psycopg")
    kinds = [kind for kind in vars(psycopg.errors).values() if isinstance(kind, type) and getattr(kind, "sqlstate", "")]
    assert len(kinds) > 200
    for kind in kinds:
        assert isinstance(catalog_error(wrapped(kind("x")), "w"), KbchatError)


def test_a_connection_that_fails_has_no_state() -> None:
    """Refused, timed out or cut: the catalog cannot be reached."""
    psycopg = pytest.importorskip("psycopg")
    assert type(catalog_error(wrapped(psycopg.OperationalError("refused")), "w")) is CatalogUnavailableError
    cut = wrapped(psycopg.InterfaceError("closed"), exc.InterfaceError)
    cut.connection_invalidated = True
    assert type(catalog_error(cut, "w")) is CatalogUnavailableError
    assert type(catalog_error(wrapped(psycopg.InterfaceError("x"), exc.InterfaceError), "w")) is CatalogError


def test_what_is_no_database_error_goes_through() -> None:
    """Errors of ours and of Python are not touched; metadata that is no JSON is damage; a full pool is busy."""
    for error in (KeyError("x"), CatalogError("x"), MemoryError()):
        with pytest.raises(type(error)) as caught, catalog_errors("w"):
            raise error
        assert caught.value is error
    assert type(catalog_error(msgspec.DecodeError("x"), "w")) is CatalogCorruptError
    assert type(catalog_error(exc.TimeoutError("x"), "w")) is BusyError


def test_the_cause_is_kept_and_silent() -> None:
    """The library's error is the cause, and says nothing of the values that were written."""
    with pytest.raises(BusyError) as caught, catalog_errors("w"):
        raise wrapped(sqlite_error("SQLITE_BUSY"))
    assert isinstance(caught.value.__cause__, exc.OperationalError)
    assert "text" not in str(caught.value.__cause__)
