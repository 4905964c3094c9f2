"""A command of kbchat, run in this process, and what came of it."""

import json
import shlex
from typing import Any, NamedTuple

import pytest

from kbchat.cli import main
from kbchat.cli.exits import Exit


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def ran(line: str, capsys: pytest.CaptureFixture[str]) -> Ran:
    """What a line of the command line does, without the program's name."""
    return Ran(main(shlex.split(line)), *capsys.readouterr())


def check_mistake(ran: Ran, told: str) -> None:
    """A mistake in the call ends with code 2 and one line that names the argument."""
    assert (ran.code, ran.out) == (Exit.MISTAKE, "")
    assert told in ran.err
    assert ran.err.count("\n") == 1
