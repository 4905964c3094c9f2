"""Serve a knowledge base over HTTP until told to stop."""

import asyncio
import errno
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from kbchat.addresses import is_loopback
from kbchat.errors import KbchatError, SettingsError
from kbchat.knowledge import KnowledgeBase
from kbchat_aiohttp.app import create_app
from kbchat_aiohttp.auth import ApiKeys

logger = logging.getLogger("kbchat.http")

protocol = logging.getLogger("kbchat.http.protocol")
"""Where aiohttp reports what it cannot answer for the application."""

IDLE_SECONDS = 75.0
"""How long a connection may be idle, or take to send a request's head."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve(
    kb: KnowledgeBase,
    *,
    host: str | None = None,
    port: int | None = None,
    insecure: bool = False,
    on_ready: Callable[[Sequence[str]], None] | None = None,
) -> None:
    """Serve `kb`, which is warmed meanwhile, until SIGTERM or SIGINT; then take no more requests and give answers under
    way `settings.shutdown_timeout` to finish. `kb` stays open.

    Host and port are those of the settings unless given; port 0 takes any that is free. `on_ready` is called with the
    URLs it listens at. Raises `SettingsError` for an address other than loopback without keys, unless `insecure`, and
    for an address that cannot be listened at.
    """
    settings = kb.settings
    host = settings.host if host is None else host
    port = settings.port if port is None else port
    if not (insecure or is_loopback(host) or await ApiKeys(kb).needed()):
        raise SettingsError(
            f"refusing to serve {host or 'every address'} without API keys: whoever reaches it could read and delete "
            "everything. Set KBCHAT_API_KEYS, make one with `kbchat keys create`, or say --insecure"
        )
    app = create_app(kb, hosts=() if is_wildcard(host) else (host,))
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=protocol,
        handler_cancellation=True,
        keepalive_timeout=IDLE_SECONDS,
        shutdown_timeout=max(settings.shutdown_timeout, 1.0),
    )
    stop = asyncio.Event()
    warming: asyncio.Task[None] | None = None
    with stopped_by_signals(stop):
        await runner.setup()
        try:
            await _listen(runner, host, port)
            urls = [_url(*address[:2]) for address in runner.addresses]
            logger.info("listening at %s", ", ".join(urls))
            if on_ready is not None:
                on_ready(urls)
            warming = asyncio.create_task(_warm(kb))
            await stop.wait()
            logger.info("stopping")
        finally:
            try:
                await runner.cleanup()
            finally:
                if warming is not None:
                    warming.cancel()
                    await asyncio.wait([warming])


async def _warm(kb: KnowledgeBase) -> None:
    try:
        await kb.warm()
    except KbchatError as error:
        logger.warning("not all is warm, and a question may find the same: %s", error.message)
    except Exception:
        logger.exception("warming failed unexpectedly")


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host or None, port).start()
    except OSError as error:
        where = f"{host or 'every address'}, port {port}"
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"{where} is in use: stop the server that listens there, or choose another port with --port"
            ) from error
        raise SettingsError(f"cannot listen at {where}: {error.strerror or error}") from error


@contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGINT set `stop`. A second one has its usual effect."""
    with ExitStack() as held:

        def handle() -> None:
            stop.set()
            held.close()

        for number in SIGNALS:
            held.callback(_on_signal(number, handle))
        yield


def _on_signal(number: signal.Signals, handle: Callable[[], None]) -> Callable[[], object]:
    """Have a signal call something in the event loop; calling what this returns ends that."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, handle)
    except NotImplementedError:  # The loops of Windows know no signals.
        before = signal.signal(number, lambda *_: loop.call_soon_threadsafe(handle))
        return lambda: signal.signal(number, before or signal.SIG_DFL)
    return lambda: loop.remove_signal_handler(number)


def _is_no_garbage(record: logging.LogRecord) -> bool:
    """What some client sends in place of HTTP, or of what a body's encoding says, is no failure of ours."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError | web.RequestPayloadError)


protocol.addFilter(_is_no_garbage)


def is_wildcard(host: str) -> bool:
    """Whether it stands for every address of the machine."""
    return host in ("", "0.0.0.0", "::")  # noqa: S104


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
