"""Indexing in the background waits where it only has to wait."""

from pathlib import Path

import anyio
import pytest

import kbchat
from kbchat.errors import BusyError
from kbchat.models import DocumentStatus
from kbchat.settings import Settings
from kbchat_aiohttp import indexer as indexers
from kbchat_aiohttp.indexer import Indexer


async def test_what_only_waits_has_not_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process writes for longer than is waited for: the document is still to be done, and is done later."""
    monkeypatch.setattr(indexers, "AGAIN_SECONDS", 0.01)
    settings = Settings(data_dir=tmp_path, busy_timeout=0)
    async with kbchat.KnowledgeBase(settings=settings) as kb, kbchat.KnowledgeBase(tmp_path) as other:
        space = await kb.create_space("handbook")
        document = await space.add_document("keys", text="Keys are rotated.")
        indexer = Indexer(kb)
        async with other._open.folder.writing(0):
            with pytest.raises(BusyError):
                await space.index_documents([document.id])
            waiting = await space.get_document(document.id)
            assert (waiting.status, waiting.error) == (DocumentStatus.TODO, None)
            indexer.submit(space.id, document.id, None)
            await anyio.wait_all_tasks_blocked()
        await indexer._runs[space.id]
        assert (await space.get_document(document.id)).status is DocumentStatus.FINISHED
        await indexer.close()
