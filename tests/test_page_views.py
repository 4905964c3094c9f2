"""What people do with the page in a real browser, view by view."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import kbchat
from browser import AXE, IN_CI, MARKS, ask, begin, browsing, chromium, looking, search, show
from kbchat.chunking import Splitting
from serving import SPACES, Served, serving
from upstream import Upstream, model, says

__all__ = ["model"]

pytestmark = MARKS

CONVERSATIONS = "/api/v2/conversations"
KEYS = "# Keys 😀\n\nAPI keys are rotated every ninety days. The old key stays valid for a week.\n"
DOORS = "# Doors\n\nThe doors are painted blue. Visitors ring the bell, and somebody opens.\n"
CHINESE = "# 密钥\n\n密钥由服务负责人每九十天轮换一次。旧密钥再保留七天。\n"
QUESTION = "How often are API keys rotated?"
NEWEST_IN_SIGHT = """() => {
  const box = (of) => of.getBoundingClientRect();
  const turn = document.querySelector('.newest');
  const named = (it) => it.textContent.includes('Forget this conversation');
  const forget = [...document.querySelectorAll('button')].find(named);
  if (!turn || !forget) return false;
  const bottom = box(document.querySelector('.composer')).top + 1;
  return box(turn).top >= 0 && box(turn).top < 40 && box(forget).bottom <= bottom;
}"""


@asynccontextmanager
async def handbook(folder: Path, **more: Any) -> AsyncIterator[tuple[Served, str]]:
    """A server with a small space, and the address of its page."""
    async with serving(folder, **more) as served:
        space = await served.kb.create_space("handbook")
        texts = {"keys.md": KEYS, "doors.md": DOORS, "密钥.md": CHINESE}
        await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in texts.items()])
        yield served, f"http://{served.host}:{served.port}/"


async def test_conversations_are_kept_opened_and_forgotten(tmp_path: Path) -> None:
    """By their first question; an opened one has its references and is gone on with; a forgotten one is gone."""
    async with handbook(tmp_path) as (served, url), browsing(url) as page:
        await show(page, "conversations")
        await page.get_by_text("Nothing was asked here yet.").wait_for()
        await ask(page, QUESTION)
        await page.get_by_role("button", name="New conversation").click()
        await ask(page, "What colour are the doors?")
        await show(page, "conversations")
        titles = page.locator(".talks .title span")
        await titles.nth(1).wait_for()
        assert await titles.all_inner_texts() == ["What colour are the doors?", QUESTION]
        await titles.nth(1).click()
        await page.locator(".cite").first.click()
        await page.locator("dialog .quiet", has_text="characters").wait_for()
        assert await page.locator("dialog mark").text_content() == KEYS.strip()
        assert await page.locator("dialog mark strong").text_content() == "API keys are rotated every ninety days."
        await page.keyboard.press("Escape")
        await ask(page, "And the old key?")
        _, body = await served.get(CONVERSATIONS)
        assert [(it["title"], it["turns"]) for it in body["data"]["items"]] == [
            (QUESTION, 4),
            ("What colour are the doors?", 2),
        ]
        await page.reload()
        await page.locator(".turn").nth(1).wait_for()
        assert QUESTION in await page.locator(".turn").first.inner_text()
        page.on("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Forget this conversation").click()
        await page.get_by_text("Ask handbook anything.").wait_for()
        await show(page, "conversations")
        await page.get_by_role("button", name="Forget: What colour are the doors?").click()
        await page.get_by_text("Nothing was asked here yet.").wait_for()
        assert (await served.get(CONVERSATIONS))[1]["data"]["total_count"] == 0


async def test_a_passage_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    """An old answer still names its document, and there is nothing to open any more."""
    async with handbook(tmp_path) as (served, url), browsing(url) as page:
        await ask(page, QUESTION)
        await (await served.kb.get_space("handbook")).delete_document("keys.md")
        await page.reload()
        await page.get_by_text("This passage is no longer in the space.").wait_for()
        assert await page.locator(".references button").first.is_disabled()
        assert await page.locator(".cite").count() == 0
        assert "rotated every ninety days. [1]" in await page.locator(".answer").inner_text()


async def test_an_answer_goes_on_while_another_view_is_looked_at(tmp_path: Path, model: Upstream) -> None:
    """And another space; it is stopped by whoever asked, or a new conversation."""
    async with handbook(tmp_path, model=model) as (served, url):
        await served.kb.create_space("other")
        gate: list[Any] = []

        async def slow(exchange: Any) -> None:
            await exchange.open()
            await exchange.say("Every ninety")
            gate.append(exchange)
            await exchange.hang()

        model.behave = slow
        async with browsing(url) as page:
            await begin(page, QUESTION)
            await page.get_by_text("Every ninety").wait_for()
            await show(page, "documents")
            await page.locator("nav li button", has_text="other").click()
            await page.get_by_role("heading", name="other").wait_for()
            await gate[0].say(" days [1].")
            await page.locator("nav li button", has_text="handbook").click()
            await show(page, "ask")
            await page.get_by_text("Every ninety days").wait_for()
            await page.get_by_role("button", name="Stop").click()
            await page.get_by_text("Stopped.").wait_for()
            await gate[0].gone.wait()
            model.behave = says("Every ninety days [1].")
            await page.get_by_role("button", name="Ask again").click()
            await page.locator(".cite").wait_for()
            assert await page.locator(".turn").count() == 1


async def test_a_sentence_that_its_passage_does_not_carry_is_doubted(tmp_path: Path, model: Upstream) -> None:
    """In the answer, in words for who cannot see it, and beside the passage."""
    model.behave = says("😀 API keys are rotated every thirty days [1]. The old key stays valid for a week [1].")
    async with handbook(tmp_path, model=model) as (_, url), browsing(url) as page:
        await ask(page, QUESTION)
        doubted = page.locator(".cite.doubt")
        assert await doubted.count() == 1
        assert await page.locator(".cite").count() == 2
        assert "thirty" in (await doubted.get_attribute("aria-label"))
        await doubted.click()
        await page.locator("dialog .problem", has_text="thirty").wait_for()


async def test_neighbours_share_a_number(tmp_path: Path, model: Upstream) -> None:
    """A passage made of several chunks: each citation opens the chunk that carries its sentence, marked there, and the
    references are numbered as the answer cites them."""
    sentences = [f"The vault number {n} is opened by key {n} at noon, before the bell is rung twice." for n in range(3)]
    model.behave = says(*(f"{sentence[:-1]} [1]. " for sentence in sentences), "Visitors ring the bell [2].")
    async with serving(tmp_path, model=model) as served:
        space = await served.kb.create_space("handbook")
        vaults = kbchat.TextDocument(name="vaults.md", text="\n\n".join(sentences))
        await space.ingest(vaults, splitting=Splitting(max_tokens=32, overlap=0))
        await space.ingest(kbchat.TextDocument(name="doors.md", text="At the vault, visitors ring the key's bell."))
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            await ask(page, "Which key opens the vault, and when is the bell rung?")
            for again in (False, True):
                numbers = await page.locator(".references .number").all_inner_texts()
                assert numbers == ["1", "1", "2"]  # a chunk may hold two of the sentences
                for at, sentence in enumerate(sentences):
                    await page.locator(".cite").nth(at).click()
                    await page.locator("dialog strong").wait_for()
                    assert await page.locator("dialog strong").text_content() == sentence
                    await page.keyboard.press("Escape")
                await page.locator(".cite").last.click()
                await page.get_by_role("heading", name="doors.md").wait_for()
                await page.keyboard.press("Escape")
                if not again:
                    await page.reload()
                    await page.locator(".references").wait_for()


async def test_the_newest_question_is_in_sight(tmp_path: Path) -> None:
    """However long what was said before is; also when the conversation is opened again."""
    async with handbook(tmp_path) as (_, url), browsing(url, viewport={"width": 390, "height": 700}) as page:
        for turns in (1, 2, 3):
            await ask(page, QUESTION)
            await page.locator(".references").nth(turns - 1).wait_for()
        for again in (False, True):
            await page.wait_for_function(NEWEST_IN_SIGHT)  # it scrolls smoothly: all of it at one moment, however late
            if not again:
                await page.reload()


async def test_wrapped_text_is_not_wrapped_twice(tmp_path: Path) -> None:
    """Where lines of a document end only because they were full, a passage shows spaces; its text stays as it is."""
    prose = (
        "API keys are rotated every ninety days by the service's owner. The\nold key stays valid for one week, so that "
        "programs that still use it\nhave time to change."
    )
    listed = "- Keys that were lost are revoked at once by whoever is on call, and\n  a note says so.\n- Others wait."
    code = "```\nrotate_all_the_keys_of_this_service_and_of_all_others(days=90, weeks=1)\nreturn keys\n```"
    poem = "Keys turn,\nlocks learn."
    text = "\n\n".join((prose, listed, code, poem))
    async with serving(tmp_path) as served:
        await (await served.kb.create_space("handbook")).ingest(kbchat.TextDocument(name="keys.md", text=text))
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            await ask(page, QUESTION)
            await page.locator(".references button").first.click()
            await page.locator("dialog .quiet", has_text="characters").wait_for()
            mark = page.locator("dialog mark")
            assert await mark.text_content() == text
            assert await mark.locator(".soft").all_text_contents() == ["\n", "\n", "\n  "]


async def test_search_shows_how_passages_were_found(tmp_path: Path) -> None:
    """Every candidate's scores as bars as long as they say, what was cut and why, the evidence and the time."""
    async with handbook(tmp_path) as (served, url), browsing(url) as page:
        await search(page, "API keys")
        asked = {"query": "API keys", "top_k": 5, "explain": True}
        trace = (await served.post(f"{SPACES}/1/retrieve", asked))[1]["trace"]
        found = [it for it in trace["candidates"] if not it["cut"]]
        hits = page.locator("ol.hits").first.locator("li")
        assert await hits.count() == len(found)
        for number, it in enumerate(found):
            bars = hits.nth(number).locator(".bar")
            values = [it["lexical"], it["dense"], it["sentence"], it["fused"]["score"], it["recall_score"]]
            assert [float(text) for text in await bars.locator(".value").all_inner_texts()] == [
                pytest.approx(value, abs=0.005) for value in values
            ]
            width = await bars.last.locator(".fill").evaluate("it => it.style.width")
            assert float(width.removesuffix("%")) == pytest.approx(100 * it["recall_score"], abs=0.06)
        assert await page.locator(".verdict .lead").inner_text() == "The answer is here."
        summaries = page.locator(".verdict summary")
        assert re.fullmatch(r"Found in [\d.]+ ms", await summaries.nth(1).inner_text())
        await summaries.first.click()
        assert await page.locator(".verdict .balance").count() == 1 + len(trace["clues"])
        await hits.first.locator("button.title").click()
        await page.locator("dialog .quiet", has_text="characters").wait_for()
        assert await page.locator("dialog mark").text_content() == found[0]["content"]


