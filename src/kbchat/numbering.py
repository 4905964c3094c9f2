"""The numbers by which an answer cites its passages. Pure."""

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

MAX_GAP = 4
"""Characters of white space that a splitter may have left out between two chunks that touch."""


class Chunk(Protocol):
    """What is numbered of a `kbchat.Reference`."""

    @property
    def document_id(self) -> int: ...
    @property
    def chunk_id(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def recall_score(self) -> float: ...


AnyChunk = TypeVar("AnyChunk", bound=Chunk)


def numbers(references: Sequence[Chunk]) -> dict[int, int]:
    """The number of the passage that each chunk went into when these were merged, by the chunk's id."""
    groups = enumerate(neighbours(references), 1)
    return {reference.chunk_id: number for number, group in groups for reference in group}


def neighbours(references: Sequence[AnyChunk]) -> list[list[AnyChunk]]:
    """The chunks of each passage: neighbours of a document together, in reading order; the documents by their best."""
    best: dict[int, float] = {}
    for reference in references:
        best[reference.document_id] = max(reference.recall_score, best.get(reference.document_id, 0.0))
    ordered = sorted(references, key=lambda it: (-best[it.document_id], it.document_id, it.start, it.end))
    groups: list[list[AnyChunk]] = []
    end = 0
    for reference in ordered:
        if groups and groups[-1][-1].document_id == reference.document_id and reference.start <= end + MAX_GAP:
            groups[-1].append(reference)
            end = max(end, reference.end)
        else:
            groups.append([reference])
            end = reference.end
    return groups


MARK = re.compile(r"[\[【［]\^?\s?(\d{1,3}(?:\s?[,，、;–-]\s?\d{1,3})*)\s?[\]】］]")
"""The marks by which an answer cites passages: `[1]`, `[1, 3]`, `[2-4]` or `【1】`."""


def without_marks(text: str) -> str:
    """The text with blanks where its marks stand: offsets hold."""
    return MARK.sub(lambda mark: " " * len(mark[0]), text)
