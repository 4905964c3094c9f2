"""Milvus Lite as a server in this process, for the Milvus driver to be a client of."""

import os
import shutil
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from kbchat.errors import MissingExtraError

_SOCKET = "milvus"
_MOST_BYTES = 100
"""Of a socket's path; systems take from 103 bytes on."""


class LiteServer:
    """Milvus Lite over a folder: one in a process, however many stores use it, on a socket only this user can reach."""

    _running: ClassVar["dict[Path, LiteServer]"] = {}
    _lock = threading.Lock()

    def __init__(self, folder: Path) -> None:
        from concurrent.futures import ThreadPoolExecutor

        import grpc

        try:
            from milvus_lite import MilvusLite
            from milvus_lite.adapter.grpc.servicer import MilvusServicer
            from pymilvus.grpc_gen import milvus_pb2_grpc
        except ImportError as error:
            raise MissingExtraError("Milvus", "milvus") from error
        self._folder = folder
        self._users = 1
        # Readers may miss what a flush is moving, and writers disturb each other: one call at a time.
        self.turn = threading.Lock()
        folder.parent.mkdir(parents=True, exist_ok=True)
        options = {
            "grpc.max_receive_message_length": -1,
            "grpc.max_send_message_length": -1,
            # The client asks every ten seconds whether the server lives, and must not be shown the door for it.
            "grpc.http2.max_ping_strikes": 0,
        }
        with ExitStack() as unless_started:
            database = MilvusLite(str(folder))
            unless_started.callback(database.close)
            sockets = _socket_folder()
            unless_started.callback(shutil.rmtree, sockets, ignore_errors=True)
            self.uri = f"unix:{sockets}/{_SOCKET}"
            workers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="milvus-lite")
            unless_started.callback(workers.shutdown)
            self._server = grpc.server(workers, options=list(options.items()))
            milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(database), self._server)
            try:
                self._server.add_insecure_port(self.uri)
            except RuntimeError:
                raise OSError(f"no socket can be made in {sockets}") from None
            self._server.start()
            self._parts = unless_started.pop_all()

    @classmethod
    def enter(cls, folder: Path) -> "LiteServer":
        with cls._lock:
            running = cls._running.get(folder)
            if running is not None:
                running._users += 1
                return running
            started = cls._running[folder] = cls(folder)
            return started

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            self._running.pop(self._folder, None)
            self._server.stop(grace=None).wait()
            self._parts.close()


def _socket_folder() -> str:
    """A folder that only this user can enter, whose path is no longer than a socket's may be."""
    for parent in (None, "/tmp"):  # noqa: S108 (a folder of its own within)
        folder = tempfile.mkdtemp(prefix="kbchat-", dir=parent)
        if len(os.fsencode(folder)) + len(_SOCKET) < _MOST_BYTES:
            return folder
        shutil.rmtree(folder)
    raise OSError(f"a socket's path in {tempfile.gettempdir()} would be too long; set TMPDIR to a shorter one")
