"""A loader that tests hand to the worker processes: it does whatever a hostile library might."""

import os
import sys
import time

from kbchat.models import LoadedDocument


class Misbehaving:
    """Obeys the file."""

    suffixes = frozenset({".misbehave"})

    def recognises(self, data: bytes) -> bool:
        return data.startswith(b"MISBEHAVE ")

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        match data.decode().split():
            case ["MISBEHAVE", "hang"]:
                while True:
                    time.sleep(1)
            case ["MISBEHAVE", "crash"]:
                os.kill(os.getpid(), 11)
            case ["MISBEHAVE", "eat"]:
                return LoadedDocument("x" * (8 << 30), metadata={})
            case ["MISBEHAVE", "print"]:
                print("noise on stdout", flush=True)
                sys.stderr.write("noise on stderr")
            case ["MISBEHAVE", "raise"]:
                raise RuntimeError("library trouble")
        return LoadedDocument(f"read {name} in {os.getpid()}", metadata={})
