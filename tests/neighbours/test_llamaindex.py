"""LlamaIndex: the retriever by itself and in a query engine of LlamaIndex's own."""

import asyncio

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeRelationship

import kbchat.sync
from conftest import QUESTION, TEXTS
from kbchat.integrations.llamaindex import KbchatRetriever


def test_nodes(space: kbchat.sync.KnowledgeSpace) -> None:
    """A node has its text, its place, its document and its score, best first."""
    nodes = KbchatRetriever(space, top_k=3).retrieve(QUESTION)
    assert len(nodes) == 3
    scores = [node.score for node in nodes]
    assert scores == sorted(scores, key=lambda score: -(score or 0))
    node = nodes[0].node
    text = TEXTS[node.metadata["source"]]
    assert text[node.start_char_idx : node.end_char_idx] == node.get_content()
    assert NodeRelationship.SOURCE in node.relationships


def test_both_ways_give_the_same(space: kbchat.sync.KnowledgeSpace) -> None:
    """`aretrieve` finds what `retrieve` does."""
    retriever = KbchatRetriever(space)
    found = asyncio.run(retriever.aretrieve(QUESTION))
    assert [node.node_id for node in found] == [node.node_id for node in retriever.retrieve(QUESTION)]


def test_in_a_query_engine(space: kbchat.sync.KnowledgeSpace) -> None:
    """LlamaIndex's query engine answers from what it retrieves, and tells a model where it is from, not our numbers."""
    engine = RetrieverQueryEngine.from_args(KbchatRetriever(space, top_k=2), llm=MockLLM())
    response = engine.query(QUESTION)
    assert len(response.source_nodes) == 2
    prompt = str(response)
    assert "90 days" in prompt
    assert "source: keys.md" in prompt
    assert "recall_score" not in prompt
