"""Questions and answers."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field, JsonValue, ValidationInfo, field_validator

from kbchat import frames, references
from kbchat.models import Message, Role, Sampling
from kbchat.numbering import numbers
from kbchat.summaries import ConversationInfo, Turn
from kbchat_aiohttp.schemas.base import (
    OWNER,
    AnswerModel,
    Flag,
    Number,
    Paging,
    RequestModel,
    Text,
    Whole,
    _as_whole,
)


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
    stop: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])] = Field(default=[])
    frequency_penalty: Number | None = Field(default=None, ge=-2, le=2)
    presence_penalty: Number | None = Field(default=None, ge=-2, le=2)
    conv_uid: Text | None = Field(
        default=None,
        description="The conversation this belongs to; what was said in it before is known.",
        json_schema_extra=OWNER,
    )

    @field_validator("conv_uid")
    @classmethod
    def _empty_is_none(cls, conv_uid: str | None) -> str | None:
        return conv_uid or None

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
    number: int | None = Field(description="What the answer cites it by; neighbouring chunks share one.")
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


class CheckedCitation(AnswerModel):
    """A cited sentence of the answer, checked against what it cites."""

    answer_start: int
    answer_end: int
    number: int
    name: str | None
    document_id: int | None
    chunk_id: int | None
    start: int | None
    end: int | None
    support: float
    unsupported: list[str]


class OpenAICompletion(Completion):
    """A whole answer, with the passages that the model was given beside it."""

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


class ListConversations(Paging):
    """Which conversations."""

    space_id: int | None = Field(default=None, ge=0, lt=10**18, description="Those that asked this space last.")


class ConversationObject(AnswerModel):
    """A conversation as the wire shows it. `turns` counts what was said, `title` is how the first question begins."""

    conv_uid: str
    title: str
    space_id: int | None
    turns: int
    gmt_created: str
    gmt_modified: str

    @classmethod
    def of(cls, info: ConversationInfo) -> "ConversationObject":
        return cls(
            conv_uid=info.uid,
            title=info.title,
            space_id=info.space_id,
            turns=info.turn_count,
            gmt_created=info.created_at.isoformat(),
            gmt_modified=info.updated_at.isoformat(),
        )


class SaidTurn(AnswerModel):
    """One turn; one from a space has its passages. The `content` of a passage that is gone is empty."""

    role: str
    content: str
    references: list[ReferenceDocument] = Field(default=[])
    citations: list[CheckedCitation] = Field(default=[])

    @classmethod
    def of(cls, turn: Turn) -> "SaidTurn":
        if turn.sources is None:
            return cls(role=turn.role, content=turn.content)
        found = references.detailed(turn.sources.references, numbers(turn.sources.references))
        checked = [frames.cited(it, lambda offset: offset) for it in turn.sources.citations]
        return cls.model_validate(
            {"role": turn.role, "content": turn.content, "references": found, "citations": checked}
        )


class WholeConversation(ConversationObject):
    """A conversation with what was said in it."""

    messages: list[SaidTurn]
