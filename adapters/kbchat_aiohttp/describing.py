"""The routes that describe all the others: for programs, and for people."""

from collections.abc import Sequence
from html import escape

from aiohttp import web
from pydantic.json_schema import JsonSchemaMode
from pydantic_core import to_json

import kbchat
from kbchat_aiohttp.answers import json_response
from kbchat_aiohttp.openapi import Schema, describe_routes
from kbchat_aiohttp.routes import Call, Route, route, routes_of

JSON = "/openapi.json"
PAGE = "/docs"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code { font: 14px ui-monospace, monospace; } h2 { margin: 2.5rem 0 .5rem; } caption { text-align: left; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd; } a { color: #8bf; } }
"""
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Description:
    """Describes an application that has these routes and its own."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [*routes, *routes_of(self)]

    @route("GET", JSON, None, "This description, as OpenAPI", media_type="application/json")
    async def json(self, call: Call) -> web.Response:
        prefix = call.request.path.removesuffix(JSON)
        return json_response(to_json(describe_routes(self._routes, version=kbchat.__version__, prefix=prefix)))

    @route("GET", PAGE, None, "This description, as a page", media_type="text/html")
    async def page(self, call: Call) -> web.Response:
        headers = {"Content-Security-Policy": POLICY}
        return web.Response(text=render(self._routes), content_type="text/html", headers=headers)

    @route("GET", f"{PAGE}/style.css", None, "The page's style", media_type="text/css")
    async def style(self, call: Call) -> web.Response:
        return web.Response(text=STYLE, content_type="text/css")


def render(routes: Sequence[Route]) -> str:
    """A page that needs no script and fetches nothing from elsewhere."""
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>kbchat: the interface</title>"
        '<meta name=viewport content="width=device-width"><link rel=stylesheet href="docs/style.css">'
        "<h1>kbchat: the interface</h1><p>For programs: <a href=openapi.json>openapi.json</a>.</p>"
    )
    return head + "".join(_section(route) for route in routes)


def _section(route: Route) -> str:
    key = "No key is needed." if route.role is None else f"Needs the key of a {route.role.name.lower()}."
    parts = [f"<h2><code>{route.method} {escape(route.shown)}</code></h2>", f"<p>{escape(route.summary)}. {key}</p>"]
    for title, model in (("Query", route.query), ("Body", route.body), ("Answer", route.answer)):
        if model is not None:
            mode: JsonSchemaMode = "serialization" if title == "Answer" else "validation"
            parts.append(_table(title, model.model_json_schema(mode=mode)))
    return "".join(parts)


def _table(title: str, schema: Schema) -> str:
    if schema.get("type") == "array":
        return f"<p>{title}: {escape(_type(schema))}.</p>"
    required = schema.get("required", [])
    rows = [
        f"<tr><td><code>{escape(name)}</code><td>{escape(_type(field))}"
        f"<td>{'required' if name in required else ''}<td>{escape(str(field.get('description', '')))}"
        for name, field in schema["properties"].items()
    ]
    return f"<table><caption>{title}</caption>{''.join(rows)}</table>"


def _type(schema: Schema) -> str:
    """A type in words."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(choice) for choice in schema[key])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema or "enum" in schema:
        return " or ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))
