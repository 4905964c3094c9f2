"""What `benchmarks/ingest.py` runs: one system over the files, again and again. Prints one JSON line.

Each gives the numbers of documents and chunks, and the seconds: fresh, with nothing changed, and with nothing changed
where all that it keeps has to be opened anew, as by a program that is started again (its libraries are there).
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reporting import versions
from static_embedder import embedder, for_langchain, for_llamaindex

CHUNK_TOKENS = 256
BATCH = 256
"""Documents that LlamaIndex is given at a time."""
SUFFIXES = (".md", ".mdx")
AGAIN, AGAIN_SECONDS = 9, 5.0
"""Runs with nothing changed: so many, or as many as begin in so many seconds."""
PACKAGES = {
    "kbchat": ("kbchat",),
    "raw": ("wordllama",),
    "raw_wordllama": ("wordllama",),
    "llamaindex": ("llama-index-core", "llama-index-vector-stores-chroma"),
    "langchain": ("langchain-core", "langchain-chroma"),
    "haystack": ("haystack-ai", "chroma-haystack"),
}
"""Whose versions are told."""


Measured = tuple[int, int, float, float | None, float | None]


def files(folders: list[str]) -> list[Path]:
    return sorted(path for folder in folders for path in Path(folder).rglob("*") if path.suffix in SUFFIXES)


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def timed_again(run: Callable[[], object]) -> float:
    """The median of runs with nothing changed: one may take so little that the machine decides what it takes."""
    times = [timed(run)]
    while len(times) < AGAIN and sum(times) < AGAIN_SECONDS:
        times.append(timed(run))
    return statistics.median(times)


def kbchat(data: str, folders: list[str]) -> Measured:
    import kbchat as library

    async def main() -> Measured:
        async with library.KnowledgeBase(data) as kb:
            space = await kb.create_space("bench")
            await space.ingest(library.TextDocument(name="warm", text="warm"))
            fresh = await space.ingest(folders, include=[f"*{suffix}" for suffix in SUFFIXES])
            again = []
            for _ in range(AGAIN):
                started = time.perf_counter()
                await space.ingest(folders, include=[f"*{suffix}" for suffix in SUFFIXES])
                again.append(time.perf_counter() - started)
        anew = []
        for _ in range(AGAIN):
            started = time.perf_counter()
            async with library.KnowledgeBase(data) as kb:
                await (await kb.get_space("bench")).ingest(folders, include=[f"*{suffix}" for suffix in SUFFIXES])
            anew.append(time.perf_counter() - started)
        return fresh.added, fresh.chunks, fresh.seconds, statistics.median(again), statistics.median(anew)

    return asyncio.run(main())


def raw(data: str, folders: list[str]) -> Measured:
    """Embedding and Chroma alone: what no system can do without. By kbchat's embedder, and with its index."""
    import numpy as np

    from kbchat.embedders.static import StaticEmbedder
    from kbchat.threads import Threads

    static = StaticEmbedder(threads=Threads())
    size = static.batch_size

    def embed(texts: list[str]) -> Any:
        return np.concatenate([static.embed(texts[first : first + size]) for first in range(0, len(texts), size)])

    return _raw(data, folders, embed)


def raw_wordllama(data: str, folders: list[str]) -> Measured:
    """The same, as who takes the embedder from the library that it is from."""
    import wordllama

    # It looks for its own files in another folder.
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    return _raw(data, folders, lambda texts: model.embed(texts, norm=True))


def _raw(data: str, folders: list[str], embed: Callable[[list[str]], Any]) -> Measured:
    import chromadb
    import numpy as np

    from kbchat.loaders.text import MarkdownLoader
    from kbchat.text.splitting import embedded_text, split
    from stores import raw_collection

    found = [(path, path.read_bytes()) for path in files(folders)]
    texts = []
    for path, content in found:
        document = MarkdownLoader().load(content, name=path.name)
        texts += [embedded_text(span.headings, document.text[span.start : span.end]) for span in split(document)]
    collection = raw_collection(chromadb.PersistentClient(data), "raw")
    embed(["warm"])

    def run() -> None:
        for first in range(0, len(texts), 2048):
            part = texts[first : first + 2048]
            vectors = embed(part)
            vectors[~np.any(vectors, axis=1)] = 1e-6
            collection.upsert([str(first + place) for place in range(len(part))], vectors)

    return len(found), len(texts), timed(run), None, None


