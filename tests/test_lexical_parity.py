"""The three lexical indexes find the same: the embedded one, its replica on another server, sparse vectors in Milvus.

On the project's own pages, and on each judged set in the folder that `JUDGED_SETS` names (corpus.jsonl, queries.jsonl).
"""

import json
import os
import re
from collections.abc import Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from catalogs import opened
from kbchat.lexical import LexicalEntry, LexicalIndex, LexicalResult
from kbchat.lexical.sparse import SparseIndex
from kbchat.lexical.tantivy import TantivyIndex
from kbchat.maintenance.replica import Replica
from kbchat.stores.milvus import MilvusStore
from kbchat.stores.milvus_terms import MilvusTerms
from kbchat.testing.catalog_samples import a_space, generation, put
from kbchat.testing.lexical_suite import TOLERANCE
from kbchat.text.analysis import analyse
from kbchat.threads import Threads
from servers import MilvusEngineServer

DOCS = Path(__file__).parent.parent / "docs"
BATCH = 400


@dataclass(frozen=True)
class Corpus:
    texts: Sequence[str]
    questions: Sequence[str]


def of_pages(*pages: Path) -> Corpus:
    """Paragraphs as chunks, their sentences' beginnings as questions."""
    texts = [part.strip() for page in pages for part in re.split(r"\n\s*\n", page.read_text()) if part.strip()]
    questions = [re.split(r"[.?!。？！]", text)[0][:120] for text in texts]
    return Corpus(texts, questions[::3])


def of_set(folder: Path, *, most: int) -> Corpus:
    def rows(name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    texts = [f"{row.get('title', '')}\n{row['text']}" for row in rows("corpus.jsonl")]
    return Corpus(texts, [row["text"] for row in rows("queries.jsonl")][:most])


def corpora() -> list[object]:
    sets = os.environ.get("JUDGED_SETS")
    found = [path.parent for path in sorted(Path(sets).glob("*/corpus.jsonl"))] if sets else []
    return [
        pytest.param(of_pages(*sorted(DOCS.glob("*.md"))), id="english"),
        pytest.param(of_pages(DOCS / "zh.md"), id="chinese"),
        *(pytest.param(of_set(folder, most=100), id=folder.name) for folder in found),
    ]


async def fill(index: LexicalIndex, name: str, entries: Sequence[LexicalEntry]) -> None:
    for first in range(0, len(entries), BATCH):
        await index.upsert(name, entries[first : first + BATCH])
        await index.commit(name)


def assert_alike(one: list[LexicalResult], other: list[LexicalResult]) -> tuple[float, float]:
    """Weights are the same, scores within the tolerance, the best ten by 95 %; returns what was measured."""
    worst, shared, best = 0.0, 0, 0
    for left, right in zip(one, other, strict=True):
        assert left.weights.unigrams == pytest.approx(right.weights.unigrams)
        first, second = dict(left.hits), dict(right.hits)
        worst = max([worst, *(abs(first[key] - second[key]) for key in first.keys() & second.keys())])
        ten = [{hit.id for hit in side.hits[:10]} for side in (left, right)]
        shared, best = shared + len(ten[0] & ten[1]), best + len(ten[0])
    assert worst <= TOLERANCE
    assert shared >= 0.95 * best
    return worst, shared / best


@pytest.fixture(params=["lite", pytest.param("engine", marks=pytest.mark.server)])
def milvus_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "lite":
        return str(tmp_path / "lite")
    server: MilvusEngineServer = request.getfixturevalue("milvus_engine")
    return server.uri


@pytest.mark.timeout(300)
@pytest.mark.parametrize("corpus", corpora())
async def test_the_three_agree(corpus: Corpus, tmp_path: Path, milvus_uri: str) -> None:
    """Scores within .02 of each other, and 95 % of the best ten the same, question by question."""
    threads = Threads()
    catalog = await opened(tmp_path / "catalog.sqlite")
    space = await a_space(catalog)
    pending = await put(catalog, space, *(generation(f"d{n}", text) for n, text in enumerate(corpus.texts)))
    ids = [begun.chunk_ids[0] for begun in pending]
    entries = [LexicalEntry(key, analyse(text)) for key, text in zip(ids, corpus.texts, strict=True)]
    questions = [analyse(question) for question in corpus.questions]

    async def ask(index: LexicalIndex, name: str) -> list[LexicalResult]:
        return [await index.search(name, question, limit=50) for question in questions]

    embedded = TantivyIndex(tmp_path / "embedded", threads=threads)
    await fill(embedded, space.lexical_name, entries)
    expected = await ask(embedded, space.lexical_name)
    await embedded.aclose()

    elsewhere = TantivyIndex(tmp_path / "replica", threads=threads)
    replica = Replica(
        catalog=catalog,
        lexical=elsewhere,
        folder=tmp_path / "replica",
        threads=threads,
        writing=lambda _: nullcontext(),
        timeout=0,
    )
    await replica.catch_up(await catalog.get_space(space.id))
    print("replica", assert_alike(expected, await ask(elsewhere, space.lexical_name)))
    await elsewhere.aclose()

    async with aclosing(MilvusStore(uri=milvus_uri, threads=threads, timeout=30)) as store:
        sparse = SparseIndex(MilvusTerms(store), threads=threads)
        await fill(sparse, space.terms_collection, entries)
        print("sparse", assert_alike(expected, await ask(sparse, space.terms_collection)))
    await catalog.aclose()
