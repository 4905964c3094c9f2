"""Files that others wrote, with other programs, beside the made ones: each gives its text, its place, or its reason.

They are not part of the project: `REAL_FILES` names their folder. What is not there is passed over.
"""

import os
from pathlib import Path

import anyio.to_thread
import pytest

import kbchat
from made_files import PHRASE, good, more, write

FOLDER = os.environ.get("REAL_FILES")

pytestmark = [
    pytest.mark.skipif(FOLDER is None, reason="REAL_FILES names no folder with them"),
    pytest.mark.timeout(300),
]

UUID_HEADING = "d666f1f7-46cb-42bd-9a39-9a39cf2a509f"
PLACES: dict[str, tuple[str, dict[str, object]]] = {
    "RECEIPT-2024-TXN-98765_retail_purchase.pdf": ("HDMI 2.1 Cable 6ft", {"page": 1}),
    "equations.docx": ("The angle is", {}),
    "google-doc-document.pdf": ("Beautiful is better than ugly.", {"page": 1}),
    "habibi.pdf": ("habibi", {"page": 1}),
    "pdfkit.pdf": ("Foo: bar", {"page": 1}),
    "pdflatex-4-pages.pdf": ("be written in of the original language.", {"page": 4}),
    "pdflatex-outline.pdf": ("7 Foo\nHello, here is some text", {"page": 3, "page_end": 4, "headings": ["Foo"]}),
    "rlink.docx": ("Testing Linked Images", {}),
    "test.docx": ("In light of the intuition and early evidence", {"headings": ["Introduction", UUID_HEADING]}),
    "test.epub": ("a test paragraph with some formatting", {"headings": ["Chapter 1: Test Content"]}),
    "test.json": ("list_value2", {}),
    "test.pdf": ("A fundamental insight of AutoGen", {"page": 1}),
    "test.pptx": ("a3f6004b-6f4f-4ea8-bee3-3741f4dc385f", {"slide": 4, "headings": ["A chart to test parsing:"]}),
    "test.rtf": ("This is a Sample RTF File", {}),
    "test.xls": ("ColD: affc7dad-52dc-4b98-9b5d-51e65d8a8ad0", {"sheet": "09060124-b5e7-4717-9d07-3c046eb"}),
    "test.xlsx": ("ColD: affc7dad-52dc-4b98-9b5d-51e65d8a8ad0", {"sheet": "09060124-b5e7-4717-9d07-3c046eb"}),
    "test_blog.html": (
        "In this experiment, when n > 1",
        {
            "headings": [
                "Does Model and Inference Parameter Matter in LLM Applications? - A Case Study for MATH",
                "Experiment Setup",
            ]
        },
    ),
    "test_mskanji.csv": ("名前: 三木英子; 年齢: 25; 住所: 大阪", {}),
    "test_notebook.ipynb": ('print("markitdown")', {"headings": ["Test Notebook"]}),
    "test_outlook_msg.msg": ("This is the body of the", {"headings": ["Test Email Message"]}),
    "test_rss.xml": (
        "Accelleron used Microsoft Power Platform",
        {
            "headings": [
                "How real-world businesses are transforming with AI – with 40+ new stories",
                "Reshaping business process",
            ]
        },
    ),
    "test_serp.html": ("What are Microsoft's main products?", {"headings": ["Microsoft - Wikipedia"]}),
    "test_wikipedia.html": (
        "rolling out end-to-end encryption (E2EE)",
        {"headings": ["Microsoft", "History", "2020–present: Acquisitions, Xbox Series X/S, and Windows 11"]},
    ),
    "test_with_comment.docx": (
        "In light of the intuition and early evidence",
        {"headings": ["Introduction", UUID_HEADING]},
    ),
}
REASONS = {
    "MEDRPT-2024-PAT-3847_medical_report_scan.pdf": "no text on any page: a scan",
    "grayscale-image.pdf": "no text on any page: a scan",
    "libreoffice-writer-password.pdf": "encrypted with a password",
}


async def test_every_file_is_found_in_its_place_or_has_its_reason(tmp_path: Path) -> None:
    """One ingest of all of them together with the made ones."""
    assert FOLDER is not None
    there = {path.name for path in await anyio.to_thread.run_sync(lambda: list(Path(FOLDER).iterdir()))}
    assert there <= PLACES.keys() | REASONS.keys()
    made = write(tmp_path / "made", good() | more())
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("files")
        report = await space.ingest([FOLDER, made])
        prefix = f"{Path(FOLDER).name}/"
        failed = {failure.name.removeprefix(prefix): failure.reason for failure in report.failed}
        assert failed.keys() == REASONS.keys() & there
        assert all(failed[name].startswith(REASONS[name]) for name in failed)
        assert report.added == len(there) - len(failed) + len(good() | more()) >= 40
        for name in sorted(PLACES.keys() & there):
            phrase, place = PLACES[name]
            found = [it for it in await space.retrieve(phrase, top_k=100) if it.name == prefix + name]
            holding = [it for it in found if phrase in it.content]
            assert holding, (name, phrase, [it.content[:60] for it in found])
            assert any(place.items() <= it.metadata.items() for it in holding), (name, [it.metadata for it in holding])
        names = {it.name for it in await space.retrieve(PHRASE, top_k=200) if PHRASE in it.content.replace("\n", " ")}
        assert {f"made/{name}" for name in good() | more()} <= names
