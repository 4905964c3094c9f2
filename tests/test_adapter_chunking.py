"""What clients of the HTTP interface ask of a document's splitting, in the wire's words."""

import pytest

from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.errors import InvalidInputError
from kbchat_aiohttp.chunking import requested


def test_what_clients_ask_for() -> None:
    """The names of the wire in any letter case; what is null or unknown to us is ignored."""
    asked = {
        "Automatic": None,
        "CHUNK_BY_SIZE": Splitting(),
        "CHUNK_BY_PAGE": Splitting(strategy=ChunkStrategy.PAGE),
        "CHUNK_BY_MARKDOWN_HEADER": Splitting(strategy=ChunkStrategy.HEADING),
        "CHUNK_BY_PARAGRAPH": Splitting(strategy=ChunkStrategy.SEPARATOR, separator="\n", merge=False),
        "CHUNK_BY_SEPARATOR": Splitting(strategy=ChunkStrategy.SEPARATOR, separator="\n", merge=False),
        "tokens": Splitting(strategy=ChunkStrategy.TOKENS),
        "document": Splitting(strategy=ChunkStrategy.DOCUMENT),
    }
    for name, expected in asked.items():
        assert requested({"chunk_strategy": name, "text_splitter": "x", "chunk_size": None}) == expected
    assert requested(None) is requested({}) is requested({"splitter_type": "user_define"}) is None
    assert requested({"chunk_size": 512, "chunk_overlap": 50}) == Splitting(max_tokens=512, overlap=50)
    by_separator = {"chunk_strategy": "CHUNK_BY_SEPARATOR", "chunk_size": 64, "separator": ";", "enable_merge": True}
    parts = Splitting(strategy=ChunkStrategy.SEPARATOR, separator=";", merge=True, max_tokens=64)
    assert requested(by_separator) == parts
    assert requested({"chunk_strategy": "CHUNK_BY_PARAGRAPH", "separator": "\\n\\n"}) == Splitting(
        strategy=ChunkStrategy.SEPARATOR, separator="\n\n", merge=False
    )


def test_a_strategy_looks_at_its_own_parameters_alone() -> None:
    """The published clients send every one of them each time, with these values."""
    sent = {"chunk_size": 512, "chunk_overlap": 50, "separator": "\n", "enable_merge": None}
    asked = {
        "Automatic": None,
        None: Splitting(max_tokens=512, overlap=50),
        "CHUNK_BY_SIZE": Splitting(max_tokens=512, overlap=50),
        "CHUNK_BY_PAGE": Splitting(strategy=ChunkStrategy.PAGE),
        "CHUNK_BY_MARKDOWN_HEADER": Splitting(strategy=ChunkStrategy.HEADING),
        "CHUNK_BY_PARAGRAPH": Splitting(strategy=ChunkStrategy.SEPARATOR, separator="\n", merge=False),
    }
    assert {name: requested({"chunk_strategy": name, **sent}) for name in asked} == asked


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"chunk_strategy": "CHUNK_BY_MOOD"}, "chunk_strategy"),
        ({"chunk_strategy": 7}, "chunk_strategy"),
        ({"chunk_size": 3}, "chunk_size"),
        ({"chunk_size": "many"}, "chunk_size"),
        ({"chunk_size": 100, "chunk_overlap": 100}, "chunk_overlap"),
        ({"chunk_overlap": -1}, "chunk_overlap"),
        ({"chunk_strategy": "separator", "enable_merge": "perhaps"}, "enable_merge"),
    ],
)
def test_what_clients_ask_for_is_checked(parameters: dict[str, object], field: str) -> None:
    """The error names the parameter as they call it."""
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        requested(parameters)  # type: ignore[arg-type]
