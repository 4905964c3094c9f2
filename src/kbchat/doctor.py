"""Looks a set-up over: what is installed, where each setting comes from, which parts answer, and a trial question.

Nothing of the user's is written to: the trial has a folder of its own, which is gone afterwards.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
from pydantic import BaseModel, ConfigDict, SecretStr

from kbchat.addresses import is_loopback, without_credentials
from kbchat.errors import EmbedderMismatchError, KbchatError
from kbchat.models import VectorType
from kbchat.threads import Threads

if TYPE_CHECKING:
    from kbchat.settings import Settings
    from kbchat.wiring import Parts

State = Literal["ok", "note", "wrong"]
LOW_DISK = 1024**3
NOT_THERE = "not there yet"
SECONDS = 30.0
"""How long one check may take."""
QUESTION = "How often are keys rotated?"
DOCUMENT = "Keys are rotated every 90 days by the security team. Backups are kept for one year."


class Finding(BaseModel):
    """What one check found. `remedy` says what to do where something is wrong."""

    model_config = ConfigDict(frozen=True)

    topic: str
    name: str
    state: State
    detail: str
    remedy: str = ""


class Setting(BaseModel):
    """What a setting is, and where that comes from."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: str
    source: str


def settings_in_use(settings: Settings, *, given: Mapping[str, object], toml: Mapping[str, object]) -> list[Setting]:
    """Every setting with its source: an argument, a variable, `kbchat.toml` or the default. Secrets are hidden."""
    from kbchat.settings import RetrievalSettings

    variables = {name.upper() for name in os.environ}
    found = []
    # Where things are comes first, how they are searched last.
    for name in sorted(type(settings).model_fields, key=RetrievalSettings.model_fields.__contains__):
        variable = f"KBCHAT_{name.upper()}"
        if name in given:
            source = "argument"
        elif variable in variables or any(it.startswith(f"{variable}__") for it in variables):
            source = variable
        else:
            source = "kbchat.toml" if name in toml else "default"
        found.append(Setting(name=name, value=_shown(getattr(settings, name)), source=source))
    return found


