"""A collection in Milvus, looked up: what is written to it, and how it is searched and read."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kbchat.errors import VectorError
from kbchat.stores import Vector, VectorHit, Vectors
from kbchat.stores.among import Ids
from kbchat.stores.milvus_names import MAX_ID_THERE, id_here, ids_there, theirs_of
from kbchat.stores.records import best_first, hits_among

if TYPE_CHECKING:
    from kbchat.stores.milvus import MilvusEngine

T = TypeVar("T")

# A server takes and answers messages of 64 MiB; a cancelled caller waits for one slice at most.
_SLICE_BYTES = 4 * 1024 * 1024
_SLICE_IDS = 1000
# What one search or query answers at most.
MOST_HITS = 16_384
# So many ids are told in a filter. Milvus Lite looks at each record anyway. A server takes longer to read the filter
# than to search deeper when they are more.
TOLD_LITE, TOLD_SERVER = 20_000, 5_000
# A server does not index stretches with fewer rows, so that sealing them is not worth its while.
_WORTH_FLUSHING = 1024
# Milvus Lite looks through fresh rows in Python, some 70 µs a row, until they are flushed.
_LITE_FRESH = 5000
_NOT_LOADED = (101, 103)
REFUSED = (8, 9)
"""Codes for: too many requests, and no more writes (disk or memory used up)."""
_PARTS_AWAY = (401, 501, 503, 901, 902, 903, 905)
# Codes below 100 mean other things to the client, and one part that found no other has none.
_PARTS_AWAY_TEXTS = ("empty grpc client", "service not ready", "service unavailable")


class MilvusCollection:
    most_ids = _SLICE_IDS
    most_hits = MOST_HITS

    def __init__(
        self, engine: "MilvusEngine", name: str, dimension: int, number: object, metric: str = "COSINE"
    ) -> None:
        self._engine = engine
        self._client = engine.client
        self._name = name
        self._theirs = theirs_of(name)
        self._timeout = engine.timeout
        # Changes that only a strong read is sure to see: those before this object was made, and our deletions, which
        # Milvus's own session does not count. Which of them have been seen.
        self._changes, self._seen = 1, 0
        self._unflushed = 0
        self._size: int | None = None
        self._metric = metric
        self.dimension = dimension
        self.key = (number, dimension)
        self.most_vectors = max(1, min(_SLICE_IDS, _SLICE_BYTES // (4 * dimension)))

    @property
    def few_ids(self) -> int:
        return TOLD_LITE if self._engine.lite else TOLD_SERVER

    @property
    def most_told(self) -> int:
        return self.few_ids

    def upsert(self, ids: list[int], vectors: Vectors) -> None:
        # The client's own way takes rows, and longer to pack them than a server to take them in.
        self._client._get_connection().upsert(
            self._theirs,
            [],
            timeout=self._timeout,
            context=self._client._generate_call_context(),
            upsert_param=self._request(ids, vectors),
            schema={"fields": ()},  # Asked for only where there is no request yet.
        )
        self.wrote(len(ids))

    def _request(self, ids: list[int], vectors: Vectors) -> object:
        from pymilvus import DataType
        from pymilvus.grpc_gen import milvus_pb2, schema_pb2

        def numbers(kind: DataType, name: str, **data: object) -> object:
            return schema_pb2.FieldData(type=kind, field_name=name, scalars=schema_pb2.ScalarField(**data))

        fields = [numbers(DataType.INT64, "id", long_data=schema_pb2.LongArray(data=ids_there(ids)))]
        if self._metric != "COSINE":
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / lengths
            fields.append(numbers(DataType.FLOAT, "length", float_data=_floats(lengths)))
        packed = schema_pb2.VectorField(dim=self.dimension, float_vector=_floats(vectors))
        fields.append(schema_pb2.FieldData(type=DataType.FLOAT_VECTOR, field_name="vector", vectors=packed))
        return milvus_pb2.UpsertRequest(collection_name=self._theirs, fields_data=fields, num_rows=len(ids))

    def wrote(self, number: int) -> None:
        self._unflushed += number
        self._size = None
        if self._engine.lite and self._unflushed >= _LITE_FRESH:
            self._seal()

    def delete(self, ids: list[int]) -> None:
        self._client.delete(self._theirs, ids=ids_there(ids), timeout=self._timeout)
        self._changes += 1
        self._size = None

    def nearest(self, questions: list[Vector], limit: int, *, where: str = "") -> list[list[VectorHit]]:
        params = dict(self._engine.settings.search)
        if "ef" in params:
            params["ef"] = max(params["ef"], limit)
        if self._metric != "COSINE":
            questions = [question / np.linalg.norm(question) for question in questions]
        found = self._read(
            lambda level: self._client.search(
                self._theirs,
                data=questions,
                anns_field="vector",
                filter=where,
                limit=limit,
                output_fields=["id"],
                search_params={"metric_type": self._metric, "params": params},
                consistency_level=level,
                timeout=self._timeout,
            )
        )
        hits = [
            [VectorHit(id_here(hit["id"]), max(-1.0, min(1.0, self._cosine(hit["distance"])))) for hit in each]
            for each in found
        ]
        if not any(hits):
            self._check_dimension()
        return hits

    def nearest_among(self, question: Vector, ids: Ids, limit: int) -> list[VectorHit]:
        if not ids:
            return []
        where = f"id in {ids_there(ids)}"
        wanted = min(limit, len(ids))
        hits = best_first(
            lambda asked: self.nearest([question], asked, where=where)[0], limit=wanted, most=self.most_hits
        )
        if len(hits) < wanted:
            # An index may not come to all of them.
            found = {hit.id for hit in hits}
            missing = [key for key in ids if key not in found]
            for first in range(0, len(missing), self.most_ids):
                hits += hits_among(question, self.fetch(missing[first : first + self.most_ids]))
        return hits

    def _cosine(self, distance: float) -> float:
        # Between vectors of length 1 the square of the distance is 2 - 2 cos.
        return 1.0 - distance / 2 if self._metric == "L2" else float(distance)

    def _check_dimension(self) -> None:
        # An empty collection does not look at the question.
        now = self._engine.find(self._name)
        if now.dimension != self.dimension:
            raise VectorError(f"collection {self._name!r} now has dimension {now.dimension}, not {self.dimension}")

    def fetch(self, ids: list[int]) -> dict[int, Vector]:
        if not ids:
            return {}
        fields = ["vector"] if self._metric == "COSINE" else ["vector", "length"]
        rows = self._rows(f"id in {ids_there(ids)}", fields, limit=len(ids))
        return {
            id_here(row["id"]): np.asarray(row["vector"], dtype=np.float32) * np.float32(row.get("length", 1.0))
            for row in rows
        }

    def count(self) -> int:
        (row,) = self._rows("", ["count(*)"], limit=None)
        return int(row["count(*)"])

    def size(self) -> int:
        if self._size is None:
            self._size = self.count()
        return self._size

    def ids_after(self, last: int | None) -> tuple[list[int], bool]:
        # Where a limit cuts, Milvus keeps the least, so that the next page follows on.
        after = MAX_ID_THERE - 1 if last is None else ids_there([last])[0]
        there = sorted(row["id"] for row in self._rows(f"id > {after}", ["id"], limit=MOST_HITS))
        return [id_here(key) for key in there], len(there) == MOST_HITS

    def _rows(self, where: str, fields: Sequence[str], *, limit: int | None) -> Sequence[Mapping[str, Any]]:
        more = {} if limit is None else {"limit": limit}
        rows: Sequence[Mapping[str, Any]] = self._read(
            lambda level: self._client.query(
                self._theirs,
                filter=where,
                output_fields=list(fields),
                consistency_level=level,
                timeout=self._timeout,
                **more,
            )
        )
        return rows

    def _read(self, read: Callable[[str], T]) -> T:
        """Read, asking again for as long as the time-out lasts while a server says that it has not loaded yet."""
        from pymilvus.exceptions import MilvusException

        end = time.monotonic() + self._timeout
        while True:
            changes = self._changes
            try:
                answer = read(self._engine.settings.consistency if self._seen == changes else "Strong")
            except MilvusException as error:
                if not is_loading(error) or time.monotonic() >= end:
                    raise
                self._engine.load(self._theirs)
                time.sleep(0.05)
            else:
                self._seen = max(self._seen, changes)
                return answer

    def flush(self) -> None:
        self._check_dimension()
        if self._engine.lite or self._unflushed >= _WORTH_FLUSHING:
            self._seal()

    def _seal(self) -> None:
        """What Milvus acknowledged is safe already. To seal it, in the background, lets it be indexed."""
        from pymilvus.exceptions import MilvusException

        self._unflushed = 0
        try:
            self._client.flush(self._theirs, timeout=self._timeout, _async=True, retry_on_rate_limit=False)
        except MilvusException as error:
            if error.code not in REFUSED and not is_partly_away(error):
                raise


def is_loading(error: Exception) -> bool:
    """Whether a server says that it has not loaded a collection yet."""
    # Some ways the code gets lost and only the text arrives.
    return getattr(error, "code", None) in _NOT_LOADED or "not fully loaded" in str(error)


def is_partly_away(error: Exception) -> bool:
    """Whether a server answers that parts of it are not there: it starts, stops or replaces one."""
    text = str(error)
    return getattr(error, "code", None) in _PARTS_AWAY or any(it in text for it in _PARTS_AWAY_TEXTS)


def _floats(numbers: Vectors) -> object:
    """A message's list of floats: on the wire their bytes one after another, which spares to make an object of each."""
    from pymilvus.grpc_gen import schema_pb2

    packed = np.ascontiguousarray(numbers, dtype="<f4").tobytes()
    size, left = b"", len(packed)
    while left > 0x7F:
        size, left = size + bytes([left & 0x7F | 0x80]), left >> 7
    return schema_pb2.FloatArray.FromString(b"\x0a" + size + bytes([left]) + packed)
