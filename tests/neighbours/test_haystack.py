"""Haystack: the component by itself, in a pipeline, and saved with it."""

from pathlib import Path

import pytest
from haystack import Pipeline
from haystack.components.builders import PromptBuilder

import kbchat.sync
from conftest import QUESTION, TEXTS
from kbchat.integrations.haystack import KbchatRetriever


def test_documents(space: kbchat.sync.KnowledgeSpace) -> None:
    """A document has its text, its place and its score; `top_k` is the component's or the call's."""
    retriever = KbchatRetriever(space, top_k=3)
    documents = retriever.run(QUESTION)["documents"]
    assert len(documents) == 3
    assert len(retriever.run(QUESTION, top_k=1)["documents"]) == 1
    meta = documents[0].meta
    assert TEXTS[meta["source"]][meta["start"] : meta["end"]] == documents[0].content
    assert documents[0].score == meta["recall_score"]


def pipeline(retriever: KbchatRetriever) -> Pipeline:
    made = Pipeline()
    made.add_component("retriever", retriever)
    template = "{% for it in documents %}{{ it.content }}{% endfor %} {{ question }}"
    made.add_component("prompt", PromptBuilder(template, required_variables="*"))
    made.connect("retriever.documents", "prompt.documents")
    return made


def ask(made: Pipeline) -> str:
    prompt: str = made.run({"retriever": {"query": QUESTION}, "prompt": {"question": QUESTION}})["prompt"]["prompt"]
    return prompt


def test_saved_with_its_pipeline(space: kbchat.sync.KnowledgeSpace, data_dir: Path) -> None:
    """A pipeline that was saved and read again finds the same; a space given itself cannot be saved."""
    saved = pipeline(KbchatRetriever("handbook", data_dir=str(data_dir), top_k=4)).dumps()
    read = Pipeline.loads(saved, allowed_modules=["kbchat.integrations.haystack"])
    assert "90 days" in ask(read)
    read.get_component("retriever")._opened._parent.close()
    with pytest.raises(TypeError, match="name"):
        KbchatRetriever(space).to_dict()


async def test_in_an_asynchronous_pipeline(space: kbchat.sync.KnowledgeSpace) -> None:
    """Where a pipeline runs asynchronously, so does the component."""
    made = Pipeline()
    made.add_component("retriever", KbchatRetriever(space))
    found = await made.run_async({"retriever": {"query": QUESTION}})
    assert found["retriever"]["documents"][0].meta["source"] in TEXTS
