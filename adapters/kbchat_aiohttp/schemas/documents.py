"""Documents."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, RootModel, model_validator

from kbchat.models import Document, DocumentStatus, IngestProgress
from kbchat_aiohttp.schemas.base import NAME, AnswerModel, Flag, Paging, RequestModel, Text, Whole


class CreateDocument(RequestModel):
    """A document to be taken in: a text, or with multipart a file in `doc_file`. It is found once it is synced."""

    doc_name: str | None = Field(default=None, description="Default: the file's name.", json_schema_extra=NAME)
    doc_type: Literal["DOCUMENT", "TEXT", "URL"] | None = Field(
        default=None,
        description="DOCUMENT is a file, TEXT is `content`, whatever file comes along. URLs are not fetched.",
    )
    content: str | None = Field(default=None, description="The text, for TEXT.")
    doc_source: str | None = Field(default=None, description="Where it came from, for people.")
    space_id: Text = Field(description="The space's id or name.")
    replace: bool = Field(default=False, description="Whether it may take the place of a document of that name.")

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, value: object) -> object:
        """The published clients send what they leave out as empty texts."""
        return {key: item for key, item in value.items() if item != ""} if isinstance(value, Mapping) else value


class ChunkParameters(RequestModel):
    """How a document is to be split. Each strategy looks at its own parameters alone; sizes are tokens."""

    chunk_strategy: str | None = Field(
        default=None,
        description="`Automatic` (as the space says), `CHUNK_BY_SIZE`, `CHUNK_BY_PAGE`, `CHUNK_BY_PARAGRAPH`, "
        "`CHUNK_BY_SEPARATOR`, `CHUNK_BY_MARKDOWN_HEADER`, or one of kbchat's own.",
    )
    chunk_size: Whole | None = Field(default=None, ge=16, le=8192)
    chunk_overlap: Whole | None = Field(default=None, ge=0)
    separator: str | None = Field(default=None, max_length=100)
    enable_merge: Flag | None = None


class SyncOne(RequestModel):
    """How a document is to be indexed."""

    chunk_parameters: ChunkParameters | None = Field(
        default=None, description="Only of what was uploaded; what was ingested is split as its space says."
    )


class SyncDocument(SyncOne):
    """A document to be indexed."""

    doc_id: Text
    space_id: Text | None = Field(default=None, description="The space it is in; without it, wherever it is.")


class SyncDocuments(RootModel[Annotated[list[SyncDocument], Field(min_length=1, max_length=10_000)]]):
    """Documents to be indexed."""


class ListDocuments(Paging):
    space_id: str | None = Field(default=None, description="Only those of this space.")


class ContentRange(RequestModel):
    """A stretch of a document's text, in characters from 0; `end` is not in it."""

    start: int = Field(default=0, ge=0)
    end: int | None = Field(default=None, ge=0)


class DocumentObject(AnswerModel):
    """A document as the wire shows it. `chunk_size` counts its chunks, `result` says why it FAILED.

    While it is RUNNING, the server that indexes it says what it does with it in `stage` (`reading`, `splitting`,
    `writing`, `done`) and the share done of all its work in `progress`, in [0, 1]; else both are null.
    """

    id: int
    doc_name: str
    doc_type: str
    content: str = ""
    doc_source: str = ""
    space: str
    space_id: str
    status: str
    last_sync: str | None
    chunk_size: int
    result: str
    gmt_created: str
    gmt_modified: str
    stage: str | None = None
    progress: float | None = None

    @classmethod
    def of(cls, document: Document, space: str, told: IngestProgress | None = None) -> "DocumentObject":
        if document.status is not DocumentStatus.RUNNING:
            told = None
        synced = document.status in (DocumentStatus.FINISHED, DocumentStatus.FAILED)
        modified = document.updated_at.isoformat()
        return cls(
            id=document.id,
            doc_name=document.name,
            doc_type=document.doc_type,
            doc_source=document.source or "",
            space=space,
            space_id=str(document.space_id),
            status=document.status,
            last_sync=modified if synced else None,
            chunk_size=document.chunk_count,
            result=document.error or "",
            gmt_created=document.created_at.isoformat(),
            gmt_modified=modified,
            stage=told.stage if told else None,
            progress=round(told.share, 3) if told else None,
        )


class DocumentContent(AnswerModel):
    """A stretch of a document's extracted text: `end` may be before the one that was asked for."""

    content: str
    start: int
    end: int
    total: int
