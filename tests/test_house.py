"""The house keeps its shape: floors, rooms, light imports, and a public face that is what it says."""

import ast
import importlib
import inspect
import itertools
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import kbchat

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "adapters").rglob("*.py"))

FLOORS = {
    0: {
        "addresses",
        "chunking",
        "display",
        "events",
        "models",
        "errors",
        "numbering",
        "processes",
        "settings",
        "strategies",
        "summaries",
        "telemetry",
        "threads",
    },
    1: {
        "citations",
        "evaluation",
        "filters",
        "followups",
        "frames",
        "fusion",
        "inputs",
        "prompting",
        "references",
        "refusals",
        "text",
    },
    2: {
        "catalog",
        "datafolder",
        "embedders",
        "generators",
        "inprocess",
        "lexical",
        "loaders",
        "posting",
        "rerankers",
        "stores",
    },
    3: {"chat", "freshness", "ingestion", "maintenance", "retrieval", "word_indexes"},
    4: {"answers", "conversations", "finding", "intake", "keys", "knowledge", "several", "space", "upkeep", "wiring"},
    5: {"__main__", "agents", "cli", "doctor", "integrations", "kbchat_aiohttp", "sync", "testing", "tuning"},
}
"""Each room's floor; a room is a module of kbchat or a package with all in it. A new room must be given one here."""

NEIGHBOURS = {
    ("__main__", "cli"),
    ("integrations", "sync"),
    ("cli", "doctor"),
    ("cli", "tuning"),  # `kbchat bench`
    ("cli", "agents"),  # `kbchat mcp`
    ("kbchat_aiohttp", "agents"),
    ("cli", "kbchat_aiohttp"),  # `kbchat serve`
    ("answers", "wiring"),
    ("chat", "retrieval"),
    ("embedders", "inprocess"),
    ("embedders", "posting"),
    ("maintenance", "ingestion"),
    ("rerankers", "inprocess"),
    ("rerankers", "posting"),
    ("lexical", "stores"),  # Sparse rows are a store's.
    ("word_indexes", "maintenance"),
    ("freshness", "maintenance"),
    ("freshness", "word_indexes"),
    ("knowledge", "answers"),
    ("knowledge", "conversations"),
    ("knowledge", "finding"),
    ("knowledge", "keys"),
    ("knowledge", "several"),
    ("several", "space"),
    ("knowledge", "space"),
    ("knowledge", "wiring"),
    ("finding", "intake"),
    ("finding", "wiring"),
    ("space", "answers"),
    ("space", "finding"),
    ("knowledge", "upkeep"),
    ("space", "intake"),
    ("space", "upkeep"),
    ("upkeep", "intake"),
    ("upkeep", "wiring"),
    ("intake", "wiring"),
    ("space", "wiring"),
}
"""Which rooms may use one of their own floor, besides those of floors 0 and 1, which hold words and pure functions."""

HEAVY = set(
    """aiohttp chromadb faiss httpx huggingface_hub matplotlib numpy openai onnxruntime opentelemetry pandas psycopg
    pymilvus sentence_transformers sqlalchemy tantivy tiktoken tokenizers torch wordllama""".split()  # noqa: SIM905
)
"""What costs time or memory to load: it loads when it is first used."""

