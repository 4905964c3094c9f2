"""How requests are read: bounded in size and time, only under their documented content type, into pydantic models."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
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

MAX_FIELDS = 100
"""Fields of a multipart body."""
CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a multipart body."""

    name: str
    data: bytes


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
    return validate(model, {key: request.query[key] for key in request.query})


def validate(model: type[Model], values: Mapping[str, object]) -> Model:
    """Values as `model`. Raises `InvalidRequestError`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(error) from None


def require_content_type(request: web.Request, *allowed: str) -> None:
    """Refuse bodies of any other type: `text/plain` and no type at all are what a foreign web page can send unasked."""
    if media_type(request) not in allowed:
        raise ContentTypeError(f"send the body as {' or '.join(allowed)}, with a Content-Type that says so")
    named = "charset" in request.headers["Content-Type"].lower()
    if named and (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise ContentTypeError("send the body in UTF-8")


def media_type(request: web.Request) -> str:
    """What the body is said to be, without parameters. aiohttp takes half a millisecond to read the type of a form, of
    which each has a boundary of its own."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def read_body(request: web.Request, *, limit: int, patience: "Patience | None" = None) -> bytes:
    """The whole body, unpacked. The limit holds for what comes out, so a small bomb stays small.

    Not `request.read()`: its limit is that of whatever application this one is mounted in.
    """
    _check_length(request, limit)
    await invite_body(request)
    body = bytearray()
    try:
        async with (patience or Patience()).timed() as heard:
            while chunk := await request.content.readany():
                heard()
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except web.RequestPayloadError:
        raise InvalidRequestError(
            "the body cannot be read: it is not packed as its Content-Encoding says, or was cut short"
        ) from None
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a body may take to arrive, and how many it may be silent."""

    whole: float = 300.0
    silent: float = 30.0

    @asynccontextmanager
    async def timed(self) -> AsyncIterator[Callable[[], None]]:
        """Read within the block; call what it gives whenever something arrived. Raises `SlowRequestError`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.whole
        try:
            async with asyncio.timeout(min(self.whole, self.silent)) as limit:
                yield lambda: limit.reschedule(min(end, loop.time() + self.silent))
        except TimeoutError:
            raise SlowRequestError("the body did not arrive in time; send it faster, or in parts") from None


def _check_length(request: web.Request, limit: int) -> None:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body may have {limit} bytes; send less, or raise KBCHAT_MAX_BODY_BYTES")


async def read_form(request: web.Request, *, limit: int) -> tuple[dict[str, str], Upload | None]:
    """The fields of a multipart body, and the file among them. Of repeated ones the last counts."""
    require_content_type(request, "multipart/form-data")
    _check_length(request, limit)
    await invite_body(request)
    fields: dict[str, str] = {}
    upload: Upload | None = None
    room = limit
    try:
        async with Patience().timed() as heard:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader) or len(fields) >= MAX_FIELDS:
                    raise InvalidRequestError("the multipart body has parts within parts, or too many")
                data = await _read_part(part, room, limit, heard)
                room -= len(data)
                name, filename = _labels(part)
                if filename == "" and not data:
                    continue  # What browsers send for a field where no file was chosen.
                if filename is not None:
                    upload = Upload(filename, data)
                elif name is not None:
                    fields[name] = data.decode()
    except (ValueError, AssertionError, HttpProcessingError, web.RequestPayloadError):
        raise InvalidRequestError(
            "the multipart body cannot be read: its parts, or a field's text, are broken"
        ) from None
    return fields, upload


def _labels(part: BodyPartReader) -> tuple[str | None, str | None]:
    """A part's name and filename. aiohttp takes half a millisecond to read them, which all but odd ones are spared."""
    if found := _PLAIN_LABELS.fullmatch(part.headers.get("Content-Disposition", "")):
        return found["name"], found["filename"]
    return part.name, part.filename


_PLAIN_LABELS = re.compile(r'form-data; name="(?P<name>[\w.-]+)"(?:; filename="(?P<filename>[\w .%()-]+)")?', re.ASCII)


async def _read_part(part: BodyPartReader, room: int, limit: int, heard: Callable[[], None]) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(CHUNK_BYTES):
        heard()
        data += chunk
        if len(data) > room:
            raise _too_large(limit)
    return bytes(data)


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
