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
    """What may be chosen of retrieval's stages. What is left out is as the settings say.

    `strategy` is which searches bring candidates and what orders them. `rerank` is whether the reranker of the settings
    looks at the best of them. `diversity`, from 0 to 1, is how much a hit counts for being unlike better ones.
    `expand` is what is shown around each hit, in at most `expand_tokens` tokens. `dense_weight` and `sentence_weight`
    are what the cosines of chunk and best sentence count where words count 1; the hybrid strategy alone has them.
    """

    strategy: Strategy | str | None
    rerank: bool | None
    diversity: float | None
    expand: Expand | str | None
    expand_tokens: int | None
    dense_weight: float | None
    sentence_weight: float | None
