"""The command line: parses arguments, calls the face, prints. No logic of its own."""

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, one of those in `kbchat.cli.exits`.

    `argv` are the arguments without the program's name; by default those of the process.
    """
    try:
        from kbchat.cli.app import app
        from kbchat.cli.exits import guarded

        return guarded(app, argv)
    except KeyboardInterrupt:
        # Ctrl-C while modules are still loading.
        return 130
