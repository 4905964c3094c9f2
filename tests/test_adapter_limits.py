"""How much may be asked, how long it may take, and what is told of it."""

import asyncio
import json
import logging
import re
from pathlib import Path

import pytest

from kbchat_aiohttp.errors import RateLimitError
from kbchat_aiohttp.limits import FORGET, RateLimit
from serving import CHAT, SPACES, Served, as_user, frames, said, serving
from upstream import Exchange, Upstream, model, says

__all__ = ["model"]

# -- requests a minute -----------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_requests_may_come_at_once() -> None:
    """Then one comes back every part of the minute."""
    clock = Clock()
    limit = RateLimit(6, clock=clock)
    for _ in range(6):
        limit.take("a")
    with pytest.raises(RateLimitError) as caught:
        limit.take("a")
    assert caught.value.headers == {"Retry-After": "10"}
    limit.take("b")
    clock.now += 9.9
    with pytest.raises(RateLimitError) as caught:
        limit.take("a")
    assert caught.value.headers == {"Retry-After": "1"}
    clock.now += 0.1
    limit.take("a")


def test_a_refused_request_costs_nothing() -> None:
    """Who asks too often is let in as soon as who waited."""
    clock = Clock()
    limit = RateLimit(1, clock=clock)
    limit.take("a")
    for _ in range(100):
        with pytest.raises(RateLimitError):
            limit.take("a")
    clock.now += 60.0
    limit.take("a")


def test_keys_that_ask_no_more_are_forgotten() -> None:
    """Memory does not grow with the keys there ever were."""
    clock = Clock()
    limit = RateLimit(60, clock=clock)
    for number in range(10 * FORGET):
        limit.take(str(number))
        clock.now += 1.0
    assert len(vars(limit)["_full_again"]) <= FORGET + 1


async def test_too_many_requests_are_told_when_to_come_back(tmp_path: Path) -> None:
    """429, for the key that asks too much and no other."""
    alice, bob = {"X-User": "alice:reader"}, {"X-User": "bob:reader"}
    async with serving(tmp_path, authenticate=as_user, requests_per_minute=2) as served:
        for _ in range(2):
            assert (await served.get(SPACES, headers=alice))[0] == 200
        async with served.client.get(SPACES, headers=alice) as response:
            assert response.status == 429
            assert 0 < int(response.headers["Retry-After"]) <= 30
            error = (await response.json())["error"]
            assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
        assert (await served.get(SPACES, headers=bob))[0] == 200
        assert (await served.get("/healthz"))[0] == 200


# -- answers at once, and how long they may take ---------------------------------------------------------------------


async def for_ever(exchange: Exchange) -> None:
    """A model that says one thing and never stops."""
    await exchange.open()
    await exchange.say("one")
    await exchange.hang()


async def test_one_key_has_its_own_number_of_answers(tmp_path: Path, model: Upstream) -> None:
    """One more is 503; another key is not disturbed."""
    alice, bob = {"X-User": "alice:reader"}, {"X-User": "bob:reader"}
    model.behave = for_ever
    body = {"messages": "Hi", "stream": True}
    async with (
        serving(tmp_path, model=model, authenticate=as_user, max_streams_per_key=1) as served,
        served.client.post(CHAT, json=body, headers=alice) as first,
    ):
        await first.content.readuntil(b"\n\n")
        status, answer = await served.post(CHAT, body, headers=alice)
        assert (status, answer["error"]["code"]) == (503, "too_many_streams")
        async with served.client.post(CHAT, json=body, headers=bob) as other:
            assert other.status == 200


async def test_an_answer_that_takes_too_long_is_cut(tmp_path: Path, model: Upstream) -> None:
    """With the error frame when it has begun, else as 504; and the model is stopped."""
    model.behave = for_ever
    async with serving(tmp_path, model=model, keep_alive=False, request_timeout=1.0) as served:
        async with served.client.post(CHAT, json={"messages": "Hi", "stream": True}) as response:
            _, error = frames((await response.content.read()).decode())
            assert error["error"]["code"] == "deadline_exceeded"
        await model.last.gone.wait()
        status, body = await served.ask()
        assert (status, body["error"]["code"]) == (504, "deadline_exceeded")
        await model.last.gone.wait()
        model.behave = Exchange.hang
        status, body = await served.ask(stream=True)
        assert (status, body["error"]["code"]) == (504, "deadline_exceeded")