VENDORS = {
    "aiohttp": {
        "kbchat_aiohttp",
        "kbchat.loaders.web",
        "kbchat.generators",
        "kbchat.posting",
        "kbchat.testing",
    },
    "alembic": {"kbchat.catalog"},
    "anyio": {"kbchat", "kbchat_aiohttp"},
    "blockbuster": {"kbchat.testing"},
    "chardet": {"kbchat.loaders.encodings"},
    "chromadb": {"kbchat.stores.chroma"},
    "docx": {"kbchat.loaders.docx"},
    "grpc": {"kbchat.stores.lite", "kbchat.stores.milvus"},
    "httpx": {"kbchat.stores.chroma"},
    "lxml": {"kbchat.loaders.drawings"},
    "haystack": {"kbchat.integrations.haystack"},
    "langchain_core": {"kbchat.integrations.langchain"},
    "llama_index": {"kbchat.integrations.llamaindex"},
    "matplotlib": {"kbchat.tuning.plots"},
    "mcp": {"kbchat.agents.mcp"},
    "mcp_types": {"kbchat.agents.mcp"},
    "milvus_lite": {"kbchat.stores.lite", "kbchat.stores.milvus"},
    "msgspec": {"kbchat", "kbchat_aiohttp"},
    "numpy": {"kbchat"},
    "oxmsg": {"kbchat.loaders.mail"},
    "pptx": {"kbchat.loaders.pptx"},
    "opentelemetry": {"kbchat.telemetry"},
    "prometheus_client": {"kbchat_aiohttp"},
    "psycopg": {"kbchat.catalog"},
    "pydantic": {"kbchat", "kbchat_aiohttp"},
    "pydantic_core": {"kbchat_aiohttp"},
    "pydantic_settings": {"kbchat.settings"},
    "pymilvus": {
        "kbchat.stores.lite",
        "kbchat.stores.milvus",
        "kbchat.stores.milvus_collection",
        "kbchat.stores.milvus_terms",
    },
    "pypdfium2": {"kbchat.loaders.pdf"},
    "pytest": {"kbchat.testing"},
    "python_calamine": {"kbchat.loaders.tables"},
    "regex": {"kbchat.agents.grep"},
    "rich": {"kbchat.cli", "kbchat.display"},
    "selectolax": {"kbchat.loaders.grids", "kbchat.loaders.html", "kbchat.loaders.markup", "kbchat.loaders.nodes"},
    "semantic_text_splitter": {"kbchat.text.splitting"},
    "sentence_transformers": {
        "kbchat.embedders.sentence_transformers",
        "kbchat.inprocess",
        "kbchat.rerankers.cross_encoder",
    },
    "sqlalchemy": {"kbchat.catalog"},
    "striprtf": {"kbchat.loaders.rtf"},
    "Stemmer": {"kbchat.text.analysis"},
    "tantivy": {"kbchat.lexical.tantivy"},
    "tiktoken": {"kbchat.text.tokens"},
    "tokenizers": {"kbchat.embedders.pieces"},
    "typer": {"kbchat.cli"},
    "watchfiles": {"kbchat.ingestion.watching"},
    "wordllama": {"kbchat.embedders.static"},
}
"""Who may name which library: its one driver, or everybody where it is the house's own material."""


