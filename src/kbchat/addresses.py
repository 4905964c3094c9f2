"""Addresses of servers: as they may be told, without the user names and passwords in them, and what they mean. Pure."""

import ipaddress
import re
from urllib.parse import urlsplit

from kbchat.errors import SettingsError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_PLACE = re.compile(r"[/?#]")


def without_credentials(url: str) -> str:
    """The address alone, without its query, for messages and logs. Also of what is no URL.

    A password may hold what no address may, such as `/`, `@` and `?`, because people paste it as it is. Where that
    leaves it open whether something is a password, it is taken for one.
    """
    scheme, rest = _taken_apart(url)
    return scheme + _QUERY.sub("", rest[_credentials(rest) :])


def check_base_url(base_url: str, *, setting: str, api_key: str | None) -> None:
    """Raise `SettingsError`, which names the setting, for a model server's address that is no URL, and for one with a
    user name beside a key: a server takes one of them."""
    if not is_web(base_url):
        raise SettingsError(
            f"{setting} {without_credentials(base_url)!r} is no URL; it looks like http://localhost:8000/v1"
        )
    if api_key and has_credentials(base_url):
        raise SettingsError(f"{setting} holds a user name, and there is a key too; servers take one of them")


def has_credentials(url: str) -> bool:
    """Whether it holds a user name or a password."""
    return _credentials(_taken_apart(url)[1]) > 0


def is_web(url: str) -> bool:
    """Whether it is an address that can be asked over HTTP."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_loopback(name: str) -> bool:
    """Whether a host name or address, without its port, can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _taken_apart(url: str) -> tuple[str, str]:
    scheme = _SCHEME.match(url)
    return (scheme[0], url[scheme.end() :]) if scheme else ("", url)


def _credentials(rest: str) -> int:
    """How many characters after the scheme are the user name and password, with the `@` behind them."""
    first = _PLACE.split(rest, maxsplit=1)[0]
    before_query = _QUERY.sub("", rest).rfind("@") + 1
    if "@" in first:
        return before_query
    _, colon, port = ("", "", "") if first.startswith("[") else first.partition(":")
    if port and not port.isdecimal():
        return rest.rfind("@") + 1  # No port, so a password, which may hold a `?` too.
    # `https://host/@name` is a page; `user:12/34@host` is not.
    return before_query if colon else 0
