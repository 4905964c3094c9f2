"""Citations checked while the answer streams: what is claimed, what the passage says, and what of the one the other
does not carry. Pure: `checker` takes deltas, `claims` reads a sentence, `evidence` weighs it, `numbers` and `chinese`
know what words alone do not tell."""

from kbchat.citations.checker import MAX_PENDING_CHARS, CitationChecker, masked, unmarked

__all__ = ["MAX_PENDING_CHARS", "CitationChecker", "masked", "unmarked"]