def llamaindex(data: str, folders: list[str]) -> Measured:
    import chromadb
    from llama_index.core import Document
    from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.storage.docstore import SimpleDocumentStore
    from llama_index.vector_stores.chroma import ChromaVectorStore

    kept = f"{data}/docstore.json"
    embed = for_llamaindex()

    def opened(docstore: SimpleDocumentStore) -> IngestionPipeline:
        collection = chromadb.PersistentClient(data).get_or_create_collection("bench", embedding_function=None)
        return IngestionPipeline(
            transformations=[SentenceSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=0), embed],
            docstore=docstore,
            docstore_strategy=DocstoreStrategy.UPSERTS,
            vector_store=ChromaVectorStore(chroma_collection=collection),
            disable_cache=True,
        )

    pipeline = opened(SimpleDocumentStore())

    def run(pipeline: IngestionPipeline = pipeline) -> None:
        documents = [
            Document(text=path.read_text(errors="replace"), id_=str(path), metadata={"source": str(path)})
            for path in files(folders)
        ]
        for first in range(0, len(documents), BATCH):  # Chroma takes only so much at once.
            pipeline.run(documents=documents[first : first + BATCH])

    fresh = timed(run)
    pipeline.docstore.persist(kept)
    chunks = chromadb.PersistentClient(data).get_collection("bench", embedding_function=None).count()
    anew = timed_again(lambda: run(opened(SimpleDocumentStore.from_persist_path(kept))))
    return len(files(folders)), chunks, fresh, timed_again(run), anew


def langchain(data: str, folders: list[str]) -> Measured:
    from langchain_chroma import Chroma
    from langchain_classic.indexes import SQLRecordManager
    from langchain_core.documents import Document
    from langchain_core.indexing import index
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    from kbchat.text.splitting import estimate_tokens

    embed = for_langchain()

    def opened() -> tuple[Chroma, SQLRecordManager]:
        store = Chroma("bench", embed, persist_directory=data)
        records = SQLRecordManager("bench", db_url=f"sqlite:///{data}/records.sqlite")
        records.create_schema()
        return store, records

    store, records = opened()
    splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=0, length_function=estimate_tokens)

    def run(store: Chroma = store, records: SQLRecordManager = records) -> None:
        documents = [
            Document(path.read_text(errors="replace"), metadata={"source": str(path)}) for path in files(folders)
        ]
        chunks = splitter.split_documents(documents)
        index(chunks, records, store, cleanup="incremental", source_id_key="source", key_encoder="sha256")

    fresh = timed(run)
    again, anew = timed_again(run), timed_again(lambda: run(*opened()))
    return len(files(folders)), store._collection.count(), fresh, again, anew


def haystack(data: str, folders: list[str]) -> Measured:
    from haystack import Document
    from haystack.components.preprocessors import DocumentSplitter
    from haystack.document_stores.types import DuplicatePolicy
    from haystack_integrations.document_stores.chroma import ChromaDocumentStore

    embed = embedder()
    store = ChromaDocumentStore(persist_path=data, collection_name="bench")
    splitter = DocumentSplitter(split_by="word", split_length=CHUNK_TOKENS * 3 // 4, split_overlap=0)
    splitter.warm_up()

    def run() -> None:
        documents = [
            Document(content=path.read_text(errors="replace"), meta={"source": str(path)}) for path in files(folders)
        ]
        documents = [document for document in documents if (document.content or "").strip()]
        chunks = splitter.run(documents)["documents"]
        for first in range(0, len(chunks), 2048):
            part = chunks[first : first + 2048]
            for chunk, vector in zip(part, embed([chunk.content for chunk in part]), strict=True):
                chunk.embedding = vector
            store.write_documents(part, policy=DuplicatePolicy.OVERWRITE)

    fresh = timed(run)
    return len(files(folders)), store.count_documents(), fresh, timed_again(run), None


if __name__ == "__main__":
    name, folder, *given = sys.argv[1:]
    documents, chunks, fresh, again, anew = globals()[name](folder, given)
    found = {"documents": documents, "chunks": chunks, "fresh": fresh, "again": again, "anew": anew}
    print(json.dumps({**found, "versions": versions(*PACKAGES[name], "chromadb")}))
