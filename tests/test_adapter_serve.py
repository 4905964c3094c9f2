"""Serving until told to stop."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

import kbchat
from kbchat.errors import SettingsError, StoreUnavailableError
from kbchat.models import VectorType
from kbchat.settings import Settings
from kbchat_aiohttp import serve
from kbchat_aiohttp.serve import stopped_by_signals
from serving import CHAT, frames, said
from upstream import Exchange, Upstream, model, says

__all__ = ["model"]


@asynccontextmanager
async def server(
    folder: Path, *, model: Upstream | None = None, host: str = "127.0.0.1", insecure: bool = False, **settings: Any
) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """A served knowledge base: its URL and the task that serves it. It is stopped by a signal unless it has ended."""
    if model is not None:
        settings = {"llm_base_url": model.base_url, "llm_model": "m", **settings}
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=folder, host=host, port=0, **settings)) as kb:
        listening: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(kb, insecure=insecure, on_ready=listening.set_result))
        await asyncio.wait([task, listening], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield listening.result()[0], task
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
            await task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it(tmp_path: Path, number: signal.Signals) -> None:
    """An idle server ends at once, also with a connection that is kept open."""
    async with server(tmp_path) as (url, task), aiohttp.ClientSession() as client:
        async with client.get(f"{url}/healthz") as response:
            assert response.status == 200
        os.kill(os.getpid(), number)
        async with asyncio.timeout(2):
            await task


@pytest.mark.parametrize("error", [StoreUnavailableError("pulled the plug"), ZeroDivisionError()], ids=repr)
async def test_the_first_question_finds_all_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """What it takes is opened as the server begins to listen; what cannot be is logged and stops nobody."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        await (await kb.create_space("handbook")).ingest(kbchat.TextDocument(name="keys", text="Keys are rotated."))
    warmed: asyncio.Queue[list[VectorType]] = asyncio.Queue()
    really = kbchat.KnowledgeBase.warm

    async def warm(kb: kbchat.KnowledgeBase) -> None:
        await really(kb)
        warmed.put_nowait([*kb._open._stores])
        raise error

    monkeypatch.setattr(kbchat.KnowledgeBase, "warm", warm)
    async with server(tmp_path) as (url, _), aiohttp.ClientSession() as client:
        assert await warmed.get() == [VectorType.CHROMA]
        async with client.get(f"{url}/healthz") as response:
            assert response.status == 200
        assert [record.levelname for record in caplog.records if "warm" in record.message] == [
            "WARNING" if isinstance(error, StoreUnavailableError) else "ERROR"
        ]


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHo", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: "])
async def test_a_head_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """However it drips, its connection is closed when its time is over; others are served."""
    monkeypatch.setattr(import_module("kbchat_aiohttp.serve"), "IDLE_SECONDS", 0.3)
    async with server(tmp_path) as (url, _), aiohttp.ClientSession() as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)

        async def drip() -> None:
            writer.write(sent)
            while sent:
                await asyncio.sleep(0.05)
                writer.write(b"x")

        dripping = asyncio.create_task(drip())
        assert await reader.read() == b""
        dripping.cancel()
        writer.close()
        async with client.get(f"{url}/healthz") as response:
            assert response.status == 200


