"""Who asks, and what they may do."""

import hmac
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum

from aiohttp import web

from kbchat.inputs import composed
from kbchat.keys import digest
from kbchat.knowledge import KnowledgeBase
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

    @property
    def speaker(self) -> str:
        """The owner under whom its conversations are kept. Those of an admin's key without an owner are kept apart from
        everybody's, under the key's name after a blank, because answers to it may quote any owner's documents; no
        owner's own name begins with a blank."""
        is_alone = self.role is Role.ADMIN and not self.owner and self != ANYONE
        return f" {self.name}" if is_alone else self.owner

    def require(self, role: Role) -> None:
        """Raises `RoleError` where the role does not reach that far."""
        if self.role < role:
            raise RoleError(f"this key is a {self.role.name.lower()}'s; this needs a {role.name.lower()}'s key")

    def own(self, named: str | None) -> str:
        """The owner of what is being made or changed. Raises `OwnerError` for another one than the key's."""
        if self.scope is None:
            return named or ""
        if named and composed(named, field="owner") != self.owner:
            raise OwnerError("this key works for its own owner only; leave `owner` out", param="owner")
        return self.owner


ANYONE = Principal("anyone")
"""Who asks a server that has no keys."""
ASK_SECONDS = 1.0
"""How long it may take until the first key that is made closes a server that had none."""

Authenticate = Callable[[web.Request], Awaitable[Principal]]
"""Says who sent a request, or raises `InvalidKeyError`."""


class ApiKeys:
    """The keys of the settings, which are admins', and those of the catalog. Only their hashes are kept."""

    def __init__(self, kb: KnowledgeBase, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kb = kb
        self._clock = clock
        given = (key.get_secret_value() for key in kb.settings.api_keys)
        self._digests = tuple(digest(key) for key in given if key)
        self._needed = bool(self._digests)
        self._asked = -math.inf

    async def needed(self) -> bool:
        """Whether there is any key at all; without one every request passes as an admin's.

        A key may be made while the server runs: the catalog is asked again every second until there is one.
        """
        now = self._clock()
        if not self._needed and now - self._asked >= ASK_SECONDS:
            self._asked = now
            self._needed = await self._kb.keys.any()
        return self._needed

    async def __call__(self, request: web.Request) -> Principal:
        if not await self.needed():
            return ANYONE
        key = bearer(request)
        # Every one is compared, and hashes are: how long it takes tells nothing of any key.
        matches = [hmac.compare_digest(digest(key), known) for known in self._digests]
        if any(matches):
            return Principal(f"settings-{matches.index(True) + 1}")
        info = await self._kb.keys.find(key)
        if info is None:
            raise InvalidKeyError("this API key is not known; check it, or ask whoever runs this server for one")
        return Principal(f"key-{info.id}", Role[info.role.name], info.owner)


def bearer(request: web.Request) -> str:
    """The key a request carries. Raises `InvalidKeyError` where it carries none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise InvalidKeyError("an API key is needed; send it as `Authorization: Bearer KEY`")
    return key.strip()
