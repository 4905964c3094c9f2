"""How answers are written: JSON, in the envelope of the knowledge routes where they want one."""

from collections.abc import Mapping, Sequence
from typing import Generic, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Envelope(BaseModel, Generic[T]):
    """What a knowledge route answers when all went well."""

    model_config = ConfigDict(frozen=True)

    success: Literal[True] = True
    err_code: None = None
    err_msg: None = None
    data: T


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    model_config = ConfigDict(frozen=True)

    items: Sequence[T]
    total_count: int
    total_pages: int
    page: int
    page_size: int

    @classmethod
    def of(cls, items: Sequence[T], *, total: int, page: int, page_size: int) -> "Page[T]":
        return cls(items=items, total_count=total, total_pages=-(-total // page_size), page=page, page_size=page_size)


def json_response(
    body: BaseModel | bytes,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A JSON answer; bytes are JSON already. Nobody on the way may keep it: it belongs to the key that asked."""
    return web.Response(
        body=body if isinstance(body, bytes) else body.model_dump_json().encode(),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def success(data: T) -> web.Response:
    """`data` in the envelope of the knowledge routes."""
    return json_response(Envelope[T](data=data))