def read_toml() -> Mapping[str, object]:
    """What `kbchat.toml` in the working folder sets; nothing where there is none or it cannot be read."""
    import tomllib

    from kbchat.settings import TOML

    try:
        return tomllib.loads(Path(TOML).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def unknown_settings(settings: type[Settings]) -> list[Finding]:
    """Variables that look like settings and are none: what is misspelt is read by nobody."""
    from kbchat.settings import meant

    found = []
    for variable in sorted(name.upper() for name in os.environ if name.upper().startswith("KBCHAT_")):
        name = variable.removeprefix("KBCHAT_").lower().partition("__")[0]
        if name not in settings.model_fields:
            detail = "is no setting"
            found.append(Finding(topic="settings", name=variable, state="note", detail=detail, remedy=meant(name)))
    return found


def installed() -> list[Finding]:
    """The package, Python, and which extras are complete."""
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    found = [Finding(topic="installed", name="kbchat", state="ok", detail=f"{version('kbchat')}, {python}")]
    for extra, packages in _extras().items():
        missing = [package for package in packages if not _is_installed(package)]
        found.append(
            Finding(
                topic="installed",
                name=f"kbchat[{extra}]",
                state="note" if missing else "ok",
                detail=f"not installed: {', '.join(missing)}" if missing else "installed",
                remedy=f"pip install 'kbchat[{extra}]', if you need it" if missing else "",
            )
        )
    return found


async def parts_that_answer(settings: Settings) -> list[Finding]:
    """Each part that the settings name, asked."""
    from kbchat.wiring import OwnParts, Parts

    threads = Threads(1)
    try:
        parts = await threads.read(Parts, settings, OwnParts())
    except KbchatError as error:
        return [_wrong("settings", error)]
    try:
        folder = await threads.read(_folder, settings)
        found = [folder]
        if not settings.catalog_url and folder.detail.endswith(NOT_THERE):
            detail = "there is no data yet"
            remedy = "kbchat ingest SPACE PATH makes it"
            found.append(Finding(topic="parts", name="catalog", state="note", detail=detail, remedy=remedy))
        else:
            found.append(await _checked("catalog", lambda: _catalog(parts)))
        used = await _used(parts) if found[-1].state == "ok" else set()
        named = {VectorType.CHROMA: settings.chroma_url, VectorType.MILVUS: settings.milvus_uri}
        stores = sorted(used | {kind for kind, address in named.items() if address})
        found += [await _checked(f"store {it}", _ping(parts, it)) for it in stores]
        if found[1].state == "ok":
            found.append(await _checked("spaces", lambda: _spaces(parts)))
        found.append(await _checked("embedder", lambda: _embedder(parts)))
        found += _models(parts)
        return found
    finally:
        await parts.aclose()


async def trial(settings: Settings) -> Finding:
    """A small document goes in and a question about it is answered, by the embedder and the model of the settings."""
    from kbchat.knowledge import KnowledgeBase
    from kbchat.models import TextDocument

    async def ask() -> str:
        async with _own_folder() as folder:
            own = {"data_dir": folder, "catalog_url": None, "chroma_url": None, "milvus_uri": None}
            async with KnowledgeBase(settings=settings.model_copy(update=own)) as kb:
                space = await kb.create_space("trial")
                report = await space.ingest(TextDocument(name="trial", text=DOCUMENT))
                for failure in report.failed:
                    return failure.reason
                answer = await space.chat(QUESTION)
                if not answer.found:
                    return ""
                return f"{answer.model}: {' '.join(answer.text.split())[:120]}"

    found = await _checked("trial question", ask, topic="trial")
    if found.state == "ok" and not found.detail:
        remedy = "the embedder finds nothing in a text that holds the answer; is it the right model?"
        return Finding(topic="trial", name="trial question", state="wrong", detail="nothing was found", remedy=remedy)
    return found


def serving(settings: Settings) -> list[Finding]:
    """What stands against serving as the settings say."""
    if is_loopback(settings.host) or settings.api_keys:
        return []
    return [
        Finding(
            topic="settings",
            name="host",
            state="note",
            detail=f"{settings.host} can be reached from elsewhere, and the settings have no key",
            remedy="make a key: kbchat keys create --name NAME --role admin",
        )
    ]


# -- inside ------------------------------------------------------------------------------------------------------------


async def _checked(name: str, check: Callable[[], Awaitable[str]], *, topic: str = "parts") -> Finding:
    began = time.perf_counter()
    try:
        with anyio.fail_after(SECONDS):
            detail = await check()
    except KbchatError as error:
        return _wrong(name, error, topic=topic)
    except TimeoutError:
        return Finding(
            topic=topic,
            name=name,
            state="wrong",
            detail=f"no answer within {SECONDS:g} s",
            remedy="is it running, and can it be reached from here?",
        )
    milliseconds = (time.perf_counter() - began) * 1e3
    return Finding(topic=topic, name=name, state="ok", detail=f"{detail} ({milliseconds:,.0f} ms)" if detail else "")


def _wrong(name: str, error: KbchatError, *, topic: str = "parts") -> Finding:
    # Messages of ours say what is wrong, then what to do.
    what, _, remedy = error.message.rpartition("; ")
    return Finding(topic=topic, name=name, state="wrong", detail=what or error.message, remedy=remedy if what else "")


@asynccontextmanager
async def _own_folder() -> AsyncIterator[Path]:
    threads = Threads(1)
    folder = await threads.write(lambda: tempfile.mkdtemp(prefix="kbchat-doctor-"))
    try:
        yield Path(folder)
    finally:
        with anyio.CancelScope(shield=True):
            await threads.write(lambda: shutil.rmtree(folder, ignore_errors=True))


def _folder(settings: Settings) -> Finding:
    folder = settings.data_dir.expanduser().absolute()
    there = next(it for it in (folder, *folder.parents) if it.exists())
    free = shutil.disk_usage(there).free
    state: State = "ok"
    state_of_it, remedy = "" if folder.exists() else NOT_THERE, ""
    if not there.is_dir():
        state, state_of_it, remedy = "wrong", f"{there} is a file", "choose another data_dir"
    elif not os.access(there, os.W_OK):
        state, state_of_it = "wrong", "cannot be written to"
        remedy = "choose another data_dir, or get the right to write there"
    elif free < LOW_DISK:
        state, remedy = "note", "make room"
    detail = ", ".join(filter(None, [f"{folder}, {free / 1024**3:,.1f} GiB free", state_of_it]))
    return Finding(topic="parts", name="data folder", state=state, detail=detail, remedy=remedy)


async def _catalog(parts: Parts) -> str:
    await parts.catalog.open()
    await parts.catalog.ping()
    return _shown(parts.settings.catalog_url or "SQLite, in the data folder")


async def _used(parts: Parts) -> set[VectorType]:
    """The stores that spaces use."""
    infos, _ = await parts.catalog.list_spaces()
    return {info.vector_type for info in infos}


def _ping(parts: Parts, kind: VectorType) -> Callable[[], Awaitable[str]]:
    async def ping() -> str:
        await parts.store(kind).ping()
        address = parts.settings.chroma_url if kind is VectorType.CHROMA else parts.settings.milvus_uri
        return _shown(address or "in the data folder")

    return ping


async def _spaces(parts: Parts) -> str:
    infos, total = await parts.catalog.list_spaces()
    pin = await parts.pin()
    foreign = [info.name for info in infos if info.embedder not in (None, pin)]
    if foreign:
        names = ", ".join(foreign)
        what = f"embedded by another model than {pin.name}: {names}"
        raise EmbedderMismatchError(
            names, f"{what}; set the embedder back (KBCHAT_EMBEDDER), or run kbchat reembed NAME"
        )
    return f"{total} spaces, {sum(info.document_count for info in infos)} documents"


async def _embedder(parts: Parts) -> str:
    vector = await parts.embedder.embed_query(QUESTION)
    return f"{parts.embedder.name}, {len(vector)} dimensions"


def _models(parts: Parts) -> list[Finding]:
    """The configured models; the trial question asks the first."""
    names = list(parts.generators)
    servers = {name: model.base_url for name, model in parts.settings.models.items()}
    if parts.settings.llm_model and parts.settings.llm_base_url:
        servers[parts.settings.llm_model] = parts.settings.llm_base_url
    details = [f"{name} at {_shown(servers[name])}" if name in servers else name for name in names]
    return [Finding(topic="parts", name="models", state="ok", detail=f"{', '.join(details)}; the first is the default")]


def _shown(value: object) -> str:
    """A value without its secrets."""
    match value:
        case SecretStr():
            return "set, hidden"
        case tuple() | list():
            return ", ".join(map(_shown, value)) or "none"
        case dict():
            return ", ".join(value) or "none"
        case None:
            return "not set"
        case _:
            shown = str(value)
            return without_credentials(shown) if "://" in shown else shown


def _extras() -> dict[str, list[str]]:
    """What each extra brings, but for those that bring nothing of their own."""
    found: dict[str, list[str]] = {}
    for requirement in requires("kbchat") or ():
        match = re.fullmatch(r"([\w.-]+).*;.*extra == ['\"]([\w-]+)['\"].*", requirement)
        if match and match[1] != "kbchat":
            found.setdefault(match[2], []).append(match[1])
    return {extra: packages for extra, packages in found.items() if extra not in ("all", "bench")}


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def problems(findings: list[Finding]) -> Iterator[Finding]:
    """Those that stand in the way."""
    return (finding for finding in findings if finding.state == "wrong")