async def test_search_says_what_was_cut_and_why(tmp_path: Path) -> None:
    """The reasons with how many each cut; all of them are shown to who asks."""
    async with serving(tmp_path) as served:
        space = await served.kb.create_space("many")
        texts = [kbchat.TextDocument(name=f"{n}.md", text=f"Keys are rotated by team {n}.") for n in range(20)]
        await space.ingest(texts)
        async with browsing(f"http://{served.host}:{served.port}/") as page:
            await search(page, "Who rotates the keys?")
            assert await page.locator(".reasons li").all_inner_texts() == [
                "beyond the number 15 · others scored more, as many as were asked for"
            ]
            assert await page.locator(".cut .hits li").count() == 12
            await page.locator(".cut").get_by_role("button", name="Show more").click()
            assert await page.locator(".cut .hits li").count() == 15
            await page.get_by_label("Passages").select_option("30")
            await page.locator(".cut").wait_for(state="detached")
            assert await page.locator(".hits li").count() == 20


async def test_the_keyboard_is_enough(tmp_path: Path) -> None:
    """To skip to the content, change views, ask, open a reference and come back to where one was."""
    async with handbook(tmp_path) as (_, url), browsing(url) as page:
        await page.locator("#tab-ask").wait_for()
        focused = "document.activeElement.id || document.activeElement.className || document.activeElement.textContent"

        async def back_to(name: str) -> None:
            for _ in range(20):
                await page.keyboard.press("Shift+Tab")
                if await page.evaluate(focused) == name:
                    return
            pytest.fail(f"the keyboard does not come to {name}")

        await back_to("unseen")
        await page.keyboard.press("Enter")
        assert await page.evaluate(focused) == "tab-ask"
        for key, view in (("ArrowRight", "conversations"), ("End", "search"), ("Home", "ask"), ("ArrowLeft", "search")):
            await page.keyboard.press(key)
            assert await page.evaluate(focused) == f"tab-{view}"
            assert await page.locator("[aria-selected=true]").get_attribute("id") == f"tab-{view}"
        await page.keyboard.press("Home")
        await page.keyboard.press("Tab")
        assert await page.evaluate(focused) == "question"
        await page.keyboard.type(QUESTION)
        await page.keyboard.press("Enter")
        await page.locator(".cite").first.wait_for()
        await page.locator(".composer button[type=submit]").wait_for()
        await back_to("cite")
        await page.keyboard.press("Enter")
        await page.locator("dialog mark").wait_for()
        await page.keyboard.press("Escape")
        await page.locator("dialog").wait_for(state="detached")
        assert await page.evaluate(focused) == "cite"


