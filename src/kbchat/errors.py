"""Every error kbchat raises on purpose, in one tree.

    KbchatError
    ├── InvalidInputError            a value that cannot be used; `field` names it
    ├── SettingsError                the configuration contradicts itself or lacks something
    ├── MissingExtraError            an optional part is not installed; `extra` names it
    ├── NotFoundError
    │   ├── SpaceNotFoundError
    │   ├── DocumentNotFoundError
    │   ├── ConversationNotFoundError
    │   ├── KeyNotFoundError
    │   └── ModelNotFoundError
    ├── ConflictError
    │   ├── SpaceExistsError
    │   ├── AmbiguousSpaceError      one name, several owners
    │   ├── SpaceInUseError          the change needs an empty space
    │   ├── DocumentExistsError
    │   ├── KeyExistsError
    │   └── EmbedderMismatchError    the space was embedded by another model
    ├── UnreadableDocumentError      no text can be taken from a document
    ├── CatalogError
    │   ├── CatalogCorruptError
    │   ├── CatalogUnavailableError  unreachable, read-only or the disk is full
    │   └── BusyError                another process holds the data folder
    ├── StoreError
    │   ├── StoreUnavailableError
    │   ├── CollectionNotFoundError
    │   └── VectorError              NaN, a zero vector or a wrong dimension
    ├── LexicalIndexError
    ├── EmbedderError
    │   └── EmbedderUnavailableError
    ├── RerankerError
    │   └── RerankerUnavailableError
    ├── GeneratorError
    │   ├── GeneratorUnavailableError  refused, failed or sent garbage
    │   ├── GeneratorBusyError         asked us to come back later; `retry_after` seconds
    │   └── GeneratorTimeoutError
    ├── DeadlineError                the whole request took too long
    └── ReferencesError              text that is not a references tag

A message says what went wrong and what to do about it. The identifying value (space, document, model, field) is an
attribute as well. Any of them can be copied and pickled, and so sent from process to process. An `InvalidInputError` is
a `ValueError` too, a `MissingExtraError` an `ImportError`. Nothing here knows of HTTP: an adapter maps classes to
statuses.
"""

from collections.abc import Callable
from typing import Any


class KbchatError(Exception):
    """Base of every error that kbchat raises on purpose."""

    @property
    def message(self) -> str:
        """What went wrong and what to do, for a person."""
        return str(self.args[0]) if self.args else type(self).__name__

    def __reduce__(self) -> tuple[Callable[..., "KbchatError"], tuple[Any, ...]]:
        # An exception is usually made again by calling its class with `args`: that is the message, and ours take more.
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[KbchatError], args: tuple[Any, ...], state: dict[str, Any]) -> KbchatError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class InvalidInputError(KbchatError, ValueError):
    """A value that cannot be used. `field` is the argument's name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class SettingsError(KbchatError):
    """The configuration contradicts itself or lacks something."""


class MissingExtraError(KbchatError, ImportError):
    """An optional part is asked for that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs packages that are not installed; run: pip install 'kbchat[{extra}]'")
        self.extra = extra


class NotFoundError(KbchatError):
    """Something that was named does not exist (or is not the asker's)."""


class SpaceNotFoundError(NotFoundError):
    """There is no such space, or it is another owner's."""

    def __init__(self, space: str | int) -> None:
        super().__init__(f"there is no space {space!r}; a list of the spaces names those there are")
        self.space = space


class DocumentNotFoundError(NotFoundError):
    """There is no such document, or it is in another owner's space."""

    def __init__(self, document: str | int) -> None:
        super().__init__(f"there is no document {document!r}; a list of the documents names those there are")
        self.document = document


class ConversationNotFoundError(NotFoundError):
    """There is no such conversation, or it is another owner's."""

    def __init__(self, conversation: str) -> None:
        super().__init__(f"there is no conversation {conversation!r}")
        self.conversation = conversation


class KeyNotFoundError(NotFoundError):
    """There is no such API key, or it was revoked."""

    def __init__(self, key: str | int) -> None:
        super().__init__(f"there is no key {key!r}; `kbchat keys list` names those there are")
        self.key = key


