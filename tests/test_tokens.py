"""Tokens: counted where that can be done without the network, estimated elsewhere."""

import hashlib
import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from kbchat.text import tokens
from kbchat.text.tokens import TokenCounter, estimate

SAMPLES = json.loads((Path(__file__).parent / "fixtures" / "token_counts.json").read_text("utf-8"))
O200K = hashlib.sha1(b"https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken").hexdigest()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def by_bytes() -> tiktoken.Encoding:
    """A real tiktoken encoding without merges: a token a byte."""
    return tiktoken.Encoding(
        "bytes", pat_str=r"\S+|\s+", mergeable_ranks={bytes([byte]): byte for byte in range(256)}, special_tokens={}
    )


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["language"] for sample in SAMPLES])
def test_the_estimate_is_level_to_a_fifth_over(sample: dict[str, object]) -> None:
    """Beside o200k_base's own count of the same text, written down when the estimate was made."""
    text, counted = sample["text"], sample["o200k_base"]
    assert isinstance(text, str)
    assert isinstance(counted, int)
    assert 0.9 <= estimate(text) / counted <= 1.3


@given(st.text(), st.text())
def test_an_estimate_grows_with_the_text(first: str, second: str) -> None:
    """More text is never fewer tokens (but for a word that grows together), and some text is some tokens."""
    assert estimate(first + second) >= estimate(first) - 1
    assert estimate("") == 0


@pytest.mark.usefixtures("no_network")
def test_without_ranks_the_network_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty cache means estimates, decided and said once."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    counter = TokenCounter()
    assert not counter.ready
    with caplog.at_level(logging.INFO, "kbchat.text.tokens"):
        assert [counter.count("How are keys rotated?") for _ in range(3)] == [estimate("How are keys rotated?")] * 3
    assert counter.ready
    assert [record.getMessage() for record in caplog.records] == [
        "tokens are estimated: tiktoken's ranks are not on this machine"
    ]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"])
def test_spoilt_ranks_are_not_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A file that is not what tiktoken expects is left alone."""
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    spoilt = tmp_path / O200K
    spoilt.write_bytes(b"half of the ranks")
    assert TokenCounter().count("keys") == estimate("keys")
    assert spoilt.read_bytes() == b"half of the ranks"


@pytest.mark.usefixtures("no_network")
def test_a_switched_off_cache_means_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """tiktoken's empty variable, which means to fetch always, means never to us."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert TokenCounter().count("keys") == estimate("keys")


def test_tiktoken_counts_where_it_can() -> None:
    """Exactly, special tokens taken as text, in slices of a long text."""
    counter = TokenCounter(by_bytes)
    assert counter.count("héllo") == 6
    assert counter.count("<|endoftext|>") == 13
    assert counter.count("x" * 100_000) == 100_000


def test_threads_decide_once() -> None:
    """Sixteen first counts at the same time load the ranks once."""
    loads = []

    def load() -> tiktoken.Encoding:
        loads.append(1)
        return by_bytes()

    counter = TokenCounter(load)
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(counter.count, ["four"] * 64)) == {4}
    assert loads == [1]


def test_the_ranks_are_those_that_tiktoken_expects() -> None:
    """Should tiktoken move to other files, this test says so."""
    source = Path(tiktoken.__file__).parent.parent / "tiktoken_ext" / "openai_public.py"
    text = source.read_text("utf-8")
    for name, sha256 in tokens._RANKS_SHA256.items():
        assert tokens._RANKS_URL.format(name) in text
        assert sha256 in text


@given(st.text(st.characters(max_codepoint=0x3FF) | st.sampled_from("aaa 000..\n"), max_size=200))
def test_long_texts_are_counted_as_short_ones(text: str) -> None:
    """There are two ways to count runs, one for each; they count the same."""
    kinds = b" " + text.encode().translate(tokens._KINDS, tokens._NOT_ASCII)
    for kind in (b"a", b"0"):
        runs = len([run for run in kinds.translate(tokens._ONLY[kind]).split(b" ") if run])
        assert tokens._runs(kinds, kind) == runs
        assert tokens._runs(kinds + b" " * tokens._LONG, kind) == runs
