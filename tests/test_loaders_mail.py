"""Mails: every text that a mail program would show is read, in the encoding that it is in."""

import base64
from email.message import EmailMessage

import pytest

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.mail import EmlLoader

HEAD = b"From: a@example.org\nSubject: x\n"
SHOWN = "# x\n\nFrom: a@example.org\n\n"


def read(data: bytes | EmailMessage) -> str:
    return EmlLoader().load(data if isinstance(data, bytes) else data.as_bytes(), name="a.eml").text


def part(kind: str, content: str, *, filename: str = "", disposition: str = "") -> EmailMessage:
    made = EmailMessage()
    made.set_content(content, subtype=kind)
    if filename:
        made.add_header("Content-Disposition", disposition, filename=filename)
    return made


def picture() -> EmailMessage:
    made = EmailMessage()
    made.set_content(b"\x89PNG", maintype="image", subtype="png", disposition="inline", filename="p.png")
    return made


def mail(kind: str, *parts: EmailMessage) -> EmailMessage:
    made = EmailMessage()
    made["From"] = "a@example.org"
    made["Subject"] = "x"
    made["Content-Type"] = f"multipart/{kind}"
    made.set_payload(list(parts))
    return made


def test_what_stands_after_a_picture_is_read() -> None:
    """Some programs write a text part before and one after it."""
    whole = mail("mixed", part("plain", "Before."), picture(), part("plain", "After: 4 May."), part("html", "<p>End."))
    assert read(whole) == f"{SHOWN}Before.\n\nAfter: 4 May.\n\nEnd.\n\nAttachments: p.png"


def test_attached_texts_are_named_only() -> None:
    """What is shown in the mail is read, under whatever name."""
    shown = part("plain", "Shown.", filename="a.txt", disposition="inline")
    attached = part("plain", "Attached.", filename="b.txt", disposition="attachment")
    assert read(mail("mixed", shown, attached)) == f"{SHOWN}Shown.\n\nAttachments: b.txt"


def test_a_blank_form_of_a_text_gives_way_to_the_other() -> None:
    """Newsletters have an empty plain text beside their HTML; else the plain one is read, wherever it stands."""
    assert read(mail("alternative", part("plain", "\n"), part("html", "<p>The news.</p>"))) == f"{SHOWN}The news."
    assert read(mail("alternative", part("html", "<p>html</p>"), part("plain", "Plain."))) == f"{SHOWN}Plain."
    page = EmailMessage()
    page["Content-Type"] = "multipart/related"
    page.set_payload([part("html", "<p>Page.</p>"), picture()])
    assert read(mail("alternative", page)) == f"{SHOWN}Page."
    mixed = EmailMessage()
    mixed["Content-Type"] = "multipart/mixed"
    mixed.set_payload([part("html", "One."), picture(), part("html", "Two.")])
    assert read(mail("alternative", part("plain", " "), mixed)) == f"{SHOWN}One.\n\nTwo.\n\nAttachments: p.png"


@pytest.mark.parametrize(
    ("header", "text", "encoding"),
    [
        ("", "Grüße aus Köln, 会议在周五。", "utf-8"),
        ("Content-Type: text/plain\n", "Grüße aus Köln, 会议在周五。", "utf-8"),
        ("Content-Type: text/plain; charset=us-ascii\n", "Grüße aus Köln", "utf-8"),
        ("Content-Type: text/plain; charset=gb2312\n", "朱镕基总理，陶喆。", "gb18030"),
        ("Content-Type: text/plain; charset=iso-8859-1\n", "It’s 5 € “now”.", "cp1252"),
        ("Content-Type: text/plain; charset=iso-2022-jp\n", "会議は明日です。", "iso-2022-jp"),
        ("Content-Type: text/plain; charset=unknown-8bit\n", "Grüße aus Köln", "utf-8"),
    ],
)
def test_texts_are_in_the_encoding_that_they_are_in(header: str, text: str, encoding: str) -> None:
    """Whether a mail says none, a narrower one, or a wrong one."""
    assert read(HEAD + header.encode() + b"\n" + text.encode(encoding)) == SHOWN + text


