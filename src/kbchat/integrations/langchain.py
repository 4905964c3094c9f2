"""A space as LangChain's retriever.

from kbchat.integrations.langchain import KbchatRetriever

retriever = KbchatRetriever(space=space, k=5)
documents = await retriever.ainvoke("How are keys rotated?")
"""

from __future__ import annotations

from typing import Any

from kbchat.errors import MissingExtraError
from kbchat.integrations.asking import aretrieve, described, retrieve
from kbchat.models import Reference

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise MissingExtraError("kbchat for LangChain", "langchain") from error


class KbchatRetriever(BaseRetriever):
    """Finds the passages of a space. `invoke` needs one of `kbchat.sync`; `ainvoke` takes both kinds.

    Each document's metadata has the passage's own (page, headings), `source`, `start`, `end` and `recall_score`.
    """

    space: Any
    k: int | None = None
    """How many passages at most; None: as the settings say."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        return [_document(reference) for reference in retrieve(self.space, query, k or self.k)]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        return [_document(reference) for reference in await aretrieve(self.space, query, k or self.k)]


def _document(reference: Reference) -> Document:
    return Document(page_content=reference.content, metadata=described(reference), id=str(reference.chunk_id))