# -- over every view -------------------------------------------------------------------------------------------------


async def every_view(page: Any) -> AsyncIterator[str]:
    """Each view, with something in it; also the dialog."""
    await page.locator("nav li button", has_text="empty").click()
    yield "documents, empty"
    await show(page, "ask")
    yield "ask, without documents"
    await show(page, "conversations")
    await page.locator(".empty").wait_for()
    yield "conversations, empty"
    await page.locator("nav li button", has_text="handbook").click()
    await ask(page, QUESTION)
    await page.locator(".references").wait_for()
    yield "ask"
    await page.locator(".cite").first.click()
    await page.locator("dialog strong").wait_for()
    yield "passage"
    await page.keyboard.press("Escape")
    await show(page, "conversations")
    await page.locator(".talks li").wait_for()
    yield "conversations"
    await show(page, "documents")
    await page.locator("li.FAILED").wait_for()
    yield "documents"
    await page.locator("header .title button").click()
    await page.locator("dialog.properties").wait_for()
    yield "properties"
    await page.keyboard.press("Escape")
    await search(page, QUESTION)
    for summary in await page.locator("summary").all():
        await summary.click()
    yield "search"


async def faults(page: Any) -> dict[str, list[str]]:
    """What axe-core finds of serious and critical faults: its rules, and where they are broken."""
    if not AXE.exists() and not IN_CI:
        pytest.skip("there is no axe-core; `make clients` fetches it where there is npm")
    await page.evaluate(AXE.read_text())
    result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [it for it in result["violations"] if it["impact"] in ("serious", "critical")]
    return {it["id"]: [node["html"] for node in it["nodes"]] for it in serious}


