"""Spaces, and what is found in them."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationInfo, field_validator

from kbchat import filters
from kbchat.errors import InvalidInputError
from kbchat.models import Reference, SpaceInfo, VectorType
from kbchat.retrieval.explaining import Trace
from kbchat.settings import MAX_TOP_K
from kbchat_aiohttp.answers import Envelope
from kbchat_aiohttp.schemas.base import (
    NAME,
    OWNER,
    PROSE,
    AnswerModel,
    AnyVectorType,
    Flag,
    JsonText,
    Number,
    Paging,
    RequestModel,
    Text,
    Whole,
)


class CreateSpace(RequestModel):
    """A space to be made."""

    name: str = Field(description="Unique among the spaces of its owner, in any script.", json_schema_extra=NAME)
    vector_type: AnyVectorType = Field(default=VectorType.CHROMA, description="Which vector store holds it.")
    desc: str = Field(default="", json_schema_extra=PROSE)
    owner: Text | None = Field(default=None, description="Default: the key's owner.", json_schema_extra=OWNER)
    context: JsonText | None = Field(
        default=None, description="Kept as it is; anything but a string as its JSON.", json_schema_extra=PROSE
    )


class UpdateSpace(RequestModel):
    """What is to change of a space: the one with this id or, without one, of this name. What is left out stays."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["id"], "properties": {"id": {"type": ["string", "integer"]}}},
                {"required": ["name"], "properties": {"name": {"type": "string"}}},
            ]
        }
    )

    id: Text | None = Field(default=None, description="Without it, `name` says which space is meant.")
    name: str | None = Field(
        default=None, validate_default=True, description="With an id: the new name.", json_schema_extra=NAME
    )
    vector_type: AnyVectorType | None = None
    desc: str | None = Field(default=None, json_schema_extra=PROSE)
    owner: Text | None = Field(default=None, json_schema_extra=OWNER)
    context: JsonText | None = Field(default=None, json_schema_extra=PROSE)

    @field_validator("name")
    @classmethod
    def _one_is_named(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None and info.data.get("id") is None:
            raise ValueError("id or name must say which space is meant")
        return name


class ListSpaces(Paging):
    name: str | None = None
    owner: str | None = None
    vector_type: AnyVectorType | None = None


class SpaceObject(BaseModel):
    """A space as the wire shows it."""

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    vector_type: str
    desc: str
    owner: str
    context: str | None
    document_count: int
    chunk_count: int
    gmt_created: str
    gmt_modified: str

    @classmethod
    def of(cls, info: SpaceInfo) -> "SpaceObject":
        return cls(
            id=info.id,
            name=info.name,
            vector_type=info.vector_type,
            desc=info.desc,
            owner=info.owner,
            context=info.context,
            document_count=info.document_count,
            chunk_count=info.chunk_count,
            gmt_created=info.created_at.isoformat(),
            gmt_modified=info.updated_at.isoformat(),
        )


class StatsObject(AnswerModel):
    """What is in a space. `state` is `empty`, `indexing` or `ready`."""

    documents: int
    chunks: int
    tokens: int
    statuses: dict[str, int]
    state: Literal["empty", "indexing", "ready"]
    embedder: str | None


def _as_filter(value: object) -> filters.Filter:
    """The house's own reading of a filter, whose message names the spot."""
    try:
        return filters.parse(value, field="filter")
    except InvalidInputError as error:
        raise ValueError(str(error).removeprefix("filter: ")) from None


class Retrieve(RequestModel):
    """A question to find passages for."""

    query: str = Field(json_schema_extra={"minLength": 1, "maxLength": 100_000, "pattern": r"^[^\x00]*\S[^\x00]*$"})
    top_k: Whole | None = Field(default=None, ge=1, le=MAX_TOP_K)
    score_threshold: Number | None = Field(default=None, ge=0, le=1)
    filter: Annotated[filters.Filter, BeforeValidator(_as_filter)] | None = Field(
        default=None,
        description="Only of documents whose metadata fits. At most "
        f"{filters.MAX_DEPTH} levels and {filters.MAX_TERMS} conditions and values.",
    )
    explain: Flag = Field(default=False, description="Whether the answer has a `trace` beside its `data`.")


class FoundChunk(AnswerModel):
    """A passage that was found, with its place in its document and the parts of its score."""

    id: int
    document_id: int
    name: str
    content: str
    metadata: dict[str, JsonValue]
    start: int
    end: int
    recall_score: float
    dense: float | None
    lexical: float | None
    sentence: float | None
    rerank: float | None

    @classmethod
    def of(cls, found: Reference) -> "FoundChunk":
        return cls(id=found.chunk_id, **found.model_dump(exclude={"chunk_id", "space"}))


class FoundChunks(Envelope[list[FoundChunk]]):
    """The passages, best first; beside them, where it was asked for, how they were found."""

    trace: Trace | None = Field(default=None, exclude_if=lambda trace: trace is None)