def test_a_page_may_say_its_encoding_itself() -> None:
    """Where the mail does not."""
    page = '<html><head><meta charset="koi8-r"></head><body><p>Да</p></body></html>'.encode("koi8-r")
    assert read(HEAD + b"Content-Type: text/html\n\n" + page) == f"{SHOWN}Да"


def test_a_forwarded_mail_says_who_wrote_it_and_when() -> None:
    """Its own headers stand under its subject."""
    inner = EmailMessage()
    inner["From"] = "boss@example.org"
    inner["Date"] = "Mon, 01 Jan 2024 10:00:00 +0000"
    inner["Subject"] = "Budget"
    inner.set_content("It is 5000.")
    forwarded = EmailMessage()
    forwarded.set_content(inner)
    expected = "See below.\n\n## Budget\n\nFrom: boss@example.org\nDate: Mon, 01 Jan 2024 10:00:00 +0000\n\nIt is 5000."
    assert read(mail("mixed", part("plain", "See below."), forwarded)) == SHOWN + expected


@pytest.mark.parametrize("kind", ["rfc822", "global"])
def test_a_mail_attached_as_any_file_is_read(kind: str) -> None:
    """In base64 with its headers, or with headers in UTF-8."""
    inner = "Subject: Größe\nContent-Type: text/plain; charset=utf-8\n\n5 m², länger.\n".encode()
    head = HEAD + f"Content-Type: message/{kind}\n".encode()
    expected = f"{SHOWN}## Größe\n\n5 m², länger."
    assert read(head + b"\n" + inner) == expected
    disposed = b"Content-Disposition: attachment; filename=a.eml\nContent-Transfer-Encoding: base64\n\n"
    assert read(head + disposed + base64.encodebytes(inner)) == expected


def test_the_root_of_related_parts_need_not_be_the_first() -> None:
    """The mail says which one it is."""
    page = part("html", "<p>Page.</p>")
    page["Content-ID"] = "<root@x>"
    whole = mail("related", picture(), page)
    whole.replace_header("Content-Type", 'multipart/related; start="<root@x>"')
    assert read(whole) == f"{SHOWN}Page."
    first = mail("related", page, picture())
    first.replace_header("Content-Type", 'multipart/related; start="<other@x>"')
    assert read(first) == f"{SHOWN}Page."
    assert read(mail("related", picture(), page)) == f"{SHOWN}Attachments: p.png"
    assert read(HEAD + b"Content-Type: multipart/related; boundary=b\n\n--b--\n") == SHOWN.strip()


def test_attachments_among_related_parts_are_named() -> None:
    """Not so a page's own pictures and styles, even where they are called attachments."""
    called = picture()
    called.replace_header("Content-Disposition", 'attachment; filename="logo.png"')
    called["Content-ID"] = "<logo@x>"
    photo = picture()
    photo.replace_header("Content-Disposition", 'attachment; filename="photo.png"')
    table = part("csv", "a,b", filename="t.csv", disposition="attachment")
    pdf = EmailMessage()
    pdf.set_content(b"%PDF", maintype="application", subtype="pdf", disposition="inline", filename="a.pdf")
    whole = mail("related", part("html", "<p>Page.</p>"), part("css", "p {}"), called, picture(), photo, table, pdf)
    assert read(whole) == f"{SHOWN}Page.\n\nAttachments: photo.png, t.csv, a.pdf"


def test_invitations_are_texts() -> None:
    """When, where and what a meeting is."""
    assert "SUMMARY:Meeting" in read(HEAD + b"Content-Type: text/calendar\n\nBEGIN:VCALENDAR\nSUMMARY:Meeting\n")


def test_a_byte_order_mark_hides_no_headers() -> None:
    """As editors write one."""
    assert read(b"\xef\xbb\xbf" + HEAD + b"\nHello.\n") == f"{SHOWN}Hello."


def test_parts_without_a_border_are_a_text() -> None:
    """As a program writes them that forgets it."""
    assert read(HEAD + b"Content-Type: multipart/mixed\n\nHello.\n") == f"{SHOWN}Hello."


def test_a_mail_within_mails_without_end_is_refused() -> None:
    """However it is nested."""
    with pytest.raises(UnreadableDocumentError, match="nested too deeply"):
        read(b"Content-Type: message/rfc822\nSubject: x\n\n" * 3000 + b"Hello.")
