"""What Prometheus is told. No label holds the name of an owner, a space or a document, or anything a client made up."""

import time
from functools import cache
from typing import TYPE_CHECKING

from aiohttp import web

from kbchat_aiohttp.routes import UNKNOWN, Call, route

if TYPE_CHECKING:
    from kbchat_aiohttp.streams import Readers

STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The figures of one application, in a registry of their own."""

    def __init__(self, readers: "Readers") -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self._requests = Counter(
            "kbchat_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "kbchat_request_seconds",
            "From a request's head to the end of its answer.",
            ["method", "route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._first_token = Histogram(
            "kbchat_first_token_seconds",
            "From a question's head to the first word of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "kbchat_retrieval_stage_seconds",
            "What a stage of retrieval took.",
            ["stage"],
            buckets=STAGE_SECONDS,
            registry=self._registry,
        )
        self._stage = cache(self._stages.labels)
        self._deltas = Counter("kbchat_deltas", "Pieces of text that models said.", registry=self._registry)
        self._tokens = Counter("kbchat_tokens", "Tokens of questions and answers.", ["kind"], registry=self._registry)
        active = Gauge("kbchat_answers_active", "Answers under way.", registry=self._registry)
        active.set_function(lambda: len(readers))

    @route("GET", "/metrics", None, "Figures for Prometheus", media_type="text/plain")
    async def show(self, call: Call) -> web.Response:
        from prometheus_client import exposition

        encode, content_type = exposition.choose_encoder(call.request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    def note_stage(self, stage: str, seconds: float) -> None:
        """Note what a stage of a question's retrieval took."""
        self._stage(stage).observe(seconds)

    def count(self, call: Call, route: str, status: int, *, started: float) -> None:
        """Note a request that was answered. `started` is `time.perf_counter()` of its head."""
        method = call.request.method if route != UNKNOWN else "other"
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(time.perf_counter() - started)
        if call.first_token is not None:
            self._first_token.labels(route).observe(call.first_token - started)
        if call.deltas:
            self._deltas.inc(call.deltas)
        if call.usage.total_tokens:
            self._tokens.labels("prompt").inc(call.usage.prompt_tokens)
            self._tokens.labels("completion").inc(call.usage.completion_tokens)
