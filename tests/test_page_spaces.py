"""Spaces and unfinished conversations on the page in a real browser."""

from pathlib import Path
from typing import Any

import pytest

import kbchat
from browser import MARKS, ask, begin, browsing, show
from serving import SPACES, Served, serving
from upstream import Exchange, Upstream, model, says

__all__ = ["model"]

pytestmark = MARKS

KEYS = "# Keys\n\nAPI keys are rotated every ninety days. The old key stays valid for a week.\n"
QUESTION = "How often are API keys rotated?"


async def furnish(served: Served, *names: str) -> str:
    """Spaces with a document each; the address of the page."""
    for name in names:
        space = await served.kb.create_space(name)
        await space.ingest(kbchat.TextDocument(name="keys.md", text=KEYS))
    return f"http://{served.host}:{served.port}/"


async def test_a_space_is_renamed_and_described(tmp_path: Path) -> None:
    """By keyboard alone; the name stands everywhere, and who edited comes back to where it was."""
    async with serving(tmp_path) as served, browsing(await furnish(served, "handbook", "other")) as page:
        edit = page.get_by_role("button", name="Edit: handbook")
        await edit.focus()
        await page.keyboard.press("Enter")
        name = page.get_by_label("Name", exact=True)
        await name.fill("other")
        await page.keyboard.press("Enter")
        await page.locator("dialog [role=alert]", has_text="of this name already").wait_for()
        await name.fill("手册")
        await page.keyboard.press("Tab")
        await page.keyboard.type("What everybody must know")
        await page.get_by_role("button", name="Save").press("Enter")
        await page.get_by_role("heading", name="手册").wait_for()
        await page.locator(".about", has_text="What everybody must know").wait_for()
        await page.locator("nav li", has_text="手册").wait_for()
        assert await page.locator("dialog").count() == 0
        assert await page.evaluate("document.activeElement.getAttribute('aria-label')") == "Edit: 手册"
        await ask(page, QUESTION)
        await page.locator(".cite").first.wait_for()
        shown = (await served.get(f"{SPACES}/1"))[1]["data"]
        assert (shown["name"], shown["desc"]) == ("手册", "What everybody must know")


@pytest.mark.parametrize(("locale", "word"), [("en-GB", "Delete this space"), ("zh-CN", "删除此知识库")])
async def test_a_space_is_deleted(tmp_path: Path, locale: str, word: str) -> None:
    """Only when the question that names it is answered with yes; its conversations are gone from the page as well."""
    async with serving(tmp_path) as served, browsing(await furnish(served, "handbook", "other"), locale=locale) as page:
        asked: list[str] = []
        answers = [False, True]

        async def answer(dialog: Any) -> None:
            asked.append(dialog.message)
            await (dialog.accept() if answers.pop(0) else dialog.dismiss())

        page.on("dialog", answer)
        await ask(page, QUESTION)
        await page.locator("header .title button").click()
        await page.get_by_role("button", name=word).click()
        await page.locator("dialog").wait_for()
        assert (await served.get(f"{SPACES}/1"))[0] == 200
        await page.get_by_role("button", name=word).click()
        await page.get_by_role("heading", name="other").wait_for()
        assert "handbook" in asked[0]
        assert "1" in asked[0]
        assert (await served.get(f"{SPACES}/1"))[0] == 404
        assert await page.locator("nav li").count() == 1
        assert await page.locator(".turn").count() == 0


async def test_the_last_space_is_deleted(tmp_path: Path) -> None:
    """The page is then as on the first day."""
    async with serving(tmp_path) as served, browsing(await furnish(served, "handbook")) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        await page.locator("header .title button").click()
        await page.get_by_role("button", name="Delete this space").click()
        await page.get_by_text("Make a space, drop in some documents, and ask.").wait_for()


def half(*texts: str) -> Any:
    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say(*texts)
        await exchange.hang()

    return behave


async def test_a_stopped_answer_stays(tmp_path: Path, model: Upstream) -> None:
    """With its question, where it was, when the page is loaded again and when another conversation was open; it can be
    asked again, and is forgotten with its conversation."""
    async with serving(tmp_path, model=model) as served, browsing(await furnish(served, "handbook")) as page:
        model.behave = says("Every ninety days [1].")
        await ask(page, QUESTION)
        model.behave = half("A week, as far")
        await begin(page, "And the old key?")
        await page.get_by_text("A week, as far").wait_for()
        await page.get_by_role("button", name="Stop").click()
        await page.get_by_text("Stopped.").wait_for()
        await page.reload()
        turns = page.locator(".turn")
        await page.get_by_text("Stopped.").wait_for()
        assert "And the old key?" in await turns.nth(1).inner_text()
        assert "A week, as far" in await turns.nth(1).inner_text()
        await page.get_by_role("button", name="New conversation").click()
        await show(page, "conversations")
        await page.locator(".talks .title", has_text=QUESTION).click()
        await page.get_by_text("Stopped.").wait_for()
        model.behave = says("A week [1].")
        await page.get_by_role("button", name="Ask again").click()
        await turns.nth(1).locator(".cite").wait_for()
        assert await turns.count() == 2
        await page.reload()
        await turns.nth(1).locator(".cite").wait_for()
        assert await page.get_by_role("alert").count() == 0
        kept = (await served.get("/api/v2/conversations"))[1]["data"]["items"]
        assert [it["turns"] for it in kept] == [4]


async def test_a_first_question_that_failed_is_listed(tmp_path: Path, model: Upstream) -> None:
    """Though the server knows nothing of it: it says what failed, can be opened, asked again and forgotten."""
    async with serving(tmp_path, model=model) as served, browsing(await furnish(served, "handbook")) as page:
        model.behave = half("Every ninety")
        await begin(page, QUESTION)
        await page.get_by_text("Every ninety").wait_for()
        await page.reload()
        await page.locator(".turn [role=alert]", has_text="cut off").wait_for()
        assert "Every ninety" in await page.locator(".turn").inner_text()
        await page.get_by_role("button", name="New conversation").click()
        await show(page, "conversations")
        row = page.locator(".talks li", has_text="not answered to the end")
        await row.locator(".title", has_text=QUESTION).click()
        model.behave = says("Every ninety days [1].")
        await page.get_by_role("button", name="Ask again").click()
        await page.locator(".cite").wait_for()
        await show(page, "conversations")
        await page.locator(".talks li", has_text=QUESTION).wait_for()
        assert await row.count() == 0
        model.behave = half("Once")
        await page.locator("#tab-ask").click()
        await page.get_by_role("button", name="New conversation").click()
        await begin(page, "What now?")
        await page.get_by_text("Once").wait_for()
        page.on("dialog", lambda dialog: dialog.accept())
        await show(page, "conversations")
        await page.get_by_role("button", name="Forget: What now?").click()
        await page.locator(".talks li", has_text="What now?").wait_for(state="detached")
        assert await page.evaluate("Object.keys(sessionStorage).filter(it => it.includes('unfinished')).length") == 0
