"""What happens while a question is answered, event by event.

Slotted dataclasses, because an answer is thousands of them. A `Citation` is an event too.
"""

from dataclasses import dataclass, field

from kbchat.models import Citation, FinishReason, Passage, Reference, Usage


@dataclass(frozen=True, slots=True)
class Retrieved:
    """First event: what was found, and for which question: the last one, or what it means after what was said before.
    `dropped` are hits the prompt's budget left no room for."""

    references: tuple[Reference, ...]
    passages: tuple[Passage, ...] = ()
    dropped: tuple[Reference, ...] = ()
    question: str = ""


@dataclass(slots=True, unsafe_hash=True)
class Delta:
    """A piece of the answer's text, never empty."""

    text: str


@dataclass(slots=True, unsafe_hash=True)
class Deltas:
    """The pieces that one read from the model brought: the engine's own event, unfolded to `Delta` for users.

    They travel together so that a busy stream is written once a read, and nothing ever waits to fill a batch.
    """

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class References:
    """After the last delta: the chunks that the model was given. Not sent when there are none."""

    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """Last event."""

    finish_reason: FinishReason | None = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str = ""


Event = Retrieved | Delta | Citation | References | Done
EngineEvent = Retrieved | Deltas | Citation | References | Done
