"""What the tools answer. Models read it, so it is short: ids, offsets and texts, nothing else."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from kbchat.models import FOUND, Citation, Reference


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class SpaceLine(_Result):
    name: str
    id: int
    desc: str
    documents: int
    chunks: int


class SpaceList(_Result):
    spaces: list[SpaceLine]


class DocumentLine(_Result):
    name: str
    id: int
    status: str
    chunks: int


class DocumentList(_Result):
    documents: list[DocumentLine]
    in_space: int = Field(description="How many documents the space has, whatever `glob` chose.")
    next_offset: int | None = Field(description="Give it as `offset` to see more; null: there are no more.")


class Hit(_Result):
    id: int
    document: str
    start: int
    end: int
    score: float = Field(description=f"From 0 to 1; a best score below {FOUND} means that the space has no answer.")
    text: str
    cut: bool = Field(description="Whether `text` is only the beginning; `read` gives all of it.")

    @classmethod
    def of(cls, reference: Reference, *, chars: int, **more: int) -> Self:
        return cls(
            id=reference.chunk_id,
            document=reference.name,
            start=reference.start,
            end=reference.end,
            score=round(reference.recall_score, 3),
            text=reference.content[:chars],
            cut=len(reference.content) > chars,
            **more,
        )


class CitedHit(Hit):
    number: int = Field(description="What the answer cites it by, as `[number]`; neighbours in a document share one.")


class SearchResult(_Result):
    hits: list[Hit]


class Excerpt(_Result):
    document: str
    start: int
    end: int
    length: int = Field(description="Characters of the whole document.")
    next_start: int | None = Field(description="Give it as `start` to read on; null: this is the end.")
    text: str


class Match(_Result):
    document: str
    line: int
    start: int
    end: int
    text: str = Field(description="The line, or the part of it around the match.")


class GrepResult(_Result):
    matches: list[Match]
    searched: int = Field(description="How many documents were looked through.")
    next_offset: int | None = Field(description="The document to go on with, as `offset`; null: all were searched.")
    next_start: int = Field(description="The character of it to go on with, as `start`.")
    note: str | None = Field(description="Why it stopped early.")


class Doubt(_Result):
    sentence: str
    cites: int
    without_support: list[str]

    @classmethod
    def of(cls, citation: Citation, text: str) -> "Doubt":
        return cls(
            sentence=text[citation.answer_start : citation.answer_end],
            cites=citation.number,
            without_support=list(citation.unsupported),
        )


class AnswerResult(_Result):
    answer: str
    references: list[CitedHit]
    doubts: list[Doubt] = Field(description="Sentences that what they cite does not carry.")


class WriteResult(_Result):
    document: str
    done: str
