"""Which loader reads a file: decided by its content first, by its name second."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders import ENTRY_POINTS, Loader, LoaderPlugin
from kbchat.loaders.signatures import container, foreign
from kbchat.models import LoadedDocument


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file: its loader as `module:class`, and the suffixes that hint at it.

    Reading a `heavy` one may take long or much memory, whatever the file's size: it is done in a worker process.
    """

    name: str
    loader: str
    suffixes: frozenset[str]
    heavy: bool = True
    plugin: LoaderPlugin | None = None

    @property
    def is_text(self) -> bool:
        """Whether a file of it is about as long as its text."""
        return not self.heavy or self.name in _AS_LONG

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """The text of a file's bytes. Raises `UnreadableDocumentError` or `MissingExtraError`."""
        return (self.plugin or _loader(self.loader)).load(data, name=name)


def _format(name: str, loader: str, suffixes: str, *, heavy: bool = True) -> Format:
    return Format(name, f"kbchat.loaders.{loader}", frozenset(f".{suffix}" for suffix in suffixes.split()), heavy)


TEXT = _format("text", "text:TextLoader", "txt text log adoc asciidoc org tex srt vtt", heavy=False)
MARKDOWN = _format("markdown", "text:MarkdownLoader", "md mdx markdown mkd qmd", heavy=False)
HTML = _format("html", "html:HtmlLoader", "html htm xhtml shtml")
XML = _format("xml", "feed:XmlLoader", "xml rss atom")
BUILT_IN = (
    TEXT,
    MARKDOWN,
    _format("rst", "text:RstLoader", "rst rest", heavy=False),
    _format(
        "code",
        "text:CodeLoader",
        "py pyi js mjs cjs jsx ts tsx java kt kts scala go rs c h cc cpp cxx hh hpp cs m mm swift rb php pl lua r jl "
        "sh bash zsh fish ps1 sql proto graphql vue svelte dart ex exs erl hs clj lisp f90 ipp tf",
        heavy=False,
    ),
    HTML,
    XML,
    _format("json", "data:JsonLoader", "json"),
    _format("jsonl", "data:JsonLinesLoader", "jsonl ndjson"),
    _format("notebook", "data:NotebookLoader", "ipynb"),
    _format("csv", "tables:CsvLoader", "csv tsv"),
    _format("xlsx", "tables:SheetLoader", "xlsx xlsm xlsb"),
    _format("xls", "tables:SheetLoader", "xls"),
    _format("ods", "tables:SheetLoader", "ods"),
    _format("pdf", "pdf:PdfLoader", "pdf"),
    _format("docx", "docx:DocxLoader", "docx docm dotx dotm"),
    _format("pptx", "pptx:PptxLoader", "pptx pptm ppsx ppsm potx potm"),
    _format("epub", "epub:EpubLoader", "epub"),
    _format("eml", "mail:EmlLoader", "eml"),
    _format("msg", "mail:MsgLoader", "msg"),
    _format("rtf", "rtf:RtfLoader", "rtf"),
)
_BY_NAME = {known.name: known for known in BUILT_IN}
_CONTAINERS = frozenset({"xlsx", "xls", "ods", "pdf", "docx", "pptx", "epub", "msg", "rtf"})
"""Formats that their first bytes give away. A file without them is not one, whatever it is called."""

_AS_LONG = frozenset({"json", "jsonl", "csv"})
"""Heavy formats that are text all the same."""


def format_of(data: bytes, *, name: str, suffixes: Sequence[str] = ()) -> Format:
    """The format of a file. Raises `UnreadableDocumentError` for one that is known and cannot be read.

    The name's suffix hints at it, or else the first of `suffixes` that is known.
    """
    for plugin in plugins():
        if plugin.plugin is not None and plugin.plugin.recognises(data):
            return plugin
    known = by_suffix()
    hint = next((known[each] for each in suffixes or (suffix_of(name),) if each in known), None)
    if hint is not None and hint.plugin is not None:
        return hint
    if found := container(data, hint=hint.name if hint else ""):
        return _BY_NAME[found]
    if reason := foreign(data):
        raise UnreadableDocumentError(name, reason)
    if hint is not None and hint.name in _CONTAINERS:
        hint = None
    return _of_text(data, hint)


def _of_text(data: bytes, hint: Format | None) -> Format:
    """The format of what has no signature. A web page is one under a text's name too, and also where it was saved under
    the name of what the server refused; Markdown and code may begin with tags."""
    if hint is None or hint is TEXT:
        start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith((b"<!doctype html", b"<html")):
            return HTML
        if start.startswith((b"<?xml", b"<rss", b"<feed")):
            return XML
    return hint or TEXT


def hinted(name: str) -> Format:
    """The format that a file's name hints at, before it is read."""
    return by_suffix().get(suffix_of(name), TEXT)


def suffix_of(name: str) -> str:
    """How a name ends, in lower case with its dot; empty where it has no suffix."""
    return PurePath(name).suffix.lower()


@functools.cache
def plugins() -> tuple[Format, ...]:
    """The formats that installed packages add, by name. Raises what a broken one raises."""
    from importlib.metadata import entry_points

    found = []
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        given = point.load()
        plugin: LoaderPlugin = given if hasattr(given, "load") and not isinstance(given, type) else given()
        found.append(Format(point.name, point.value, frozenset(plugin.suffixes), heavy=True, plugin=plugin))
    return tuple(found)


@functools.cache
def by_suffix() -> dict[str, Format]:
    """The format that each known suffix hints at; a plugin's word goes before ours."""
    return {suffix: known for known in (*BUILT_IN, *plugins()) for suffix in known.suffixes}


def by_name(name: str) -> Format:
    """The format of that name, of ours or of a plugin."""
    return next((known for known in plugins() if known.name == name), None) or _BY_NAME[name]


@functools.cache
def _loader(path: str) -> Loader:
    module, _, name = path.partition(":")
    loader: Loader = getattr(import_module(module), name)()
    return loader
