"""A space as Haystack's component.

from kbchat.integrations.haystack import KbchatRetriever

pipeline.add_component("retriever", KbchatRetriever("handbook", data_dir="./kb-data", top_k=5))

A saved pipeline is read by `Pipeline.loads(…, allowed_modules=["kbchat.integrations.haystack"])`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kbchat.errors import MissingExtraError
from kbchat.integrations.asking import aretrieve, described, retrieve
from kbchat.models import Reference

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ImportError as error:
    raise MissingExtraError("kbchat for Haystack", "haystack") from error

if TYPE_CHECKING:
    from kbchat.integrations.asking import Space


@component
class KbchatRetriever:
    """Finds the passages of a space, which is given by its name or id (then it can be saved with its pipeline) or
    itself."""

    def __init__(self, space: str | int | Space, *, data_dir: str | None = None, top_k: int | None = None) -> None:
        """`data_dir` is where a space given by name or id is; None: as the settings say."""
        self.space = space
        self.data_dir = data_dir
        self.top_k = top_k
        self._opened: Space | None = None if isinstance(space, str | int) else space

    def warm_up(self) -> None:
        """Open the space."""
        if isinstance(self.space, str | int) and self._opened is None:
            from kbchat.sync import KnowledgeBase

            self._opened = KnowledgeBase(self.data_dir).get_space(self.space)

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None) -> dict[str, list[Document]]:
        """The passages that fit a query best, best first."""
        self.warm_up()
        assert self._opened is not None
        return {"documents": [_document(it) for it in retrieve(self._opened, query, top_k or self.top_k)]}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, top_k: int | None = None) -> dict[str, list[Document]]:
        """The same for a pipeline that runs asynchronously."""
        self.warm_up()
        assert self._opened is not None
        return {"documents": [_document(it) for it in await aretrieve(self._opened, query, top_k or self.top_k)]}

    def to_dict(self) -> dict[str, Any]:
        """What is saved with a pipeline."""
        if not isinstance(self.space, str | int):
            raise TypeError("a space that was given itself cannot be saved; give its name and data_dir")
        saved: dict[str, Any] = default_to_dict(self, space=self.space, data_dir=self.data_dir, top_k=self.top_k)
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> KbchatRetriever:
        """The component that was saved."""
        made: KbchatRetriever = default_from_dict(cls, data)
        return made


def _document(reference: Reference) -> Document:
    return Document(
        id=str(reference.chunk_id),
        content=reference.content,
        meta=described(reference),
        score=reference.recall_score,
    )
