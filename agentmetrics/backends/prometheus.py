"""The Prometheus backend: a collector on a prometheus-client registry, and its exposition."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import prometheus_client.metrics
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as PrometheusFamily
from prometheus_client.registry import REGISTRY, Collector
from prometheus_client.samples import Exemplar as SampleExemplar
from prometheus_client.samples import Sample

from agentmetrics.backends.accepting import understood
from agentmetrics.backends.multiprocess import (
    DIRECTORY_VARIABLE,
    MultiprocessCollector,
    MultiprocessStore,
    are_written,
    recorded,
)
from agentmetrics.errors import ConfigurationError
from agentmetrics.recording.exemplars import Exemplar
from agentmetrics.recording.fork import STORES, held_lock, renewed_lock
from agentmetrics.recording.instruments import Batch, CounterSeries, GaugeSeries, HistogramSeries
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder
from agentmetrics.recording.store import ExemplarHistogram, Store, StoreRecorder
from agentmetrics.recording.values import Family, HistogramValue, bound_text

if TYPE_CHECKING:
    from typing_extensions import Self


class Exposition(NamedTuple):
    """The body of a scrape and its content type."""

    body: bytes
    content_type: str


class PrometheusRecorder(StoreRecorder):
    """A recorder that Prometheus scrapes.

    Its series are exposed on ``registry``, by default prometheus-client's default registry, so an
    application's own ``/metrics`` includes them at once. Recorders on the same registry share
    series. With ``PROMETHEUS_MULTIPROC_DIR`` set, every update is also written through to
    prometheus-client's files there, so a killed worker loses nothing that it had finished.

    ``exemplars`` is whether each bucket of a histogram keeps the last observation made in a sampled
    OpenTelemetry span, for scrapes in OpenMetrics. By default they are kept, but those files have
    no room for them: to ask for them nevertheless is logged.

    Raises ``ValueError`` when a metric of the same name from elsewhere is already on the registry,
    when its series are already kept the other way, and when the multiprocess directory cannot be
    used.
    """

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, *, exemplars: bool | None = None
    ) -> None:
        directory = os.environ.get(DIRECTORY_VARIABLE)
        if directory and exemplars:
            _problems.warn(
                "exemplars",
                "no exemplars are kept: prometheus-client's files have no room for them, "
                "and %s is set",
                DIRECTORY_VARIABLE,
            )
            exemplars = None
        with _lock:
            collector = _collectors.get(registry)
            if collector is None:
                collector = _StoreCollector(_store(directory, exemplars))
                _collectors[registry] = collector
                _make_re_entrant(registry)
                collector.announce(registry)
        super().__init__(collector.store)
        if exemplars not in (None, self.keeps_exemplars):
            raise ConfigurationError(
                f"this registry is already in use with exemplars={self.keeps_exemplars}, not "
                f"{exemplars}: configure it before its first use"
            )
        self.registry = registry
        self.scraped: Collector = MultiprocessCollector(directory) if directory else registry
        """What a scrape reads: the registry, or the files of all workers."""
        self._collector = collector

    @classmethod
    def from_settings(cls, settings: Any) -> Self:
        return cls(exemplars=settings.exemplars)

    def declare(self, metric: Metric) -> None:
        with _lock:
            if metric.name in self.store.metrics:
                self.store.declare(metric)  # which compares the two
                return
            self.store.declare(metric)
            try:
                self._collector.announce(self.registry)
            except ValueError as error:
                self.store.forget(metric)
                self._collector.announce(self.registry)
                raise ConfigurationError(
                    f"{metric.name} is already on this Prometheus registry, from something "
                    "other than agentmetrics: unregister it or set AGENTMETRICS_NAMESPACE"
                ) from error

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        if isinstance(self.store, MultiprocessStore) and are_written((*adds, *sets, *observations)):
            return self.store.batch(adds, sets, observations)
        return super().batch(adds, sets, observations)

    def exposition(self, accept: str = "") -> Exposition:
        """The response to a scrape: text 0.0.4, or OpenMetrics if the ``Accept`` header asks for
        it."""
        self.flush()
        encode, content_type = choose_encoder(understood(accept))
        return Exposition(encode(self.scraped), content_type)

    def collect_all(self) -> list[Family]:
        if not isinstance(self.store, MultiprocessStore):
            return self.collect()
        self.flush()
        return recorded(self.scraped.collect(), self.store.metrics.copy())

    def flush(self) -> None:
        if isinstance(self.store, MultiprocessStore):
            self.store.flush()


def _store(directory: str | None, exemplars: bool | None) -> Store:
    if directory:
        return MultiprocessStore(directory)
    return Store() if exemplars is False else Store(histogram=ExemplarHistogram)


def prometheus_recorder_in(recorder: Recorder) -> PrometheusRecorder | None:
    """The Prometheus recorder that this one is, or that it is a layer or a fanout around."""
    around = [recorder]
    while around:
        found = around.pop(0)
        if isinstance(found, PrometheusRecorder):
            return found
        around.extend(found.inner)
    return None


class _StoreCollector(Collector):
    """A store as prometheus-client's registry reads it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._is_announcing = self._is_registered = False
        self._announced = 0

    def announce(self, registry: CollectorRegistry) -> None:
        """Have the registry know the names of all metrics: it asks a collector for them when that
        registers, and not again. Under this module's lock.

        What is declared in the middle of this, by a signal handler, is left to what it interrupts.
        Raises ``ValueError`` when a name is taken.
        """
        if self._is_announcing:
            return
        self._is_announcing = True
        try:
            while not self._is_registered or self._announced != len(self.store.metrics):
                self._announced = len(self.store.metrics)
                if self._is_registered:
                    self._is_registered = False
                    registry.unregister(self)
                registry.register(self)
                self._is_registered = True
        finally:
            self._is_announcing = False

    def describe(self) -> list[PrometheusFamily]:
        return [_family(metric) for metric in self.store.metrics.copy().values()]

    def collect(self) -> Iterator[PrometheusFamily]:
        for collected in self.store.collect():
            yield _with_samples(collected, self._created(collected.metric))

    def _created(self, metric: Metric) -> dict[tuple[str, ...], float]:
        # prometheus-client's own switch: PROMETHEUS_DISABLE_CREATED_SERIES, disable_created_metrics
        if metric.kind == "gauge" or not prometheus_client.metrics._use_created:
            return {}
        return self.store.created(metric)


