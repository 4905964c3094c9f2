"""Generators: the protocol every one obeys."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from kbchat.models import FinishReason, Prompt, Sampling, Usage


@dataclass(frozen=True, slots=True)
class Generated:
    """What one read from the model brought: pieces of text (never empty ones), and at the end how and at what cost.

    `finish_reason` is set on exactly one, the last but for `usage`, which may come with it or after it. `usage` is None
    where the model server does not count.
    """

    texts: tuple[str, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class Generator(Protocol):
    """Answers a prompt, piece by piece."""

    @property
    def name(self) -> str:
        """What requests call it."""
        ...

    @property
    def context_tokens(self) -> int:
        """How many tokens prompt and answer may have together."""
        ...

    def stream(self, prompt: Prompt, sampling: Sampling) -> AbstractAsyncContextManager[AsyncIterator[Generated]]:
        """Open the answer. Nothing is sent before the block is entered; leaving it, however, stops the generation
        within milliseconds.

        Raises `GeneratorUnavailableError`, `GeneratorBusyError` or `GeneratorTimeoutError`, on entering or in
        mid-stream. A stream that ends without a finish reason was cut: that is a `GeneratorUnavailableError`.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections. Closing twice does nothing."""
        ...
