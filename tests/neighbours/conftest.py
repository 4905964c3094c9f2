"""What the neighbours' tests share. They run in environments of their own, by `tests/e2e/test_neighbours.py`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import kbchat
import kbchat.sync

QUESTION = "How often are keys rotated?"
TEXTS = {
    "keys.md": "# Keys\n\nKeys are rotated every 90 days.",
    "team.md": "The security team rotates the keys and tells everybody.",
    "revoked.md": "A revoked key is not rotated again; keys are then made anew.",
    "often.md": "How often keys are rotated is written in the handbook.",
}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kb")


@pytest.fixture(scope="session")
def space(data_dir: Path) -> Iterator[kbchat.sync.KnowledgeSpace]:
    with kbchat.sync.KnowledgeBase(data_dir) as kb:
        space = kb.create_space("handbook")
        space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in TEXTS.items()])
        yield space
