"""`python -m kbchat` is the command line."""

import sys

from kbchat.cli import main

if __name__ == "__main__":
    sys.exit(main())
