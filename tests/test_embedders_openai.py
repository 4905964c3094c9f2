"""Vectors from an OpenAI-compatible server on a real socket, in good days and bad ones."""

import json
from collections.abc import AsyncIterator

import anyio
import numpy as np
import pytest

from kbchat.embedders.fingerprint import identify
from kbchat.embedders.openai import BATCH_TEXTS, OpenAIEmbedder
from kbchat.errors import EmbedderError, EmbedderUnavailableError, SettingsError
from upstream import Behaviour, Exchange, Upstream, answers, upstream


def embeds(*, scale: float = 3.0, backwards: bool = False) -> Behaviour:
    """A server whose vectors tell the length of a text, not normalised and maybe in another order."""

    async def behave(exchange: Exchange) -> None:
        items = [
            {"object": "embedding", "index": index, "embedding": [scale * len(text), scale, 0.0]}
            for index, text in enumerate(exchange.request["input"])
        ]
        await exchange.status(200, json.dumps({"object": "list", "data": items[::-1] if backwards else items}))

    return behave


@pytest.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as serving:
        serving.behave = embeds()
        yield serving


@pytest.fixture
async def embedder(server: Upstream) -> AsyncIterator[OpenAIEmbedder]:
    embedder = OpenAIEmbedder(
        model="m", base_url=server.base_url, api_key="secret-key", timeout=5.0, retry_pauses=(0.0, 0.0)
    )
    yield embedder
    await embedder.aclose()
    await embedder.aclose()


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One behaviour a request."""
    turns = iter(behaviours)

    async def behave(exchange: Exchange) -> None:
        await next(turns)(exchange)

    return behave


async def test_texts_are_embedded(server: Upstream, embedder: OpenAIEmbedder) -> None:
    """Vectors of length 1 in the order of the texts; the request names the model and carries the key."""
    server.behave = embeds(backwards=True)
    vectors = await embedder.embed_documents(["a", "four"])
    assert vectors == pytest.approx(np.array([[1, 1, 0], [4, 1, 0]]) / np.sqrt([[2], [17]]))
    assert vectors.dtype == np.float32
    assert server.last.request == {"model": "m", "input": ["a", "four"], "encoding_format": "float"}
    assert server.last.headers["authorization"] == "Bearer secret-key"
    assert (await embedder.embed_query("a")) == pytest.approx(np.array([1, 1, 0]) / np.sqrt(2))
    assert embedder.name == "openai:m"


async def test_many_texts_go_in_batches(server: Upstream, embedder: OpenAIEmbedder) -> None:
    """Any number of texts, none of the requests too large; of none, none is sent."""
    texts = ["x" * (1 + n % 7) for n in range(2 * BATCH_TEXTS + 3)]
    vectors = await embedder.embed_documents(texts)
    assert [len(exchange.request["input"]) for exchange in server.exchanges] == [BATCH_TEXTS, BATCH_TEXTS, 3]
    assert vectors[:, 0] / vectors[:, 1] == pytest.approx([len(text) for text in texts], rel=1e-5)
    assert len(await embedder.embed_documents([])) == 0
    assert len(server.exchanges) == 3


async def test_a_zero_vector_stays_zero(server: Upstream, embedder: OpenAIEmbedder) -> None:
    """Nothing is divided by nothing."""
    server.behave = embeds(scale=0.0)
    assert not (await embedder.embed_query("a")).any()


async def test_what_passes_is_tried_again(server: Upstream, embedder: OpenAIEmbedder) -> None:
    """A busy server and a broken connection are met once more."""

    async def breaks(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    server.behave = in_turn(answers(429, "busy", Retry_After="0"), breaks, embeds())
    assert (await embedder.embed_documents(["a"])).shape == (1, 3)
    assert len(server.exchanges) == 3


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, "bad key secret-key", "answered 401: bad key \\*\\*\\*; set the key"),
        (404, '{"error": "no such model"}', "no such model.*is embedder_base_url right"),
        (413, "too long", "make the chunks smaller"),
        (302, "elsewhere", "answered 302"),
    ],
)
async def test_a_refusal_says_what_to_do(
    server: Upstream, embedder: OpenAIEmbedder, status: int, body: str, expected: str
) -> None:
    """It is told once, with the server's words and without the key, and not tried again."""
    server.behave = answers(status, body)
    with pytest.raises(EmbedderError, match=expected) as caught:
        await embedder.embed_query("a")
    assert not isinstance(caught.value, EmbedderUnavailableError)
    assert "secret-key" not in str(caught.value)
    assert len(server.exchanges) == 1


