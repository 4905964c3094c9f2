"""How requests are read: bounded in size and time, only under their documented content type, into pydantic models."""

import asyncio
from typing import TypeVar

from aiohttp import web
from aiohttp.http import HttpVersion11
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kbchat_aiohttp.errors import (
    BodyTooLargeError,
    ContentTypeError,
    InvalidJsonError,
    InvalidRequestError,
    SlowRequestError,
)

Model = TypeVar("Model", bound=BaseModel)

BODY_SECONDS = 60.0
"""How long a body may take to arrive."""


async def read_json(request: web.Request, model: type[Model], *, limit: int) -> Model:
    """The body as `model`. Raises the adapter's own errors; the message names the field at fault, not its value."""
    require_content_type(request, "application/json")
    body = await read_body(request, limit=limit)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None


def read_query(request: web.Request, model: type[Model]) -> Model:
    """The query parameters as `model`. Of a repeated one the first counts."""
    try:
        return model.model_validate({key: request.query[key] for key in request.query})
    except ValidationError as error:
        raise _refusal(error) from None


def require_content_type(request: web.Request, *allowed: str) -> None:
    """Refuse bodies of any other type: `text/plain` and no type at all are what a foreign web page can send unasked."""
    if "Content-Type" not in request.headers or request.content_type not in allowed:
        raise ContentTypeError(f"send the body as {' or '.join(allowed)}, with a Content-Type that says so")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise ContentTypeError("send the body in UTF-8")


async def read_body(request: web.Request, *, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body, unpacked. The limit holds for what comes out, so a small bomb stays small.

    Not `request.read()`: its limit is that of whatever application this one is mounted in.
    """
    if (request.content_length or 0) > limit:
        raise BodyTooLargeError(f"the body may have {limit} bytes; send less, or raise KBCHAT_MAX_BODY_BYTES")
    await invite_body(request)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > limit:
                    raise BodyTooLargeError(
                        f"the body may have {limit} bytes; send less, or raise KBCHAT_MAX_BODY_BYTES"
                    )
    except TimeoutError:
        raise SlowRequestError(f"the body did not arrive within {seconds:g} seconds") from None
    except web.RequestPayloadError as error:
        raise InvalidRequestError(f"the body cannot be read: {error}") from None
    return bytes(body)


async def invite_body(request: web.Request) -> None:
    """Send the `100 Continue` a client waits for: only now, when the request has passed every check but its body's."""
    if request.version == HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def postpone_invitation(request: web.Request) -> None:
    """The routes' expect handler: `invite_body` answers later."""


def _refusal(error: ValidationError) -> InvalidJsonError | InvalidRequestError:
    details = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if details["type"] == "json_invalid":
        return InvalidJsonError(f"the body is not valid JSON: {details['msg'].removeprefix('Invalid JSON: ')}")
    field = _field(details)
    message = details["msg"].removeprefix("Value error, ")
    return InvalidRequestError(f"{field}: {message}" if field else f"the body: {message}", param=field or None)


def _field(details: ErrorDetails) -> str:
    """The field's path as a client would write it: `messages[0].content`."""
    path = ""
    for part in details["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
