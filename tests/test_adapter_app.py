"""What holds for every request: bodies, unknown routes, and one body for every failure."""

import asyncio
import gzip
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import kbchat
from kbchat_aiohttp import Principal, create_app
from serving import CHAT, SPACES, Served, check_failure, serving

KEY = {"Authorization": "Bearer key-one"}


# -- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SPACES, CHAT, "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("content_type", "body", "expected", "code"),
    [
        ("text/plain", b'{"name": "x"}', 415, "unsupported_content_type"),
        (None, b'{"name": "x"}', 415, "unsupported_content_type"),
        ("application/x-www-form-urlencoded", b"name=x", 415, "unsupported_content_type"),
        ("application/json; charset=utf-16", b'{"name": "x"}', 415, "unsupported_content_type"),
        ("application/json", b"", 400, "invalid_json"),
        ("application/json", b'{"name": ', 400, "invalid_json"),
        ("application/json", b"name=x", 400, "invalid_json"),
        ("application/json", b'{"name": "\xff"}', 400, "invalid_json"),
        ("application/json", b'{"name": "\\ud800"}', 400, "invalid_json"),
        ("application/json", b"[" * 10_000, 400, "invalid_json"),
        ("application/json", b"[]", 400, "invalid_request"),
        ("application/json", b'"text"', 400, "invalid_request"),
        ("application/json", b"null", 400, "invalid_request"),
        ("application/json; charset=UTF-8", b"{}", 400, "invalid_request"),
    ],
)
async def test_a_body_that_is_no_sound_json_is_refused(
    tmp_path: Path, path: str, content_type: str | None, body: bytes, expected: int, code: str
) -> None:
    """Under its own content type only: what a page may send unasked is never read."""
    headers = {"Content-Type": content_type} if content_type else {}
    skip = [] if content_type else ["Content-Type"]
    async with (
        serving(tmp_path) as served,
        served.client.post(path, data=body, headers=headers, skip_auto_headers=skip) as response,
    ):
        assert response.status == expected
        check_failure(await response.json(), code)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_beyond_the_limit_is_refused(tmp_path: Path, chunked: bool) -> None:
    """Whether it says its length or not; and the server goes on."""

    async def pieces() -> object:
        for _ in range(64):
            yield b" " * 65536

    async with serving(tmp_path, max_body_bytes=100_000) as served:
        data = pieces() if chunked else b" " * 100_001
        status, body = await served.send("POST", SPACES, data=data, headers={"Content-Type": "application/json"})
        assert status == 413
        check_failure(body, "body_too_large")
        status, _ = await served.get(SPACES)
        assert status == 200


