"""Milvus Lite as a server in this process, for the Milvus driver to be a client of."""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import ClassVar

from kbchat.errors import MissingExtraError


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
        self._database = MilvusLite(str(folder))
        self._socket_folder = tempfile.mkdtemp(prefix="kbchat-")
        self.uri = f"unix:{self._socket_folder}/milvus"
        self._workers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="milvus-lite")
        options = {
            "grpc.max_receive_message_length": -1,
            "grpc.max_send_message_length": -1,
            # The client asks every ten seconds whether the server lives, and must not be shown the door for it.
            "grpc.http2.max_ping_strikes": 0,
        }
        self._server = grpc.server(self._workers, options=list(options.items()))
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(self._database), self._server)
        self._server.add_insecure_port(self.uri)
        self._server.start()

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
            self._workers.shutdown()
            self._database.close()
            shutil.rmtree(self._socket_folder, ignore_errors=True)
