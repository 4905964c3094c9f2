"""Files of every kind, made here: good ones that hold a phrase to be found, and bad ones."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

PHRASE = "Keys of the vault are rotated every ninety days."


def pdf(*pages: str, title: str = "", outline: tuple[tuple[str, int], ...] = ()) -> bytes:
    """A small PDF with a text on each page and bookmarks to pages (from 0), written by hand."""
    objects: list[bytes] = []

    def add(body: str) -> int:
        objects.append(body.encode("latin-1"))
        return len(objects)

    add("<< /Type /Catalog /Pages 2 0 R /Outlines 4 0 R >>")
    kids = [7 + 2 * number for number in range(len(pages))]
    add(f"<< /Type /Pages /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] /Count {len(pages)} >>")
    add("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    first = 7 + 2 * len(pages)
    last = first + len(outline) - 1
    add(f"<< /Type /Outlines /First {first} 0 R /Last {last} 0 R /Count {len(outline)} >>" if outline else "<< >>")
    add(f"<< /Title ({title}) >>")
    add("<< /Font << /F1 3 0 R >> >>")
    for number, text in enumerate(pages):
        lines = " T* ".join(f"({line.replace('(', '').replace(')', '')}) Tj" for line in text.split("\n"))
        content = f"BT /F1 12 Tf 50 750 Td 14 TL {lines} ET"
        add(f"<< /Type /Page /Parent 2 0 R /Resources 6 0 R /MediaBox [0 0 612 792] /Contents {8 + 2 * number} 0 R >>")
        add(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    for number, (name, page) in enumerate(outline):
        links = f" /Next {first + number + 1} 0 R" if number + 1 < len(outline) else ""
        links += f" /Prev {first + number - 1} 0 R" if number else ""
        add(f"<< /Title ({name}) /Parent 4 0 R /Dest [{kids[page]} 0 R /Fit]{links} >>")
    out = io.BytesIO(b"")
    out.write(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n".encode() + body + b"\nendobj\n")
    start = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    trailer = f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{start}\n%%EOF\n"
    out.write(trailer.encode())
    return out.getvalue()


def locked_pdf() -> bytes:
    """A PDF that opens with a password only: what the handler would check it by is there, and fits none."""
    lock = f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{'41' * 32}> /U <{'42' * 32}> >>"
    whole = pdf("secret")
    return whole.replace(b"trailer << ", f"trailer << /Encrypt {lock} /ID [<{'43' * 16}> <{'43' * 16}>] ".encode())


def docx(text: str = PHRASE) -> bytes:
    from docx import Document

    document = Document()
    document.core_properties.title = "Keys"
    document.add_heading("Security", 1)
    document.add_paragraph("An introduction.")
    document.add_heading("Rotation", 2)
    document.add_paragraph(text)
    document.add_paragraph("first point", style="List Bullet")
    table = document.add_table(2, 2)
    for place, value in enumerate(["Key", "Owner", "blue", "Ann"]):
        table.cell(place // 2, place % 2).text = value
    return saved(document)


def pptx() -> bytes:
    from pptx import Presentation

    show = Presentation()
    for title, body in (("Welcome", "To the handbook."), ("Rotation", PHRASE)):
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    slide.notes_slide.notes_text_frame.text = "Ask the vault's owner."
    return saved(show)


def xlsx() -> bytes:
    from xlsxwriter import Workbook

    out = io.BytesIO()
    with Workbook(out, {"in_memory": True}) as book:
        for name, rows in (("People", [["Name", "Age"], ["Ann", 30], ["Bo", 4.5]]), ("Empty", []), ("Keys", [["x"]])):
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return out.getvalue()


def epub() -> bytes:
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>The Handbook</dc:title></metadata><manifest>"
        '<item id="b" href="two%20b.xhtml"/><item id="a" href="one.xhtml"/>'
        '<item id="n" href="n.xhtml" properties="nav"/>'
        '</manifest><spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "OEBPS/book.opf": package,
            "OEBPS/n.xhtml": "<html><body>Contents of the book</body></html>",
            "OEBPS/one.xhtml": "<html><body><h1>Start</h1><p>It begins.</p></body></html>",
            "OEBPS/two b.xhtml": f"<html><body><h1>Rotation</h1><p>{PHRASE}</p></body></html>",
        }
    )


def zipped(members: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return out.getvalue()


def bomb() -> bytes:
    """A Word document of a megabyte that unpacks to a gigabyte, put together from one compressed block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    data, name = block * 1024 + b"\x03\x00", b"word/document.xml"
    about = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, 0, len(data), 1 << 30, len(name), 0)
    local = b"PK\x03\x04" + about + name + data
    central = b"PK\x01\x02" + struct.pack("<H", 20) + about + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


