"""How a command ends: exit codes, and errors as one line on stderr.

0    done
1    done but for some documents, or questions that a model was to make, which are told; or a gate held
2    a mistake in the call: usage, a name that does not exist, a setting, a value
3    something that kbchat needs failed: catalog, store, embedder, model server, or the output cannot be written
70   a defect of kbchat; only this one shows a traceback
130  stopped by Ctrl-C
141  the reader of our output went away
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from enum import IntEnum
from pathlib import Path
from typing import Any, TextIO

import typer

from kbchat.cli.screen import one_line, tolerate_any_text
from kbchat.errors import (
    ConflictError,
    DocumentNotFoundError,
    InvalidInputError,
    KbchatError,
    MissingExtraError,
    NotFoundError,
    SettingsError,
    SpaceNotFoundError,
    UnreadableDocumentError,
)


class Exit(IntEnum):
    DONE = 0
    INCOMPLETE = 1
    MISTAKE = 2
    FAILED = 3
    DEFECT = 70
    INTERRUPTED = 130
    PIPE = 141


MISTAKES = (
    ConflictError,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    SettingsError,
    UnreadableDocumentError,
)


class OneLine(logging.Formatter):
    """A message in the log is one line, whatever a model or a document put in it; a traceback keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return one_line(super().formatMessage(record))


def guarded(app: typer.Typer, argv: Sequence[str] | None) -> int:
    """Run the program. Whatever happens becomes an exit code and at most one line on stderr."""
    _open_streams()
    tolerate_any_text()
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("kbchat: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    try:
        with redirect_stdout(_Stdout(sys.stdout)):
            # Commands return their code; typer.Exit is turned into one.
            code = app(args=None if argv is None else list(argv), prog_name="kbchat", standalone_mode=False)
            sys.stdout.flush()
    except SystemExit:
        # How typer leaves when it finds the pipe closed.
        code = Exit.PIPE
    except BaseException as error:
        code = code_of(inner := _innermost(error))
        if isinstance(inner, UnwrittenError):
            _discard_output()
    if code == Exit.PIPE:
        _discard_output()
    if code == Exit.INTERRUPTED:
        if argv is None:  # The process is ours: a second Ctrl-C ends it while its threads are still waited for.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        say("interrupted")
    return int(code or Exit.DONE)


def say(message: str) -> None:
    """One line on stderr, whatever the message holds."""
    # stderr may be closed as well; there is nobody left to tell then.
    with suppress(OSError):
        print(f"kbchat: {one_line(message)}", file=sys.stderr, flush=True)


def code_of(error: BaseException) -> int:
    """The exit code that an error means; says what there is to say."""
    if isinstance(error, KbchatError):
        say(_explanation(error))
        return Exit.MISTAKE if isinstance(error, MISTAKES) else Exit.FAILED
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Exit.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return Exit.PIPE
    if isinstance(error, UnwrittenError):
        say(str(error))
        return Exit.FAILED
    if (usage := _usage(error)) is not None:
        say(usage)
        return Exit.MISTAKE
    traceback.print_exception(error)
    say("this is a defect of kbchat; please report it with the lines above")
    return Exit.DEFECT


def _explanation(error: KbchatError) -> str:
    # The library's message names the library's remedy; here it is a command.
    if isinstance(error, SpaceNotFoundError):
        return f"there is no space {error.space!r}; `kbchat spaces list` names those there are"
    if isinstance(error, DocumentNotFoundError):
        return f"there is no document {error.document!r}; `kbchat documents list SPACE` names those there are"
    return error.message


def _usage(error: BaseException) -> str | None:
    """The message of a usage error, or None. typer has had several classes for them; this is what they share."""
    if not callable(format_message := getattr(error, "format_message", None)):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "kbchat"
    message = str(format_message()).replace("Value error, ", "").rstrip(".")
    return f"{message or 'a command is missing'}. See: {command} --help"


def _innermost(error: BaseException) -> BaseException:
    """The error itself where task groups wrapped it; of several that have been given words, the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inside = [_innermost(each) for each in error.exceptions]
    return inside[0] if len(inside) == 1 or all(isinstance(each, KbchatError) for each in inside) else error


def _open_streams() -> None:
    """A stream that the shell closed (`>&-`) is as good as one that leads nowhere; Python has None for it."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (as long as we run)


class UnwrittenError(Exception):
    """Stdout takes no more, such as on a full disk. A reader that went away is none."""


class _Stdout:
    """A stream that tells its own failures from all others."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _telling():
            return self._stream.write(text)

    def flush(self) -> None:
        with _telling():
            self._stream.flush()


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwrittenError(f"the output cannot be written: {error.strerror}") from None


def _discard_output() -> None:
    # What is still buffered would fail again, with a message, when the interpreter shuts down.
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
