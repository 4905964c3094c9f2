"""schemathesis reads the description of the interface and tries to catch the server contradicting it."""

import os
import subprocess
from pathlib import Path

import pytest
from environments import program
from live import kbchat_serve

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "10")


@pytest.mark.server
@pytest.mark.timeout(600)
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Neither with sound requests nor with broken ones, nor when it follows what answers lead to."""
    with kbchat_serve(tmp_path / "data", KBCHAT_API_KEYS="key-one") as port:
        done = subprocess.run(
            [
                program("schemathesis", "st"),
                *("--config-file", CONFIGURATION),
                *("run", f"http://127.0.0.1:{port}/openapi.json"),
                *("--header", "Authorization: Bearer key-one"),
                *("--max-examples", EXAMPLES),
                *("--seed", "1"),
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout
