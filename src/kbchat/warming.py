"""Loading beforehand what is otherwise loaded when it is first needed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from kbchat.models import VectorType
from kbchat.threads import together

if TYPE_CHECKING:
    from kbchat.wiring import Parts

SECONDS = 60.0
"""How long a process may take to load what it needs."""


async def warm_up(parts: Parts, *, ingest: bool) -> None:
    """Load what questions need, and with `ingest` what documents do."""
    if ingest:
        await together(lambda: _questions(parts), lambda: _workers(parts))
    else:
        await _questions(parts)


async def _questions(parts: Parts) -> None:
    """One after the other, each in a thread: whoever asks meanwhile goes before. No store is opened: a server's may be
    down, and Milvus Lite lets one process in, which may be another."""
    from kbchat.wiring import load_library

    await parts.threads.read(parts.static.embed, ["warm"])
    kinds = [kind for kind in VectorType if (await parts.catalog.list_spaces(vector_type=kind, limit=0))[1]]
    for kind in kinds or [VectorType.CHROMA]:
        with suppress(ImportError):  # The store says which extra is missing, when it is asked for.
            await parts.threads.read(load_library, kind, parts.settings)


async def _workers(parts: Parts) -> None:
    processes = parts.readers.processes

    async def one() -> None:
        await processes.call("kbchat.ingestion.making:load", b"", seconds=SECONDS)

    async with anyio.create_task_group() as tasks:
        for _ in range(processes.limit):
            tasks.start_soon(one)