async def test_a_reader_that_takes_nothing_is_cut_off(tmp_path: Path, model: Upstream) -> None:
    """It does not hold the model for ever."""

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        while not exchange.gone.is_set():
            await exchange.say("x" * 10_000)

    model.behave = behave
    async with serving(tmp_path, model=model, write_timeout=0.2) as served:
        _, writer = await asyncio.open_connection(served.host, served.port, limit=1024)
        body = json.dumps({"messages": "Hi", "stream": True})
        writer.write(
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        exchange = await model.exchange()
        await exchange.gone.wait()
        writer.close()
        model.behave = says("fine")
        assert said(await served.stream()) == "fine"


# -- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", ["abc-123", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])
async def test_the_id_of_a_request_is_echoed(tmp_path: Path, sent: str) -> None:
    """In answers and failures alike."""
    async with serving(tmp_path) as served:
        for path in (SPACES, "/nope"):
            async with served.client.get(path, headers={"X-Request-ID": sent}) as response:
                assert response.headers["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "é", "<script>"])
async def test_a_request_without_a_sound_id_gets_one(tmp_path: Path, sent: str) -> None:
    """What would spoil a log is not taken over."""
    async with serving(tmp_path) as served, served.client.get("/healthz", headers={"X-Request-ID": sent}) as response:
        assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])


async def test_each_request_is_one_line_of_the_log(
    tmp_path: Path, model: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """With what happened, and neither the key nor what was asked or answered."""
    caplog.set_level(logging.INFO, "kbchat.access")
    model.behave = says("the answer", usage=(5, 3))
    key = {"Authorization": "Bearer secret-key"}
    async with serving(tmp_path, model=model, api_keys="secret-key") as served:
        await served.post(CHAT, {"messages": "the question", "stream": False}, headers={**key, "X-Request-ID": "r1"})
        await served.get(f"{SPACES}/987654321?name=the-name", headers=key)
        await served.get("/the-path")
    first, second, third = (record for record in caplog.records if record.name == "kbchat.access")
    assert (
        first.facts.items()
        >= {  # type: ignore[attr-defined]
            "id": "r1",
            "method": "POST",
            "route": CHAT,
            "status": 200,
            "model": "m",
            "tokens": 8,
        }.items()
    )
    assert f"GET route={SPACES}/{{space_id}} status=404" in second.message
    assert "route=unknown status=404" in third.message
    for text in ("secret-key", "the question", "the answer", "the-name", "the-path", "987654321"):
        assert text not in caplog.text


async def test_a_client_that_leaves_is_logged_as_such(
    tmp_path: Path, model: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """As other servers do: 499."""
    caplog.set_level(logging.INFO, "kbchat.access")
    model.behave = Exchange.hang
    async with serving(tmp_path, model=model) as served:
        asked = asyncio.create_task(served.ask())
        await model.exchange()
        asked.cancel()
        await model.last.gone.wait()
        while not caplog.records:
            await asyncio.sleep(0)
    assert caplog.records[0].facts["status"] == 499  # type: ignore[attr-defined]


async def figures(served: Served) -> dict[str, float]:
    """What /metrics says, by name and labels."""
    async with served.client.get("/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        lines = (await response.text()).splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def test_prometheus_is_told(tmp_path: Path, model: Upstream) -> None:
    """Requests, times, words and tokens; without a key, and without a name in any label."""
    model.behave = says("Hel", "lo", usage=(5, 3))
    key = {"Authorization": "Bearer secret-key"}
    async with serving(tmp_path, model=model, api_keys="secret-key") as served:
        await served.post(CHAT, {"messages": "Hi"}, headers=key)
        await served.get(f"{SPACES}/987654321?name=the-name", headers=key)
        await served.get("/the-path")
        await served.send("PROPFIND", "/healthz")
        found = await figures(served)
        route = f'route="{CHAT}"'
        assert found[f'kbchat_requests_total{{method="POST",{route},status="200"}}'] == 1
        assert found['kbchat_requests_total{method="other",route="unknown",status="404"}'] == 1
        assert found['kbchat_requests_total{method="other",route="unknown",status="405"}'] == 1
        assert found[f'kbchat_request_seconds_count{{method="POST",{route}}}'] == 1
        assert found[f"kbchat_first_token_seconds_count{{{route}}}"] == 1
        assert found["kbchat_deltas_total"] == 2
        assert found['kbchat_tokens_total{kind="prompt"}'] == 5
        assert found['kbchat_tokens_total{kind="completion"}'] == 3
        assert found["kbchat_answers_active"] == 0
        assert not re.search("the-|secret|987654321|PROPFIND", " ".join(found))


async def test_answers_under_way_are_counted(tmp_path: Path, model: Upstream) -> None:
    """While they are."""
    model.behave = for_ever
    async with (
        serving(tmp_path, model=model) as served,
        served.client.post(CHAT, json={"messages": "Hi", "stream": True}) as response,
    ):
        await response.content.readuntil(b"\n\n")
        assert (await figures(served))["kbchat_answers_active"] == 1
