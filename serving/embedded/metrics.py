"""TF Serving's metrics for Prometheus: how many requests, and how long they took."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serving.embedded.status import Code, RequestError

_COUNT = ":tensorflow:serving:request_count"
_VERSION_COUNT = "embedded:version_request_count"
"""TF Serving has nothing like it."""
_MICROSECONDS = 1e6
_BUCKETS = [10 * 1.8**power for power in range(33)]
"""Microseconds, as in TF Serving: from 10 to about half an hour."""


class Metrics:
    """What has been counted since the start.

    Args:
        further: whatever else is counted, and shown with the rest.
    """

    def __init__(self, further: Iterable[Collector] = ()) -> None:
        self._registry = CollectorRegistry()
        for collector in further:
            self._registry.register(collector)
        self._requests: Counter[tuple[str, str]] = Counter()
        self._versions: Counter[tuple[str, int, str, str]] = Counter()
        self._lock = Lock()
        self._registry.register(self)
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) spent for an API request.",
            ["model_name", "API", "entrypoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._runtime = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            ["model_name", "API", "runtime"],
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def count_request(self, model: str, method: str, code: Code, seconds: float) -> None:
        """Counts a request to classify, regress or predict.

        Args:
            model: its name.
            method: such as predict.
            code: how it ended.
            seconds: how long it took.
        """
        with self._lock:
            self._requests[model, code.name] += 1
        self._latency.labels(model, method.capitalize(), "REST").observe(seconds * _MICROSECONDS)

    @contextmanager
    def runtime(self, model: str, method: str) -> Iterator[None]:
        """Counts how long the block, a call of the model, takes."""
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            observer = self._runtime.labels(model, method.capitalize(), "TF1")
            observer.observe(seconds * _MICROSECONDS)

    @contextmanager
    def version(self, model: str, version: int, label: str) -> Iterator[None]:
        """Counts for a version that the block, which uses it, was a request, and how it ended.

        Args:
            model: its name.
            version: that is used.
            label: by which it was found; empty if it was not by a label.
        """
        code = Code.OK
        try:
            yield
        except RequestError as error:
            code = error.code
            raise
        finally:
            with self._lock:
                self._versions[model, version, label, code.name] += 1

    def collect(self) -> Iterable[Metric]:
        """The counters, for the registry; its own class would add `_total` to the names."""
        with self._lock:
            requests, versions = dict(self._requests), dict(self._versions)
        metric = Metric(_COUNT, "The total number of requests.", "counter")
        for (model, status), count in requests.items():
            metric.add_sample(_COUNT, {"model_name": model, "status": status}, count)
        of_versions = Metric(
            _VERSION_COUNT, "The number of requests by version and label.", "counter"
        )
        for (model, version, label, status), count in versions.items():
            labels = {"model_name": model, "version": str(version), "label": label}
            of_versions.add_sample(_VERSION_COUNT, {**labels, "status": status}, count)
        return [metric, of_versions]

    def text(self) -> bytes:
        """All of it in the text format of Prometheus."""
        return generate_latest(self._registry)
