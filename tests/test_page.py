"""The page: what it is made of, and what people can do with it in a real browser (where Chromium is installed)."""

import gzip
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kbchat
from browser import AXE, IN_CI, MARKS, ask, browsing, show
from kbchat import fusion
from kbchat.retrieval.explaining import Cut, Timings
from kbchat_aiohttp.page import POLICY, load
from serving import serving
from upstream import Exchange, Upstream, model

__all__ = ["model"]

ROOT = Path(__file__).parent.parent
KEYS = "# Keys 😀\n\nAPI keys are rotated every ninety days. The old key stays valid for a week.\n"
HOSTILE = (
    "<script>window.ran=1</script><img src=x onerror=window.ran=1> [x](javascript:window.ran=1) "
    '<references title="x" references="[]" /> <svg onload=window.ran=1>'
)


def in_a_browser(test: Any) -> Any:
    for mark in MARKS:
        test = mark(test)
    return test


def test_the_page_is_small() -> None:
    """All its files together are under 150 KB as they are sent, and each of our own is short."""
    page = load()
    assert sum(len(file.compressed) for file in (page.index, *page.others.values())) < 150_000
    for name, file in page.others.items():
        assert gzip.decompress(file.compressed) == file.body
        if not name.startswith("vendor/"):
            assert file.body.count(b"\n") < 400, name


def test_its_libraries_are_what_is_written_of_them() -> None:
    """Each file has the hash that stands beside its version and its licence, and the licence is there."""
    folder = ROOT / "adapters" / "kbchat_aiohttp" / "page" / "vendor"
    rows = [re.split(r" *\| *", line)[1:-1] for line in (folder / "README.md").read_text().splitlines()[5:]]
    files = {row[0].strip("`"): row[4].strip("`") for row in rows if row[4]}
    assert files == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")}
    for _, package, version, licence, _ in rows:
        assert re.search(r"\d+\.\d+\.\d+$", version), package
        assert licence
        assert (folder / f"LICENSE-{package.split(',')[0]}.txt").exists()


def test_its_libraries_are_what_their_authors_published() -> None:
    """But for what the tool that writes them says: the packages are pinned by their hash."""
    if not AXE.exists() and not IN_CI:
        pytest.skip("there are no packages of npm; `make clients` fetches them where there is npm")
    tool = ROOT / "tools" / "page_libraries.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_has_nothing_inline_or_from_elsewhere() -> None:
    """Its policy allows nothing unsafe, and its document needs nothing that the policy forbids."""
    index = load().index.body.decode()
    assert "unsafe" not in POLICY
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|style=|https?://", index)


def test_the_page_has_words_for_all_that_a_trace_tells() -> None:
    """A stage, a clue or a reason without words would leave the search view empty."""
    words = set(
        re.findall(
            r"^  (\w+): \[", (ROOT / "adapters" / "kbchat_aiohttp" / "page" / "text.js").read_text(), re.MULTILINE
        )
    )
    stages = {f"stage_{name}" for name in Timings.model_fields if name != "total"}
    clues = {f"clue_{name}" for name in fusion.Constants._fields[1:]}
    cuts = {f"{kind}_{cut}" for cut in Cut for kind in ("cut", "why")}
    assert stages | clues | cuts <= words


async def test_files_are_kept_and_the_page_is_asked_for(tmp_path: Path) -> None:
    """A file's address changes with its content, so it is kept for ever; the page itself is looked up each time."""
    async with serving(tmp_path) as served:
        async with served.client.get("/") as response:
            assert response.headers["Content-Security-Policy"] == POLICY
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers.getall("X-Content-Type-Options") == ["nosniff"]
            assert response.headers["Cache-Control"] == "no-cache"
            tag = response.headers["ETag"]
        async with served.client.get("/", headers={"If-None-Match": tag}) as response:
            assert response.status == 304
        async with served.client.get(f"/page/{load().hash}/app.js") as response:
            assert response.content_type == "text/javascript"
            assert "immutable" in response.headers["Cache-Control"]
        for path in ("app.js/..", "nothing.js", "../page.py", "%2e%2e/page.py"):
            assert (await served.get(f"/page/{load().hash}/{path}"))[0] == 404
        assert (await served.get("/page/0000/app.js"))[0] == 404


