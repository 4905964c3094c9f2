"""How collections and ids are called in Milvus."""

from collections.abc import Sequence

from kbchat.errors import KbchatError
from kbchat.models import MAX_ID
from kbchat.stores.records import check_name

# A server of Milvus 2.3 finds no record under the largest integer.
MAX_ID_THERE = -1
TERMS = "terms-"
"""What the names of collections of sparse vectors begin with, which are no store's."""


def theirs_of(name: str) -> str:
    return name.replace("-", "_")


def ours_of(theirs: str) -> str | None:
    """The name that stands behind a collection's name in Milvus; None for one that is not ours."""
    name = theirs.replace("_", "-")
    try:
        check_name(name)
    except KbchatError:
        return None
    return name


def ids_there(ids: Sequence[int]) -> list[int]:
    return [MAX_ID_THERE if key == MAX_ID else int(key) for key in ids]


def id_here(there: int) -> int:
    return MAX_ID if there == MAX_ID_THERE else int(there)