async def test_a_server_that_stays_busy_is_unavailable(server: Upstream, embedder: OpenAIEmbedder) -> None:
    """After all tries; at once where it asks for more patience than there is."""
    server.behave = answers(503, "overloaded")
    with pytest.raises(EmbedderUnavailableError, match="503: overloaded"):
        await embedder.embed_query("a")
    assert len(server.exchanges) == 3
    server.behave = answers(429, "later", Retry_After="3600")
    with pytest.raises(EmbedderUnavailableError, match="429: later"):
        await embedder.embed_query("a")
    assert len(server.exchanges) == 4


@pytest.mark.parametrize("later", ["3600.5", "Fri, 31 Dec 2999 23:59:59 GMT"])
async def test_a_server_may_ask_for_time_in_any_way(server: Upstream, embedder: OpenAIEmbedder, later: str) -> None:
    """A fraction or a date is understood as whole seconds are: it is not asked again before."""
    server.behave = answers(429, "later", Retry_After=later)
    with pytest.raises(EmbedderUnavailableError, match="429: later"):
        await embedder.embed_query("a")
    assert len(server.exchanges) == 1


async def test_a_silent_server_is_unavailable(server: Upstream) -> None:
    """The time-out is told."""
    server.behave = Exchange.hang
    embedder = OpenAIEmbedder(model="m", base_url=server.base_url, timeout=0.05, retry_pauses=())
    with pytest.raises(EmbedderUnavailableError, match=r"did not answer within 0.05 s"):
        await embedder.embed_query("a")
    await embedder.aclose()


async def test_no_server_is_unavailable() -> None:
    """A port where nobody listens is named."""
    embedder = OpenAIEmbedder(model="m", base_url="http://127.0.0.1:9/v1", retry_pauses=())
    with pytest.raises(EmbedderUnavailableError, match=r"127.0.0.1:9/v1/embeddings cannot be reached"):
        await embedder.embed_query("a")
    await embedder.aclose()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<html>", "did not answer with embeddings"),
        ("[]", "did not answer with embeddings"),
        ('{"data": [{"index": 0}]}', "did not answer with embeddings"),
        ('{"data": [{"index": 0, "embedding": "AAAA"}]}', "did not answer with embeddings"),
        ('{"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1]}]}', "did not answer"),
        ('{"data": []}', "0 vectors for 1 texts"),
        ('{"data": [{"index": 0, "embedding": []}]}', "vectors for 1 texts"),
        ('{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]}]}', "2 vectors for 1 texts"),
        ('{"data": [{"index": 0, "embedding": [NaN, 1]}]}', "not finite"),
    ],
)
async def test_nonsense_is_an_error(server: Upstream, embedder: OpenAIEmbedder, body: str, expected: str) -> None:
    """What is no list of vectors, or not as many as texts, is never stored."""
    server.behave = answers(200, body)
    with pytest.raises(EmbedderError, match=expected):
        await embedder.embed_query("a")


async def test_a_changing_dimension_is_an_error(server: Upstream, embedder: OpenAIEmbedder) -> None:
    """Two batches of one call must be of one model."""
    server.behave = in_turn(embeds(), answers(200, '{"data": [{"index": 0, "embedding": [1]}]}'))
    with pytest.raises(EmbedderError, match="change in dimension"):
        await embedder.embed_documents(["a"] * (BATCH_TEXTS + 1))


async def test_a_cancelled_call_lets_go_of_the_server(server: Upstream, embedder: OpenAIEmbedder) -> None:
    """The server sees its client leave."""
    server.behave = Exchange.hang
    async with anyio.create_task_group() as group:
        group.start_soon(embedder.embed_query, "a")
        exchange = await server.exchange()
        group.cancel_scope.cancel()
    with anyio.fail_after(5):
        await exchange.gone.wait()


async def test_a_base_url_that_is_none_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(SettingsError, match="embedder_base_url 'localhost:80'"):
        OpenAIEmbedder(model="m", base_url="localhost:80")


async def test_a_served_model_is_identified(server: Upstream, embedder: OpenAIEmbedder) -> None:
    """Its pin has the server's dimension."""
    pin = await identify(embedder)
    assert (pin.name, pin.dimension) == ("openai:m", 3)
