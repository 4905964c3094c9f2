"""How much one key may ask for."""

import math
import time
from collections.abc import Callable

from kbchat_aiohttp.errors import RateLimitError

FORGET = 1024
"""Keys remembered before those that have all their requests again are forgotten."""


class RateLimit:
    """At most `per_minute` requests a minute a key, in any rhythm: each key has a bucket that refills evenly.

    None is no limit. `clock` gives seconds.
    """

    def __init__(self, per_minute: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._full_again: dict[str, float] = {}
        """When each key will have its whole minute's requests again."""

    def take(self, key: str) -> None:
        """Count a request. Raises `RateLimitError` with the seconds to wait when there is none left."""
        if self._per_minute is None:
            return
        now = self._clock()
        price = 60.0 / self._per_minute
        full_again = max(self._full_again.get(key, now), now) + price
        wait = full_again - now - 60.0
        # The remainder of a sum of fractions is not a request too many.
        if wait > 1e-6:
            raise RateLimitError(
                f"this key may ask {self._per_minute} times a minute; come back in a moment",
                headers={"Retry-After": str(math.ceil(wait))},
            )
        self._full_again[key] = full_again
        if len(self._full_again) > FORGET:
            self._full_again = {key: at for key, at in self._full_again.items() if at > now}