class WithoutSignals(asyncio.SelectorEventLoop):
    """As the event loops of Windows are."""

    def add_signal_handler(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_that_knows_no_signals_is_stopped_by_them_too(number: signal.Signals) -> None:
    """What was done about them before is done again afterwards."""

    def handlers() -> list[object]:
        return [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]

    async def run() -> None:
        before = handlers()
        stop = asyncio.Event()
        with stopped_by_signals(stop):
            os.kill(os.getpid(), number)
            await stop.wait()
            assert handlers() == before
        with stopped_by_signals(stop):
            assert handlers() != before
        assert handlers() == before

    with asyncio.Runner(loop_factory=WithoutSignals) as runner:
        runner.run(run())


async def test_an_answer_under_way_may_finish(tmp_path: Path, model: Upstream) -> None:
    """Nobody new is let in meanwhile; the answer is whole."""
    go_on = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say("one")
        await go_on.wait()
        await exchange.say(" two")
        await exchange.end()

    model.behave = behave
    async with server(tmp_path, model=model) as (url, task), aiohttp.ClientSession() as client:
        async with client.post(f"{url}{CHAT}", json={"messages": "Hi", "stream": True}) as response:
            first = await response.content.readuntil(b"\n\n")
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(ConnectionRefusedError):  # as soon as the door is closed
                while True:
                    _, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
                    writer.close()
            go_on.set()
            assert said(frames((first + await response.content.read()).decode())) == "one two"
        await task


async def test_an_answer_that_does_not_end_is_cut(tmp_path: Path, model: Upstream) -> None:
    """Its reader is told so, and the model server sees its client leave."""

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say("one")
        await exchange.hang()

    model.behave = behave
    async with (
        server(tmp_path, model=model, shutdown_timeout=0.1) as (url, task),
        aiohttp.ClientSession() as client,
        client.post(f"{url}{CHAT}", json={"messages": "Hi", "stream": True}) as response,
    ):
        first = await response.content.readuntil(b"\n\n")
        os.kill(os.getpid(), signal.SIGTERM)
        _, error = frames((first + await response.content.read()).decode())
        assert error["error"]["code"] == "shutting_down"
        async with asyncio.timeout(2):
            await task
        await model.last.gone.wait()


async def test_an_answer_that_has_not_begun_is_refused(tmp_path: Path, model: Upstream) -> None:
    """It is an ordinary 503 then, and says when to come back."""
    model.behave = Exchange.hang
    async with server(tmp_path, model=model, shutdown_timeout=0.1) as (url, task), aiohttp.ClientSession() as client:
        asked = asyncio.create_task(client.post(f"{url}{CHAT}", json={"messages": "Hi", "stream": True}))
        await model.exchange()
        os.kill(os.getpid(), signal.SIGTERM)
        async with await asked as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "shutting_down"
        await task


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "kb.example"])
async def test_only_loopback_is_served_without_keys(tmp_path: Path, host: str) -> None:
    """Any other address is refused, with the remedy."""
    with pytest.raises(SettingsError, match=r"KBCHAT_API_KEYS.*--insecure"):
        async with server(tmp_path, host=host):
            pass


@pytest.mark.parametrize("more", [{"insecure": True}, {"api_keys": "key-one"}])
async def test_another_address_is_served_with_keys_or_when_told(tmp_path: Path, more: dict[str, Any]) -> None:
    """Keys make it safe; `insecure` is for those who know what they do."""
    async with (
        server(tmp_path, host="0.0.0.0", **more) as (url, _),
        aiohttp.ClientSession() as client,
        client.get(url.replace("0.0.0.0", "127.0.0.1") + "/healthz") as response,
    ):
        assert response.status == 200


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with kbchat.KnowledgeBase(tmp_path) as kb:
            with pytest.raises(SettingsError, match=f"{port} is in use.*--port"):
                await serve(kb, port=port)


async def test_an_address_that_is_not_ours_is_named(tmp_path: Path) -> None:
    """Also when the reason is another one."""
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, api_keys="key-one")) as kb:
        with pytest.raises(SettingsError, match=r"cannot listen at 192\.0\.2\.7"):
            await serve(kb, host="192.0.2.7", port=0)


SCRIPT = """
import asyncio, kbchat, kbchat_aiohttp

async def main():
    async with kbchat.KnowledgeBase() as kb:
        await kbchat_aiohttp.serve(kb, on_ready=lambda urls: print(*urls, flush=True))

asyncio.run(main())
"""


async def test_the_process_ends_well(tmp_path: Path, model: Upstream) -> None:
    """SIGTERM ends it with 0, after the answer under way."""
    environment = {
        **os.environ,
        "KBCHAT_DATA_DIR": str(tmp_path),
        "KBCHAT_PORT": "0",
        "KBCHAT_LLM_BASE_URL": model.base_url,
        "KBCHAT_LLM_MODEL": "m",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    model.behave = says("one", " two")
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}{CHAT}", json={"messages": "Hi", "stream": True}) as response,
    ):
        process.terminate()
        assert said(frames((await response.content.read()).decode())) == "one two"
    assert await process.wait() == 0


async def test_a_body_that_does_not_unpack_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its sender is told; a traceback for each would let anybody fill the disk."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with server(tmp_path) as (url, _), aiohttp.ClientSession() as client:
        async with client.post(f"{url}{CHAT}", data=b"not gzip at all, really", headers=headers) as response:
            assert response.status == 400
        async with client.get(f"{url}/healthz") as response:
            assert response.status == 200
    assert [record for record in caplog.records if record.exc_info] == []
