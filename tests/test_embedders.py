"""Embedders: the bundled static one, and how models are told apart."""

import logging
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from kbchat.embedders import Vector, Vectors
from kbchat.embedders.fingerprint import CANARIES, identify, is_same
from kbchat.embedders.pieces import Tokens
from kbchat.embedders.static import _TOKENIZER, INLINE_CHARS, StaticEmbedder
from kbchat.errors import EmbedderError
from kbchat.models import EmbedderPin
from kbchat.threads import Threads

TEXTS = (
    "How are the keys rotated?",
    "The keys of the server are rotated every ninety days.",
    "Lunch is served at noon.",
    "密钥每九十天轮换一次。",
    "",
    "🙂" * 20,
    "word " * 3000,
    "x",
)
FILE = Path(str(find_spec("wordllama").submodule_search_locations[0])) / _TOKENIZER  # type: ignore[union-attr, index]
EMBEDDER = StaticEmbedder(threads=Threads())
PIECEWISE = Tokens.load(FILE)
WHOLE = Tokenizer.from_file(str(FILE))

STATIC = (
    "V2IeSEA7nzfLXAvr9UgT42/dChL58QkHzAzQ5+zd3igWGPRDxkDZ0DvnWAb23g4b"
    "q3/DujHP2MoCfFG+Cgm/KQwWy/m4y20GWfOqFbjjDyLu1PU35xfzti3X7h3+yRoQ"
)
"""What the first release pinned."""


@pytest.fixture
async def static() -> AsyncIterator[StaticEmbedder]:
    embedder = StaticEmbedder(threads=Threads())
    yield embedder
    await embedder.aclose()
    await embedder.aclose()


async def test_vectors_are_wordllamas_own(static: StaticEmbedder) -> None:
    """The same numbers as wordllama computes, without its import."""
    code = f"""
import importlib.util, warnings, numpy
warnings.simplefilter("ignore")
folder = importlib.util.find_spec("wordllama").submodule_search_locations[0]
from pathlib import Path
from wordllama import WordLlama
model = WordLlama.load(cache_dir=Path(folder), disable_download=True)
print(numpy.nan_to_num(model.embed(list({TEXTS!r}), norm=True)).tolist())
"""
    ran = await anyio.run_process([sys.executable, "-c", code])
    expected = np.array(eval(ran.stdout), dtype=np.float32)
    vectors = await static.embed_documents(TEXTS)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - expected).max() < 1e-6


@given(
    st.text(
        st.one_of(
            st.sampled_from("ab CD.,'()_-/<>=#*12 \n\t\r\u2581\u3000的密キ한글ภдé🙂\u200d ｆ"),
            st.characters(exclude_categories=["Cs"]),
        ),
        max_size=50,
    )
)
def test_tokens_are_the_tokenizers_own(text: str) -> None:
    """Put together from pieces they are those of the whole text."""
    assert PIECEWISE.of(text).tolist() == WHOLE.encode(text, add_special_tokens=False).ids


def test_tokens_of_many_pieces_are_those_of_each() -> None:
    """Asked for together, those with a line end, a special sign, an unknown character or great length among them."""
    pieces = [" keys", "\n", " rotated", "<unk>", "密", "🙂", "x" * 5000, " a\r", "</s>", " \t", "▁▁", "<0x0A>"]
    alone = [WHOLE.encode(f"\n{piece}", add_special_tokens=False).ids for piece in pieces]
    before = WHOLE.encode("\n", add_special_tokens=False).ids
    expected = [np.array(ids[len(before) :], dtype=np.uint16).tobytes() for ids in alone]
    for some in (pieces, pieces[2:], pieces[:1] * 3):
        fresh = Tokens.load(FILE)
        wanted = [expected[pieces.index(piece)] for piece in some]
        assert fresh.of_each(some) == wanted
        assert fresh.of_each(some) == wanted == [fresh[piece] for piece in some]


@settings(deadline=None)
@given(st.text(st.sampled_from("ab CD.,'()-#12 \n\t\u2581\u3000的密キ한é🙂"), max_size=60), st.data())
def test_parts_have_the_vectors_of_texts(text: str, data: st.DataObject) -> None:
    """A part's direction is that of the same characters as a text of their own, wherever it begins and ends."""
    offsets = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted).map(tuple)
    parts = [part for part in data.draw(st.lists(offsets, max_size=4)) if part[0] < part[1]]
    vectors, of_parts = EMBEDDER.embed_with_parts(["x", text], [[(0, 1)], parts])
    alone = EMBEDDER.embed(["x", text, "x", *(text[slice(*part)] for part in parts)])
    lengths = np.linalg.norm(of_parts, axis=1, keepdims=True)
    assert np.allclose(of_parts, alone[2:] * lengths, atol=1e-4)
    assert np.allclose(vectors, alone[:2], atol=1e-6)


async def test_vectors_have_length_one_or_none(static: StaticEmbedder) -> None:
    """A text without a known token is the zero vector, never NaN."""
    lengths = np.linalg.norm(await static.embed_documents(TEXTS), axis=1)
    assert lengths == pytest.approx([0.0 if text == "" else 1.0 for text in TEXTS], abs=1e-5)
    assert not (await static.embed_query("")).any()