HTML = f"""<!doctype html><html lang="en"><head><title>Keys | Handbook</title></head><body>
<nav><a href="/">Home</a> <a href="/b">Blog</a></nav><header>Our banner</header>
<main><h1>Security</h1><h2 id="r">Rotation<a class="headerlink" href="#r">¶</a></h2><p>{PHRASE}</p>
<ul><li>one</li><li>two<ul><li>inner</li></ul></li></ul>
<pre><code class="language-py">def rotate():
    pass</code></pre>
<table><tr><th>Key</th><th>Owner</th></tr><tr><td>blue</td><td>Ann</td></tr></table>
<script>alert("no")</script></main><footer>Imprint</footer></body></html>"""

EML = f"""From: Ann <ann@example.com>
To: bo@example.com
Subject: =?utf-8?q?Schl=C3=BCssel?=
Date: Mon, 6 Jan 2025 10:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="x"

--x
Content-Type: multipart/alternative; boundary="y"

--y
Content-Type: text/plain; charset=utf-8

{PHRASE}
--y
Content-Type: text/html

<p>html</p>
--y--
--x
Content-Type: application/pdf
Content-Disposition: attachment; filename="plan.pdf"

JVBERi0=
--x--
"""

NOTEBOOK = {
    "metadata": {"language_info": {"name": "python"}},
    "cells": [
        {"cell_type": "markdown", "source": ["# Keys\n", PHRASE]},
        {"cell_type": "code", "source": "rotate()", "outputs": [{"text": "not this"}]},
    ],
}

RSS = f"""<rss version="2.0"><channel><title>News</title><item><title>Rotation</title>
<description>&lt;p&gt;{PHRASE}&lt;/p&gt;</description></item></channel></rss>"""

CODE = f'''import os


class Vault:
    """Keeps keys."""

    def rotate(self):
        """{PHRASE}"""
        return os.urandom(32)
'''


def good() -> dict[str, bytes]:
    """A file of each kind by name; each holds the phrase."""
    return {
        "plain.txt": PHRASE.encode(),
        "utf16.txt": f"UTF-16: {PHRASE}".encode("utf-16"),
        "gb.txt": f"{PHRASE} 知识库支持多种文档格式。".encode("gb18030"),
        "latin.txt": f"{PHRASE} Größe für Schlüssel".encode("latin-1"),
        "guide.md": f"# Security\n\n## Rotation\n\n{PHRASE}\n".encode(),
        "guide.rst": f"Security\n========\n\nRotation\n--------\n\n{PHRASE}\n".encode(),
        "vault.py": CODE.encode(),
        "page.html": HTML.encode(),
        "news.xml": RSS.encode(),
        "config.xml": f"<config><rule><text>{PHRASE}</text></rule></config>".encode(),
        "data.json": json.dumps({"rules": [{"name": "rotation", "text": PHRASE}]}).encode(),
        "lines.jsonl": "\n".join(json.dumps({"text": text}) for text in ("first", PHRASE)).encode(),
        "book.ipynb": json.dumps(NOTEBOOK).encode(),
        "rules.csv": f'Rule;Text\n1;"{PHRASE}"\n'.encode(),
        "rules.tsv": f"Rule\tText\n1\t{PHRASE}\n".encode(),
        "paper.pdf": pdf(
            "Introduction", f"More on\n{PHRASE}", title="Keys", outline=(("Introduction", 0), ("More", 1))
        ),
        "report.docx": docx(),
        "slides.pptx": pptx(),
        "novel.epub": epub(),
        "mail.eml": EML.encode(),
        "letter.rtf": rb"{\rtf1\ansi\deff0 {\fonttbl{\f0 Times;}} \f0 " + PHRASE.encode() + rb"\par}",
    }