def module_name(path: Path) -> str:
    top = "src" if (ROOT / "src") in path.parents else "adapters"
    parts = path.relative_to(ROOT / top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def room_of(module: str) -> str:
    """`kbchat.stores.chroma` is in the room `stores`, `kbchat_aiohttp.app` in `kbchat_aiohttp`."""
    parts = module.split(".")
    return parts[1] if parts[0] == "kbchat" and len(parts) > 1 else parts[0]


def floor_of(room: str) -> int:
    return next(floor for floor, rooms in FLOORS.items() if room in rooms)


def imports_of(module: str) -> Iterator[str]:
    """Every module of the house that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            if name:
                yield name


def fresh(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that nothing was imported in."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("KBCHAT_")}
    return subprocess.run(
        [sys.executable, *flags, "-c", code], env=env, capture_output=True, text=True, timeout=180, check=False
    )


def test_every_room_has_one_floor() -> None:
    """A module that is on no floor, or on two, was put in without a decision."""
    rooms = {room_of(module) for module in MODULES} - {"kbchat"}
    placed = [room for rooms_of_floor in FLOORS.values() for room in rooms_of_floor]
    assert len(placed) == len(set(placed))
    assert rooms <= set(placed), f"give them a floor: {sorted(rooms - set(placed))}"


def test_the_drawing_shows_the_floors() -> None:
    """Each room that the drawing of the floors names is on that floor; those that change is looked for in exist."""
    said = re.findall(r">([^<>]+)</text>", (ROOT / "docs/drawings/floors.svg").read_text())
    drawn = {int(title[0]): rooms.split(" · ") for title, rooms in itertools.pairwise(said) if title[0].isdigit()}
    assert drawn.keys() == FLOORS.keys()
    assert {floor: set(rooms) - FLOORS[floor] for floor, rooms in drawn.items() if set(rooms) - FLOORS[floor]} == {}
    table = (ROOT / "docs/how-it-works.md").read_text().partition("## Which room")[2]
    assert set(re.findall(r"`(\w+)`", table)) <= {room for rooms in FLOORS.values() for room in rooms}


def test_imports_point_down() -> None:
    """A room imports from the floors below; its own floor's rooms only where that was decided."""
    wrong = []
    for module in MODULES:
        here = room_of(module)
        for target in imports_of(module):
            there = room_of(target)
            if here in ("kbchat", there) or (there == "kbchat" and floor_of(here) == 5):
                continue
            same_floor_is_fine = floor_of(here) <= 1 or (here, there) in NEIGHBOURS
            if there == "kbchat" or floor_of(there) > floor_of(here):
                wrong.append(f"{module} -> {target}")
            elif floor_of(there) == floor_of(here) and not same_floor_is_fine:
                wrong.append(f"{module} -> {target} (same floor)")
    assert wrong == []


def test_each_neighbour_is_one() -> None:
    """What is allowed and no longer used is forbidden again."""
    used = {(room_of(module), room_of(target)) for module in MODULES for target in imports_of(module)}
    assert sorted(NEIGHBOURS - used) == []


def test_no_circles() -> None:
    """Rooms can be put in an order in which each only uses earlier ones."""
    uses = {room: set[str]() for room in {room_of(module) for module in MODULES}}
    for module in MODULES:
        uses[room_of(module)] |= {room_of(target) for target in imports_of(module)} - {room_of(module), "kbchat"}
    del uses["kbchat"]
    while ready := [room for room, others in uses.items() if not others & uses.keys()]:
        for room in ready:
            del uses[room]
    assert uses == {}


def test_each_library_has_its_driver() -> None:
    """A library is imported in the module that drives it, and nowhere else, so that it can be replaced there."""
    wrong = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    roots = {alias.name.partition(".")[0] for alias in names}
                case ast.ImportFrom(module=str(source)):
                    roots = {source.partition(".")[0]}
                case _:
                    continue
            for vendor in roots - sys.stdlib_module_names - {"kbchat", "kbchat_aiohttp"}:
                drivers = VENDORS.get(vendor, set())
                if not any(module == driver or module.startswith(driver + ".") for driver in drivers):
                    wrong.append(f"{module}: {vendor}")
    assert wrong == []


NOT_WRITTEN = {
    ROOT / "src/kbchat/citations/chinese_words.py",  # a list of words
    ROOT / "src/kbchat/sync/face.py",  # made by tools/sync_face.py
}


def test_files_are_short() -> None:
    """No file has many more than 400 lines (of tests, 600): what is longer is two rooms."""
    long = {}
    for path in {*SOURCES, *(ROOT / "tests").rglob("*.py")} - NOT_WRITTEN:
        limit = 600 if "tests" in path.parts or "testing" in path.parts else 420
        if (length := len(path.read_text().splitlines())) > limit:
            long[str(path.relative_to(ROOT))] = length
    assert long == {}


def test_functions_are_short() -> None:
    """No function of the product has more than 60 lines of code, its docstring not counted."""
    long = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                docstring = first if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else None
                lines = node.end_lineno - node.lineno + 1  # type: ignore[operator]
                if docstring is not None:
                    lines -= docstring.end_lineno - docstring.lineno + 1  # type: ignore[operator]
                if lines > 60:
                    long[f"{module}.{node.name}"] = lines
    assert long == {}


def test_no_vague_names() -> None:
    """Classes are named after what they are, not Manager, Helper or Util."""
    named = re.compile(r"^\s*class\s+(\w*(?:Manager|Helper|Util|Utils))\b", re.MULTILINE)
    assert [name for path in SOURCES for name in named.findall(path.read_text())] == []


IMPORT_EACH = """
import importlib, os, sys
import anyio, pydantic_settings  # What every module may use is loaded once.
from pydantic import BaseModel
for name in {allowed!r}:
    importlib.import_module(name)
for module in {modules!r}:
    if (child := os.fork()) == 0:
        before = dict(os.environ)
        importlib.import_module(module)
        heavy = [name for name in {heavy!r} if name in sys.modules]
        print(module, *heavy, "ENVIRONMENT" if dict(os.environ) != before else "", flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(module, "FAILED", flush=True)
"""


def may_load(module: str) -> tuple[str, ...]:
    """What a module may load at once: whoever loads a driver is about to use it."""
    match room_of(module):
        case "catalog" if module == "kbchat.catalog.listening":
            return ("psycopg", "sqlalchemy")  # A catalog in PostgreSQL loads it.
        case "catalog":
            return ("sqlalchemy",)
        case "kbchat_aiohttp":
            return ("aiohttp",)
        case "embedders" | "lexical" | "stores":
            return ("numpy",)
        case room if room in FLOORS[3]:
            return ("numpy", "sqlalchemy")  # The face loads them with the first call that needs them.
        case "testing":
            return ("aiohttp", "numpy", "sqlalchemy")
        case _:
            return ()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("allowed", sorted({may_load(module) for module in MODULES}), ids=str)
def test_each_module_can_be_imported_alone(allowed: tuple[str, ...]) -> None:
    """Any module is the first that a program imports: without a warning, a change of the environment, or a vendor."""
    modules = [
        module
        for module in MODULES
        if may_load(module) == allowed and not module.startswith("kbchat.integrations.")  # they need a neighbour
    ]
    ran = fresh(IMPORT_EACH.format(modules=modules, heavy=HEAVY - {*allowed}, allowed=allowed), "-W", "error")
    assert ran.returncode == 0, ran.stderr
    loaded = {module: too_much for module, *too_much in map(str.split, ran.stdout.splitlines())}
    assert loaded == {module: [] for module in modules}, ran.stderr[-2000:]


def test_importing_kbchat_is_light() -> None:
    """`import kbchat` loads no vendor, changes no environment variable, and does not read one."""
    code = (
        "import os, sys; before = dict(os.environ); import kbchat; assert dict(os.environ) == before; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = fresh(code, "-W", "error")
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr


@pytest.mark.timeout(300)
def test_importing_kbchat_is_quick() -> None:
    """`import kbchat` takes less than twice the time of `import pydantic, anyio`."""

    def seconds(statement: str) -> float:
        code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        return float(fresh(code).stdout)

    ratios = []
    for _ in range(3):  # The machine may be busy with something else: one quiet attempt is enough.
        ours, theirs = [], []
        for _ in range(5):
            ours.append(seconds("import kbchat"))
            theirs.append(seconds("import pydantic, anyio"))
        ratios.append(statistics.median(ours) / statistics.median(theirs))
        if ratios[-1] < 2:
            return
        time.sleep(1)
    raise AssertionError(f"took {ratios} times as long")


def in_order(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions and modules."""
    return not name.isupper(), not name[0].isupper(), name


def test_the_public_face_is_sorted_and_complete() -> None:
    """`kbchat.__all__` is in order, each name is there, and nothing else is public but the modules."""
    assert sorted(kbchat.__all__, key=in_order) == list(kbchat.__all__)
    for name in kbchat.__all__:
        assert getattr(kbchat, name) is not None
    submodules = {module.split(".")[1] for module in MODULES if module.startswith("kbchat.")}
    public = {name for name in dir(kbchat) if not name.startswith("_")} - submodules
    imported = {"TYPE_CHECKING", "import_module"}
    assert public - imported == set(kbchat.__all__) - submodules
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = kbchat.nonsense


def test_the_face_is_the_one_that_was_agreed() -> None:
    """Every public signature stands in `tests/typing/signatures.txt`; `make sync` writes it anew."""
    command = [sys.executable, "tools/signatures.py", "--check"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert ran.returncode == 0, ran.stderr


def test_what_the_face_takes_and_gives_is_public() -> None:
    """Each of kbchat's classes that a signature of the face names can be had from `kbchat`; parts of one's own and the
    details of a trace are in their rooms."""
    elsewhere = {"Embedder", "Generator", "VectorStore", "Catalog", "Parts", "Event", "EngineEvent", "Source"}
    face = (kbchat.KnowledgeBase, kbchat.KnowledgeSpace, kbchat.AnswerStream, kbchat.Keys, kbchat.Conversations)
    known = {node.name for path in MODULES.values() for node in ast.parse(path.read_text()).body if is_class(node)}
    missing = set()
    for kind in face:
        for name, member in inspect.getmembers(kind):
            function = member.fget if isinstance(member, property) else member
            if not name.startswith("_") and inspect.isfunction(function):
                words = re.findall(r"\w+", " ".join(map(str, inspect.get_annotations(function).values())))
                missing |= {word for word in words if word in known} - set(kbchat.__all__) - elsewhere
    assert missing == set()


def is_class(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and not node.name.startswith("_")


def test_every_all_is_complete() -> None:
    """A module that has `__all__` lists in order exactly the public names that it defines or passes on."""
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        if module == "kbchat" or "__all__" not in path.read_text():
            continue
        listed = importlib.import_module(module).__all__
        assert sorted(listed, key=in_order) == list(listed), module
        defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        passed_on = set()
        if path.name == "__init__.py":
            for node in tree.body:
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(module + "."):
                    passed_on |= {alias.asname or alias.name for alias in node.names}
        missing = {name for name in defined | passed_on if not name.startswith("_")} - set(listed)
        assert missing == set(), module


def test_errors_are_drawn_as_they_are() -> None:
    """The tree in the docstring of `kbchat.errors` names every class under its parent."""
    from kbchat import errors

    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^    ([│ ├└─]*)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            path = [*path[:depth], found[2]]
            if depth:
                drawn[found[2]] = path[depth - 1]
    there = vars(errors).items()
    classes = {name: it for name, it in there if isinstance(it, type) and issubclass(it, errors.KbchatError)}
    del classes["KbchatError"]
    assert drawn == {name: it.__bases__[0].__name__ for name, it in classes.items()}


def test_the_version_is_said_once_and_the_same() -> None:
    """The package, its metadata and the changelog agree on the version."""
    from importlib.metadata import version

    assert kbchat.__version__ == version("kbchat")
    assert f"## {kbchat.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_lock_names_no_registry() -> None:
    """The lock holds names, versions and hashes; where to fetch them is the installing machine's choice."""
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--index-url" not in lock
