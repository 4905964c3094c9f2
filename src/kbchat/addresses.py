"""Addresses of servers, as they may be told: without the user names and passwords that they hold. Pure."""

import re
from urllib.parse import urlsplit

_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?[^/?#]*@")
_REST = re.compile(r"[?#].*", re.DOTALL)


def without_credentials(url: str) -> str:
    """The address alone, for messages and logs. Also of what is no URL."""
    return _REST.sub("", _USER.sub(r"\1", url))


def has_credentials(url: str) -> bool:
    """Whether it holds a user name or a password."""
    return _USER.match(url) is not None


def is_web(url: str) -> bool:
    """Whether it is an address that can be asked over HTTP."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