class ModelNotFoundError(NotFoundError):
    """No model of that name is configured. `known` are those that are."""

    def __init__(self, model: str, known: list[str]) -> None:
        super().__init__(f"there is no model {model!r}; configured are: {', '.join(known)}")
        self.model = model
        self.known = known


class ConflictError(KbchatError):
    """The request is sound, but what is there stands against it."""


class SpaceExistsError(ConflictError):
    """The owner has a space of that name already."""

    def __init__(self, name: str, owner: str) -> None:
        of = f" of owner {owner!r}" if owner else ""
        super().__init__(f"a space named {name!r}{of} is already there; choose another name or use that space")
        self.name = name
        self.owner = owner


class AmbiguousSpaceError(ConflictError):
    """Several owners have a space of that name. `ids` are theirs."""

    def __init__(self, name: str, ids: list[int]) -> None:
        super().__init__(f"several owners have a space named {name!r}; use one of the ids {ids}")
        self.name = name
        self.ids = ids


class SpaceInUseError(ConflictError):
    """The change needs an empty space.

    `space` is its name."""

    def __init__(self, space: str, message: str) -> None:
        super().__init__(message)
        self.space = space


class DocumentExistsError(ConflictError):
    """The space holds a document of that name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a document named {name!r} is already in this space; choose another name, or say replace")
        self.name = name


class KeyExistsError(ConflictError):
    """There is an API key of that name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a key named {name!r} is already there; choose another name, or revoke it first")
        self.name = name


class EmbedderMismatchError(ConflictError):
    """The space's vectors were made by another embedder than the one configured now.

    `space` is its name."""

    def __init__(self, space: str, message: str) -> None:
        super().__init__(message)
        self.space = space


class UnreadableDocumentError(KbchatError):
    """No text can be taken from a document. `name` is the document's."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class CatalogError(KbchatError):
    """The catalog database failed.

    `place` is what it is about: a file, a URL without its password, a folder or a space."""

    def __init__(self, message: str, *, place: str = "") -> None:
        super().__init__(message)
        self.place = place


class CatalogCorruptError(CatalogError):
    """The catalog's file is damaged or is not a catalog."""


class CatalogUnavailableError(CatalogError):
    """The catalog cannot be reached or written: no connection, no right, no room."""


class BusyError(CatalogError):
    """Another process is writing to the same data and did not finish in time."""


class StoreError(KbchatError):
    """A vector store failed."""


class StoreUnavailableError(StoreError):
    """A vector store cannot be reached or did not answer in time."""


class CollectionNotFoundError(StoreError):
    """A vector collection that the catalog knows of is missing from its store."""

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"the vector collection {collection!r} is missing from the store; `kbchat fsck --repair` rebuilds it"
        )
        self.collection = collection


class VectorError(StoreError):
    """A vector that a store must not take: not finite, zero, or of another dimension."""


class LexicalIndexError(KbchatError):
    """The lexical index failed."""


class EmbedderError(KbchatError):
    """An embedder failed or answered nonsense."""


class EmbedderUnavailableError(EmbedderError):
    """The embedding server cannot be reached or did not answer in time."""


class RerankerError(KbchatError):
    """The reranker refused the passages or answered what cannot be used."""


class RerankerUnavailableError(RerankerError):
    """The reranker does not answer, or asked us to come back later."""


class GeneratorError(KbchatError):
    """The answer could not be generated. `model` is the generator's name."""

    def __init__(self, model: str, message: str) -> None:
        super().__init__(f"model {model!r}: {message}")
        self.model = model


class GeneratorUnavailableError(GeneratorError):
    """The model server refused, failed, broke off or sent what cannot be understood."""


class GeneratorBusyError(GeneratorError):
    """The model server asked to be left alone for `retry_after` seconds (None: it did not say)."""

    def __init__(self, model: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(model, message)
        self.retry_after = retry_after


class GeneratorTimeoutError(GeneratorError):
    """The model server was silent for longer than the time-out."""


class DeadlineError(KbchatError):
    """The whole request took longer than it may."""


class ReferencesError(KbchatError):
    """The text holds no references tag that can be read, or a reference cannot be written as one."""
