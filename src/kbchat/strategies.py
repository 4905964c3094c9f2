"""The words for how a question is searched for: what a caller may choose, call by call or in the settings."""

from enum import StrEnum
from typing import TypedDict


class Strategy(StrEnum):
    """Which searches bring candidates, and what orders them."""

    HYBRID = "hybrid"
    """Both searches; a weighted sum of absolute scores."""
    DENSE = "dense"
    """The vector store alone; the cosine."""
    LEXICAL = "lexical"
    """The lexical index alone; BM25. Neither the store nor a served embedder is asked."""
    RANKS = "ranks"
    """Both searches; the sum over their ranks (reciprocal rank fusion)."""


class Expand(StrEnum):
    """What is shown of the text around a hit."""

    NONE = "none"
    NEIGHBOURS = "neighbours"
    """The chunks before and after it."""
    SECTION = "section"
    """The chunks around it that stand under the same headings."""


class Stages(TypedDict, total=False):
    """What may be chosen of retrieval's stages. What is left out, or None, is as the settings say, whose defaults stand
    in brackets.

    - `strategy`: which searches bring candidates and what orders them: a `Strategy` (`hybrid`).
    - `rerank`: whether the reranker looks at the best of them (True where there is one; without one True is an error).
    - `diversity`: how much a hit counts for being unlike better ones, 0 to 1 (0).
    - `expand`: what is shown around each hit: an `Expand` (`none`).
    - `expand_tokens`: the tokens that a hit may have with that, 1 to 100,000 (512).
    - `dense_weight`: what a chunk's cosine counts where words count 1, 0 to 10 (by embedder); of `hybrid` alone.
    - `sentence_weight`: the same of the cosine of its best sentence.
    """

    strategy: Strategy | str | None
    rerank: bool | None
    diversity: float | None
    expand: Expand | str | None
    expand_tokens: int | None
    dense_weight: float | None
    sentence_weight: float | None
