"""A space as LlamaIndex's retriever.

from kbchat.integrations.llamaindex import KbchatRetriever

nodes = await KbchatRetriever(space, top_k=5).aretrieve("How are keys rotated?")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kbchat.errors import MissingExtraError
from kbchat.integrations.asking import aretrieve, described, retrieve
from kbchat.models import Reference

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
except ImportError as error:
    raise MissingExtraError("kbchat for LlamaIndex", "llamaindex") from error

if TYPE_CHECKING:
    from kbchat.integrations.asking import Space


class KbchatRetriever(BaseRetriever):
    """Finds the passages of a space. `retrieve` needs one of `kbchat.sync`; `aretrieve` takes both kinds."""

    def __init__(self, space: Space, *, top_k: int | None = None) -> None:
        super().__init__()
        self._space = space
        self._top_k = top_k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(reference) for reference in retrieve(self._space, query_bundle.query_str, self._top_k)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(reference) for reference in await aretrieve(self._space, query_bundle.query_str, self._top_k)]


def _node(reference: Reference) -> NodeWithScore:
    metadata = described(reference)
    node = TextNode(
        id_=str(reference.chunk_id),
        text=reference.content,
        metadata=metadata,
        start_char_idx=reference.start,
        end_char_idx=reference.end,
        # Models are to read where it is from, not our numbers.
        excluded_llm_metadata_keys=[key for key in metadata if key not in ("source", "headings", "page")],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=str(reference.document_id))},
    )
    return NodeWithScore(node=node, score=reference.recall_score)
