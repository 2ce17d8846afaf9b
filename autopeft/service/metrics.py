"""What Prometheus reads: requests, searches, trials, controllers and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from autopeft.store import Store

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The service's metrics.

    Args:
        store: whose searches and trials are counted when they are asked for.
        waiting: says how many checks wait or run.
    """

    def __init__(self, store: Store, waiting: Callable[[], int]) -> None:
        self._store = store
        self._waiting = waiting
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("autopeft_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "autopeft_request_seconds", "Time to answer.", labels[:2], buckets=BUCKETS, registry=self._registry
        )
        self._registry.register(self)

    def saw(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; the route is a template, so that there are few of them."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Return all of it in Prometheus's text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: what :meth:`collect` reads is in the database, and is not read at the start."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what is counted when it is asked for."""
        searches = [([state, str(served).lower()], count) for (state, served), count in self._store.counts().items()]
        told = "Searches by state, and by whether they are for any controller that is free."
        yield _counted("autopeft_searches", told, ("state", "served"), searches)
        trials = [([state], count) for state, count in self._store.trials.counts().items()]
        yield _counted("autopeft_trials", "Trials by state.", ("state",), trials)
        controllers = "Controllers that are working on a search."
        yield GaugeMetricFamily("autopeft_controllers", controllers, value=self._store.controllers())
        waiting = "Controllers that wait for a search."
        yield GaugeMetricFamily("autopeft_controllers_waiting", waiting, value=self._store.waiting.count())
        yield GaugeMetricFamily("autopeft_checks_waiting", "Requests that wait to be checked.", value=self._waiting())


def _counted(
    name: str, text: str, labels: Sequence[str], counts: Iterable[tuple[Sequence[str], int]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, count in sorted(counts):
        family.add_metric(values, count)
    return family