def _make_re_entrant(registry: CollectorRegistry) -> None:
    """A signal handler may make the first call while the program registers or collects something;
    and no child of a fork is to find the lock locked for ever."""
    if not hasattr(registry._lock, "_is_owned"):
        registry._lock = renewed_lock()  # type: ignore[assignment]


def _family(metric: Metric) -> PrometheusFamily:
    name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
    unit = metric.unit if name.endswith(f"_{metric.unit}") else ""
    return PrometheusFamily(name, metric.help, metric.kind, unit)


def _with_samples(collected: Family, created: Mapping[tuple[str, ...], float]) -> PrometheusFamily:
    metric = collected.metric
    family = _family(metric)
    name = f"{family.name}_total" if metric.kind == "counter" else family.name
    bucket, total, count = f"{name}_bucket", f"{name}_sum", f"{name}_count"
    bounds = [bound_text(bound) for bound in (*metric.buckets, float("inf"))]
    add = family.samples.append
    for values, value in collected.series:
        labels = dict(zip(metric.labels, values, strict=True))
        if isinstance(value, HistogramValue):
            running = 0
            for bound, observed in zip(bounds, value.counts, strict=True):
                running += observed
                add(Sample(bucket, {**labels, "le": bound}, running))
            for place, kept in value.exemplars.items():
                _attach(kept, family.samples, place - len(bounds))
            add(Sample(count, labels, running))
            add(Sample(total, labels, value.sum))
        else:
            add(Sample(name, labels, value))
        if values in created:
            add(Sample(f"{family.name}_created", labels, created[values]))
    return family


def _attach(kept: Exemplar, samples: list[Sample], place: int) -> None:
    exemplar = SampleExemplar(kept.labels, kept.value, kept.timestamp)
    samples[place] = samples[place]._replace(exemplar=exemplar)


_lock = held_lock(STORES)
_problems = LogOnce()
_collectors: weakref.WeakKeyDictionary[CollectorRegistry, _StoreCollector] = (
    weakref.WeakKeyDictionary()
)
