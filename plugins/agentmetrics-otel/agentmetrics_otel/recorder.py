"""The recorder: series in a store, which instruments of OpenTelemetry are read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricsData

from agentmetrics import Metric, Settings
from agentmetrics.plugin import (
    PACKETS_DROPPED,
    Batch,
    CounterSeries,
    ForkAware,
    ForkSafeLock,
    GaugeSeries,
    HistogramSeries,
    LogOnce,
    PeriodicFlush,
    Store,
    StoredCounter,
    StoredGauge,
    StoreRecorder,
    close_at_exit,
    notice_fork,
    skip_at_exit,
    watch_forks,
)
from agentmetrics_otel import environment
from agentmetrics_otel.conventions import chosen_names
from agentmetrics_otel.genai import Listener
from agentmetrics_otel.histograms import DeliveredHistogram, Record, kept_of, recording_batch
from agentmetrics_otel.outlets import (
    NoOutlet,
    Outlet,
    OwnOutlet,
    UsersOutlet,
    attempt,
    users_provider,
)
from agentmetrics_otel.rows import check_name

if TYPE_CHECKING:
    from typing_extensions import Self


class OTelRecorder(StoreRecorder, ForkAware):
    """A recorder that delivers by the OpenTelemetry metrics API.

    The provider is ``provider``, or the global one where one has been set when the first series is
    bound; its readers, views and interval are left alone. Without either it is one of our own,
    which exports by OTLP as the ``OTEL_*`` variables say, every ``OTEL_METRIC_EXPORT_INTERVAL``
    milliseconds, at ``flush``, at ``close`` and when the program ends. ``service`` and
    ``service_version`` are what its resource says where the variables do not.

    ``OTEL_SEMCONV_STABILITY_OPT_IN`` chooses the GenAI conventions instead of names of the
    catalogue. Their instruments are recorded here and not through the layers around, so what these
    add is told apart: ``namespace`` is the prefix of the rows that they replace, ``attributes``
    what they have beside their own.

    Raises ``agentmetrics.ConfigurationError`` on a variable that can never work.
    """

    resets = False  # what the SDK has counted cannot be taken back

    def __init__(
        self,
        provider: MeterProvider | None = None,
        *,
        service: str = "",
        service_version: str = "",
        namespace: str = "",
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(Store())
        self._given, self._service = provider, (service, service_version)
        names = chosen_names()
        self._listener = Listener(names.conventions, attributes or {}, self._meter)
        prefix = f"{namespace}_" if namespace else ""
        self._left_out = {f"{prefix}{row}" for row in names.left_out}
        self._histograms: dict[tuple[str, tuple[str, ...]], DeliveredHistogram] = {}
        self._beginning = ForkSafeLock()
        self._outlet: Outlet | None = None
        self._periodic: PeriodicFlush | None = None
        self._closed = False
        self._problems = LogOnce()
        if self._users_provider() is None and environment.is_exported():
            environment.interval_seconds()
            environment.make_exporter().shutdown()
        watch_forks(self)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            service=settings.service,
            service_version=settings.service_version,
            namespace=settings.namespace,
            attributes=settings.common_labels,
        )

    # Series

    def declare(self, metric: Metric) -> None:
        check_name(metric)
        super().declare(metric)
        if self._outlet is not None:
            self._want(self._outlet, (metric,))

    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> StoredCounter:
        self._begin()
        return super().bind_counter(metric, values)

    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> StoredGauge:
        self._begin()
        return super().bind_gauge(metric, values)

    def bind_histogram(  # type: ignore[override]  # one that has a stored one
        self, metric: Metric, values: tuple[str, ...]
    ) -> HistogramSeries:
        outlet = self._begin()
        kept = super().bind_histogram(metric, values)
        if metric.name in self._left_out or outlet is None:
            return kept
        found = self._histograms.get((metric.name, values))
        if found is None:
            record = outlet.rows.histogram(metric).record
            new = DeliveredHistogram(kept, metric, values, record)
            found = self._histograms.setdefault((metric.name, values), new)
        return found

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        keep = super().batch(adds, sets, [kept_of(one) for one in observations])
        return recording_batch(keep, len(adds) + len(sets), observations)

    # Delivery

    def _users_provider(self) -> MeterProvider | None:
        return self._given if self._given is not None else users_provider()

    def _begin(self) -> Outlet | None:
        """Find or make the provider; not before the first series, so that a program has time to
        set its own, and a preloading server forks first. ``None`` once it is closed."""
        notice_fork()
        self._listener.follow(self.outermost().anchor.pipeline)
        outlet = self._outlet
        if outlet is not None or self._closed:
            return outlet
        with self._beginning:
            if self._outlet is None:
                outlet = self._new_outlet()
                self._want(outlet, list(self.store.metrics.values()))
                for one in list(self._histograms.values()):
                    one.record = outlet.rows.histogram(one.metric).record
                self._outlet = outlet
                close_at_exit(self)
            return self._outlet

    def _new_outlet(self) -> Outlet:
        provider = self._users_provider()
        if provider is not None:
            return UsersOutlet(provider, self.store, self._problems)
        if not environment.is_exported():
            return NoOutlet()
        if self._periodic is None:
            self._start_thread()
        resource = environment.make_resource(*self._service)
        return OwnOutlet(environment.make_exporter(), resource, self.store, self._exported)

    def _start_thread(self) -> None:
        try:
            self._periodic = PeriodicFlush(self, environment.interval_seconds())
        except RuntimeError as error:  # the system, or a program at its exit, has no more
            self._problems.warn("thread", "the OTLP thread could not be started: %s", error)

    def _want(self, outlet: Outlet, metrics: Sequence[Metric]) -> None:
        """Have these counters and gauges delivered, unless a convention stands for them."""
        rows = outlet.rows
        for metric in metrics:
            if metric.kind != "histogram" and metric.name not in self._left_out:
                rows.want(metric)
        if self._is_updating() or rows.is_reading:
            rows.create_soon()
        else:
            rows.create()

    def _exported(self, problem: str | None) -> None:
        """Say why an export failed, once until one has not."""
        if problem is None:
            self._problems.over("export")
            return
        self._problems.warn(
            "export",
            "metrics could not be exported by OTLP to %s (%s); it is tried again at every interval",
            environment.collector(),
            problem,
        )
        # Through the layers around, whose names and labels it has, and to the backends beside.
        self.outermost().counter(PACKETS_DROPPED).labels("otel").inc()

    def flush(self) -> None:
        """Export now, or let the user's provider; it takes no longer than the exporter's timeout.

        Inside ``update()`` this is left to the next interval, because the update is not finished.
        """
        notice_fork()
        if self._closed or self._is_updating() or self._is_idle_child():
            return
        outlet = self._begin()
        if outlet is not None:
            outlet.rows.create()
            if isinstance(outlet, OwnOutlet) and users_provider() is not None:
                self._problems.warn(
                    "late",
                    "a MeterProvider was set after the first series, so agentmetrics exports by "
                    "its own: call set_meter_provider() before the first call of a model",
                )
            outlet.flush()

    def _is_idle_child(self) -> bool:
        """Whether this is a forked process that has counted nothing: it says nothing."""
        return (
            self._outlet is None
            and self._periodic is not None
            and not any(
                value
                for metric, series in self.store.kept()
                if metric.kind != "histogram"  # whose first value would have begun
                for _, value in series
            )
        )

    def _is_updating(self) -> bool:
        return bool(self.store.lock._is_owned())  # type: ignore[attr-defined]

    def reset(self) -> None:
        """Does nothing; see ``resets``."""

    def probe(self, timeout_seconds: float = 3.0) -> str | None:
        """Send an empty export to the collector; ``None`` if it is taken, else a sentence that says
        why not. A provider of the user's is theirs to test."""
        if self._users_provider() is not None or not environment.is_exported():
            return None
        exporter = environment.make_exporter(timeout_seconds)
        _, problem = attempt(exporter, MetricsData(resource_metrics=[]))
        exporter.shutdown()
        return problem and f"the collector at {environment.collector()} takes no metrics: {problem}"

    def close(self) -> None:
        notice_fork()
        if self._periodic is not None and not self._is_idle_child():
            self._begin()  # a forked child may not have
        with self.store.lock:
            if self._closed:
                return
            self._closed = True
        skip_at_exit(self)
        if self._periodic is not None:
            self._periodic.stop()
        if self._outlet is not None:
            self._outlet.close()

    def _meter(self) -> Meter | None:
        outlet = self._begin()
        return None if outlet is None else outlet.rows.meter

    # Forks

    def after_fork_in_child(self) -> None:
        """Begin anew, at zero: what was counted before is the parent's, and the locks of its
        provider may be held by threads that are not here. The user's provider is the user's."""
        if isinstance(self._outlet, OwnOutlet):
            self.store.reset()
            self._outlet = None
            self._listener.begin_anew()
            for one in list(self._histograms.values()):
                one.record = self._late(one)

    def _late(self, one: DeliveredHistogram) -> Record:
        """Records on a provider that is made at the first use in a forked child."""

        def record(value: float, attributes: Mapping[str, str]) -> None:
            if self._begin() is not None:  # which binds it to the new instrument
                one.record(value, attributes)

        return record
