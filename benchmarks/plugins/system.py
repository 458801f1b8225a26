"""One scrape with system metrics, which read the machine and the process every time."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from time import process_time

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, ProcessCollector, generate_latest

from agentmetrics import PrometheusRecorder
from agentmetrics.machine.reading import Machine
from agentmetrics.meters.machine import SystemMeter
from agentmetrics.pipeline import pipeline_of
from benchmarks.measure import Measured, Timer, interleaved

BARE = "a scrape"
OURS = "with system metrics"
PROCESS = "with prometheus-client's ProcessCollector"
HAND = "with the same gauges, by psutil"
OTEL = "a scrape of OpenTelemetry's system metrics alone"
LOOPS = 50


def measure(rounds: int) -> dict[str, Measured]:
    """A scrape of a recorder without calls: bare, and with what reads at every one of them.

    prometheus-client's collector reads the process alone. psutil knows no container, and neither
    does OpenTelemetry, which is measured by itself: it has no disk, either.
    """
    own, clock = _recorder(), _Clock()
    pipeline_of(own).meter(SystemMeter).show(Machine(clock=clock))
    peer = _recorder()
    ProcessCollector(registry=peer.registry)
    hand = _recorder()
    _by_psutil(hand.registry)
    timers: dict[str, Timer] = {
        BARE: _scraping(_recorder().registry, _Clock()),
        OURS: _scraping(own.registry, clock),
        PROCESS: _scraping(peer.registry, _Clock()),
        HAND: _scraping(hand.registry, _Clock()),
    }
    if find_spec("opentelemetry.instrumentation.system_metrics"):
        timers[OTEL] = _scraping(_opentelemetry(), _Clock())
    return interleaved(timers, loops=LOOPS, rounds=rounds)


def _recorder() -> PrometheusRecorder:
    recorder = PrometheusRecorder(CollectorRegistry())
    pipeline_of(recorder)
    return recorder


def _by_psutil(registry: CollectorRegistry) -> None:
    process = psutil.Process()
    reads: dict[str, Callable[[], float]] = {
        "cpu_percent": psutil.cpu_percent,
        "cpus": lambda: psutil.cpu_count() or 0,
        "memory_percent": lambda: psutil.virtual_memory().percent,
        "memory_used_bytes": lambda: psutil.virtual_memory().used,
        "memory_limit_bytes": lambda: psutil.virtual_memory().total,
        "disk_percent": lambda: psutil.disk_usage("/").percent,
        "disk_used_bytes": lambda: psutil.disk_usage("/").used,
        "process_cpu_seconds": lambda: sum(process.cpu_times()[:2]),
        "process_resident_memory_bytes": lambda: process.memory_info().rss,
        "process_threads": process.num_threads,
        "process_open_fds": process.num_fds,
    }
    for name, read in reads.items():
        Gauge(name, "By hand.", registry=registry).set_function(read)


class _Clock:
    """On which a scrape comes a second after the one before, so that each reads."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _opentelemetry() -> CollectorRegistry:
    """The metrics of this page that its instrumentation has, through its exporter."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider

    config = {
        "system.cpu.utilization": ["idle"],
        "system.memory.usage": ["used", "total"],
        "system.memory.utilization": ["used"],
        "process.cpu.time": ["user", "system"],
        "process.memory.usage": None,
        "process.thread.count": None,
        "process.open_file_descriptor.count": None,
    }
    before = set(REGISTRY._collector_to_names)
    provider = MeterProvider(metric_readers=[PrometheusMetricReader()])
    SystemMetricsInstrumentor(config=config).instrument(meter_provider=provider)
    registry = CollectorRegistry()
    for collector in set(REGISTRY._collector_to_names) - before:  # which its reader has chosen
        REGISTRY.unregister(collector)
        registry.register(collector)
    return registry


def _scraping(registry: CollectorRegistry, clock: _Clock) -> Timer:
    def timer(loops: int) -> float:
        began = process_time()
        for _ in range(loops):
            clock.now += 1
            generate_latest(registry)
        return process_time() - began

    return timer
