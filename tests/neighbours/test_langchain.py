"""LangChain's own suite for retrievers, on kbchat's."""

from pathlib import Path
from typing import Any

import pytest
from langchain_tests.integration_tests import RetrieversIntegrationTests

import kbchat
import kbchat.sync
from conftest import QUESTION, TEXTS
from kbchat.integrations.langchain import KbchatRetriever


class TestKbchatRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _space(self, space: kbchat.sync.KnowledgeSpace) -> None:
        self._given = space

    @property
    def retriever_constructor(self) -> type[KbchatRetriever]:
        return KbchatRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"space": self._given}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


def test_what_a_document_tells(space: kbchat.sync.KnowledgeSpace) -> None:
    """Its place in the document's text, and its score."""
    found = KbchatRetriever(space=space, k=2).invoke(QUESTION)
    metadata = found[0].metadata
    assert TEXTS[metadata["source"]][metadata["start"] : metadata["end"]] == found[0].page_content
    assert metadata["recall_score"] >= found[1].metadata["recall_score"]


async def test_the_async_face(data_dir: Path, tmp_path: Path) -> None:
    """`ainvoke` takes a space of the async face; `invoke` says what to do instead."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        space = await kb.create_space("a")
        await space.ingest(kbchat.TextDocument(name="keys.md", text=TEXTS["keys.md"]))
        retriever = KbchatRetriever(space=space)
        assert (await retriever.ainvoke(QUESTION))[0].metadata["source"] == "keys.md"
        with pytest.raises(TypeError, match=r"kbchat\.sync"):
            retriever.invoke(QUESTION)
