"""Failures: each class has its status and codes, and the documentation shows them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kbchat.errors import GeneratorBusyError, InvalidInputError, KbchatError, ModelNotFoundError, StoreUnavailableError
from kbchat_aiohttp.errors import RETRY_AFTER, TABLE, RequestError, RouteNotFoundError, describe, kind_of, markdown

DOCUMENTATION = Path(__file__).parent.parent / "docs" / "errors.md"
TYPES = {
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "rate_limit_error",
    "upstream_error",
    "server_error",
}


def family(error: type[Exception]) -> Iterator[type[Exception]]:
    for below in error.__subclasses__():
        if below.__module__.startswith("kbchat"):
            yield below
            yield from family(below)


@pytest.mark.parametrize("base", [KbchatError, RequestError])
def test_every_error_has_an_entry_of_its_own(base: type[Exception]) -> None:
    """A new error class cannot be forgotten here. Those with an underscore never leave their module."""
    named = [error for error in family(base) if not error.__name__.startswith("_")]
    assert [error.__name__ for error in named if error not in TABLE] == []


def test_codes_are_unique_and_begin_with_their_status() -> None:
    """`err_code` is E and four digits, the status foremost; neither it nor the name is used twice."""
    kinds = TABLE.values()
    assert len({kind.number for kind in kinds}) == len(kinds) == len({kind.code for kind in kinds})
    for kind in kinds:
        assert kind.number[0] == "E"
        assert len(kind.number) == 5
        assert kind.number[1:].isdigit()
        assert kind.number.startswith(f"E{kind.status // 10}")
        assert kind.type in TYPES


def test_the_documentation_shows_the_table() -> None:
    """What users read is what the code does."""
    assert markdown() in DOCUMENTATION.read_text("utf-8")


def test_a_class_without_an_entry_takes_its_bases() -> None:
    """Users may derive their own errors from kbchat's."""

    class SpecialError(StoreUnavailableError):
        pass

    assert kind_of(SpecialError) == TABLE[StoreUnavailableError]
    assert kind_of(ZeroDivisionError) == TABLE[Exception]


def test_an_unexpected_error_is_told_in_the_log_only(caplog: pytest.LogCaptureFixture) -> None:
    """Outside nothing of it shows; inside there is the whole traceback."""
    failure = describe(ZeroDivisionError("secret"))
    assert failure.kind.status == 500
    assert "secret" not in failure.message
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info


def test_the_field_at_fault_is_named() -> None:
    """`param` tells clients which field they got wrong."""
    assert describe(InvalidInputError("name", "is empty")).param == "name"
    assert describe(ModelNotFoundError("x", ["y"])).param == "model"
    assert describe(RouteNotFoundError("no")).param is None


@pytest.mark.parametrize(("asked", "told"), [(None, str(RETRY_AFTER)), (0.2, "1"), (17.4, "17")])
def test_a_busy_model_says_when_to_come_back(asked: float | None, told: str) -> None:
    """What the model server said is passed on in whole seconds; without that a default is."""
    failure = describe(GeneratorBusyError("m", "busy", asked))
    assert failure.kind.status == 503
    assert failure.headers == {"Retry-After": told}
