"""Every failure the adapter answers, in one table: from exception class to status, code and type.

The core never names HTTP; here each of its classes, and each of the adapter's own, has one entry. A class without an
entry takes that of its nearest base.
"""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from kbchat import errors as core
from kbchat_aiohttp.answers import json_response
from kbchat_aiohttp.schemas.base import ErrorBody, ErrorDetail

logger = logging.getLogger("kbchat.http")


class RequestError(Exception):
    """A request that the adapter itself refuses. `param` names the field at fault, `headers` go with the answer."""

    def __init__(self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})


class InvalidRequestError(RequestError):
    """A field, parameter or header that fails validation."""


class InvalidJsonError(RequestError):
    """The body is not JSON."""


class InvalidKeyError(RequestError):
    """No key was sent, or one that is not known."""


class RoleError(RequestError):
    """The key's role does not reach that far."""


class OwnerError(RequestError):
    """A key that is bound to one owner names another."""


class HostError(RequestError):
    """Without keys only loopback names are served."""


class OriginError(RequestError):
    """A page of another origin asks for a change."""


class RouteNotFoundError(RequestError):
    """No such route."""


class MethodNotAllowedError(RequestError):
    """The route has other methods."""


class NotAcceptableError(RequestError):
    """The client takes no answer of the kind that the route gives."""


class SlowRequestError(RequestError):
    """The body did not arrive in time."""


class BodyTooLargeError(RequestError):
    """The body is larger than the settings allow."""


class ContentTypeError(RequestError):
    """The body comes under a content type that the route does not read."""


class RateLimitError(RequestError):
    """Too many requests."""


class NotReadyError(RequestError):
    """A part of the knowledge base does not answer."""


class TooManyStreamsError(RequestError):
    """The server has as many answers under way as it may."""


class ShuttingDownError(RequestError):
    """The server is being stopped."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a failure looks from outside. `number` is `err_code`, `code` its name, `type` its family."""

    status: int
    number: str
    code: str
    type: str


TABLE: Mapping[type[Exception], Kind] = {
    InvalidRequestError: Kind(400, "E4000", "invalid_request", "invalid_request_error"),
    InvalidJsonError: Kind(400, "E4001", "invalid_json", "invalid_request_error"),
    core.InvalidInputError: Kind(400, "E4002", "invalid_input", "invalid_request_error"),
    InvalidKeyError: Kind(401, "E4010", "invalid_api_key", "authentication_error"),
    RoleError: Kind(403, "E4030", "role_not_sufficient", "permission_error"),
    OwnerError: Kind(403, "E4031", "owner_not_allowed", "permission_error"),
    HostError: Kind(403, "E4032", "host_not_allowed", "permission_error"),
    OriginError: Kind(403, "E4033", "origin_not_allowed", "permission_error"),
    RouteNotFoundError: Kind(404, "E4040", "route_not_found", "not_found_error"),
    core.NotFoundError: Kind(404, "E4041", "not_found", "not_found_error"),
    core.SpaceNotFoundError: Kind(404, "E4042", "space_not_found", "not_found_error"),
    core.DocumentNotFoundError: Kind(404, "E4043", "document_not_found", "not_found_error"),
    core.ConversationNotFoundError: Kind(404, "E4044", "conversation_not_found", "not_found_error"),
    core.ModelNotFoundError: Kind(404, "E4045", "model_not_found", "not_found_error"),
    core.KeyNotFoundError: Kind(404, "E4046", "key_not_found", "not_found_error"),
    MethodNotAllowedError: Kind(405, "E4050", "method_not_allowed", "invalid_request_error"),
    NotAcceptableError: Kind(406, "E4060", "not_acceptable", "invalid_request_error"),
    SlowRequestError: Kind(408, "E4080", "request_too_slow", "invalid_request_error"),
    core.ConflictError: Kind(409, "E4090", "conflict", "conflict_error"),
    core.SpaceExistsError: Kind(409, "E4091", "space_exists", "conflict_error"),
    core.AmbiguousSpaceError: Kind(409, "E4092", "space_ambiguous", "conflict_error"),
    core.SpaceInUseError: Kind(409, "E4093", "space_in_use", "conflict_error"),
    core.DocumentExistsError: Kind(409, "E4094", "document_exists", "conflict_error"),
    core.EmbedderMismatchError: Kind(409, "E4095", "embedder_mismatch", "conflict_error"),
    core.KeyExistsError: Kind(409, "E4096", "key_exists", "conflict_error"),
    BodyTooLargeError: Kind(413, "E4130", "body_too_large", "invalid_request_error"),
    ContentTypeError: Kind(415, "E4150", "unsupported_content_type", "invalid_request_error"),
    core.UnreadableDocumentError: Kind(422, "E4220", "document_unreadable", "invalid_request_error"),
    RateLimitError: Kind(429, "E4290", "rate_limit_exceeded", "rate_limit_error"),
    Exception: Kind(500, "E5000", "internal_error", "server_error"),
    core.KbchatError: Kind(500, "E5001", "failed", "server_error"),
    core.SettingsError: Kind(500, "E5002", "misconfigured", "server_error"),
    core.MissingExtraError: Kind(500, "E5003", "extra_not_installed", "server_error"),
    core.CatalogError: Kind(500, "E5004", "catalog_failed", "server_error"),
    core.CatalogCorruptError: Kind(500, "E5005", "catalog_corrupt", "server_error"),
    core.StoreError: Kind(500, "E5006", "store_failed", "server_error"),
    core.LexicalIndexError: Kind(500, "E5009", "lexical_index_failed", "server_error"),
    core.ReferencesError: Kind(500, "E5010", "references_failed", "server_error"),
    core.EmbedderError: Kind(502, "E5020", "embedder_failed", "upstream_error"),
    core.EmbedderUnavailableError: Kind(502, "E5021", "embedder_unavailable", "upstream_error"),
    core.GeneratorError: Kind(502, "E5022", "model_failed", "upstream_error"),
    core.GeneratorUnavailableError: Kind(502, "E5023", "model_unavailable", "upstream_error"),
    core.RerankerError: Kind(502, "E5024", "reranker_failed", "upstream_error"),
    core.RerankerUnavailableError: Kind(502, "E5025", "reranker_unavailable", "upstream_error"),
    core.CatalogUnavailableError: Kind(503, "E5030", "catalog_unavailable", "server_error"),
    core.BusyError: Kind(503, "E5031", "busy", "server_error"),
    core.StoreUnavailableError: Kind(503, "E5032", "store_unavailable", "server_error"),
    core.GeneratorBusyError: Kind(503, "E5033", "model_busy", "upstream_error"),
    NotReadyError: Kind(503, "E5034", "not_ready", "server_error"),
    TooManyStreamsError: Kind(503, "E5035", "too_many_streams", "server_error"),
    ShuttingDownError: Kind(503, "E5036", "shutting_down", "server_error"),
    core.CollectionNotFoundError: Kind(503, "E5037", "collection_missing", "server_error"),
    core.VectorError: Kind(503, "E5038", "invalid_vector", "server_error"),
    core.DeadlineError: Kind(504, "E5040", "deadline_exceeded", "server_error"),
    core.GeneratorTimeoutError: Kind(504, "E5041", "model_timeout", "upstream_error"),
}

