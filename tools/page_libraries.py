"""Writes the libraries of the page: adapters/kbchat_aiohttp/page/vendor, from the npm packages that are pinned.

    python tools/page_libraries.py          # writes them, their licences and the table of what they are
    python tools/page_libraries.py --check  # fails if what is there is not what would be written

tests/e2e/node/package-lock.json pins each package by the hash of what its authors published; `make clients` fetches
them. Two things are changed: the comment that names a source map is taken off, and `hooks.js` is told where
`preact.js` is.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "adapters" / "kbchat_aiohttp" / "page" / "vendor"
LOCK = ROOT / "tests" / "e2e" / "node" / "package-lock.json"
PACKAGES = Path(sys.prefix) / "clients" / "node" / "node_modules"

FILES = {
    "preact.js": "preact/dist/preact.mjs",
    "hooks.js": "preact/hooks/dist/hooks.mjs",
    "htm.js": "htm/dist/htm.mjs",
    "markdown-it.js": "markdown-it/dist/browser/markdown-it.esm.min.mjs",
    "dompurify.js": "dompurify/dist/purify.es.mjs",
}
"""Each file here, and the one that it is of a package."""
WITHIN = {"markdown-it.js": ("entities", "linkify-it", "mdurl", "punycode.js", "uc.micro")}
"""What else a file holds, as its source map lists it."""
LICENCES = {
    "preact": "LICENSE",
    "htm": "LICENSE",
    "markdown-it": "LICENSE",
    "dompurify": "LICENSE",
    "entities": "LICENSE",
    "linkify-it": "LICENSE",
    "mdurl": "LICENSE",
    "punycode.js": "LICENSE-MIT.txt",
    "uc.micro": "LICENSE.txt",
}
_SOURCE_MAP = re.compile(rb"\n*//# sourceMappingURL=\S+\s*\Z")

HEAD = """Libraries of the page, as their authors published them on npm; `tools/page_libraries.py` writes this folder
and says what it changes. Their licences are beside them.

| file | package | version | licence | SHA-256 of the file |
| --- | --- | --- | --- | --- |
"""


def library(name: str) -> bytes:
    """What a file of the page is to hold."""
    source = PACKAGES / FILES[name]
    body = _SOURCE_MAP.sub(b"\n", source.read_bytes())
    return body.replace(b'from"preact"', b'from"./preact.js"') if name == "hooks.js" else body


def package(name: str) -> tuple[str, str]:
    """The version and the licence of a package that is installed, which is the pinned one."""
    described = json.loads((PACKAGES / name / "package.json").read_text())
    locked = json.loads(LOCK.read_text())["packages"][f"node_modules/{name}"]
    assert described["version"] == locked["version"], f"{name} is {described['version']}; run `make clients`"
    return str(described["version"]), str(described["license"]).strip("()")


def rows() -> Iterator[str]:
    for name, source in FILES.items():
        digest = hashlib.sha256(library(name)).hexdigest()
        of = source.split("/", 1)[0]
        version, licence = package(of)
        yield f"| `{name}` | {of}, `{source.split('/', 1)[1]}` | {version} | {licence} | `{digest}` |\n"
        wants = json.loads((PACKAGES / of / "package.json").read_text()).get("dependencies", {})
        for held in WITHIN.get(name, ()):
            # Which version its authors took is not said; this is what they ask for.
            yield f"| within it | {held} | {wants[held]} | {package(held)[1]} | |\n"


def wanted() -> dict[str, bytes]:
    """The whole folder."""
    found = {name: library(name) for name in FILES}
    found |= {f"LICENSE-{name}.txt": (PACKAGES / name / file).read_bytes() for name, file in LICENCES.items()}
    return found | {"README.md": (HEAD + "".join(rows())).encode()}


def main() -> int:
    new = wanted()
    there = {path.name: path.read_bytes() for path in TARGET.iterdir()}
    if "--check" in sys.argv[1:]:
        wrong = sorted(name for name in new.keys() | there.keys() if new.get(name) != there.get(name))
        if wrong:
            print(f"not as published: {', '.join(wrong)}; run python tools/page_libraries.py", file=sys.stderr)
        return bool(wrong)
    for name in there.keys() - new.keys():
        (TARGET / name).unlink()
    for name, body in new.items():
        (TARGET / name).write_bytes(body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