async def test_a_batch_changes_nothing(static: StaticEmbedder) -> None:
    """A text has one vector, alone or among hundreds, as a question or as a document."""
    many = [f"{text} {n}" for n in range(300) for text in TEXTS[:4]]
    batch = await static.embed_documents(many)
    assert batch.shape == (1200, 256)
    for row in (0, 1, 600, 1199):
        assert np.allclose(batch[row], (await static.embed_documents([many[row]]))[0], atol=1e-6)
        assert np.allclose(batch[row], await static.embed_query(many[row]), atol=1e-6)
    assert (await static.embed_documents([])).shape == (0, 256)


async def test_alike_texts_have_high_cosines(static: StaticEmbedder) -> None:
    """What is about the same is nearer than what is not."""
    keys, same, lunch, *_ = await static.embed_documents(TEXTS)
    assert keys @ same > 0.5 > 0.3 > keys @ lunch


async def test_long_and_broken_questions_are_embedded(static: StaticEmbedder) -> None:
    """100,000 characters, and lone surrogates, are no reason to fail."""
    assert math.isclose(float(np.linalg.norm(await static.embed_query("keys " * 20_000))), 1.0, abs_tol=1e-5)
    assert (await static.embed_query("keys \udc80")).any()
    assert (await static.embed_query("k" * (INLINE_CHARS + 1))).any()


async def test_any_number_of_tasks_may_load_it() -> None:
    """The first questions of many tasks load it once and get the same vector."""
    static = StaticEmbedder(threads=Threads())
    found: list[Vector] = []

    async def ask() -> None:
        found.append(await static.embed_query(TEXTS[0]))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
    assert len(found) == 20
    assert all((vector == found[0]).all() for vector in found)
    await static.aclose()


def test_loading_is_light() -> None:
    """Neither wordllama nor its friends are imported, the root logger stays as it is, and little memory is taken."""
    code = """
import anyio, logging, resource, sys
from kbchat.embedders.static import StaticEmbedder
from kbchat.threads import Threads
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
anyio.run(StaticEmbedder(threads=Threads()).embed_query, "keys")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, len(logging.getLogger().handlers),
      [name for name in ("wordllama", "requests", "safetensors", "torch") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    megabytes, handlers, loaded = ran.stdout.split(maxsplit=2)
    assert int(megabytes) < 60
    assert (handlers, loaded.strip()) == ("0", "[]")
    assert logging.getLogger("kbchat.embedders").level == logging.NOTSET


class Noisy:
    """An embedder whose vectors are given, but for some noise."""

    name = "noisy"
    batch_size = 8

    def __init__(self, *, seed: int = 0, noise: float = 0.0, dimension: int = 64) -> None:
        self._vectors = np.random.default_rng(seed).standard_normal((len(CANARIES), dimension))
        self._noise = noise

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        noise = np.random.default_rng(99).standard_normal(self._vectors.shape) * self._noise
        vectors = self._vectors + noise
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    async def embed_query(self, text: str) -> Vector:
        raise NotImplementedError

    async def aclose(self) -> None: ...


async def test_a_model_is_identified(static: StaticEmbedder) -> None:
    """The pin names the embedder and its dimension, and is the same each time."""
    pin = await identify(static)
    assert (pin.name, pin.dimension) == ("static", 256)
    assert await identify(StaticEmbedder(threads=Threads())) == pin
    assert is_same(pin, pin)


async def test_the_static_embedder_is_the_one_it_was(static: StaticEmbedder) -> None:
    """Spaces that are pinned to it stay usable: a change here is a change of every user's index."""
    old = EmbedderPin(name="static", dimension=256, fingerprint=STATIC)
    assert is_same(await identify(static), old)


@pytest.mark.parametrize("noise", [1e-7, 1e-4, 1e-2])
async def test_noise_does_not_make_another_model(noise: float) -> None:
    """Rounding, and a server whose answers differ by a thousandth, are the same model."""
    assert is_same(await identify(Noisy()), await identify(Noisy(noise=noise)))


async def test_another_model_of_the_same_dimension_is_noticed() -> None:
    """Other vectors, other model; another dimension likewise; another name is not."""
    pin = await identify(Noisy())
    assert not is_same(pin, await identify(Noisy(seed=1)))
    assert not is_same(pin, await identify(Noisy(dimension=63)))
    assert not is_same(pin, pin.model_copy(update={"fingerprint": "no fingerprint"}))
    assert is_same(pin, pin.model_copy(update={"name": "renamed"}))


@pytest.mark.parametrize("vectors", [np.zeros((4, 8)), np.full((4, 8), np.nan), np.ones((3, 8)), np.ones(4)])
async def test_nonsense_is_not_identified(vectors: Vectors) -> None:
    """An embedder that answers no usable vectors is an error, not a pin."""

    class Broken(Noisy):
        async def embed_documents(self, texts: Sequence[str]) -> Vectors:
            return vectors

    with pytest.raises(EmbedderError, match="noisy"):
        await identify(Broken())
