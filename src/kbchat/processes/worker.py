"""A worker process: answers one call after another, can be killed at any time, and ends with its parent (on Windows
once it has answered).

It reads calls from its standard input, each a function's name (`module:name`) and its argument, and writes answers, in
MessagePack, to what was its standard output. Before each of these goes its length in eight bytes, the highest first.
"""

import functools
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import IO

import msgspec

NICENESS = 5
Function = Callable[[bytes], tuple[bytes, bool]]
"""What can be called: returns its answer, and whether the process is of no use any more. Never raises."""


class Answer(msgspec.Struct, array_like=True):
    """What a call gave. After `broken` the process cannot be used again."""

    value: bytes
    broken: bool = False


def main() -> None:
    """Serve until the standard input ends."""
    calls = sys.stdin.buffer
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Whoever waits for the parent goes before what is done in the background.
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    while (name := receive(calls)) is not None and (argument := receive(calls)) is not None:
        given = [argument]
        del argument
        # Nobody but the function holds its argument, which may be as large as a document.
        answer = Answer(*_named(name.decode())(given.pop()))
        send(answers, msgspec.msgpack.encode(answer))
        if answer.broken:
            return
        del answer
        gc.collect()
        # What is left stays: modules and what they remember. To look through it after each call takes 20 ms.
        gc.freeze()


@functools.cache
def _named(path: str) -> Function:
    module, _, name = path.partition(":")
    function: Function = getattr(import_module(module), name)
    return function


def send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(8, "big"))
    stream.write(message)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None at the end of the stream, wherever in a message that is."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    length = int.from_bytes(head, "big")
    message = stream.read(length)
    return message if len(message) == length else None


def _end_with_parent(parent: int) -> None:
    """Also in the middle of a call that is never done."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
