"""The page at `/`: static files of the package, which use only the documented routes."""

import functools
import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import anyio.to_thread
from aiohttp import web

from kbchat_aiohttp.bodies import postpone_invitation
from kbchat_aiohttp.errors import RouteNotFoundError

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the page may load and do: its own files and this server's routes. Nothing inline, nothing from elsewhere."""
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"
"""A file's address holds the hash of all files: what is there never changes."""


@dataclass(frozen=True, slots=True)
class PageFile:
    media_type: str
    body: bytes
    compressed: bytes

    @classmethod
    def of(cls, name: str, body: bytes) -> "PageFile":
        return cls(TYPES[name[name.rindex(".") :]], body, gzip.compress(body, 9, mtime=0))


@dataclass(frozen=True, slots=True)
class PageFiles:
    """All files by their path, and the hash of them all, which is in their addresses."""

    index: PageFile
    others: dict[str, PageFile]
    hash: str


def add_page(app: web.Application) -> None:
    """Serve the page at `/`. Where the application is mounted elsewhere, so is the page: its addresses are relative."""
    app.router.add_get("/", _index, expect_handler=postpone_invitation)
    app.router.add_get(r"/page/{hash}/{path:[\w./-]+}", _file, expect_handler=postpone_invitation)


async def _index(request: web.Request) -> web.Response:
    page = await anyio.to_thread.run_sync(load)
    return _response(request, page.index, cache="no-cache", tag=f'"{page.hash}"')


async def _file(request: web.Request) -> web.Response:
    page = await anyio.to_thread.run_sync(load)
    found = page.others.get(request.match_info["path"])
    if found is None or request.match_info["hash"] != page.hash:
        raise RouteNotFoundError("the page has no such file; reload it, perhaps the server was upgraded")
    return _response(request, found, cache=FOREVER, tag=f'"{page.hash}"')


def _response(request: web.Request, file: PageFile, *, cache: str, tag: str) -> web.Response:
    headers = {**HEADERS, "Cache-Control": cache, "ETag": tag, "Vary": "Accept-Encoding"}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    body = file.body
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = file.compressed
    return web.Response(body=body, content_type=file.media_type, charset="utf-8", headers=headers)


@functools.cache
def load() -> PageFiles:
    """Read the page once, from wherever the package is."""
    found = dict(sorted(_walk(files("kbchat_aiohttp") / "page", "")))
    index = found.pop("index.html")
    digest = hashlib.sha256(index)
    for name, body in found.items():
        digest.update(f"\0{name}\0{len(body)}\0".encode() + body)
    short = digest.hexdigest()[:16]
    others = {name: PageFile.of(name, body) for name, body in found.items()}
    return PageFiles(PageFile.of("index.html", index.replace(b"{hash}", short.encode())), others, short)


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(tuple(TYPES)):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found
