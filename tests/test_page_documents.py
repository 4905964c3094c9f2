"""Documents on the page in a real browser: many at once, how far each is, and what goes wrong on their way."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

import kbchat
from browser import MARKS, browsing, show
from kbchat.models import KeyRole
from kbchat_aiohttp import create_app
from serving import Served, serving
from upstream import Exchange, Upstream, upstream

pytestmark = MARKS

KEYS = "# Keys\n\nAPI keys are rotated every ninety days. The old key stays valid for a week.\n"
SMALL = {"chunk_strategy": "CHUNK_BY_SIZE", "chunk_size": 64, "chunk_overlap": 0}
FEW = 500
"""Texts that are embedded before the server is asked whether to go on."""


def address(served: Served) -> str:
    return f"http://{served.host}:{served.port}/"


@asynccontextmanager
async def with_key(folder: Path, role: KeyRole) -> AsyncIterator[tuple[Served, Any, str]]:
    """A server with a space and a key of its owner, and its page."""
    async with serving(folder) as served:
        await served.kb.create_space("handbook", owner="alice")
        _, key = await served.kb.keys.create("key", owner="alice", role=role)
        async with browsing(address(served)) as page:
            yield served, page, key


def files(folder: Path, count: int) -> list[Path]:
    """`count` small files."""
    folder.mkdir()
    made = [folder / f"{n:03}.md" for n in range(count)]
    for path in made:
        path.write_text(f"# {path.stem}\n\nText {path.stem} is about keys.\n")
    return made


async def held_up(server: Upstream, gate: asyncio.Semaphore) -> None:
    """Have the embedding server answer `FEW` texts for each time that the gate is opened."""
    embedded = 0

    async def behave(exchange: Exchange) -> None:
        nonlocal embedded
        texts = exchange.request["input"]
        if (embedded + len(texts)) // FEW > embedded // FEW:
            await gate.acquire()
        embedded += len(texts)
        items = [{"object": "embedding", "index": i, "embedding": [1.0, len(it), 1.0]} for i, it in enumerate(texts)]
        await exchange.status(200, json.dumps({"object": "list", "data": items}))

    server.behave = behave


async def test_how_far_a_large_document_is(tmp_path: Path) -> None:
    """Its bar grows while it is indexed, says the same in words, and is gone when it is ready."""
    text = "\n\n".join(f"# Part {n}\n\n{'The vault is opened by two keys at noon. ' * 30}" for n in range(1000))
    gate = asyncio.Semaphore(0)
    async with upstream() as server:
        await held_up(server, gate)
        more = {"embedder": "openai:m", "embedder_base_url": server.base_url, "embedder_api_key": "k"}
        async with serving(tmp_path / "kb", **more) as served, browsing(address(served)) as page:
            space = await served.kb.create_space("handbook")
            document = await space.add_document("large.md", text=text)
            await page.reload()
            await served.post(f"/api/v2/serve/knowledge/documents/{document.id}/sync", {"chunk_parameters": SMALL})
            await show(page, "documents")
            row = page.locator("li.RUNNING")
            seen = []
            while len(seen) < 3:
                bar = row.get_by_role("progressbar")
                wanted = f"it => Number(it.ariaValueNow) > {max(seen, default=0)}"
                await page.wait_for_function(
                    f"() => [...document.querySelectorAll('[role=progressbar]')].some({wanted})"
                )
                seen.append(int(await bar.get_attribute("aria-valuenow")))
                width = await bar.locator(".fill").evaluate("it => parseFloat(it.style.width)")
                assert width >= seen[-1]
                assert "Writing" in await row.inner_text() or seen[-1] < 40
                gate.release()
            for _ in range(100):
                gate.release()
            await page.locator("li.FINISHED").wait_for()
            assert seen == sorted(seen)
            assert await page.get_by_role("progressbar").count() == 0


async def test_many_files_go_on_while_another_view_is_looked_at(tmp_path: Path) -> None:
    """More than a hundred at once; each of them comes in, and which are left is said."""
    many = files(tmp_path / "many", 130)
    async with serving(tmp_path / "kb") as served, browsing(address(served)) as page:
        await served.kb.create_space("handbook")
        await page.reload()
        await page.locator("input[type=file]").set_input_files(many)
        await page.get_by_text("and 80 more").wait_for()
        await show(page, "search")
        await show(page, "documents")
        await page.get_by_text("Documents: 130").wait_for(timeout=60_000)
        await page.locator(".files li:not(.FINISHED)").first.wait_for(state="detached")
        names = await page.locator(".files li .name").all_text_contents()
        assert sorted(names) == [path.name for path in many]


async def test_a_folder_is_dropped(tmp_path: Path) -> None:
    """The files in it come in by their paths; hidden ones stay out."""
    folder = tmp_path / "handbook"
    files(folder, 2)
    files(folder / "deep", 1)
    (folder / ".hidden").write_text("no")
    async with serving(tmp_path / "kb") as served, browsing(address(served)) as page:
        await served.kb.create_space("handbook")
        await page.reload()
        box = await page.locator(".drop").bounding_box()
        drag = {"x": box["x"] + 20, "y": box["y"] + 20}
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        session = await page.context.new_cdp_session(page)
        for kind in ("dragEnter", "dragOver", "drop"):
            await session.send("Input.dispatchDragEvent", {"type": kind, **drag, "data": data})
        await page.locator("li.FINISHED").nth(2).wait_for()
        names = await page.locator(".files li .name").all_inner_texts()
        assert sorted(names) == ["handbook/000.md", "handbook/001.md", "handbook/deep/000.md"]


async def test_a_key_is_revoked_while_files_are_sent(tmp_path: Path) -> None:
    """The page asks for another key, and with it the files that did not go in go in by one button."""
    async with with_key(tmp_path / "kb", KeyRole.WRITER) as (served, page, first):
        await page.locator("#key").fill(first)
        await page.locator("#key").press("Enter")
        await page.locator(".drop").wait_for()
        await served.kb.keys.revoke("key")
        await page.locator("input[type=file]").set_input_files(files(tmp_path / "some", 20))
        await page.get_by_text("The server does not take the key").wait_for()
        _, second = await served.kb.keys.create("second", owner="alice", role=KeyRole.WRITER)
        await page.locator("#key").fill(second)
        await page.locator("#key").press("Enter")
        await page.get_by_role("button", name="Try all again (20)").click()
        await page.get_by_text("Documents: 20").wait_for()
        await page.locator("li.FINISHED").nth(19).wait_for()
        assert await page.locator("li.FAILED").count() == 0


async def test_the_server_goes_away_while_files_are_sent(tmp_path: Path) -> None:
    """Each file says so, and all of them go in when it is back."""
    async with serving(tmp_path / "kb") as served, browsing(address(served)) as page:
        await served.kb.create_space("handbook")
        await page.reload()
        await page.locator(".drop").wait_for()
        await served.runner.cleanup()
        await page.locator("input[type=file]").set_input_files(files(tmp_path / "some", 5))
        await page.get_by_role("button", name="Try all again (5)").wait_for()
        assert await page.locator("li.FAILED .problem", has_text="cannot be reached").count() == 5
        runner = web.AppRunner(create_app(served.kb), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, served.host, served.port, reuse_address=True).start()
            await page.get_by_role("button", name="Try all again (5)").click()
            await page.locator("li.FINISHED").nth(4).wait_for()
            assert await page.get_by_role("alert").count() == 0
        finally:
            await runner.cleanup()


async def test_a_readers_key_reads(tmp_path: Path) -> None:
    """What its key may not do is not offered, and why is said."""
    async with with_key(tmp_path / "kb", KeyRole.READER) as (served, page, key):
        await (await served.kb.get_space("handbook")).ingest(kbchat.TextDocument(name="keys.md", text=KEYS))
        await page.locator("#key").fill(key)
        await page.locator("#key").press("Enter")
        await show(page, "documents")
        await page.locator("li.FINISHED", has_text="keys.md").wait_for()
        await page.get_by_text("Your key only reads").wait_for()
        for there in ("#space-name", "input[type=file]", ".drop"):
            assert await page.locator(there).count() == 0, there
        assert await page.get_by_role("button", name="Delete").count() == 0
        assert await page.get_by_role("button", name="Edit").count() == 0
