"""What keeps a web page elsewhere from using a server on its reader's machine."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiohttp import web

from kbchat.addresses import is_loopback
from kbchat_aiohttp.errors import HostError, OriginError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class OriginRules:
    """Which host names are served without keys, and which origins may ask for changes. `"*"` stands for all."""

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, *, hosts: Collection[str], origins: Collection[str]) -> "OriginRules":
        return cls(
            frozenset(_name(host) for host in hosts), frozenset(origin.rstrip("/").lower() for origin in origins)
        )

    def check(self, request: web.Request, *, keyless: bool) -> None:
        """Raises `HostError` or `OriginError`. With keys any host name will do: a page that got here by rebinding a
        name has none."""
        host = request.headers.get("Host", "")
        if keyless and host and not self._serves(_name(host)):
            raise HostError(
                "without API keys only loopback names are served; set KBCHAT_API_KEYS, "
                "or add this name to KBCHAT_ALLOWED_HOSTS"
            )
        origin = request.headers.get("Origin")
        if origin is None or request.method in SAFE_METHODS or self._allows(origin):
            return
        if origin.partition("://")[2].lower() != host.lower():
            raise OriginError("pages of this origin may not ask for changes; add it to KBCHAT_ALLOWED_ORIGINS")

    def preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a browser that asks whether a page of an allowed origin may call; None if it is none."""
        origin = request.headers.get("Origin", "")
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        if not self._allows(origin):
            return None
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
                "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-ID",
                "Access-Control-Max-Age": "600",
            },
        )

    def headers(self, request: web.Request) -> Mapping[str, str]:
        """What lets a page of an allowed origin read the answer. Empty unless origins are set."""
        if not self.origins:
            return {}
        origin = request.headers.get("Origin", "")
        if not self._allows(origin):
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "X-Request-ID",
        }

    def _serves(self, name: str) -> bool:
        return is_loopback(name) or name in self.hosts or "*" in self.hosts

    def _allows(self, origin: str) -> bool:
        return bool(origin) and ("*" in self.origins or origin.lower() in self.origins)


def _name(host: str) -> str:
    """The name in a Host header: `[::1]:5670`, `Localhost.:80`, `127.0.0.1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    if host.count(":") > 1:
        return host.lower()
    return host.partition(":")[0].rstrip(".").lower()