RETRY_AFTER = 5
"""Seconds a client is told to wait when nobody knows better."""


WIRE_NAMES = {"uid": "conv_uid"}
"""What the wire calls an argument of the face, where that is another name on every route."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure as it is told to a client."""

    kind: Kind
    message: str
    param: str | None
    headers: Mapping[str, str]


def kind_of(error: type[BaseException]) -> Kind:
    """The entry of the class itself or of its nearest base."""
    return next(TABLE[base] for base in error.__mro__ if base in TABLE)


def in_wire_words(error: core.InvalidInputError, names: Mapping[str, str]) -> tuple[str, str]:
    """The wire's name of the argument that an error is about, and the error's message with it."""
    param = names.get(error.field, error.field)
    return param, f"{param}: {error.message.removeprefix(f'{error.field}: ')}"


def describe(error: Exception) -> Failure:
    """What a client is told of an error, and what the log is: the whole story of an unexpected one stays here."""
    kind = kind_of(type(error))
    param: str | None = None
    headers: dict[str, str] = {}
    match error:
        case RequestError():
            message, param, headers = error.message, error.param, error.headers
        case core.InvalidInputError():
            param, message = in_wire_words(error, WIRE_NAMES)
        case core.KbchatError():
            message, param = error.message, _param(error)
        case _:
            logger.error("unexpected failure", exc_info=error)
            return Failure(kind, "the server failed unexpectedly; its log has the cause", None, {})
    if kind.status >= 500 and not isinstance(error, RequestError):
        logger.warning("%s: %s", kind.code, message)
    return Failure(kind, message, param, {**_standard_headers(error, kind), **headers})


def _param(error: core.KbchatError) -> str | None:
    match error:
        case core.ModelNotFoundError():
            return "model"
        case _:
            return None


def _standard_headers(error: Exception, kind: Kind) -> dict[str, str]:
    if kind.status == 401:
        return {"WWW-Authenticate": "Bearer"}
    if kind.status in (429, 503):
        wait = error.retry_after if isinstance(error, core.GeneratorBusyError) else None
        return {"Retry-After": str(RETRY_AFTER if wait is None else max(1, round(wait)))}
    return {}


def error_response(error: Exception) -> web.Response:
    """The one body that both families of client understand."""
    failure = describe(error)
    kind = failure.kind
    body = ErrorBody(
        err_code=kind.number,
        err_msg=failure.message,
        error=ErrorDetail(message=failure.message, type=kind.type, code=kind.code, param=failure.param),
    )
    return json_response(body, status=kind.status, headers=failure.headers)


def markdown() -> str:
    """The table as the documentation shows it."""
    lines = ["| status | `err_code` | `error.code` | `error.type` | when |", "| --- | --- | --- | --- | --- |"]
    for error, kind in TABLE.items():
        when = "Anything unexpected." if error is Exception else _first_sentence(error)
        lines.append(f"| {kind.status} | {kind.number} | `{kind.code}` | `{kind.type}` | {when} |")
    return "\n".join(lines)


def _first_sentence(error: type[Exception]) -> str:
    paragraph = (inspect.getdoc(error) or "").partition("\n\n")[0]
    return f"{paragraph.partition('. ')[0].rstrip('.')}."
