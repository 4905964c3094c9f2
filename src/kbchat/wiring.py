"""Builds the parts that settings ask for. The only place that knows which class stands behind which word.

Each function imports its part when it is called, so that nobody waits for a library that is not used.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Self
from weakref import WeakValueDictionary

import anyio
from pydantic import SecretStr

from kbchat.errors import SettingsError
from kbchat.inputs import RetrievalOptions, Where, checked_options
from kbchat.models import EmbedderPin, SpaceInfo, VectorType
from kbchat.settings import ModelSettings, Settings
from kbchat.strategies import Stages
from kbchat.threads import Threads

if TYPE_CHECKING:
    from kbchat.catalog import Catalog
    from kbchat.datafolder import DataFolder
    from kbchat.embedders import Embedder
    from kbchat.embedders.static import StaticEmbedder
    from kbchat.freshness import IndexFreshness
    from kbchat.generators import Generator
    from kbchat.loaders.readers import DocumentReaders
    from kbchat.rerankers import Reranker
    from kbchat.retrieval.retriever import Retriever
    from kbchat.stores import VectorStore
    from kbchat.stores.milvus import MilvusSettings
    from kbchat.text.tokens import TokenCounter
    from kbchat.word_indexes import WordIndexes

EXTRACTIVE = "extractive"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnParts:
    """What a program brings itself, in place of what its settings name."""

    embedder: Embedder | None = None
    generator: Generator | None = None
    reranker: Reranker | None = None
    stores: Mapping[VectorType, VectorStore] = field(default_factory=dict)


class Parts:
    """The parts of one knowledge base, built from its settings. Vector stores are opened when first asked for.

    Parts that the program brought are closed with the others.
    """

    _closed = False

    def __init__(self, settings: Settings, own: OwnParts) -> None:
        from kbchat.catalog import Catalog
        from kbchat.datafolder import DataFolder
        from kbchat.embedders.static import StaticEmbedder
        from kbchat.lexical.chosen import ChosenIndex
        from kbchat.lexical.tantivy import TantivyIndex
        from kbchat.loaders.readers import DocumentReaders
        from kbchat.retrieval.retriever import Retriever
        from kbchat.text.tokens import TokenCounter
        from kbchat.word_indexes import WordIndexes

        self.settings = settings
        self.writer_id = uuid.uuid4().hex
        """Tells our own changes from those of other processes."""
        self.threads = Threads(settings.threads)
        self.folder: DataFolder = DataFolder(settings.data_dir.expanduser(), threads=self.threads)
        url = settings.catalog_url or self.folder.catalog
        self.catalog: Catalog = Catalog(url, threads=self.threads, timeout=settings.store_timeout)
        self.lexical: ChosenIndex = ChosenIndex(
            TantivyIndex(self.folder.lexical, threads=self.threads, timeout=settings.busy_timeout)
        )
        self.readers: DocumentReaders = DocumentReaders(
            threads=self.threads, seconds=settings.document_timeout, memory=settings.document_memory
        )
        self.embedder: Embedder = own.embedder or make_embedder(settings, self.threads)
        self.static: StaticEmbedder = (
            self.embedder if isinstance(self.embedder, StaticEmbedder) else StaticEmbedder(threads=self.threads)
        )
        """What every space's chunks are scored by; the spaces' own embedder where that is it."""
        self.generators: dict[str, Generator] = make_generators(settings)
        if own.generator is not None:
            self.generators.pop(own.generator.name, None)
            self.generators = {own.generator.name: own.generator, **self.generators}
        self.counter: TokenCounter = TokenCounter()
        self.reranker: Reranker | None = own.reranker or make_reranker(settings, self.threads)
        self.retriever: Retriever = Retriever(
            catalog=self.catalog,
            lexical=self.lexical,
            static=self.static,
            threads=self.threads,
            reranker=self.reranker,
        )
        self._stores: dict[VectorType, VectorStore] = dict(own.stores)
        self._space_locks: WeakValueDictionary[int, anyio.Lock] = WeakValueDictionary()
        self.words: WordIndexes = WordIndexes(
            settings=settings,
            catalog=self.catalog,
            lexical=self.lexical,
            threads=self.threads,
            milvus=lambda: self.store(VectorType.MILVUS),
        )
        self.freshness: IndexFreshness = self._make_freshness()
        self._tokens: dict[int, tuple[int, int]] = {}
        self._pin: EmbedderPin | None = None

    def _make_freshness(self) -> IndexFreshness:
        from kbchat.freshness import IndexFreshness
        from kbchat.maintenance.replica import Replica

        # Where the catalog is shared, other servers write to it, and none of them to our files.
        replica = None
        if self.catalog.is_shared:
            replica = Replica(
                catalog=self.catalog,
                lexical=self.lexical.usual,
                folder=self.folder.lexical,
                threads=self.threads,
                writing=partial(self.folder.writing, prepare=self._refresh),
                timeout=self.settings.busy_timeout,
            )
        return IndexFreshness(
            writer=self.writer_id,
            words=self.words,
            lexical=self.lexical,
            replica=replica,
            store=self.store,
            writing=self.writing,
        )

    def while_open(self) -> Self:
        """These parts. Raises `RuntimeError` once they were closed, whichever of them would have noticed first."""
        if self._closed:
            raise RuntimeError("the knowledge base of this space was closed; open it again and get the space from it")
        return self

    def store(self, vector_type: VectorType) -> VectorStore:
        """The store that holds the vectors of such spaces."""
        if vector_type not in self._stores:
            self._stores[vector_type] = make_store(vector_type, self.settings, self.folder, self.threads)
        return self._stores[vector_type]

    def options(
        self, top_k: int | None, score_threshold: float | None, where: Where | None, stages: Stages, *, caller: str
    ) -> RetrievalOptions:
        """What is asked for, checked, and for the rest what the settings say. Raises `InvalidInputError`."""
        given = {"top_k": top_k, "score_threshold": score_threshold, "where": where, **stages}
        return checked_options(given, settings=self.settings, reranks=self.reranker is not None, caller=caller)

    def open_stores(self) -> list[VectorStore]:
        """The stores that were asked for so far."""
        return list(self._stores.values())

    @asynccontextmanager
    async def writing(self, space_id: int, *, timeout: float | None = None) -> AsyncIterator[None]:
        """Be the only one to write to a space: among the tasks of this process, the processes of this data folder and
        the servers of this catalog. `timeout` is in seconds, by default the settings' `busy_timeout`.

        Raises `BusyError` when another process or server holds the data for too long.
        """
        seconds = self.settings.busy_timeout if timeout is None else timeout
        lock = self._space_locks.setdefault(space_id, anyio.Lock())
        async with (
            lock,
            self.folder.writing(seconds, prepare=self._refresh),
            self.catalog.writing(space_id, timeout=seconds),
        ):
            yield

    async def _refresh(self, foreign: bool) -> None:
        """See what other processes wrote since we last did."""
        if foreign:
            for store in self.open_stores():
                await store.refresh()

    async def pin(self) -> EmbedderPin:
        """What identifies the configured embedder; asked of it once."""
        if self._pin is None:
            from kbchat.embedders.fingerprint import identify

            self._pin = await identify(self.embedder)
        return self._pin

    async def fits(self, pin: EmbedderPin | None) -> bool:
        """Whether vectors of that embedder and of the one in use can stand in one index; any fits none."""
        from kbchat.embedders.fingerprint import is_same

        return pin is None or is_same(pin, await self.pin())

    async def count_tokens(self, info: SpaceInfo) -> int:
        """An estimate of the tokens of all chunks of a space, made once for each of its revisions."""
        revision, tokens = self._tokens.get(info.id, (-1, 0))
        if revision == info.revision:
            return tokens
        from kbchat.text.tokens import estimate

        tokens = after = 0
        while chunks := await self.catalog.embedding_fields(info.id, after=after, limit=1000):
            texts = [chunk.content for chunk in chunks]
            tokens += await self.threads.read(lambda texts: sum(map(estimate, texts)), texts)
            after = chunks[-1].id
        self._tokens[info.id] = info.revision, tokens
        return tokens

    async def aclose(self) -> None:
        """Close every part, also when one of them fails to."""
        self._closed = True
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.catalog.aclose)
            stack.push_async_callback(self.lexical.aclose)
            stack.push_async_callback(self.readers.aclose)
            stack.push_async_callback(self.embedder.aclose)
            stack.push_async_callback(self.static.aclose)
            if self.reranker is not None:
                stack.push_async_callback(self.reranker.aclose)
            for store in self._stores.values():
                stack.push_async_callback(store.aclose)
            for generator in self.generators.values():
                stack.push_async_callback(generator.aclose)


def make_store(vector_type: VectorType, settings: Settings, folder: DataFolder, threads: Threads) -> VectorStore:
    """The store of a vector type: a server where the settings name one, else files in the data folder."""
    if vector_type is VectorType.MILVUS:
        from kbchat.stores.milvus import MilvusStore

        return MilvusStore(
            uri=settings.milvus_uri or str(folder.milvus),
            token=_secret(settings.milvus_token),
            database=settings.milvus_database or "",
            ca_file=settings.milvus_ca_file,
            threads=threads,
            timeout=settings.store_timeout,
            settings=_milvus_settings(settings),
        )
    from kbchat.stores.chroma import ChromaStore

    return ChromaStore(
        path=None if settings.chroma_url else folder.chroma,
        url=settings.chroma_url,
        token=_secret(settings.chroma_token),
        ca_file=settings.chroma_ca_file,
        threads=threads,
        timeout=settings.store_timeout,
    )


def _milvus_settings(settings: Settings) -> MilvusSettings:
    """How collections are indexed and searched. What is said of one kind of index is not said of another."""
    from kbchat.stores.milvus import MilvusSettings, is_server

    if not is_server(settings.milvus_uri or ""):
        return MilvusSettings("FLAT", {}, {}, settings.milvus_metric)
    usual = MilvusSettings()
    same = settings.milvus_index_type == usual.index
    build, search = settings.milvus_index_params, settings.milvus_search_params
    return MilvusSettings(
        index=settings.milvus_index_type,
        build=(usual.build if same else {}) if build is None else build,
        search=(usual.search if same else {}) if search is None else search,
        metric=settings.milvus_metric,
        consistency=settings.milvus_consistency,
    )


def make_embedder(settings: Settings, threads: Threads) -> Embedder:
    """The embedder that `settings.embedder` names. Raises `SettingsError` for a word that means none."""
    kind, _, model = settings.embedder.partition(":")
    if kind == "static" and not model:
        from kbchat.embedders.static import StaticEmbedder

        return StaticEmbedder(threads=threads)
    if kind == "openai" and model:
        from kbchat.embedders.openai import OpenAIEmbedder

        base_url = settings.embedder_base_url or settings.llm_base_url
        if base_url is None:
            raise SettingsError("the embedder 'openai:…' needs embedder_base_url (or llm_base_url)")
        key = settings.embedder_api_key or settings.llm_api_key
        return OpenAIEmbedder(model=model, base_url=base_url, api_key=_secret(key), timeout=settings.read_timeout)
    if kind == "sentence-transformers" and model:
        from kbchat.embedders.sentence_transformers import SentenceTransformersEmbedder

        return SentenceTransformersEmbedder(model=model, threads=threads)
    raise SettingsError(
        f"the embedder {settings.embedder!r} is unknown; use 'static', 'openai:MODEL' or "
        "'sentence-transformers:NAME_OR_FOLDER'"
    )


def make_reranker(settings: Settings, threads: Threads) -> Reranker | None:
    """The reranker that `settings.rerank_model` names. Raises `SettingsError` where its server is missing."""
    model = settings.rerank_model
    if model is None:
        return None
    kind, _, name = model.partition(":")
    if kind == "sentence-transformers" and name:
        from kbchat.rerankers.cross_encoder import CrossEncoderReranker

        return CrossEncoderReranker(name, threads=threads)
    from kbchat.rerankers.http import HttpReranker

    if settings.rerank_base_url is None:
        raise SettingsError("rerank_model needs rerank_base_url, or is sentence-transformers:NAME_OR_FOLDER")
    return HttpReranker(
        model=model,
        base_url=settings.rerank_base_url,
        api_key=_secret(settings.rerank_api_key),
        timeout=settings.read_timeout,
    )


def make_generators(settings: Settings) -> dict[str, Generator]:
    """All configured generators by name, the default one first. Raises `SettingsError` for an unknown default."""
    from kbchat.generators.extractive import ExtractiveGenerator

    models: dict[str, ModelSettings] = {}
    if settings.llm_base_url and settings.llm_model:
        models[settings.llm_model] = ModelSettings(
            base_url=settings.llm_base_url,
            model=settings.llm_model,
            api_key=settings.llm_api_key,
            context_tokens=settings.llm_context_tokens,
        )
    models.update(settings.models)
    generators = {name: _model_server(name, model, settings) for name, model in models.items()}
    generators.setdefault(EXTRACTIVE, ExtractiveGenerator(EXTRACTIVE))
    default = settings.default_model
    if default is None:
        return generators
    if default not in generators:
        raise SettingsError(f"default_model {default!r} is not configured; there are: {', '.join(generators)}")
    return {default: generators.pop(default), **generators}


def _model_server(name: str, model: ModelSettings, settings: Settings) -> Generator:
    from kbchat.generators.openai import OpenAIGenerator

    return OpenAIGenerator(
        name,
        base_url=model.base_url,
        model=model.model,
        api_key=_secret(model.api_key),
        context_tokens=model.context_tokens,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    )


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()
