"""Writes docs/images/page-*.png: what each view of the page looks like, with the documentation as documents.

    python tools/page_screenshots.py [FOLDER]

Serves a fresh knowledge base on a free port and looks at it in Chromium, which must be installed.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Browser, async_playwright

import kbchat
from kbchat_aiohttp import create_app

ROOT = Path(__file__).parent.parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--force-device-scale-factor=1",
]
QUESTIONS = ("How often are keys rotated?", "What does a recall score below 0.5 mean?")
CHINESE = "怎样核对引用？"
KEYS = """# Keys

API keys are rotated every ninety days by the service's owner. The old key stays valid for one week, so that programs
that still use it have time to change. A key that leaked is revoked at once, in the console under Security.
"""


class Camera:
    """One browser window on the page."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page = page
        self._folder = folder

    async def take(self, name: str) -> None:
        # Nothing blinks and nothing is half faded in.
        await self.page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
        await self.page.screenshot(path=self._folder / f"page-{name}.png", animations="disabled")

    async def view(self, name: str) -> None:
        await self.page.locator(f"#tab-{name}").click()

    async def ask(self, question: str) -> None:
        await self.view("ask")
        await self.page.locator("#question").fill(question)
        await self.page.locator("#question").press("Enter")
        await self.page.locator(".composer button[type=submit]").wait_for()
        await self.page.locator(".references").last.wait_for()

    async def search(self, query: str) -> None:
        await self.view("search")
        await self.page.locator("#query").fill(query)
        await self.page.locator("#query").press("Enter")
        await self.page.locator(".verdict").wait_for()


async def open_page(browser: Browser, url: str, folder: Path, **context: Any) -> Camera:
    page = await (await browser.new_context(**context)).new_page()
    await page.goto(url)
    await page.locator("#tab-ask").wait_for()
    return Camera(page, folder)


async def english(browser: Browser, url: str, folder: Path) -> None:
    camera = await open_page(browser, url, folder, locale="en-GB", viewport={"width": 1200, "height": 800})
    await camera.page.locator("nav li button", has_text="kbchat-docs").click()
    await camera.view("ask")
    await camera.take("welcome")
    await camera.page.locator("nav li button", has_text="handbook").click()
    await camera.ask(QUESTIONS[0])
    await camera.take("ask")
    await camera.page.locator(".cite").first.click()
    await camera.page.locator("dialog .quiet", has_text="characters").wait_for()
    await camera.take("passage")
    await camera.page.keyboard.press("Escape")
    await camera.page.locator("nav li button", has_text="kbchat-docs").click()
    await camera.ask(QUESTIONS[1])
    await camera.page.locator(".choices button").first.click()
    await camera.ask("How are documents found again after a crash?")
    await camera.view("conversations")
    await camera.page.locator(".talks li").first.wait_for()
    await camera.take("conversations")
    await camera.view("documents")
    await camera.page.locator(".files li").first.wait_for()
    await camera.take("documents")
    await camera.page.locator("header .title button").click()
    await camera.page.locator("dialog").wait_for()
    await camera.take("space")
    await camera.page.keyboard.press("Escape")
    await camera.search(QUESTIONS[1])
    await camera.page.locator("summary").first.click()
    await camera.page.set_viewport_size({"width": 1200, "height": 1500})
    await camera.take("search")


async def others(browser: Browser, url: str, folder: Path) -> None:
    look: dict[str, Any] = {"locale": "zh-CN", "color_scheme": "dark"}
    camera = await open_page(browser, url, folder, **look, viewport={"width": 1200, "height": 800})
    await camera.page.locator("nav li button", has_text="kbchat-docs").click()
    await camera.search(CHINESE)
    await camera.take("search-dark")
    narrow = await open_page(browser, url, folder, **look, viewport={"width": 390, "height": 844})
    await narrow.page.locator("nav li button", has_text="kbchat-docs").click()
    await narrow.ask(CHINESE)
    await narrow.take("ask-narrow")


async def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as data:
        async with kbchat.KnowledgeBase(data) as kb:
            handbook = await kb.create_space("handbook")
            await handbook.ingest(kbchat.TextDocument(name="keys.md", text=KEYS))
            docs = await kb.create_space("kbchat-docs", desc="What kbchat is and how it is used")
            await docs.ingest(ROOT / "docs")
            runner = web.AppRunner(create_app(kb), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            async with async_playwright() as started:
                browser = await started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                await english(browser, url, folder)
                await others(browser, url, folder)
                await browser.close()
            await runner.cleanup()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