def more() -> dict[str, bytes]:
    """Files of those kinds under other names, in other encodings and with other structure; each holds the phrase."""
    accents = f"{PHRASE} Größe für Schlüssel, naïve façade, coûts élevés."
    french = f"{PHRASE} Les clés sont remplacées, vérifiées puis rangées à l'abri après l'été."
    japanese = f"{PHRASE} 鍵は九十日ごとに交換されます。新しい鍵は金庫に保管してください。"
    section = "<h1>Security</h1><p>"
    chinese = f"{PHRASE} 知識庫支援多種文件格式，金鑰每九十天輪換一次。"
    return {
        "README": f"Security\n\n{PHRASE}\n".encode(),
        "server.log": f"2025-01-06 start\n{PHRASE}\n".encode(),
        "bom.txt": b"\xef\xbb\xbf" + PHRASE.encode(),
        "utf32.txt": PHRASE.encode("utf-32"),
        "sjis.txt": japanese.encode("shift_jis"),
        "big5.txt": chinese.encode("big5"),
        "windows.txt": french.encode("cp1252"),
        "crlf.md": f"# Security\r\n\r\n{PHRASE}\r\n".encode(),
        "front.mdx": f"---\ntitle: Keys\n---\n\n# Security\n\n{PHRASE}\n".encode(),
        "setext.markdown": f"Security\n========\n\n{PHRASE}\n".encode(),
        "accents-é.md": f"# Security\n\n{accents}\n".encode(),
        "Vault.java": f"class Vault {{\n    /** {PHRASE} */\n    void rotate() {{}}\n}}\n".encode(),
        "vault.go": f"package vault\n\n// {PHRASE}\nfunc Rotate() {{}}\n".encode(),
        "vault.rs": f"/// {PHRASE}\npub fn rotate() {{}}\n".encode(),
        "vault.ts": f"/** {PHRASE} */\nexport function rotate(): void {{}}\n".encode(),
        "vault.sql": f"-- {PHRASE}\nSELECT 1;\n".encode(),
        "page.htm": HTML.encode("utf-16"),
        "latin.html": f'<html><head><meta charset="latin-1"></head><body>{section}{accents}</p></body></html>'.encode(
            "latin-1"
        ),
        "oneline.html": f"<html><body>{section}{'filler words </p><p>' * 2000}{PHRASE}</p></body></html>".encode(),
        "news.atom": f'<feed xmlns="http://www.w3.org/2005/Atom"><title>N</title><entry><title>Rotation</title>'
        f"<content>{PHRASE}</content></entry></feed>".encode(),
        "second.pdf": pdf("One page", "Another", f"A third\n{PHRASE}", title="Pages"),
        "wide.csv": (",".join(f"c{n}" for n in range(300)) + "\n" + ",".join([PHRASE] * 300) + "\n").encode(),
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def saved(document: Any) -> bytes:
    """The bytes of a document of python-docx or python-pptx."""
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def changed(data: bytes, change: Callable[[str, bytes], bytes | None], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """A zipped document with other parts; those for which None is given are left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            if (part := change(name, old.read(name))) is not None:
                new.writestr(name, part)
    return out.getvalue()
