"""What requests and answers look like: liberal in what is accepted, exact in what is sent.

Keys that are not known are ignored, and so are those set to null. The same models make the OpenAPI description.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from kbchat.models import Message, Role, Sampling, SpaceInfo, VectorType

ID = re.compile(r"[0-9]{1,18}")
"""An id as text: ASCII digits that fit the catalog's integers."""


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {key: schema[key] for key in ("default", "description", "title") if key in schema}
    rest = {key: value for key, value in schema.items() if key not in described}
    choices = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    null = {"type": "null"}
    return {**described, "anyOf": choices if null in choices else [*choices, null]}


class RequestModel(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Say that null may stand for each property that may be left out."""
        described = handler.resolve_ref_schema(handler(schema))
        required = described.get("required", [])
        for name, field in described.get("properties", {}).items():
            if name not in required:
                described["properties"][name] = _or_null(field)
        return described

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: object) -> object:
        """Null means not sent."""
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, Mapping) else value


# -- what JSON Schema can say of the house's own rules, which check it -------------------------------------------------

_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_SPACE = r"\x20\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_NAME = f"[^{_CONTROL}{_SPACE}]([^{_CONTROL}]*[^{_CONTROL}{_SPACE}])?"
NAME: dict[str, JsonValue] = {"minLength": 1, "maxLength": 255, "pattern": f"^{_NAME}$"}
OWNER: dict[str, JsonValue] = {"maxLength": 255, "pattern": f"^({_NAME})?$"}
PROSE: dict[str, JsonValue] = {"maxLength": 10_000, "pattern": r"^[^\x00]*$"}

# -- liberal types ---------------------------------------------------------------------------------------------------


def _as_text(value: object) -> object:
    """Numbers are taken for the text they are written as."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_json_text(value: object) -> object:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)


def _as_vector_type(value: object) -> object:
    for known in VectorType:
        if isinstance(value, str) and value.lower() == known.lower():
            return known
    raise ValueError(f"must be {' or '.join(VectorType)}")


def _as_whole(value: object) -> object:
    """JSON knows one kind of number: 5.0 is a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_messages(value: object) -> object:
    """A string, a list of strings, or a list of messages: each string is something the user says."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise ValueError("must be a string, a list of strings or a list of messages with role and content")
    return [{"role": "user", "content": item} if isinstance(item, str) else item for item in items]


def _as_content(value: object) -> object:
    """A message's text, also as the list of parts that OpenAI's clients may send."""
    if not isinstance(value, list):
        return value
    texts = [part.get("text") for part in value if isinstance(part, Mapping) and part.get("type") == "text"]
    if len(texts) != len(value) or not all(isinstance(text, str) for text in texts):
        raise ValueError("only parts of type text can be read")
    return "".join(str(text) for text in texts)


ROLES: Mapping[str, Role] = {"developer": "system", "human": "user", "ai": "assistant"}


def _as_role(value: object) -> object:
    return ROLES.get(value, value) if isinstance(value, str) else value


Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Whole = Annotated[int, BeforeValidator(_as_whole, json_schema_input_type=int), Field(strict=True)]
Text = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | int)]
JsonText = Annotated[str, BeforeValidator(_as_json_text, json_schema_input_type=JsonValue)]
AnyVectorType = Annotated[
    VectorType,
    BeforeValidator(_as_vector_type),
    WithJsonSchema({"type": "string", "enum": list(VectorType), "description": "In any letter case."}),
]


# -- spaces ----------------------------------------------------------------------------------------------------------


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


class Paging(RequestModel):
    """Which page of a list."""

    page: int = Field(default=1, ge=1, le=1_000_000_000)
    page_size: int = Field(default=20, ge=1, le=1000)

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.page_size


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


# -- chat ------------------------------------------------------------------------------------------------------------


class ChatMessage(RequestModel):
    role: Annotated[
        Role, BeforeValidator(_as_role, json_schema_input_type=Role | Literal["developer", "human", "ai"])
    ] = "user"
    content: Annotated[str, BeforeValidator(_as_content, json_schema_input_type=str | list[dict[str, JsonValue]])] = ""


