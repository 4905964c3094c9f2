"""A loader that misbehaves, installed as a package would install it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbchat.loaders import formats
from kbchat.loaders.formats import Format, by_name

ENTRY = "[kbchat.loaders]\nmisbehave = plugin_loader:Misbehaving\n"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Format]:
    """The loader of `plugin_loader.py`, for this process; for others `tmp_path` is where it is installed."""
    package = tmp_path / "misbehave-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehave\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(ENTRY)
    shutil.copy(Path(__file__).with_name("plugin_loader.py"), tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    formats.plugins.cache_clear()
    formats.by_suffix.cache_clear()
    formats.by_suffix()
    yield by_name("misbehave")
    formats.plugins.cache_clear()
    formats.by_suffix.cache_clear()