@asynccontextmanager
async def furnished(folder: Path) -> AsyncIterator[str]:
    """A server whose every view has something to show, and the address of its page."""
    async with handbook(folder) as (served, url):
        await served.kb.create_space("empty")
        space = await served.kb.get_space("handbook")
        bad = await space.add_document("bad.pdf", data=b"%PDF-1.4 nothing")
        await space.index_documents([bad.id])
        yield url


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_view_shuts_anybody_out(tmp_path: Path, locale: str, scheme: str) -> None:
    """axe-core finds no serious and no critical fault."""
    found = {}
    async with (
        furnished(tmp_path) as url,
        chromium() as browser,
        looking(browser, url, locale=locale, color_scheme=scheme) as page,
    ):
        assert await page.evaluate("document.documentElement.lang") == ("en" if locale == "en-GB" else "zh-Hans")
        async for view in every_view(page):
            found |= {f"{view}: {rule}": nodes for rule, nodes in (await faults(page)).items()}
    assert found == {}


async def test_the_gate_shuts_nobody_out(tmp_path: Path) -> None:
    """Nor does the question for a key, with a refusal."""
    async with (
        serving(tmp_path, api_keys=("right",)) as served,
        browsing(f"http://{served.host}:{served.port}/") as page,
    ):
        await page.locator("#key").fill("wrong")
        await page.locator("#key").press("Enter")
        await page.get_by_role("alert").wait_for()
        assert await faults(page) == {}


async def test_it_uses_the_documented_routes_only(tmp_path: Path) -> None:
    """Whatever view is looked at: its own files, and routes of the server's own description."""
    asked: set[tuple[str, str]] = set()
    async with furnished(tmp_path) as url, chromium() as browser, looking(browser, url) as page:
        page.on("request", lambda request: asked.add((request.method, request.url)))
        await page.reload()
        async for _ in every_view(page):
            pass
        described = (await (await page.request.get(f"{url}openapi.json")).json())["paths"]
    known = {
        (method.upper(), re.compile(re.sub(r"\{\w+\}", r"[^/?]+", path) + r"(\?.*)?"))
        for path, methods in described.items()
        for method in methods
    }
    assert all(address.startswith(url) for _, address in asked)
    calls = {(method, "/" + address.removeprefix(url)) for method, address in asked}
    calls = {(method, path) for method, path in calls if path != "/" and not path.startswith("/page/")}
    assert len(calls) > 5
    strange = {it for it in calls if not any(it[0] == method and path.fullmatch(it[1]) for method, path in known)}
    assert strange == set()


@pytest.mark.parametrize("width", [320, 390])
async def test_narrow_screens_scroll_one_way(tmp_path: Path, width: int) -> None:
    """Nothing is wider than the screen, in any view."""
    async with furnished(tmp_path) as url, browsing(url, viewport={"width": width, "height": 700}) as page:
        async for view in every_view(page):
            assert await page.evaluate("document.scrollingElement.scrollWidth") <= width, view
