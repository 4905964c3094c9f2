"""Retrieval with a real catalog, index and embedder: what is found, in what order, with what score."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import numpy as np
import pytest
import sqlalchemy as sa
from anyio.lowlevel import checkpoint

from kbchat.catalog import Catalog
from kbchat.chunking import Splitting
from kbchat.embedders import Embedder, Vector, Vectors, passages
from kbchat.embedders.static import StaticEmbedder
from kbchat.errors import CollectionNotFoundError, EmbedderUnavailableError, SpaceNotFoundError
from kbchat.fusion import cosine
from kbchat.ingestion.ingest import Ingester
from kbchat.ingestion.preparing import Preparer
from kbchat.ingestion.writing import GenerationWriter
from kbchat.inputs import RetrievalOptions
from kbchat.lexical.tantivy import TantivyIndex
from kbchat.loaders.readers import DocumentReaders
from kbchat.models import SpaceInfo, TextDocument, VectorType
from kbchat.retrieval.retriever import Retrieval, Retriever
from kbchat.stores import VectorHit, VectorStore
from kbchat.stores.memory import MemoryStore
from kbchat.text.splitting import text_of
from kbchat.threads import Threads

DOCUMENTS = {
    "keys": "# Keys\n\nThe signing keys of the server are rotated every ninety days by the operations team.",
    "lunch": "# Lunch\n\nThe cafeteria serves lunch at noon. On Fridays there is fish.",
    "travel": "# Travel\n\nTrips abroad need the approval of a manager and are paid back within a month.",
    "密钥": "# 密钥\n\n服务器的签名密钥由运维团队每九十天轮换一次。",
    "午餐": "# 午餐\n\n食堂中午供应午餐，星期五有鱼。",
}


@dataclass
class Bench:
    """Everything that retrieval stands on, in a folder."""

    space: SpaceInfo
    catalog: Catalog
    store: MemoryStore
    lexical: TantivyIndex
    embedder: Embedder
    threads: Threads

    static: StaticEmbedder

    async def ingest(self, texts: dict[str, str], *, tokens: int = 256) -> None:
        writer = GenerationWriter(
            self.space,
            catalog=self.catalog,
            store=self.store,
            lexical=self.lexical,
            embedder=self.embedder,
            threads=self.threads,
            writer="test",
            opening=checkpoint,
        )
        ingester = Ingester(
            self.space,
            catalog=self.catalog,
            lexical=self.lexical,
            preparer=Preparer(
                threads=self.threads,
                readers=DocumentReaders(threads=self.threads, seconds=60, memory=1 << 30),
                static=self.static,
                is_static=self.static is self.embedder,
                splitting=Splitting(max_tokens=tokens),
                max_document_bytes=10**7,
            ),
            writer=writer,
        )
        report = await ingester.ingest([TextDocument(name=name, text=text) for name, text in texts.items()])
        assert report.failed == ()

    async def ask(self, question: str, *, top_k: int = 5, score_threshold: float | None = None) -> Retrieval:
        retriever = self.retriever()
        return await retriever.retrieve(
            self.space,
            question,
            RetrievalOptions(top_k=top_k, score_threshold=score_threshold),
            store=self.store,
            embedder=self.embedder,
        )

    def retriever(self) -> Retriever:
        return Retriever(catalog=self.catalog, lexical=self.lexical, static=self.static, threads=self.threads)

    async def names(self, question: str, *, top_k: int = 5) -> list[str]:
        return [reference.name for reference in (await self.ask(question, top_k=top_k)).references]


class Letters:
    """An embedder of another kind and dimension: it counts letters."""

    name = "letters"
    batch_size = 64

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        rows = [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        vectors = np.array(rows, dtype=np.float32).reshape(len(texts), 26)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)

    async def embed_query(self, text: str) -> Vector:
        vectors = await self.embed_documents([text])
        return vectors[0]

    async def aclose(self) -> None: ...


async def opened(folder: Path, embedder: Embedder | None, dimension: int) -> AsyncIterator[Bench]:
    threads = Threads()
    catalog = Catalog(f"sqlite:///{folder / 'catalog.sqlite'}", threads=threads)
    await catalog.open()
    space = await catalog.create_space(name="s", owner="", vector_type=VectorType.CHROMA, desc="", context=None)
    store = MemoryStore()
    await store.create_collection(space.collection, dimension=dimension)
    lexical = TantivyIndex(folder / "lexical", threads=threads)
    static = StaticEmbedder(threads=threads)
    yield Bench(space, catalog, store, lexical, embedder or static, threads, static)
    await lexical.aclose()
    await catalog.aclose()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async for bench in opened(tmp_path, None, 256):
        yield bench


@pytest.fixture
async def lettered(tmp_path: Path) -> AsyncIterator[Bench]:
    async for bench in opened(tmp_path, Letters(), 26):
        yield bench


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("How often are the signing keys rotated?", "keys"),
        ("When is lunch served?", "lunch"),
        ("签名密钥多久轮换一次？", "密钥"),
        ("星期五食堂有什么？", "午餐"),
    ],
)
async def test_the_answer_comes_first_and_sure(bench: Bench, question: str, best: str) -> None:
    """A question finds the document that answers it, with a score above the line, and its parts."""
    await bench.ingest(DOCUMENTS)
    first, *others = (await bench.ask(question)).references
    assert first.name == best
    assert first.recall_score > 0.5
    assert all(0.0 <= other.recall_score < first.recall_score for other in others)
    assert first.lexical is not None
    assert first.lexical > 0.1
    assert first.dense is not None
    assert first.dense > 0.3
    assert first.sentence is not None


@pytest.mark.parametrize(
    "question", ["Who won the chess championship in Iceland?", "火星上有没有水的痕迹？", "zeppelin"]
)
async def test_what_is_not_there_scores_below_the_line(bench: Bench, question: str) -> None:
    """A question that the space cannot answer has hits, but none that claims to be one."""
    await bench.ingest(DOCUMENTS)
    found = await bench.ask(question)
    assert found.confidence < 0.5
    assert all(reference.recall_score < 0.5 for reference in found.references)


@pytest.mark.parametrize(
    "question",
    [
        "the",
        "who are you",
        "🙂🙂",
        "?",
        "ᚠᚢᚦᚨᚱᚲ",
        "ⴰⵎⴰⵣⵉⵖ",
        "x" * 100_000,
        "signing keys " * 8000,
        "密钥" * 50_000,
        "\u200b",
        "a\udc80b",
    ],
)
async def test_odd_questions_are_answered_in_order(bench: Bench, question: str) -> None:
    """Whatever is asked: scores in [0, 1] that never rise, no NaN, no error."""
    await bench.ingest(DOCUMENTS)
    scores = [reference.recall_score for reference in (await bench.ask(question)).references]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= score <= 1.0 for score in scores)


async def test_a_reference_is_the_documents_own_text(bench: Bench) -> None:
    """Its offsets cut its content out of the document, and it says where it stands."""
    await bench.ingest(
        {"guide": f"# Guide\n\nIntroduction here.\n\n## Keys\n\n{'Keys are rotated. ' * 100}"}, tokens=64
    )
    for reference in (await bench.ask("rotated keys")).references:
        document = await bench.catalog.get_document(bench.space.id, reference.document_id, with_text=True)
        assert document.text is not None
        assert document.text[reference.start : reference.end] == reference.content
        assert reference.metadata["headings"] == ["Guide", "Keys"]


async def test_an_empty_space_has_nothing(bench: Bench) -> None:
    """No hits and no confidence."""
    found = await bench.ask("anything")
    assert (found.references, found.confidence, found.evidence) == ((), 0.0, None)


async def test_top_k_limits_and_may_be_larger_than_the_space(bench: Bench) -> None:
    """The best come first whatever the limit, and there are never more than asked for."""
    await bench.ingest(DOCUMENTS)
    every = await bench.names("signing keys of the server", top_k=1000)
    assert sorted(every) == sorted(DOCUMENTS)
    for top_k in (1, 2, 4):
        assert await bench.names("signing keys of the server", top_k=top_k) == every[:top_k]


async def test_more_hits_than_candidates_can_be_had(bench: Bench) -> None:
    """A large top_k is not cut at what a small one looks at."""
    await bench.ingest({f"d{n}": f"Key number {n} is rotated." for n in range(150)})
    assert len(await bench.names("keys rotated", top_k=120)) == 120


async def test_the_threshold_drops_each_hit_below_it(bench: Bench) -> None:
    """It compares with `recall_score`; the confidence is told all the same."""
    await bench.ingest(DOCUMENTS)
    every = await bench.ask("How often are the signing keys rotated?")
    scores = [reference.recall_score for reference in every.references]
    middle = (scores[0] + scores[1]) / 2
    cut = await bench.ask("How often are the signing keys rotated?", score_threshold=middle)
    assert [reference.recall_score for reference in cut.references] == scores[:1]
    nothing = await bench.ask("zeppelin", score_threshold=0.5)
    assert nothing.references == ()
    assert nothing.confidence < 0.5


async def test_a_replaced_document_is_found_as_it_is_now(bench: Bench) -> None:
    """Only the live generation is seen, also while the old one is still in the indexes."""
    await bench.ingest({"keys": "Keys are rotated every ninety days."})
    old = (await bench.ask("rotated keys")).references[0]
    await bench.ingest({"keys": "Keys are rotated every thirty days."})
    # What a killed ingest leaves behind: vectors and terms of chunks that no longer live.
    await bench.store.upsert(bench.space.collection, [old.chunk_id], np.ones((1, 256), np.float32))
    (now,) = (await bench.ask("rotated keys")).references
    assert now.content == "Keys are rotated every thirty days."


async def test_the_dead_do_not_crowd_out_the_living(bench: Bench) -> None:
    """Where most of what the indexes hold is dead, they are asked for more."""
    await bench.ingest(DOCUMENTS)
    static = await bench.embedder.embed_query("How often are the signing keys rotated?")
    dead = range(10_000, 10_400)
    await bench.store.upsert(bench.space.collection, dead, np.tile(static, (len(dead), 1)))
    assert sorted(await bench.names("How often are the signing keys rotated?")) == sorted(DOCUMENTS)


async def test_a_deleted_document_is_gone_at_once(bench: Bench) -> None:
    """Before anything is collected from the indexes."""
    await bench.ingest(DOCUMENTS)
    document = await bench.catalog.find_document(bench.space.id, "keys")
    assert document is not None
    await bench.catalog.delete_document(bench.space.id, document.id, writer="test")
    assert "keys" not in await bench.names("signing keys", top_k=10)


async def test_equal_hits_stand_by_their_ids(bench: Bench) -> None:
    """The same question gives the same order each time, ties by chunk id."""
    await bench.ingest({f"d{n}": "Keys are rotated every ninety days." for n in range(30)})
    ids = [reference.chunk_id for reference in (await bench.ask("rotated keys", top_k=20)).references]
    assert ids == sorted(ids)
    assert [reference.chunk_id for reference in (await bench.ask("rotated keys", top_k=20)).references] == ids


async def test_the_same_data_gives_the_same_scores(tmp_path: Path) -> None:
    """Indexed twice: equal to the last digit."""
    found = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        async for bench in opened(folder, None, 256):
            await bench.ingest(DOCUMENTS)
            answer = await bench.ask("How often are the signing keys rotated? 密钥")
            found.append((answer.references, answer.confidence, answer.evidence))
    assert found[0] == found[1]


async def test_a_neighbour_is_lifted(bench: Bench) -> None:
    """What stands beside the answer comes before what has as much to say on its own; the best stays the best."""
    filler = "Nothing much is said here about anything that matters to anybody at all. " * 3
    text = f"The signing keys are rotated every ninety days by operations. {filler}\n\nThe days are counted. {filler}"
    await bench.ingest({"guide": text, "other": f"The days are counted. {filler}"}, tokens=64)
    found = (await bench.ask("How often are the signing keys rotated?", top_k=10)).references
    assert "ninety" in found[0].content
    score = {(each.name, each.content[:10]): each.recall_score for each in found}
    assert score["guide", "The days a"] > score["other", "The days a"]


async def test_another_embedder_ranks_by_its_own_vectors(lettered: Bench) -> None:
    """Hits carry its cosines, also those that only the lexical search found; the confidence stays comparable."""
    await lettered.ingest(DOCUMENTS | {f"noise{n}": "tea at sea " * 5 for n in range(60)})
    found = await lettered.ask("How often are the signing keys rotated?", top_k=3)
    first = found.references[0]
    assert first.name == "keys"
    assert found.confidence > 0.5
    question = await lettered.embedder.embed_query("How often are the signing keys rotated?")
    (chunk,) = (await lettered.catalog.live_chunks(lettered.space.id, [first.chunk_id])).values()
    vectors = await lettered.embedder.embed_documents([text_of(chunk)])
    assert first.dense == pytest.approx(cosine(question, vectors[0]), abs=1e-5)


async def test_dense_scores_are_cosines(bench: Bench) -> None:
    """With the static embedder too, though they come from what is kept with the chunks."""
    await bench.ingest(DOCUMENTS)
    question = await bench.embedder.embed_query("When is lunch?")
    for reference in (await bench.ask("When is lunch?")).references:
        (chunk,) = (await bench.catalog.live_chunks(bench.space.id, [reference.chunk_id])).values()
        vectors = await bench.embedder.embed_documents([text_of(chunk)])
        assert reference.dense == pytest.approx(cosine(question, vectors[0]), abs=1e-3)


async def test_chunks_without_kept_vectors_score_alike(bench: Bench, tmp_path: Path) -> None:
    """Catalogs written before anything was kept give the same result."""
    await bench.ingest(DOCUMENTS)
    before = await bench.ask("When is lunch served?")

    def forget() -> None:
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE chunks SET vectors = NULL WHERE id % 2 = 0"))
        engine.dispose()

    await anyio.to_thread.run_sync(forget)
    assert await bench.ask("When is lunch served?") == before


async def test_a_question_without_a_vector_is_searched_by_words(lettered: Bench) -> None:
    """Where the embedder knows nothing of it, terms alone decide."""
    await lettered.ingest(DOCUMENTS)
    first = (await lettered.ask("签名密钥多久轮换一次？")).references[0]
    assert first.name == "密钥"
    assert first.dense is None


async def test_errors_of_the_parts_come_through(bench: Bench) -> None:
    """A missing collection, a deleted space and a silent embedder are told as what they are."""

    class Silent(Letters):
        async def embed_query(self, text: str) -> Vector:
            raise EmbedderUnavailableError("gone")

    await bench.ingest(DOCUMENTS)
    kept, bench.embedder = bench.embedder, Silent()
    with pytest.raises(EmbedderUnavailableError):
        await bench.ask("keys")
    bench.embedder = kept
    await bench.store.drop_collection(bench.space.collection)
    with pytest.raises(CollectionNotFoundError):
        await bench.ask("keys")
    await bench.store.create_collection(bench.space.collection, dimension=256)
    await bench.catalog.begin_space_deletion(bench.space.id)
    with pytest.raises(SpaceNotFoundError):
        await bench.ask("keys")


async def test_many_questions_at_once(bench: Bench) -> None:
    """Each gets its own answer."""
    await bench.ingest(DOCUMENTS)
    questions = {
        "When is lunch served?": "lunch",
        "签名密钥多久轮换一次？": "密钥",
        "Who approves trips abroad?": "travel",
    }
    wrong: list[str] = []

    async def ask(question: str, best: str) -> None:
        if (await bench.names(question))[0] != best:
            wrong.append(question)

    async with anyio.create_task_group() as group:
        for question, best in [*questions.items()] * 10:
            group.start_soon(ask, question, best)
    assert wrong == []


async def test_a_store_that_hangs_holds_up_nobody_else(bench: Bench) -> None:
    """While many questions wait for one store, those to another are answered."""

    class Hanging(MemoryStore):
        async def query(
            self, name: str, vector: Vector, *, limit: int, among: Sequence[int] | None = None
        ) -> list[VectorHit]:
            await anyio.sleep_forever()

    await bench.ingest(DOCUMENTS)
    retriever = bench.retriever()

    async def ask(store: VectorStore) -> Retrieval:
        return await retriever.retrieve(
            bench.space, "When is lunch served?", RetrievalOptions(top_k=1), store=store, embedder=bench.embedder
        )

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask, Hanging())
        await anyio.wait_all_tasks_blocked()
        found = await ask(bench.store)
        assert [reference.name for reference in found.references] == ["lunch"]
        group.cancel_scope.cancel()


def test_packed_vectors_compare_as_the_real_ones() -> None:
    """Cosines within a thousandth for chunks, a hundredth for the best sentence; zero for nothing."""
    static = StaticEmbedder(threads=Threads())
    texts = [*DOCUMENTS.values(), "", "One. Two. Three."]
    packed = passages.pack(static, texts)
    question = static.embed(["How often are keys rotated?"])[0]
    alike = passages.compare(question, packed)
    assert alike.chunk == pytest.approx(static.embed(texts) @ question, abs=1e-3)
    lone = static.embed(["Keys."])[0]
    (kept,) = passages.compare(question, passages.pack(static, ["Keys."])).sentence
    assert kept == pytest.approx(cosine(lone, question), abs=1e-2)
    assert alike.sentence[5] == alike.chunk[5] == 0.0
    assert passages.compare(question, []).chunk.shape == (0,)
    assert not passages.compare(np.zeros(256, np.float32), packed).chunk.any()