async def test_the_page_can_be_left_out(tmp_path: Path) -> None:
    """With the setting off there is no page."""
    async with serving(tmp_path, page=False) as served:
        assert (await served.get("/"))[0] == 404


@in_a_browser
async def test_from_an_empty_server_to_a_checked_reference(tmp_path: Path) -> None:
    """Make a space, put files in, ask, and open a reference: the document's own text is marked where it says."""
    (tmp_path / "keys.md").write_text(KEYS, encoding="utf-8")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    async with serving(tmp_path / "kb") as served, browsing(f"http://{served.host}:{served.port}/") as page:
        await page.locator("#space-name").fill("Handbook")
        await page.locator("#space-name").press("Enter")
        await page.locator("input[type=file]").set_input_files([tmp_path / "keys.md", tmp_path / "bad.pdf"])
        await page.locator("li.FINISHED").wait_for()
        assert await page.locator("li.FAILED .problem").inner_text()
        await ask(page, "How often are API keys rotated?")
        await page.locator(".cite").first.click()
        marked = page.locator("dialog mark")
        await page.locator("dialog .quiet", has_text="characters").wait_for()
        _, found = await served.post("/api/v2/serve/knowledge/spaces/1/retrieve", {"query": "API keys"})
        assert await marked.text_content() == found["data"][0]["content"]


@in_a_browser
async def test_the_first_answer_of_the_demo_shows_its_reference(tmp_path: Path) -> None:
    """As `make demo` and `make serve` have it: every number opens its document with the cited sentence marked in it."""
    makefile = (ROOT / "Makefile").read_text()
    [question] = re.findall(r"^QUESTION \?= (.+)$", makefile, re.MULTILINE)
    async with serving(tmp_path / "kb") as served:
        await (await served.kb.create_space("kbchat-docs")).ingest(ROOT / "docs")
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            await ask(page, question)
            cites = page.locator(".cite")
            assert await cites.count() >= 1
            for at in range(await cites.count()):
                await cites.nth(at).click()
                carrying = page.locator("dialog mark strong")
                await carrying.wait_for()
                assert await carrying.text_content() in await page.locator("dialog mark").text_content()
                await page.keyboard.press("Escape")
            assert "KnowledgeBase(" not in await page.locator(".answer").inner_text()


@in_a_browser
async def test_what_others_wrote_runs_nothing(tmp_path: Path, model: Upstream) -> None:
    """Scripts, handlers, links and tags in names, documents and answers are text."""

    async def hostile(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say(HOSTILE, "\n\n", HOSTILE, " [1]\n\n- [1]")
        await exchange.end()

    model.behave = hostile
    async with serving(tmp_path / "kb", model=model) as served:
        space = await served.kb.create_space("<img src=x onerror=window.ran=1>")
        await space.ingest(kbchat.TextDocument(name="<svg onload=window.ran=1>", text=f"Keys rotate. {HOSTILE}"))
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            await ask(page, "How do keys rotate?")
            await page.locator(".references li button").first.click()
            await page.locator("dialog mark").wait_for()
            assert "onerror" in await page.locator(".answer").inner_text()
            assert await page.evaluate("window.ran") is None
            await page.keyboard.press("Escape")
            await page.get_by_role("button", name="New conversation").click()
            await ask(page, HOSTILE)
            await show(page, "conversations")
            await page.locator(".talks .title", has_text="onerror").wait_for()
            await page.reload()
            await page.locator(".turn .answer", has_text="onerror").wait_for()
            assert await page.evaluate("window.ran") is None
            assert await page.locator(".answer img, .answer script, .answer svg, a[href^=javascript]").count() == 0


@in_a_browser
async def test_a_key_is_asked_for(tmp_path: Path) -> None:
    """Where keys are required the page asks for one, says that a wrong one is refused, and goes on with a right one."""
    async with (
        serving(tmp_path / "kb", api_keys=("right",)) as served,
        browsing(f"http://{served.host}:{served.port}/") as page,
    ):
        for key in ("wrong", "right"):
            await page.locator("#key").fill(key)
            await page.locator("#key").press("Enter")
            await (page.get_by_role("alert") if key == "wrong" else page.locator("#space-name")).wait_for()
        assert await page.locator("#key").count() == 0