async def test_a_hundred_megabytes_are_refused_unread(tmp_path: Path) -> None:
    """By the default limit, as soon as their number is known."""
    async with serving(tmp_path) as served:
        reader, writer = await asyncio.open_connection(served.host, served.port)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 100000000\r\n\r\n{{".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()
        assert (await served.get("/healthz"))[0] == 200


async def test_the_limit_is_the_adapters_own(tmp_path: Path) -> None:
    """Mounted in an application whose limit is aiohttp's 1 MiB, larger bodies still pass."""
    async with serving(tmp_path, prefix="/kb") as served:
        body = io.BytesIO(b'{"name": "x", "ignored": "%b"}' % (b"y" * 3_000_000))
        headers = {"Content-Type": "application/json"}
        status, answer = await served.send("POST", f"/kb{SPACES}", data=body, headers=headers)
        assert status == 200, answer


async def test_a_packed_bomb_stays_small(tmp_path: Path) -> None:
    """The limit counts what comes out of a compressed body."""
    bomb = gzip.compress(b" " * 50_000_000)
    async with serving(tmp_path, max_body_bytes=100_000) as served:
        status, body = await served.send(
            "POST", SPACES, data=bomb, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
        )
        assert status == 413
        check_failure(body, "body_too_large")


async def test_a_packed_body_is_read(tmp_path: Path) -> None:
    """Compression is fine, as long as it is what it says."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with serving(tmp_path) as served:
        status, _ = await served.send("POST", SPACES, data=gzip.compress(b'{"name": "x"}'), headers=headers)
        assert status == 200
        status, body = await served.send("POST", SPACES, data=b"not gzip at all, really", headers=headers)
        assert status == 400
        assert "Content-Encoding" in body["err_msg"]
        assert "\n" not in body["err_msg"]


async def test_a_body_is_asked_for_only_when_it_may_come(tmp_path: Path) -> None:
    """`Expect: 100-continue` is answered after keys and content type are checked."""
    request = (
        f"POST {SPACES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 13\r\nExpect: 100-continue\r\n"
    )
    async with serving(tmp_path, api_keys="key-one") as served:
        reader, writer = await asyncio.open_connection(served.host, served.port)
        writer.write(f"{request}\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        writer.close()
        reader, writer = await asyncio.open_connection(served.host, served.port)
        writer.write(f"{request}Authorization: Bearer key-one\r\n\r\n".encode())
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert await reader.readline() == b"\r\n"
        writer.write(b'{"name": "x"}')
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize("line", ["GET /", "GET /nope", "GET /page/x/y", "POST /healthz", f"GET {SPACES}"])
async def test_another_expectation_is_answered(tmp_path: Path, line: str) -> None:
    """Whatever a client expects of whichever route, it gets an answer with the one body or what it asked for."""
    async with serving(tmp_path) as served:
        reader, writer = await asyncio.open_connection(served.host, served.port)
        writer.write(f"{line} HTTP/1.1\r\nHost: localhost\r\nExpect: a miracle\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert b"\r\nX-Request-ID: " in head
        if not head.startswith(b"HTTP/1.1 200"):
            assert json.loads(body)["success"] is False


# -- routes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/kb", "/a/b"])
async def test_an_unknown_route_has_the_one_body(tmp_path: Path, prefix: str) -> None:
    """Wherever the application is mounted."""
    async with serving(tmp_path, prefix=prefix, api_keys="key-one", page=False) as served:
        for path in ("/nope", "/api/v2/nope", "/v1/nope", f"{SPACES}/1/2/3", "/"):
            status, body = await served.get(prefix + path, headers=KEY)
            assert status == 404
            check_failure(body, "route_not_found")
        status, body = await served.get(f"{prefix}/api/v2/nope")
        assert status == 401


async def test_another_method_is_answered_with_those_there_are(tmp_path: Path) -> None:
    """405 comes with `Allow`."""
    async with serving(tmp_path) as served, served.client.delete(SPACES) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD, POST, PUT"
        check_failure(await response.json(), "method_not_allowed")


async def test_head_is_get_without_its_body(tmp_path: Path) -> None:
    """Also where it fails."""
    async with serving(tmp_path) as served:
        for path, expected in ((SPACES, 200), ("/healthz", 200), (f"{SPACES}/99", 404), ("/nope", 404)):
            async with served.client.head(path) as response:
                assert response.status == expected
                assert response.content_type == "application/json"
                assert await response.read() == b""


async def test_an_unexpected_failure_shows_nothing_of_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A defect is a 500 with the one body; its traceback is in the log only."""

    async def authenticate(request: web.Request) -> Principal:
        raise ZeroDivisionError("secret")

    async with serving(tmp_path, authenticate=authenticate) as served:
        status, body = await served.get(SPACES)
        assert status == 500
        check_failure(body, "internal_error")
        assert "secret" not in json.dumps(body)
        assert [record.levelname for record in caplog.records if record.name == "kbchat.http"] == ["ERROR"]


async def test_a_host_application_keeps_its_own_routes(tmp_path: Path) -> None:
    """The adapter answers below its prefix and nowhere else."""

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="mine")

    async with kbchat.KnowledgeBase(tmp_path) as kb:
        outer = web.Application()
        outer.router.add_get("/", hello)
        outer.add_subapp("/kb", create_app(kb))
        runner = web.AppRunner(outer, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            async with client.get("/") as response:
                assert await response.text() == "mine"
            async with client.get("/kb/healthz") as response:
                assert response.status == 200
            async with client.get("/healthz") as response:
                assert response.status == 404
        await runner.cleanup()
        assert await kb.list_spaces() == []  # still open: the application does not own it


async def test_the_knowledge_base_is_ready_when_its_parts_are(tmp_path: Path) -> None:
    """Readiness is asked of the parts; which one fails is said by its code."""
    async with serving(tmp_path) as served:
        assert await served.get("/readyz") == (200, {"status": "ready"})
        assert (await served.get("/api/v2/serve/knowledge/health"))[0] == 200


# -- nasty clients ---------------------------------------------------------------------------------------------------

Talk = Callable[[Served, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 10_000,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000,
        b"POST /api/v2/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /api/v2/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_a_request_that_is_none_harms_nobody(tmp_path: Path, bytes_sent: bytes) -> None:
    """It is refused or dropped, and the next one is served."""
    async with serving(tmp_path) as served:
        reader, writer = await asyncio.open_connection(served.host, served.port)
        try:
            writer.write(bytes_sent)
            answer = await reader.read(65536)
            assert not answer or answer.split()[1].startswith(b"4"), answer
        except ConnectionError:
            pass
        finally:
            writer.close()
        assert (await served.get("/healthz"))[0] == 200


async def test_a_client_that_leaves_within_its_body_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is done and nothing is logged as a failure."""
    async with serving(tmp_path) as served:
        _, writer = await asyncio.open_connection(served.host, served.port)
        head = f"POST {SPACES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
        writer.write(f"{head}\r\n{{".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await served.get(SPACES))[1]["data"]["total_count"] == 0
        assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
