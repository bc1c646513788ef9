"""What the server measures, in the Prometheus text format."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

STAGES = ("fetch", "decode_image", "encode", "mask_decode", "upsample", "propose", "classify", "answer")
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """One application's measurements, in a registry of its own, so that two applications can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "maskwright_stage_seconds", "Time spent per stage of an answer.", ["stage"],
            registry=self.registry, buckets=_BUCKETS,
        )  # fmt: skip
        for stage in STAGES:
            self._stages.labels(stage)
        self._latency = Histogram(
            "maskwright_request_seconds", "Time from a request's arrival to its answer.", ["method", "rule"],
            registry=self.registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._requests = Counter(
            "maskwright_requests", "Requests answered.", ["method", "rule", "status"], registry=self.registry
        )
        self._in_flight = Gauge("maskwright_requests_in_flight", "Requests being answered.", registry=self.registry)

    def observe(self, stage: str, seconds: float) -> None:
        """Record that ``stage`` took ``seconds``; safe from any thread."""
        self._stages.labels(stage).observe(seconds)

    def watch(self, prefix: str, read: Callable[[], Mapping[str, Any]]) -> None:
        """Expose every number in ``read()`` (nested mappings allowed) as a gauge ``<prefix>_<path>`` when asked."""
        self.registry.register(_State(prefix, read))

    def install(self, app: Flask) -> None:
        """Time every request of ``app`` and answer ``/metrics``."""

        @app.before_request
        def begin() -> None:
            g.began = time.perf_counter()
            self._in_flight.inc()

        @app.after_request
        def end(response: Response) -> Response:
            # The rule, not the path: the number of time series must not depend on what strangers ask for.
            rule = request.url_rule.rule if request.url_rule is not None else "unmatched"
            method = request.method if request.method in _METHODS else "other"
            self._requests.labels(method, rule, response.status_code).inc()
            if "began" in g:
                self._latency.labels(method, rule).observe(time.perf_counter() - g.began)
            return response

        @app.teardown_request
        def leave(_error: BaseException | None) -> None:
            if "began" in g:
                self._in_flight.dec()

        @app.get("/metrics")
        def metrics() -> Response:
            return Response(generate_latest(self.registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _State:
    def __init__(self, prefix: str, read: Callable[[], Mapping[str, Any]]) -> None:
        self._prefix, self._read = prefix, read

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing: the names are known only when read, and asking here would run ``read`` at start-up."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One gauge per number."""
        for name, value in _numbers(self._prefix, self._read()):
            yield GaugeMetricFamily(name, "Current state.", value=value)


def _numbers(prefix: str, state: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in state.items():
        name = f"{prefix}_{key}".replace("-", "_").replace(".", "_").replace(" ", "_")
        if isinstance(value, Mapping):
            yield from _numbers(name, value)
        elif isinstance(value, bool | int | float):
            yield name, float(value)
