"""PDFs: what a page shows is read, line by line, with what was filled in; sections are chunks' borders."""

import re

import pytest

from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.pdf import PdfLoader
from kbchat.models import LoadedDocument
from kbchat.text.splitting import split
from made_files import locked_pdf, pdf


def read(data: bytes) -> LoadedDocument:
    return PdfLoader().load(data, name="a.pdf")


def sideways(*lines: str) -> bytes:
    """A page that is turned, with its text written upwards: it shows upright."""
    drawn = " ".join(f"0 1 -1 0 {100 + 16 * place} 72 Tm ({line}) Tj" for place, line in enumerate(lines))
    page = pdf("x").replace(b"/MediaBox", b"/Rotate 90 /MediaBox")
    stream = f"<< /Length {len(drawn) + 18} >>\nstream\nBT /F1 12 Tf {drawn} ET\nendstream".encode()
    return re.sub(rb"<< /Length \d+ >>\nstream\n.*?\nendstream", lambda _: stream, page, flags=re.DOTALL)


def form(**fields: str) -> bytes:
    """A page with the fields of a form, each of which has a value as PDF writes it."""
    page = pdf("The form")
    first = int(re.findall(rb"/Size (\d+)", page)[0])
    numbers = " ".join(f"{first + place} 0 R" for place in range(len(fields)))
    objects = "".join(
        f"{first + place} 0 obj\n<< /Type /Annot /Subtype /Widget /T ({name}) {value} /Rect [9 9 90 20] >>\nendobj\n"
        for place, (name, value) in enumerate(fields.items())
    )
    changed = page.replace(b"/MediaBox", f"/Annots [{numbers}] /MediaBox".encode())
    changed = changed.replace(b"/Type /Catalog", f"/Type /Catalog /AcroForm << /Fields [{numbers}] >>".encode())
    # Without its table of offsets PDFium looks for the objects itself.
    return changed[: changed.index(b"xref\n")] + objects.encode() + changed[changed.index(b"trailer") :]


def test_turned_pages_keep_their_lines() -> None:
    """Tables are often on such pages."""
    assert read(sideways("First line.", "Second line.", "Third line.", "Fourth line.")).text == (
        "First line.\nSecond line.\nThird line.\nFourth line."
    )


def test_numbers_that_are_not_the_pages_own_are_text() -> None:
    """Invoices differ in nothing else; and an article may begin each page."""
    invoices = [f"Invoice no. {4711 + 37 * n}\nThings {'x' * n}\nTotal {123 + 17 * n}.50 EUR" for n in range(5)]
    text = read(pdf(*invoices)).text
    assert all(f"Invoice no. {4711 + 37 * n}" in text and f"Total {123 + 17 * n}.50 EUR" in text for n in range(5))
    text = read(pdf(*(f"Article {n}\nIt says {'x' * n}." for n in range(1, 6)))).text
    assert all(f"Article {n}" in text for n in range(1, 6))


@pytest.mark.parametrize(
    "page",
    [
        "text {x}\nPage {n}",
        "{n}\ntext {x}\n",
        "Page {n} of 6\ntext {x}\n- {n} -",
        "text {x}\nHandbook, 2nd edition, {n} / 6",
        "text {x}\nChapter 2 | {n}",
        "text {x}\nACME | Page {n} | Confidential",
    ],
)
def test_page_numbers_are_left_out(page: str) -> None:
    """At the foot of a page, or where the line is nothing else, or says how many there are."""
    pages = [page.format(n=number, x="x" * number) for number in range(1, 7)]
    assert read(pdf(*pages)).text == "\n\n".join(f"text {'x' * number}" for number in range(1, 7))


def test_running_lines_are_kept_once() -> None:
    """They may be a table's columns, or whom to pay."""
    pages = [f"Employee Department Salary\ntext {'x' * number}\nPayable to DE 99" for number in range(1, 7)]
    shown = [f"text {'x' * number}" for number in range(1, 7)]
    shown[0] = f"Employee Department Salary\n{shown[0]}\nPayable to DE 99"
    assert read(pdf(*pages)).text == "\n\n".join(shown)
    # A cover has none; the next page is the first one that does.
    assert read(pdf("The cover", *pages)).text == "\n\n".join(["The cover", *shown])


