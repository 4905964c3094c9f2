"""What goes wrong under the page, and what is large: the person sees what it is, and nothing is lost."""

import asyncio
import functools
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import kbchat
from browser import MARKS, ask, begin, browsing, show, timing
from kbchat.models import KeyRole, Reference
from kbchat.testing.catalog_samples import generation, put
from kbchat_aiohttp import create_app
from serving import serving
from upstream import Exchange, Upstream, model, says

__all__ = ["model"]

pytestmark = MARKS

KEYS = "# Keys\n\nAPI keys are rotated every ninety days. The old key stays valid for a week.\n"
QUESTION = "How often are API keys rotated?"


async def test_a_server_goes_away_in_mid_stream_and_comes_back(tmp_path: Path, model: Upstream) -> None:
    """What came stays, the page says that it is not the whole answer, and one button asks again."""

    async def cut(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say("Keys are rotated")
        await exchange.gone.wait()

    model.behave = cut
    async with serving(tmp_path / "kb", model=model) as served:
        space = await served.kb.create_space("handbook")
        await space.ingest(kbchat.TextDocument(name="keys.md", text=KEYS))
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            await begin(page, QUESTION)
            await page.get_by_text("Keys are rotated").wait_for()
            for connection in served.runner.server.connections:
                connection.transport.abort()
            await served.runner.cleanup()
            await page.locator(".turn [role=alert]", has_text="cut off").wait_for()
            assert "Keys are rotated" in await page.locator(".answer").inner_text()
            await page.get_by_role("button", name="Ask again").click()
            await page.locator(".turn [role=alert]", has_text="cannot be reached").wait_for()
            model.behave = says("Every ninety days [1].")
            runner = web.AppRunner(create_app(served.kb), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            try:
                await web.TCPSite(runner, served.host, served.port, reuse_address=True).start()
                await page.get_by_role("button", name="Ask again").click()
                await page.locator(".cite").wait_for()
                assert await page.locator(".turn").count() == 1
                assert await page.get_by_role("alert").count() == 0
            finally:
                await runner.cleanup()


async def test_a_key_is_revoked_while_the_page_is_open(tmp_path: Path) -> None:
    """The page asks for another one and says why; what was asked and typed before is there again behind it."""
    async with serving(tmp_path / "kb") as served:
        space = await served.kb.create_space("handbook", owner="alice")
        await space.ingest(kbchat.TextDocument(name="keys.md", text=KEYS))
        _, first = await served.kb.keys.create("first", owner="alice", role=KeyRole.WRITER)
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            await page.locator("#key").fill(first)
            await page.locator("#key").press("Enter")
            await ask(page, QUESTION)
            await page.locator(".cite").first.wait_for()
            await served.kb.keys.revoke("first")
            await begin(page, "And the old key?")
            await page.get_by_text("The server does not take the key").wait_for()
            _, second = await served.kb.keys.create("second", owner="alice", role=KeyRole.WRITER)
            await page.locator("#key").fill(second)
            await page.locator("#key").press("Enter")
            await page.get_by_role("button", name="Ask again").click()
            await page.locator(".turn").nth(1).locator(".references").wait_for()
            assert QUESTION in await page.locator(".turn").first.inner_text()
            assert await page.locator("#key").count() == 0


async def test_a_file_is_refused_for_its_size_or_type(tmp_path: Path) -> None:
    """Each says why beside its name, the others go in, and a name that is taken may be replaced."""
    files = {"large.md": b"x" * 200_000, "tool.exe": b"MZ\x90\x00\x03" + bytes(range(256)), "keys.md": KEYS.encode()}
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
    async with serving(tmp_path / "kb", max_body_bytes=100_000) as served:
        await served.kb.create_space("handbook")
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            choose = page.locator("input[type=file]")
            await choose.set_input_files([tmp_path / name for name in files])
            await page.locator("li.FINISHED", has_text="keys.md").wait_for()
            large = await page.locator("li.FAILED", has_text="large.md").locator(".problem").inner_text()
            tool = await page.locator("li.FAILED", has_text="tool.exe").locator(".problem").inner_text()
            assert "100,000" in large or "100000" in large
            assert tool
            await choose.set_input_files([tmp_path / "keys.md"])
            await page.get_by_role("button", name="Replace").click()
            await page.locator("li", has_text="keys.md").locator("nth=0").wait_for()
            await page.get_by_role("button", name="Replace").wait_for(state="detached")
            await page.locator("li.FINISHED", has_text="keys.md").wait_for()


async def test_ten_thousand_documents(tmp_path: Path) -> None:
    """The newest are listed first, as many as are asked for; none of it holds the page up."""
    async with serving(tmp_path / "kb") as served:
        space = await served.kb.create_space("many")
        catalog = served.kb._open.catalog
        for first in range(0, 10_000, 1000):
            new = [generation(f"{n:05}.md", f"Text {n}.") for n in range(first, first + 1000)]
            await put(catalog, space.info, *new)
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            await page.get_by_text("Documents: 10,000").wait_for()
            async with timing(page) as took:
                await show(page, "documents")
                await page.locator(".files li", has_text="09999.md").wait_for()
                assert await page.locator(".files li").first.locator(".name").inner_text() == "09999.md"
                for shown in (200, 300, 400):
                    await page.get_by_role("button", name=f"Show more ({shown} / 10,000)").click()
                await page.get_by_role("button", name="Show more (500 / 10,000)").wait_for()
            assert await page.locator(".files li .name").last.text_content() == "09500.md"
            assert max(took) < 100


async def test_a_document_of_50_mb_is_opened_at_its_end(tmp_path: Path) -> None:
    """Only what stands around the passage is fetched, and the passage is marked by its characters."""
    last = "The last key is hidden under the blue stone. 😀"
    line = "Nothing happened 😀 in the vault today, and nobody rang the bell at the door.\n"
    async with serving(tmp_path / "kb") as served:
        space = await served.kb.create_space("log")
        document = generation("log.txt", line * (50 * 1024 * 1024 // len(line.encode())), last)
        assert len(document.text.encode()) > 50_000_000
        [pending] = await put(served.kb._open.catalog, space.info, document)
        start = len(document.text) - len(last)
        reference = Reference(
            name="log.txt",
            document_id=pending.document_id,
            chunk_id=pending.chunk_ids[-1],
            content=last,
            start=start,
            end=start + len(last),
            recall_score=0.9,
        )
        await served.kb.conversations.remember(
            "c", "Where is it?", "Under the stone [1].", space_id=space.id, references=[reference]
        )
        sizes: list[int] = []
        async with browsing(f"http://{served.host}:{served.port}/#{space.id}/c") as page:
            page.on("response", lambda got: sizes.append(int(got.headers["content-length"])))
            await page.locator(".cite").click()
            await page.locator("dialog .quiet", has_text=f"of {len(document.text)}").wait_for()
            assert await page.locator("dialog mark").text_content() == last
            assert sum(sizes) < 20_000


def whole(texts: list[str], exchange: Exchange) -> Any:
    async def behave() -> None:
        await exchange.open()
        for first in range(0, len(texts), 25):
            await exchange.say(*texts[first : first + 25])
            await asyncio.sleep(0)  # the others' turn
        await exchange.end()

    return behave()


@pytest.mark.parametrize("kind", ["paragraphs", "one paragraph"])
async def test_five_thousand_deltas_stay_smooth(tmp_path: Path, model: Upstream, kind: str) -> None:
    """No task of the page takes longer than 100 ms, and the answer is there to its last word, with its citations."""
    end = "\n\n" if kind == "paragraphs" else " "
    words = [f"**{n}** word " if n % 20 else f"end of {n} [1].{end}" for n in range(1, 5001)]
    model.behave = functools.partial(whole, words)
    async with serving(tmp_path / "kb", model=model) as served:
        space = await served.kb.create_space("handbook")
        await space.ingest(kbchat.TextDocument(name="keys.md", text=KEYS))
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            await page.locator("#tab-ask").wait_for()
            async with timing(page) as took:
                await ask(page, QUESTION)
                await page.locator(".cite").nth(249).wait_for()
            text = " ".join((await page.locator(".answer").inner_text()).split())
            expected = "".join(words).replace("**", "").replace("[1]", "1")
            assert text == " ".join(expected.split())
            assert max(took) < 100
