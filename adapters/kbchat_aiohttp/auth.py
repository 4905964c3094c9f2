"""Who asks, and what they may do."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from aiohttp import web

from kbchat_aiohttp.errors import InvalidKeyError, OwnerError, RoleError


class Role(IntEnum):
    """What a key may do; each may do what those before it may."""

    READER = 1
    """Read, retrieve and chat."""
    WRITER = 2
    """Also create, change and delete spaces and documents."""
    ADMIN = 3
    """Everything, of every owner."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The one who asks. `owner` is whose things it works on; an admin's are everybody's."""

    name: str
    role: Role = Role.ADMIN
    owner: str = ""

    @property
    def scope(self) -> str | None:
        """The owner whose things there are for this one; None: all there are."""
        return None if self.role is Role.ADMIN else self.owner

    def require(self, role: Role) -> None:
        """Raises `RoleError` where the role does not reach that far."""
        if self.role < role:
            raise RoleError(f"this key is a {self.role.name.lower()}'s; this needs a {role.name.lower()}'s key")

    def own(self, named: str | None) -> str:
        """The owner of what is being made or changed. Raises `OwnerError` for another one than the key's."""
        if self.scope is None:
            return named or ""
        if named not in (None, "", self.owner):
            raise OwnerError("this key works for its own owner only; leave `owner` out", param="owner")
        return self.owner


Authenticate = Callable[[web.Request], Awaitable[Principal]]
"""Says who sent a request, or raises `InvalidKeyError`."""


class ApiKeys:
    """The keys of the settings: admin keys all. Only their hashes are kept."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(_digest(key) for key in keys if key)

    def __bool__(self) -> bool:
        return bool(self._digests)

    async def __call__(self, request: web.Request) -> Principal:
        if not self._digests:
            return Principal("anyone")
        digest = _digest(bearer(request))
        # Every key is compared, and hashes are: how long it takes tells nothing of any key.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if not any(matches):
            raise InvalidKeyError("this API key is not known; check it, or ask whoever runs this server for one")
        return Principal("settings")


def bearer(request: web.Request) -> str:
    """The key a request carries. Raises `InvalidKeyError` where it carries none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise InvalidKeyError("an API key is needed; send it as `Authorization: Bearer KEY`")
    return key.strip()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