@pytest.mark.parametrize(
    "line",
    [
        "Row {n} item beta{n}",
        "Item {n} blue",
        "Widget beta{n}",
        "Sum {n}.50",
        "Sum 0.{n}",
        "Share {n}%",
        "They came back to it in {n}.",
        "Of those that were asked here and there the answer was {n}",
    ],
)
def test_rows_and_sentences_that_count_with_the_pages_are_text(line: str) -> None:
    """Their number is not all that they say."""
    pages = [f"text {'x' * number}\n{line.format(n=number)}" for number in range(1, 7)]
    assert read(pdf(*pages)).text == "\n\n".join(pages)


def test_what_is_wrong_is_said_of_each_by_itself() -> None:
    """Whatever was wrong with the one before."""
    for data, reason in ((locked_pdf(), "encrypted"), (pdf("x").replace(b"/Pages 2 0 R", b"/Xages 2 0 R"), "damaged")):
        with pytest.raises(UnreadableDocumentError, match=reason):
            read(data)


def test_a_damaged_page_is_told() -> None:
    """The others keep their numbers."""
    whole = pdf("The first page.", "The second page.", "The third page.")
    damaged = whole.replace(b"9 0 obj\n<< /Type /Page /P", b"9 0 obj\n<< /Type /Xxxx /P")
    assert damaged != whole
    document = read(damaged)
    assert document.metadata["unread_pages"] == [2]
    assert [block.metadata["page"] for block in document.blocks] == [1, 3]
    assert "unread_pages" not in read(whole).metadata


def test_what_is_filled_in_is_read() -> None:
    """By the name that a reader is told, else by the field's own; passwords and empty fields are left out."""
    data = form(
        name="/FT /Tx /V (Ada Lovelace)",
        f1="/FT /Tx /TU (City of birth) /V (London)",
        empty="/FT /Tx",
        secret="/FT /Tx /Ff 8192 /V (swordfish)",
        agreed="/FT /Btn /V /Yes /AS /Yes /AP << /N << /Yes 3 0 R /Off 3 0 R >> >>",
        refused="/FT /Btn /V /Off /AS /Off /AP << /N << /Yes 3 0 R /Off 3 0 R >> >>",
    )
    assert read(data).text == "The form\nname: Ada Lovelace\nCity of birth: London\nagreed: Yes"


def test_bookmarks_are_headings_to_every_strategy() -> None:
    """By heading each section is a chunk; by structure none begins in one section and ends in the midst of another."""
    words = "\n".join(["word " * 12] * 12)
    pages = pdf(
        f"Intro\n{words}\nUsage\nSome.\nLimits\nMany.",
        f"Costs\n{words}",
        outline=(("Intro", 0), ("Usage", 0), ("Limits", 0), ("Costs", 1)),
    )
    document = read(pages)
    sections = [span.headings for span in split(document, Splitting(strategy=ChunkStrategy.HEADING, max_tokens=512))]
    assert sections == [("Intro",), ("Usage",), ("Limits",), ("Costs",)]
    spans = split(document, max_tokens=100)
    starts = [document.text[span.start : span.end].split("\n")[0] for span in spans]
    assert "Usage" in starts
    assert "Costs" in starts
    together = next(document.text[span.start : span.end] for span in spans if span.headings == ("Usage",))
    assert together == "Usage\nSome.\n\nLimits\nMany."


def test_a_section_that_is_only_its_title_stays_with_the_next() -> None:
    """As chapters begin with the title of their first section."""
    words = "\n".join(["word " * 12] * 12)
    document = read(pdf(f"Chapter\nPart\n{words}", outline=(("Chapter", 0), ("Part", 0))))
    spans = split(document, max_tokens=100)
    assert document.text[: spans[0].end].startswith("Chapter\n\nPart\nword")
    document = read(pdf(f"Book\nChapter\nPart\n{words}", outline=(("Book", 0), ("Chapter", 0), ("Part", 0))))
    assert split(document, max_tokens=100)[0].end > 100
