"""What `benchmarks/peers.py` runs: one system over given chunks and questions. Writes the ids found and the times.

Every system is handed the same chunks and the same embedder, and is used as its documentation shows: its own tokenizer,
its own defaults. Where it has a way to put words and vectors together, that is the one taken.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from reporting import versions
from static_embedder import embedder, for_langchain, for_llamaindex

TOP = 10
PACKAGES = {
    "bm25s": ("bm25s", "PyStemmer"),
    "llamaindex": ("llama-index-core", "llama-index-retrievers-bm25"),
    "langchain": ("langchain-core", "langchain-community", "rank-bm25"),
    "txtai": ("txtai",),
}
"""Whose versions are told."""
Ask = Callable[[str], list[int]]
"""From a question to the numbers of the chunks found, best first."""


def bm25s(chunks: Sequence[str]) -> Ask:
    import bm25s as library
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    index = library.BM25()
    index.index(
        library.tokenize(list(chunks), stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False
    )

    def ask(question: str) -> list[int]:
        tokens = library.tokenize(question, stopwords="en", stemmer=stemmer, show_progress=False)
        found, scores = index.retrieve(tokens, k=min(TOP, len(chunks)), show_progress=False)
        return [int(key) for key, score in zip(found[0], scores[0], strict=True) if score > 0]

    return ask


def bm25s_terms(chunks: Sequence[str]) -> Ask:
    """bm25s over kbchat's own terms, which divide Chinese too."""
    import bm25s as library

    from kbchat.text.analysis import analyse

    index = library.BM25()
    index.index([list(analyse(chunk).unigrams) for chunk in chunks], show_progress=False)

    def ask(question: str) -> list[int]:
        found, scores = index.retrieve([list(analyse(question).unigrams)], k=min(TOP, len(chunks)), show_progress=False)
        return [int(key) for key, score in zip(found[0], scores[0], strict=True) if score > 0]

    return ask


def llamaindex(chunks: Sequence[str], *, hybrid: bool = False) -> Ask:
    from llama_index.core import Settings, VectorStoreIndex
    from llama_index.core.llms import MockLLM
    from llama_index.core.schema import TextNode

    Settings.llm = MockLLM()
    nodes = [TextNode(text=text, id_=str(number)) for number, text in enumerate(chunks)]
    retriever = VectorStoreIndex(nodes, embed_model=for_llamaindex()).as_retriever(similarity_top_k=TOP)
    if hybrid:
        from llama_index.core.retrievers import QueryFusionRetriever
        from llama_index.retrievers.bm25 import BM25Retriever

        words = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=min(TOP, len(nodes)))
        retriever = QueryFusionRetriever(
            [retriever, words], similarity_top_k=TOP, num_queries=1, mode="reciprocal_rerank", use_async=False
        )
    return lambda question: [int(found.node.node_id) for found in retriever.retrieve(question)]


def langchain(chunks: Sequence[str], *, hybrid: bool = False) -> Ask:
    from langchain_core.documents import Document
    from langchain_core.vectorstores import InMemoryVectorStore

    documents = [Document(text, metadata={"number": number}) for number, text in enumerate(chunks)]
    store = InMemoryVectorStore(for_langchain())
    store.add_documents(documents)
    retriever = store.as_retriever(search_kwargs={"k": TOP})
    if hybrid:
        from langchain_classic.retrievers import EnsembleRetriever
        from langchain_community.retrievers import BM25Retriever

        words = BM25Retriever.from_documents(documents, k=TOP)
        retriever = EnsembleRetriever(retrievers=[words, retriever], weights=[0.5, 0.5])
    return lambda question: [found.metadata["number"] for found in retriever.invoke(question)][:TOP]


def txtai(chunks: Sequence[str], *, hybrid: bool = False) -> Ask:
    import numpy as np
    from txtai import Embeddings

    embed = embedder()
    index = Embeddings(
        method="external",
        transform=lambda texts: np.array(embed(list(texts)), dtype=np.float32),
        hybrid=hybrid,
        content=False,
        backend="numpy",
    )
    index.index([(number, text, None) for number, text in enumerate(chunks)])
    return lambda question: [int(key) for key, _ in index.search(question, TOP)]


SYSTEMS: dict[str, Callable[[Sequence[str]], Ask]] = {
    "bm25s": bm25s,
    "bm25s-terms": bm25s_terms,
    "llamaindex": llamaindex,
    "llamaindex-hybrid": lambda chunks: llamaindex(chunks, hybrid=True),
    "langchain": langchain,
    "langchain-hybrid": lambda chunks: langchain(chunks, hybrid=True),
    "txtai": txtai,
    "txtai-hybrid": lambda chunks: txtai(chunks, hybrid=True),
}


def main() -> None:
    system, given, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    results = []
    for each in json.loads(given.read_text()):
        began = time.perf_counter()
        ask = SYSTEMS[system](each["chunks"])
        indexing = time.perf_counter() - began
        found, seconds = [], []
        for question in each["questions"]:
            began = time.perf_counter()
            found.append(ask(question) if question.strip() else [])
            seconds.append(time.perf_counter() - began)
        results.append({"found": found, "seconds": seconds, "indexing": indexing})
    names = PACKAGES[system.partition("-")[0]]
    out.write_text(json.dumps({"versions": versions(*names), "sets": results}))


if __name__ == "__main__":
    main()
