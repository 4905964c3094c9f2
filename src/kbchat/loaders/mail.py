"""Mails: who wrote to whom about what, and the text."""

import email
import email.policy
import io
from collections.abc import Iterator
from email.message import EmailMessage

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.markup import whole_content
from kbchat.loaders.parts import facts, joined, needing
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument

_SHOWN = ("From", "To", "Cc", "Date")


class EmlLoader:
    """A mail as it travels (RFC 5322): its plain text, else its HTML; attachments are named, not read."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for what is no mail, or one with neither a subject nor a text."""
        message = email.message_from_bytes(data, policy=email.policy.default)
        if not isinstance(message, EmailMessage) or not message.keys():
            raise UnreadableDocumentError(name, "not a mail: it has no headers")
        headers = {key: _header(message, key) for key in ("Subject", *_SHOWN)}
        return _document(headers, [*_body(message)], name=name)


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
            body = message.body or whole_content(message.html_body or "")
            attached = [attachment.file_name or "" for attachment in message.attachments]
        except (OSError, KeyError, ValueError, AttributeError, IndexError) as error:
            raise UnreadableDocumentError(name, f"damaged: not a whole Outlook mail ({error})") from None
        return _document(headers, [body, *_named(attached)], name=name)


def _document(headers: dict[str, str], body: list[str], *, name: str) -> LoadedDocument:
    subject = headers["Subject"]
    head = "\n".join(f"{key}: {headers[key]}" for key in _SHOWN if headers[key])
    require_text(subject + "".join(body), name=name, reason="the mail holds no text")
    text, _ = joined([(f"# {subject}" if subject else "", {}), (head, {}), *((part, {}) for part in body)])
    metadata = facts(title=subject, sender=headers["From"], date=headers["Date"])
    return LoadedDocument(text, metadata=metadata, markup="markdown")


def _header(message: EmailMessage, key: str) -> str:
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


def _body(message: EmailMessage) -> Iterator[str]:
    part = message.get_body(preferencelist=("plain", "html"))
    if isinstance(part, EmailMessage):
        text = _content(part)
        yield whole_content(text) if part.get_content_type() == "text/html" else text
    attached = []
    for attachment in message.iter_attachments():
        if attachment.get_content_type() == "message/rfc822":
            inner = attachment.get_payload(0)
            if isinstance(inner, EmailMessage):
                yield f"## {_header(inner, 'Subject')}"
                yield from _body(inner)
        else:
            attached.append(attachment.get_filename() or "")
    yield from _named(attached)


def _content(part: EmailMessage) -> str:
    try:
        return str(part.get_content())
    except (LookupError, UnicodeDecodeError):
        payload = part.get_payload(decode=True)
        return payload.decode("latin-1") if isinstance(payload, bytes) else ""


def _named(attachments: list[str]) -> Iterator[str]:
    if named := [name for name in attachments if name]:
        yield f"Attachments: {', '.join(named)}"
