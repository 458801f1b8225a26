"""The rows of the catalogue as instruments of OpenTelemetry, under their own names.

A counter is an observable one, a gauge an observable gauge, or an up-down counter where what is in
flight in several processes adds up. They are read from the store at collection, so an update costs
no more than on any other backend. Nothing observes a histogram: each of its values is recorded at
once, which also gives the SDK the span that it was observed in, for exemplars.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Any

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

from agentmetrics import Metric
from agentmetrics.plugin import ForkSafeLock, renewed_lock
from agentmetrics_otel.readings import Reading

SCOPE = "agentmetrics"

# https://ucum.org; what is in braces is a remark, which no receiver makes a part of the name
_UNITS = {"": "", "seconds": "s", "bytes": "By", "ratio": "1", "percent": "%", "mb": "{MiB}"}


# https://opentelemetry.io/docs/specs/otel/metrics/api/#instrument-name-syntax
_NAME = re.compile(r"[A-Za-z]\w{0,254}", re.ASCII)
_MAX_UNIT = 63


def check_name(metric: Metric) -> None:
    """Raise ``ValueError`` for a name that OpenTelemetry does not take."""
    if not _NAME.fullmatch(metric.name):
        raise ValueError(
            f"{metric.name!r} is no name of an OpenTelemetry instrument: let it begin with a "
            "letter and have at most 255 characters"
        )


def unit_of(metric: Metric) -> str:
    """The unit of a metric as OpenTelemetry writes it.

    A receiver that makes Prometheus metrics appends the unit's name unless the metric's has it:
    with these units the names stay those of the catalogue.
    """
    unit = _UNITS.get(metric.unit)
    if unit is None:
        unit = f"{{{metric.unit.removesuffix('s')}}}"
    return unit if unit.isascii() and len(unit) <= _MAX_UNIT else ""


class Rows:
    """The instruments of one meter provider, and what its observable ones are read from."""

    def __init__(self, provider: MeterProvider) -> None:
        self.meter: Meter = provider.get_meter(SCOPE, version("llm-agentmetrics"))
        self.readings: tuple[Reading, ...] = ()
        self._lock = renewed_lock()
        self._histograms: dict[str, Histogram] = {}
        self._observable: set[str] = set()
        self._wanted: dict[str, Metric] = {}
        self._in_thread = threading.local()

    def want(self, metric: Metric) -> None:
        """Have ``create`` make an instrument for this counter or gauge, which is read then."""
        with self._lock:
            if metric.name not in self._observable:
                self._observable.add(metric.name)
                self._wanted[metric.name] = metric

    def create(self) -> None:
        """Make the instruments that are wanted.

        The SDK makes none while it reads, and a reading may need a recorder's lock: so this may be
        called neither under that nor from what is read. A thread of its own does it there.
        """
        while self._wanted:
            with self._lock:
                wanted, self._wanted = self._wanted, {}
            for metric in wanted.values():
                read = partial(self._read, metric.name)
                _creator(self.meter, metric)(
                    metric.name, callbacks=[read], unit=unit_of(metric), description=metric.help
                )

    def create_soon(self) -> None:
        """The same, from anywhere."""
        if self._wanted:
            with suppress(RuntimeError):  # no thread at a program's exit: a later call makes them
                threading.Thread(target=self.create, name="agentmetrics-otel", daemon=True).start()

    @property
    def is_reading(self) -> bool:
        """Whether this thread is reading an observable instrument."""
        return getattr(self._in_thread, "is_reading", False)

    def histogram(self, metric: Metric) -> Histogram:
        with self._lock:
            found = self._histograms.get(metric.name)
            if found is None:
                found = self._histograms[metric.name] = self.meter.create_histogram(
                    metric.name,
                    unit=unit_of(metric),
                    description=metric.help,
                    explicit_bucket_boundaries_advisory=list(metric.buckets),
                )
            return found

    def _read(self, name: str, options: CallbackOptions) -> list[Observation]:
        self._in_thread.is_reading = True
        try:
            return [
                Observation(value, attributes)
                for reading in self.readings
                for attributes, value in reading.points(name)
            ]
        finally:
            self._in_thread.is_reading = False

    def add(self, reading: Reading) -> None:
        with self._lock:
            self.readings = (*self.readings, reading)

    def replace(self, old: Reading, new: Reading) -> None:
        with self._lock:
            self.readings = tuple(new if one is old else one for one in self.readings)


def _creator(meter: Meter, metric: Metric) -> Callable[..., Any]:
    if metric.kind == "counter":
        return meter.create_observable_counter
    if metric.merge == "sum":
        return meter.create_observable_up_down_counter
    return meter.create_observable_gauge


_sharing = ForkSafeLock()
_shared: weakref.WeakKeyDictionary[MeterProvider, Rows] = weakref.WeakKeyDictionary()


def rows_of(provider: MeterProvider) -> Rows:
    """The one set of instruments of somebody's provider, which has none of them twice."""
    with _sharing:
        found = _shared.get(provider)
        if found is None:
            found = _shared[provider] = Rows(provider)
        return found