class StreamOptions(RequestModel):
    include_usage: Flag = False


Messages = Annotated[
    list[ChatMessage],
    BeforeValidator(_as_messages, json_schema_input_type=str | list[str] | list[ChatMessage]),
]


class ChatCompletion(RequestModel):
    """A question, with the turns before it."""

    messages: Messages = Field(description="The last one is the question.", json_schema_extra={"pattern": r"\S"})
    model: str | None = Field(default=None, description="Default: the server's default model.")
    stream: Flag = False
    stream_options: StreamOptions = StreamOptions()
    n: Annotated[Literal[1], BeforeValidator(_as_whole, json_schema_input_type=Literal[1])] = 1
    temperature: Number | None = Field(default=None, ge=0, le=2)
    top_p: Number | None = Field(default=None, gt=0, le=1)
    max_tokens: Whole | None = Field(
        default=None,
        ge=1,
        validation_alias=AliasChoices("max_tokens", "max_completion_tokens", "max_new_tokens"),
    )
    stop: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])] = []
    frequency_penalty: Number | None = Field(default=None, ge=-2, le=2)
    presence_penalty: Number | None = Field(default=None, ge=-2, le=2)

    def turns(self) -> tuple[Message, ...]:
        return tuple(Message(role=message.role, content=message.content) for message in self.messages)

    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=tuple(text for text in self.stop if text),
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
        )


class KnowledgeChatCompletion(ChatCompletion):
    """A question to a space (`chat_knowledge`) or to the model alone (`chat_normal`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["chat_mode"], "properties": {"chat_mode": {"const": "chat_knowledge"}}},
            "then": {"required": ["chat_param"], "properties": {"chat_param": {"type": ["string", "integer"]}}},
        }
    )

    chat_mode: Literal["chat_normal", "chat_knowledge"] = "chat_normal"
    chat_param: Text | None = Field(
        default=None, validate_default=True, description="The space's name or id, for `chat_knowledge`."
    )
    incremental: Flag = Field(default=True, description="False: each frame holds all the text so far.")

    @field_validator("chat_param")
    @classmethod
    def _space_is_named(cls, chat_param: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("chat_mode") == "chat_knowledge" and not (chat_param or "").strip():
            raise ValueError("must name the space when chat_mode is chat_knowledge")
        return chat_param


# -- answers ---------------------------------------------------------------------------------------------------------


class AnswerModel(BaseModel):
    """An answer. Further keys may come with later versions."""

    model_config = ConfigDict(frozen=True)


class TokenUsage(AnswerModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(AnswerModel):
    role: Literal["assistant"]
    content: str


class Choice(AnswerModel):
    index: Literal[0]
    message: AnswerMessage
    finish_reason: Literal["stop", "length"] | None


class Completion(AnswerModel):
    """A whole answer. Its text ends with the references tag when something was found."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: TokenUsage


class ReferenceChunk(AnswerModel):
    id: int
    content: str
    meta_info: str
    recall_score: float
    document_id: int
    start: int
    end: int
    dense: float | None
    lexical: float | None
    sentence: float | None
    rerank: float | None


class ReferenceDocument(AnswerModel):
    name: str
    chunks: list[ReferenceChunk]


class OpenAICompletion(Completion):
    """A whole answer, with what it rests on beside it."""

    references: list[ReferenceDocument]


class ModelObject(AnswerModel):
    """A model, or a space, as OpenAI's clients list it. `created` is in seconds since 1970."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["kbchat"] = "kbchat"


class ModelList(AnswerModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]


class HealthStatus(AnswerModel):
    status: Literal["ok", "ready"]


class ErrorDetail(AnswerModel):
    """What OpenAI's clients read of a failure."""

    message: str
    type: str
    code: str
    param: str | None


class ErrorBody(AnswerModel):
    """The body of every failure."""

    success: Literal[False] = False
    err_code: str
    err_msg: str
    data: None = None
    error: ErrorDetail
