"""Who may come in: keys, host names and origins."""

import hmac
from pathlib import Path

import pytest
from aiohttp import web

import kbchat
from kbchat.keys import digest
from kbchat.models import KeyRole
from kbchat.settings import Settings
from kbchat_aiohttp import InvalidKeyError, Principal
from kbchat_aiohttp.auth import ApiKeys
from serving import CHAT, SPACES, check_failure, serving

KEY = {"Authorization": "Bearer key-one"}


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


async def test_each_configured_key_has_its_own_limit(tmp_path: Path) -> None:
    """Who asks too much with one of them takes nothing from the others."""
    async with serving(tmp_path, api_keys="key-one, key-two", requests_per_minute=1) as served:
        seen = [
            (await served.get(SPACES, headers={"Authorization": f"Bearer key-{it}"}))[0] for it in ("one", "one", "two")
        ]
        assert seen == [200, 429, 200]


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


async def test_only_hashes_of_keys_are_kept(tmp_path: Path) -> None:
    """What the adapter remembers shows no key."""
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, api_keys="key-one")) as kb:
        assert "key-one" not in repr(vars(ApiKeys(kb)))


@pytest.mark.parametrize("key", ["key-one", "key-two", "key-thr", "wrong", "key-three" * 100])
async def test_every_key_is_compared_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Whichever is sent, its hash meets the hash of each configured one, in the function that takes as long for all."""
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    async with serving(tmp_path, api_keys="key-one, key-two, key-three") as served:
        status, _ = await served.get(SPACES, headers={"Authorization": f"Bearer {key}"})
    assert status == (200 if key in ("key-one", "key-two") else 401)
    assert compared == [(digest(key), digest(known)) for known in ("key-one", "key-two", "key-three")]


async def test_an_empty_key_is_no_key(tmp_path: Path) -> None:
    """A stray comma in the settings opens nothing."""
    async with serving(tmp_path, api_keys=" , ,") as served:
        assert (await served.get(SPACES))[0] == 200


@pytest.mark.parametrize("role", list(KeyRole))
async def test_a_key_of_the_catalog_is_its_owners(tmp_path: Path, role: KeyRole) -> None:
    """It may do what its role may, until it is revoked."""
    async with serving(tmp_path) as served:
        info, key = await served.kb.keys.create("laptop", owner="alice", role=role)
        headers = {"Authorization": f"Bearer {key}"}
        assert (await served.get(SPACES, headers=headers))[0] == 200
        status, body = await served.post(SPACES, {"name": "a"}, headers=headers)
        assert status == (403 if role is KeyRole.READER else 200)
        if role is KeyRole.WRITER:
            assert body["data"]["owner"] == "alice"
        await served.kb.keys.revoke(info.id)
        status, body = await served.get(SPACES, headers=headers)
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")


async def test_the_first_key_closes_an_open_server(tmp_path: Path) -> None:
    """Within a second, also when another process makes it; revoking it does not open the server again."""
    now = [0.0]
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        keys = ApiKeys(kb, clock=lambda: now[0])
        assert not await keys.needed()
        await kb.keys.create("first", role=KeyRole.ADMIN)
        now[0] = 1.0
        assert await keys.needed()
        await kb.keys.revoke("first")
        assert await keys.needed()
        assert await ApiKeys(kb).needed()


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
