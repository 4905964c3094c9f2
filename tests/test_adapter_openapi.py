"""The description of the interface: whole, true, and readable."""

import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from kbchat_aiohttp.errors import TABLE
from serving import serving


@pytest.mark.parametrize("prefix", ["", "/kb"])
async def test_every_route_is_described(tmp_path: Path, prefix: str) -> None:
    """And nothing else but the page; the paths are those below where the application is mounted."""
    async with serving(tmp_path, prefix=prefix, page=False) as served:
        status, description = await served.get(f"{prefix}/openapi.json")
        assert status == 200
        assert description["openapi"] == "3.1.0"
        assert description["servers"] == [{"url": prefix or "/"}]
        assert isinstance(served.runner.app, web.Application)
        routes = {
            (route.method.lower(), route.resource.canonical.removeprefix(prefix))
            for route in served.runner.app.router.routes()
            if route.method != "HEAD" and route.resource is not None
        }
        described = {(method, path) for path, methods in description["paths"].items() for method in methods}
        assert described == routes


async def test_the_description_refers_to_nothing_that_is_not_there(tmp_path: Path) -> None:
    """Each `$ref` leads somewhere."""
    async with serving(tmp_path) as served:
        _, description = await served.get("/openapi.json")
        referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(description)))
        assert referred <= set(description["components"]["schemas"])


async def test_the_description_says_where_a_key_is_needed(tmp_path: Path) -> None:
    """With the statuses that follow from it."""
    async with serving(tmp_path, api_keys="key-one") as served:
        _, description = await served.get("/openapi.json")
        for path, methods in description["paths"].items():
            for operation in methods.values():
                keyed = path.startswith(("/api/", "/v1/", "/mcp"))
                assert bool(operation["security"]) is keyed
                assert ("401" in operation["responses"]) is keyed
                assert {int(status) for status in operation["responses"]} - {200} <= {
                    kind.status for kind in TABLE.values()
                }


async def test_the_page_needs_no_script(tmp_path: Path) -> None:
    """It shows every route, runs nothing and fetches nothing from elsewhere."""
    async with serving(tmp_path) as served:
        _, description = await served.get("/openapi.json")
        async with served.client.get("/docs") as response:
            assert response.content_type == "text/html"
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            page = await response.text()
        assert "<script" not in page
        assert "http://" not in page
        assert "https://" not in page
        for path in description["paths"]:
            assert path in page
        async with served.client.get("/docs/style.css") as response:
            assert response.content_type == "text/css"
