"""What holds for every request: keys, origins, bodies, unknown routes, and one body for every failure."""

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
from kbchat_aiohttp import InvalidKeyError, Principal, create_app
from kbchat_aiohttp.auth import ApiKeys
from serving import CHAT, SPACES, Served, serving

KEY = {"Authorization": "Bearer key-one"}


def check_failure(body: dict[str, object], code: str) -> None:
    """The body that both families of client understand."""
    assert set(body) == {"success", "err_code", "err_msg", "data", "error"}
    assert body["success"] is False
    assert body["data"] is None
    error = body["error"]
    assert isinstance(error, dict)
    assert set(error) == {"message", "type", "code", "param"}
    assert error["code"] == code
    assert error["message"] == body["err_msg"]
    assert "Traceback" not in str(body)


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic key-one"},
        {"Authorization": "key-one"},
        {"Authorization": "Bearer kéy"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", SPACES), ("POST", CHAT), ("GET", "/v1/models"), ("GET", "/api/nope"), ("PATCH", SPACES), ("GET", "/v1")],
)
async def test_without_a_known_key_there_is_nothing(
    tmp_path: Path, headers: dict[str, str], method: str, path: str
) -> None:
    """Below /api and /v1 it is 401 for every route, also for those there are not."""
    async with (
        serving(tmp_path, api_keys="key-one, key-two") as served,
        served.client.request(method, path, headers=headers) as response,
    ):
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        check_failure(await response.json(), "invalid_api_key")


@pytest.mark.parametrize("value", ["Bearer key-one", "bearer key-two", "Bearer   key-two "])
async def test_each_configured_key_is_an_admins(tmp_path: Path, value: str) -> None:
    """Keys come from the settings, comma-separated."""
    async with serving(tmp_path, api_keys="key-one, key-two") as served:
        status, _ = await served.get(SPACES, headers={"Authorization": value})
        assert status == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer $DBGPT_API_KEY"}, {"Authorization": "anything"}])
async def test_with_no_key_configured_every_request_passes(tmp_path: Path, headers: dict[str, str]) -> None:
    """The documented commands quote their key so that the shell sends its name."""
    async with serving(tmp_path) as served:
        status, _ = await served.get(SPACES, headers=headers)
        assert status == 200


@pytest.mark.parametrize(("path", "expected"), [("/healthz", 200), ("/readyz", 200), ("/nope", 404)])
async def test_health_needs_no_key(tmp_path: Path, path: str, expected: int) -> None:
    """Nor does an unknown route beside the API."""
    async with serving(tmp_path, api_keys="key-one") as served:
        status, _ = await served.get(path)
        assert status == expected


def test_only_hashes_of_keys_are_kept() -> None:
    """A dump of the process's objects shows no key."""
    assert "key-one" not in repr(vars(ApiKeys(["key-one"])))


def test_an_empty_key_is_no_key() -> None:
    """A stray comma in the settings opens nothing."""
    assert not ApiKeys(["", ""])


async def test_authentication_can_be_replaced(tmp_path: Path) -> None:
    """An application of one's own says who asks; then no keys and no host names are needed."""

    async def authenticate(request: web.Request) -> Principal:
        if request.headers.get("X-User") != "alice":
            raise InvalidKeyError("log in first")
        return Principal("alice")

    async with serving(tmp_path, authenticate=authenticate) as served:
        status, body = await served.get(SPACES)
        assert (status, body["err_msg"]) == (401, "log in first")
        status, _ = await served.get(SPACES, headers={"X-User": "alice", "Host": "kb.example"})
        assert status == 200


# -- where requests come from ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:5670", 200),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("kb.localhost", 200),
        ("127.0.0.1:80", 200),
        ("127.1.2.3", 200),
        ("[::1]:5670", 200),
        ("kb.internal:5670", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("10.0.0.7:5670", 403),
        ("[2001:db8::1]", 403),
    ],
)
async def test_without_keys_only_loopback_names_are_served(tmp_path: Path, host: str, expected: int) -> None:
    """A name that a foreign page rebinds to this machine gets nothing; one that was set is served."""
    async with serving(tmp_path, allowed_hosts="kb.internal") as served:
        status, body = await served.get("/healthz", headers={"Host": host})
        assert status == expected
        if expected == 403:
            check_failure(body, "host_not_allowed")


async def test_with_keys_any_host_name_is_served(tmp_path: Path) -> None:
    """A rebound page has no key."""
    async with serving(tmp_path, api_keys="key-one") as served:
        status, _ = await served.get(SPACES, headers={"Host": "kb.example", **KEY})
        assert status == 200


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:5670", 400),
        ("https://LOCALHOST:5670", 400),
        ("https://app.example", 400),
        ("http://evil.example", 403),
        ("http://localhost:8000", 403),
        ("http://localhost", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_a_foreign_page_may_not_ask_for_changes(tmp_path: Path, origin: str, expected: int) -> None:
    """Its own origin and those that were set may; 400 is what this request deserves then."""
    headers = {"Host": "localhost:5670", "Origin": origin, "Content-Type": "application/json"}
    async with serving(tmp_path, allowed_origins="https://app.example/") as served:
        status, _ = await served.send("POST", SPACES, data=b"{}", headers=headers)
        assert status == expected


async def test_no_origin_is_invited_unless_set(tmp_path: Path) -> None:
    """Without settings there is no CORS header at all."""
    async with serving(tmp_path) as served:
        async with served.client.get(SPACES, headers={"Origin": "http://evil.example"}) as response:
            assert response.status == 200
            assert not [name for name in response.headers if name.startswith("Access-Control")]
        preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        async with served.client.options(SPACES, headers=preflight) as response:
            assert response.status == 405


async def test_a_page_of_a_set_origin_may_call(tmp_path: Path) -> None:
    """Its browser is told so, without a key when it asks first, and may read failures too."""
    origin = {"Origin": "https://app.example"}
    async with serving(tmp_path, api_keys="key-one", allowed_origins="https://app.example") as served:
        asked = {**origin, "Access-Control-Request-Method": "PUT"}
        async with served.client.options(SPACES, headers=asked) as response:
            assert response.status == 204
            assert "PUT" in response.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        async with served.client.get(SPACES, headers=origin) as response:
            assert response.status == 401
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert response.headers["Vary"] == "Origin"


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
        status, _ = await served.send("POST", SPACES, data=b"not gzip at all, really", headers=headers)
        assert status == 400


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


# -- routes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/kb", "/a/b"])
async def test_an_unknown_route_has_the_one_body(tmp_path: Path, prefix: str) -> None:
    """Wherever the application is mounted."""
    async with serving(tmp_path, prefix=prefix, api_keys="key-one") as served:
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
