"""A model of sentence-transformers in this process, by its name on the model hub or by a folder that holds it.

A name is fetched once, by the library itself, into its cache; a folder needs no network.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from kbchat.errors import KbchatError, MissingExtraError
from kbchat.threads import Threads

T = TypeVar("T")


class InProcess:
    """One model, loaded when first used. It works for one caller at a time: each takes all cores there are.

    `kind` is the library's class, `what` is what messages call it, `setting` is what users name it by. Failures are
    raised as `error`, those of a missing library as `MissingExtraError`.
    """

    def __init__(
        self,
        model: str,
        *,
        kind: Literal["SentenceTransformer", "CrossEncoder"],
        what: str,
        setting: str,
        error: type[KbchatError],
        threads: Threads,
    ) -> None:
        self.name = f"sentence-transformers:{model}"
        self._model = model
        self._kind = kind
        self._what = f"the {what} {self.name!r}"
        self._setting = setting
        self._error = error
        self._threads = threads
        self._using = threading.Lock()
        # Of a class that a checker without the library does not know.
        self._loaded: object = None

    async def use(self, work: Callable[[object], T]) -> T:
        """What `work` makes of the model, in a worker thread."""
        return await self._threads.read(self._use, work)

    def close(self) -> None:
        """Let go of its memory. It is loaded anew when used again."""
        self._loaded = None

    def _use(self, work: Callable[[object], T]) -> T:
        with self._using:
            model = self._loaded = self._loaded or self._load()
            try:
                return work(model)
            except Exception as error:  # whatever a model's own code raises
                raise self._error(f"{self._what} failed: {error}") from error

    def _load(self) -> object:
        try:
            import sentence_transformers
        except ImportError as error:
            raise MissingExtraError(self._what, "sentence-transformers") from error
        # A folder that is not there would be taken for a name on the hub.
        folder = Path(self._model).expanduser()
        if self._model.startswith((".", "/", "~")) and not folder.is_dir():
            raise self._error(f"{self._what} cannot be loaded: there is no such folder; set {self._setting} to one")
        try:
            return getattr(sentence_transformers, self._kind)(str(folder) if folder.is_dir() else self._model)
        except Exception as error:  # the hub's, the tokenizers' and torch's errors have no common base
            raise self._error(
                f"{self._what} cannot be loaded ({type(error).__name__}: {error}); set {self._setting} to a folder "
                "that holds one, or to its name on the hub where the hub can be reached"
            ) from error
