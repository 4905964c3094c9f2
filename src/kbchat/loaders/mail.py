"""Mails: who wrote to whom about what, and the text."""

import codecs
import email
import email.policy
import io
from collections.abc import Iterator
from email.message import EmailMessage, MIMEPart

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.loaders.markup import declared_encoding, whole_content
from kbchat.loaders.parts import facts, joined, needing
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument

_SHOWN = ("From", "To", "Cc", "Date")
"""Headers that stand above a mail's text."""
_MAILS = ("message/rfc822", "message/global")
"""What a mail within a mail is called; the second one has headers in UTF-8."""


class EmlLoader:
    """A mail as it travels (RFC 5322): all its texts, plain rather than HTML; attachments are named, not read."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for what is no mail, or one with neither a subject nor a text."""
        attached: list[str] = []
        try:
            message = email.message_from_bytes(data.removeprefix(codecs.BOM_UTF8), policy=email.policy.default)
            if not isinstance(message, EmailMessage) or not message.keys():
                raise UnreadableDocumentError(name, "not a mail: it has no headers")
            body = [*_texts(message, attached)]
        except RecursionError:
            raise UnreadableDocumentError(name, "its parts are nested too deeply") from None
        return _document(_headers(message), [*body, *_named(attached)], name=name)


class MsgLoader:
    """A mail as Outlook keeps it."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is damaged or empty."""
        with needing("Outlook mails"):
            from oxmsg import Message
        try:
            message = Message.load(io.BytesIO(data))
            sent = message.sent_date
            known = message.message_headers
            headers = {
                "Subject": message.subject or "",
                "From": _decoded(message.sender or ""),
                "To": ", ".join(one.email_address for one in message.recipients if one.email_address),
                "Cc": _decoded(known.get("Cc", "")),
                "Date": sent.isoformat(sep=" ") if sent else "",
            }
            body = message.body or ""
            if not body.strip():
                body = whole_content(message.html_body or "")
            attached = [attachment.file_name or "" for attachment in message.attachments]
        except (OSError, KeyError, ValueError, AttributeError, IndexError) as error:
            raise UnreadableDocumentError(name, f"damaged: not a whole Outlook mail ({error})") from None
        return _document(headers, [body, *_named(attached)], name=name)


def _document(headers: dict[str, str], body: list[str], *, name: str) -> LoadedDocument:
    subject = headers["Subject"]
    head = _head(headers)
    require_text(subject + "".join(body), name=name, reason="the mail holds no text")
    text, _ = joined([(f"# {subject}" if subject else "", {}), (head, {}), *((part, {}) for part in body)])
    metadata = facts(title=subject, sender=headers["From"], date=headers["Date"])
    return LoadedDocument(text, metadata=metadata, markup="markdown")


def _headers(message: MIMEPart) -> dict[str, str]:
    return {key: _header(message, key) for key in ("Subject", *_SHOWN)}


def _head(headers: dict[str, str]) -> str:
    return "\n".join(f"{key}: {headers[key]}" for key in _SHOWN if headers[key])


def _header(message: MIMEPart, key: str) -> str:
    try:
        return " ".join(str(message.get(key, "")).split())
    except (ValueError, IndexError, AttributeError):
        return ""  # One that the standard library cannot parse.


def _decoded(value: str) -> str:
    """A header's value without its transport encoding."""
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(value)))
    except (ValueError, LookupError):
        return value


def _texts(message: MIMEPart, attached: list[str]) -> Iterator[str]:
    """Every text that a mail shows, in order; the names of what it does not show go to `attached`."""
    kind, filename = message.get_content_type(), message.get_filename()
    if message.get_content_disposition() == "attachment" and filename and kind not in _MAILS:
        attached.append(filename)
    elif not message.is_multipart():
        # Several parts without a border between them are a text as well.
        if message.get_content_maintype() in ("text", "multipart"):
            text = _content(message)
            yield whole_content(text) if kind == "text/html" else text
        else:
            attached.append(filename or "")
    elif kind == "multipart/alternative":
        yield _best(message, attached)
    else:
        yield from _parts(message, kind, attached)


def _parts(message: MIMEPart, kind: str, attached: list[str]) -> Iterator[str]:
    # The report that mail could not be delivered holds headers only.
    is_mail = kind in _MAILS
    for part in _related(message) if kind == "multipart/related" else message.iter_parts():
        if is_mail:
            part = _unwrapped(message, part)
            headers = _headers(part)
            yield f"## {headers['Subject']}"
            yield _head(headers)
        if is_mail or kind.startswith("multipart/"):
            yield from _texts(part, attached)


def _related(message: MIMEPart) -> list[MIMEPart]:
    """The root of related parts, which is the first one unless they say another, and those that are none of its own."""
    parts = list(message.iter_parts())
    start = str(message.get_param("start", "")).strip("<> ")
    named = (part for part in parts if start and _header(part, "Content-ID").strip("<> ") == start)
    root = next(named, parts[0] if parts else None)
    return [part for part in parts if part is root or not _is_shown_within(part)]


def _is_shown_within(part: MIMEPart) -> bool:
    """Whether a related part is a picture or a style of the root's. Some programs call pictures attachments as well."""
    kind = part.get_content_maintype()
    if part.get_content_disposition() == "attachment":
        return kind == "image" and "Content-ID" in part
    return kind in ("image", "text")


def _unwrapped(message: MIMEPart, part: MIMEPart) -> MIMEPart:
    """A mail within a mail, decoded where it is in base64 with all its headers: some programs attach it as any file."""
    encoding = _header(message, "Content-Transfer-Encoding")
    if part.keys() or encoding.lower() != "base64":
        return part
    part["Content-Transfer-Encoding"] = encoding
    data = part.get_payload(decode=True)
    inner = email.message_from_bytes(data, policy=email.policy.default) if isinstance(data, bytes) else part
    return inner if isinstance(inner, MIMEPart) else part


def _best(message: MIMEPart, attached: list[str]) -> str:
    """The plain one of several forms of a text, else the first that is not blank."""
    forms = []
    for part in message.iter_parts():
        text = "\n\n".join(_texts(part, attached))
        if not text.isspace() and text:
            forms.append((part.get_content_type() != "text/plain", text))
    return min(forms, key=lambda form: form[0])[1] if forms else ""


def _content(part: MIMEPart) -> str:
    """A part's text, whatever it says that its encoding is."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    declared = part.get_content_charset() or declared_encoding(payload)
    try:
        return decode(payload, name="", declared=declared)[0]
    except UnreadableDocumentError:
        return payload.decode(errors="replace")


def _named(attachments: list[str]) -> Iterator[str]:
    if named := [name for name in attachments if name]:
        yield f"Attachments: {', '.join(named)}"
