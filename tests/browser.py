"""The page in a real Chromium, which `make browser` brings. Without it these tests are skipped, but never in CI."""

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
AXE = Path(sys.prefix) / "clients" / "node" / "node_modules" / "axe-core" / "axe.min.js"
"""As `make clients` fetches it."""
IN_CI = os.environ.get("CI") == "true"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

TASKS = "disabled-by-default-devtools.timeline"
"""The category of a trace that tells of tasks with their processor time."""

MARKS = [
    pytest.mark.skipif(CHROMIUM is None and not IN_CI, reason="there is no Chromium; `make browser` brings it"),
    pytest.mark.server,
    pytest.mark.timeout(300),
    pytest.mark.leaves("the driver of the browser ends in its own time"),
]
"""What every test in a browser has."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Any]:
    """A browser of its own."""
    playwright = (
        pytest.importorskip("playwright.async_api") if not IN_CI else __import__("playwright.async_api").async_api
    )
    assert CHROMIUM is not None, "there is no Chromium; `make browser` brings it"
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def looking(browser: Any, url: str, *, script: str = "", **look: Any) -> AsyncIterator[Any]:
    """The page in a window, in English unless told; an error of the page or of its policy fails the test."""
    errors: list[str] = []
    context = await browser.new_context(**{"locale": "en-GB", **look})
    page = await context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if "Security Policy" in line.text else None)
    if script:
        await page.add_init_script(script)
    await page.goto(url)
    yield page
    await context.close()
    assert errors == []


@asynccontextmanager
async def browsing(url: str, *, script: str = "", **look: Any) -> AsyncIterator[Any]:
    """The page in a browser and a window of its own."""
    async with chromium() as browser, looking(browser, url, script=script, **look) as page:
        yield page


@asynccontextmanager
async def timing(page: Any) -> AsyncIterator[list[float]]:
    """How long each task of the page's main thread took within the block, known at its end: in milliseconds of the
    processor's time, which what else the machine does cannot lengthen."""
    took: list[float] = []
    browser = page.context.browser
    await browser.start_tracing(page=page, categories=["toplevel", "devtools.timeline", TASKS])
    yield took
    events = json.loads(await browser.stop_tracing())["traceEvents"]
    main = {
        (it["pid"], it["tid"])
        for it in events
        if it["name"] == "thread_name" and it["args"]["name"] == "CrRendererMain"
    }
    tasks = [it for it in events if it["name"] == "RunTask" and (it["pid"], it["tid"]) in main]
    # Those of a few microseconds have the clock's time only.
    took += [it.get("tdur", it["dur"]) / 1000 for it in tasks if "dur" in it]
    assert took


async def show(page: Any, view: str) -> None:
    await page.locator(f"#tab-{view}").click()


async def begin(page: Any, question: str) -> None:
    """Ask, and do not wait for the answer."""
    await show(page, "ask")
    await page.locator("#question").fill(question)
    await page.locator("#question").press("Enter")


async def ask(page: Any, question: str) -> None:
    """Ask, and wait until the answer has ended."""
    turns = await page.locator(".turn").count() if await page.locator("#question").count() else 0
    await begin(page, question)
    await page.locator(".turn").nth(turns).wait_for()
    await page.locator(".composer button[type=submit]").wait_for()


async def search(page: Any, query: str) -> None:
    await show(page, "search")
    await page.locator("#query").fill(query)
    await page.locator("#query").press("Enter")
    await page.locator(".verdict").wait_for()
