"""Documents by URL: only from hosts that were allowed, never from an address inside, however a name resolves.

Every address that a name resolves to is checked, and the connection goes to one that was: a name that resolves to
another one a moment later is of no use to anybody. Each redirect is checked like the first URL.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from kbchat.addresses import without_credentials
from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.formats import suffix_of

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from aiohttp.abc import AbstractResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class WebPolicy:
    """What may be fetched. `hosts` are names; `*.example.org` stands for every name below one. None means: nothing.

    `seconds` bound a whole document, redirects included, `max_bytes` what it unpacks to.
    """

    hosts: tuple[str, ...] = ()
    seconds: float = 30.0
    max_bytes: int = 64 * 1024 * 1024
    is_allowed_address: Callable[[Address], bool] = lambda address: is_public(address)
    any_port: bool = False

    def allows(self, host: str) -> bool:
        """Whether a host is one of those allowed."""
        name = host.lower().rstrip(".")
        return any(
            name == allowed.lower() or (allowed.startswith("*.") and name.endswith(allowed[1:].lower()))
            for allowed in self.hosts
        )


def is_public(address: Address) -> bool:
    """Whether an address is of the public internet, also where it carries another address inside."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


def suffix_of_url(url: str) -> str:
    """How the name of the file ends that a URL leads to: neither its host nor its query is that."""
    try:
        return suffix_of(unquote(urlsplit(url).path))
    except ValueError:
        return ""


async def fetch(url: str, policy: WebPolicy, *, resolver: AbstractResolver | None = None) -> bytes:
    """The body of a document. Raises `UnreadableDocumentError` with the reason."""
    import anyio
    from aiohttp import ClientError, ClientSession, DummyCookieJar, TCPConnector

    # No proxy of the environment, no cookies, no connection kept: one document, and nothing of it stays.
    connector = TCPConnector(resolver=_checked_resolver(policy, resolver), use_dns_cache=False, force_close=True)
    try:
        with anyio.fail_after(policy.seconds):
            async with ClientSession(connector=connector, trust_env=False, cookie_jar=DummyCookieJar()) as session:
                return await _follow(session, url, policy)
    except TimeoutError:
        raise UnreadableDocumentError(url, f"fetching it took longer than {policy.seconds:g} s (url_timeout)") from None
    except ClientError as error:
        raise UnreadableDocumentError(url, f"cannot be fetched: {error or type(error).__name__}") from None


async def _follow(session: ClientSession, url: str, policy: WebPolicy) -> bytes:
    target = url
    for _ in range(MAX_REDIRECTS + 1):
        _check(url, target, policy)
        async with session.get(target, allow_redirects=False) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                target = _joined(url, target, response.headers["Location"])
                continue
            if response.status != 200:
                raise UnreadableDocumentError(url, f"the server answered {response.status} {response.reason}")
            return await _body(response, url, policy)
    raise UnreadableDocumentError(url, f"redirected more than {MAX_REDIRECTS} times")


def _joined(url: str, target: str, location: str) -> str:
    """Where a redirect leads."""
    try:
        return urljoin(target, location)
    except ValueError:
        raise UnreadableDocumentError(url, "redirected to what is no URL") from None


async def _body(response: ClientResponse, url: str, policy: WebPolicy) -> bytes:
    """What the server sends, counted after it is unpacked."""
    data = bytearray()
    async for part in response.content.iter_chunked(65536):
        data += part
        if len(data) > policy.max_bytes:
            raise UnreadableDocumentError(url, f"larger than the limit of {policy.max_bytes:,} bytes")
    return bytes(data)


def _check(url: str, target: str, policy: WebPolicy) -> None:
    """Raise `UnreadableDocumentError` for a place that may not be asked. `url` is what the document was asked by."""
    via = "" if target == url else f" (it was redirected to {without_credentials(target)!r})"
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError:
        raise UnreadableDocumentError(url, f"not a URL{via}") from None
    host = parts.hostname or ""
    if parts.scheme not in _PORTS:
        raise UnreadableDocumentError(url, f"only http and https can be fetched{via}")
    if parts.username or parts.password:
        raise UnreadableDocumentError(url, f"a URL with a user name or password is refused{via}")
    if not policy.hosts:
        raise UnreadableDocumentError(url, "fetching documents by URL is off; allow hosts by the setting url_hosts")
    if not policy.allows(host):
        raise UnreadableDocumentError(url, f"the host {host!r} is not allowed; add it to the setting url_hosts{via}")
    if not policy.any_port and port not in (None, _PORTS[parts.scheme]):
        raise UnreadableDocumentError(url, f"the port {port} is refused{via}")
    # Names are checked when they are resolved; an address that stands in the URL itself is not resolved.
    if (address := _address(host)) is not None and not policy.is_allowed_address(address):
        raise UnreadableDocumentError(url, f"the address {host} is not a public one{via}")


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _checked_resolver(policy: WebPolicy, resolver: AbstractResolver | None) -> AbstractResolver:
    import socket

    from aiohttp import ThreadedResolver
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Checked(AbstractResolver):
        """Gives only addresses that are allowed, and none at all where one of them is not: such a name is a trick."""

        def __init__(self) -> None:
            self._real = resolver or ThreadedResolver()

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            try:
                found: Sequence[ResolveResult] = await self._real.resolve(host, port, family)
            except UnicodeError:
                # A name of the DNS has labels of 1 to 63 bytes; Python refuses others before anything is asked.
                raise UnreadableDocumentError(host, f"the host {host!r} is not a name that can be resolved") from None
            for result in found:
                address = _address(result["host"])
                if address is None or not policy.is_allowed_address(address):
                    raise UnreadableDocumentError(host, f"the host {host!r} resolves to an address that is not public")
            return list(found)

        async def close(self) -> None:
            await self._real.close()

    return Checked()
