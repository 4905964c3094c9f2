"""Run a Milvus server and let it be reached by a Unix socket: `milvus_server.py FOLDER SOCKET`.

Meant to run in a network namespace of its own (`unshare -n`), because this Milvus listens on all addresses and its etcd
on a fixed port. The socket appears when the server is healthy.
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from pathlib import Path

from milvus import MilvusServer


def raise_loopback() -> None:
    """A new network namespace has its loopback down."""
    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control, contextlib.suppress(PermissionError):
        (flags,) = struct.unpack("16xh", fcntl.ioctl(control, get_flags, struct.pack("16sh", b"lo", 0))[:18])
        if not flags & up:
            fcntl.ioctl(control, set_flags, struct.pack("16sh", b"lo", flags | up))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(256 * 1024):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


async def relay(path: Path, port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    path.unlink(missing_ok=True)
    waiting = path.with_suffix(".starting")
    server = await asyncio.start_unix_server(serve, waiting)
    waiting.rename(path)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("socket", type=Path)
    arguments = parser.parse_args()
    raise_loopback()
    server = MilvusServer()
    server.set_base_dir(str(arguments.folder))
    server.config.set("common.security.authorizationEnabled", True)
    # How often its parts look after each other: made for large clusters, slow for small tests.
    server.config.set("proxy.timeTickInterval", 50)
    server.config.set("queryCoord.checkInterval", 50)
    server.config.set("queryCoord.distPullInterval", 50)
    os.environ |= {
        "QUERYCOORD_CHECKSEGMENTINTERVAL": "50",
        "QUERYCOORD_CHECKCHANNELINTERVAL": "50",
        "QUERYCOORD_UPDATENEXTTARGETINTERVAL": "1",
        "QUERYCOORD_LEADERVIEWUPDATEINTERVAL": "1",
        # What is not indexed yet would be searched by guess, finding a third to four fifths of the nearest.
        "QUERYNODE_SEGCORE_INTERIMINDEX_ENABLEINDEX": "false",
    }
    server.start()
    try:
        asyncio.run(relay(arguments.socket, server.listen_port))
    finally:
        server.stop()


if __name__ == "__main__":
    os.environ.setdefault("HOME", "/tmp")
    main()
