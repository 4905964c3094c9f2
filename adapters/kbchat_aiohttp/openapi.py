"""The OpenAPI description of the interface, made from the models that validate its requests and make its answers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from kbchat_aiohttp.routes import Route
from kbchat_aiohttp.schemas.base import ErrorBody

Schema = dict[str, Any]
"""JSON, as deep as a description is: the one place where a precise type would say nothing."""
Names = Mapping[tuple[type[BaseModel], JsonSchemaMode], Schema]
"""How a model's schema is referred to."""

PARAMETER = re.compile(r"\{(\w+)\}")
REFERENCE = "#/components/schemas/{model}"
MAY_FAIL = (403, 500, 503)
"""What every route may answer besides what it says of itself."""
WITH_KEY = (401, 429)
WITH_BODY = (400, 408, 413, 415)
STREAM = (
    "When `stream` is true: frames of `data: {JSON}` and a blank line, then `data: [DONE]`. After a failure in "
    'mid-stream the last frame is `data: {"error": {…}}`, and no `[DONE]` follows.'
)


def describe_routes(routes: Sequence[Route], *, version: str, prefix: str = "") -> Schema:
    """The description of these routes, mounted at `prefix`."""
    models = _models(routes)
    names: Any
    names, definitions = models_json_schema(models, ref_template=REFERENCE)
    paths: Schema = {}
    for route in routes:
        paths.setdefault(route.shown, {})[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kbchat",
            "version": version,
            "summary": "Chat with your own documents, with references that can be checked.",
        },
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _models(routes: Iterable[Route]) -> list[tuple[type[BaseModel], JsonSchemaMode]]:
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ErrorBody, "serialization"): None}
    for route in routes:
        if route.body is not None:
            models[route.body, "validation"] = None
        if route.answer is not None:
            models[route.answer, "serialization"] = None
    return list(models)


def _operation(route: Route, names: Names) -> Schema:
    operation: Schema = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-zA-Z0-9]+', '_', route.shown)}",
        "summary": route.summary,
        "responses": _responses(route, names),
        "security": [{"key": []}] if route.role is not None else [],
    }
    if parameters := [*_path_parameters(route), *_query_parameters(route.query)]:
        operation["parameters"] = list(parameters)
    if route.body is not None:
        schema = names[route.body, "validation"]
        content = {"application/json": {"schema": schema}}
        if route.has_file:
            file = {"properties": {"doc_file": {"type": "string", "contentMediaType": "application/octet-stream"}}}
            content["multipart/form-data"] = {"schema": {"type": "object", "allOf": [schema, file]}}
        operation["requestBody"] = {"required": not route.has_file, "content": content}
    return operation


def _responses(route: Route, names: Names) -> Schema:
    content: Schema = {}
    if route.answer is not None:
        content["application/json"] = {"schema": names[route.answer, "serialization"]}
    elif route.media_type is not None:
        content[route.media_type] = {"schema": {"type": "string"}}
    if route.streams:
        event = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
        content["text/event-stream"] = {"schema": {**event, "description": STREAM}}
    responses: Schema = {"200": {"description": "Done.", "content": content}}
    statuses = {*MAY_FAIL, *route.fails}
    if route.role is not None:
        statuses |= set(WITH_KEY)
    if route.body is not None:
        statuses |= set(WITH_BODY)
    failure: Schema = {"application/json": {"schema": names[ErrorBody, "serialization"]}}
    for status in sorted(statuses):
        responses[str(status)] = {"description": f"{HTTPStatus(status).phrase}.", "content": failure}
    return responses


def _path_parameters(route: Route) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
        for name in PARAMETER.findall(route.shown)
    ]


def _query_parameters(model: type[BaseModel] | None) -> list[Schema]:
    if model is None:
        return []
    schema = model.model_json_schema(mode="validation")
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(field)}
        for name, field in schema["properties"].items()
    ]


def _without_null(schema: Schema) -> Schema:
    """A query has no null: what may be null may be left out."""
    if "anyOf" not in schema:
        return schema
    kept = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**rest, **kept[0]} if len(kept) == 1 else {**rest, "anyOf": kept}
