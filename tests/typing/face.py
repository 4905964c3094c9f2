"""What type checkers make of the public face. `make check` has mypy read this; nothing here is run."""

from typing import assert_type

import kbchat
import kbchat.sync
from kbchat.sync import KnowledgeBase


async def with_await(kb: kbchat.KnowledgeBase) -> None:
    space = await kb.create_space("handbook", splitting=kbchat.Splitting(strategy=kbchat.ChunkStrategy.PAGE))
    assert_type(space, kbchat.KnowledgeSpace)
    assert_type(await kb.get_space(1), kbchat.KnowledgeSpace)
    assert_type(await kb.list_spaces(), list[kbchat.KnowledgeSpace])
    assert_type(await kb.count_spaces(), int)
    assert_type(await kb.list_documents(), list[kbchat.Document])
    assert_type(await kb.count_documents(), int)
    assert_type(await kb.update_space(1, splitting="default"), kbchat.KnowledgeSpace)
    assert_type(await kb.retrieve("q", spaces=["a", 1]), list[kbchat.Reference])
    assert_type(await kb.chat("q", spaces=None), kbchat.Answer)
    assert_type(kb.stream("q", spaces=["a"]), kbchat.AnswerStream)
    assert_type(kb.keys, kbchat.Keys)
    assert_type(await kb.keys.create("laptop"), tuple[kbchat.KeyInfo, str])
    assert_type(await kb.conversations.list(), list[kbchat.ConversationInfo])
    assert_type(await kb.conversations.show("c"), list[kbchat.Turn])
    assert_type(await space.ingest("docs"), kbchat.IngestReport)
    assert_type(await space.documents(), list[kbchat.Document])
    assert_type(await space.count_documents(), int)
    assert_type(await space.document_chunks("a"), list[kbchat.Chunk])
    assert_type(await space.explain("q"), kbchat.Explanation)
    assert_type(await space.check(), kbchat.CheckReport)
    assert_type(await space.stats(), kbchat.SpaceStats)
    assert_type(await space.chat([{"role": "user", "content": "q"}]), kbchat.Answer)
    assert_type(await space.retrieve("q", strategy=kbchat.Strategy.DENSE, expand="section"), list[kbchat.Reference])
    async for event in space.stream("q"):
        assert_type(event, kbchat.Retrieved | kbchat.Delta | kbchat.Citation | kbchat.References | kbchat.Done)


def without_await(kb: KnowledgeBase) -> None:
    space = kb.create_space("handbook")
    assert_type(space, kbchat.sync.KnowledgeSpace)
    assert_type(kb.list_documents(), list[kbchat.Document])
    assert_type(kb.keys, kbchat.sync.Keys)
    assert_type(kb.conversations.list(), list[kbchat.ConversationInfo])
    assert_type(space.chat("q"), kbchat.Answer)
    assert_type(space.stream("q"), kbchat.sync.AnswerStream)


def words() -> None:
    assert_type(kbchat.KeyInfo.model_validate({}).role, kbchat.KeyRole)
    assert_type(kbchat.Settings(top_k=3).top_k, int)
    assert_type(kbchat.errors.SpaceNotFoundError(1).space, str | int)


async def mistakes(kb: kbchat.KnowledgeBase) -> None:
    """Each line is one that a type checker must find; an ignore that is not needed is an error too."""
    _ = kbchat.Typo  # type: ignore[attr-defined]
    kb.stream("q")  # type: ignore[call-arg]
    await kb.retrieve(["a"], "q")  # type: ignore[call-arg, arg-type]
