"""What a look at a source tells before it is read: its size, whether it changed, and whether its name is free."""

import os
from collections.abc import Set

from kbchat.catalog import SourceState
from kbchat.ingestion.items import FileContent, Source
from kbchat.loaders.files import FileSource, changed_ns
from kbchat.models import DocumentStatus, TextDocument

GIVEN_TWICE = "given twice; names are unique in a space"


def size_of(source: Source, stat: os.stat_result | None) -> int:
    match source:
        case TextDocument():
            return len(source.text)
        case FileContent():
            return len(source.data)
        case FileSource():
            return stat.st_size if stat else 0


def stat_of(source: Source) -> os.stat_result | None:
    if not isinstance(source, FileSource):
        return None
    try:
        return os.stat(source.path)  # noqa: PTH116 (a folder may hold very many)
    except OSError:
        return None  # Reading it will say why.


def is_untouched(source: Source, known: SourceState, stat: os.stat_result) -> bool:
    """Whether the file is as it was, and where it was, by its stat alone."""
    return (
        isinstance(source, FileSource)
        and stat.st_size == known.size
        and changed_ns(stat) == known.mtime_ns
        and known.source == source.path
        and known.status is DocumentStatus.FINISHED
    )


def taken(source: Source, known: SourceState | None, uploaded: Set[int], seen: Set[str]) -> str | None:
    """Why a name is not this document's to take; the one that has it has not failed."""
    if source.name in seen:
        return GIVEN_TWICE
    if known is None or not isinstance(source, FileSource):
        return None
    if known.document_id in uploaded:
        return "its name is taken by a document that was uploaded; rename the file, or delete that document first"
    if known.source is None or known.source == source.path or not _is_another(known.source, source.path):
        return None
    return f"its name is taken by {known.source!r}; rename one of the folders, or delete that document first"


def _is_another(there: str, path: str) -> bool:
    """Whether a file stands there that is not the one at a path: a link may lead to one and the same."""
    try:
        return not os.path.samefile(there, path)  # noqa: PTH121 (a source may be any text; `Path` raises for some)
    except (OSError, ValueError):
        return False
