"""What all requests and answers share: liberal in what is accepted, exact in what is sent.

Keys that are not known are ignored, and so are those set to null. The same models make the OpenAPI description.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from kbchat.models import VectorType

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


class Paging(RequestModel):
    """Which page of a list."""

    page: int = Field(default=1, ge=1, le=1_000_000_000)
    page_size: int = Field(default=20, ge=1, le=1000)

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.page_size


class AnswerModel(BaseModel):
    """An answer. Further keys may come with later versions."""

    model_config = ConfigDict(frozen=True)


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


class HealthStatus(AnswerModel):
    status: Literal["ok", "ready"]


class KeyHealth(HealthStatus):
    """`role` is what the key that asked may do."""

    role: Literal["reader", "writer", "admin"]
