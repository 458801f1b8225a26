"""The series of the StatsD backend, and what one flush sends of them, in the protocol's lines."""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from agentmetrics.recording.metric import Metric
from agentmetrics.recording.store import Store, StoredCounter, StoredGauge, StoredHistogram

SAMPLE_SIZE = 512
"""Values of one histogram series that a flush sends; of more, a uniform sample and its rate."""
MAX_TIMER = 1e300
"""Far from where milliseconds overflow."""
EMPTY = "none"
"""The component of a name that stands for an empty label value."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def path_of(prefix: str, name: str, values: Sequence[str]) -> str:
    """A series' name: ``prefix.metric_name.value1.value2``, label values in the metric's order.

    What StatsD or Graphite would misread becomes ``_``, and an empty value ``none``.
    """
    parts = [part for part in prefix.split(".") if part]
    return ".".join(_UNSAFE.sub("_", part or EMPTY) for part in (*parts, name, *values))


def number_text(value: float) -> str:
    """A finite number in plain digits, as many as tell it from its neighbours.

    Never with an exponent: in a sample rate the daemon reads ``@1e-05`` as 1, and other daemons
    know no exponents at all.
    """
    value = float(value)
    if value.is_integer():
        return str(int(value))
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


@dataclass(slots=True)
class Changes:
    """What one flush sends, by the name of the series."""

    counters: list[tuple[str, float]] = field(default_factory=list)
    gauges: list[tuple[str, float]] = field(default_factory=list)
    timers: list[tuple[str, bool, list[float], int]] = field(default_factory=list)

    def entries(self) -> Iterator[str]:
        """Lines of the protocol; lines that must travel together are one entry.

        Values that StatsD has no way to say (infinite, not a number) are left out.
        """
        for path, difference in self.counters:
            if math.isfinite(difference):
                yield f"{path}:{number_text(difference)}|c"
        for path, value in self.gauges:
            if _is_finite(value):
                # With a sign it would be a step, unless the gauge stands at 0.
                zero = f"{path}:0|g\n" if value < 0 else ""
                yield f"{zero}{path}:{number_text(value)}|g"
        for path, in_seconds, sample, seen in self.timers:
            rate = f"|@{number_text(len(sample) / seen)}" if seen > len(sample) else ""
            for value in map(_milliseconds, sample) if in_seconds else sample:
                yield f"{path}:{number_text(value)}|ms{rate}"


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 6)  # to the nanosecond, which is what clocks have


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False  # a gauge takes what it is given; a flush has to survive it


class SentCounter(StoredCounter):
    __slots__ = ("path", "sent")

    def __init__(self, store: StatsDStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self.path = path_of(store.prefix, metric.name, values)
        self.sent = 0.0

    def reset(self) -> None:
        super().reset()
        self.sent = 0.0

    def take(self, changes: Changes) -> None:
        if self.value != self.sent:
            changes.counters.append((self.path, self.value - self.sent))
            self.sent = self.value

    def disown(self) -> None:
        self.sent = self.value


class SentGauge(StoredGauge):
    __slots__ = ("inherited", "path")

    def __init__(self, store: StatsDStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self.path = path_of(store.prefix, metric.name, values)
        self.inherited: object = None

    def take(self, changes: Changes) -> None:
        if self.value is not self.inherited:
            changes.gauges.append((self.path, self.value))

    def disown(self) -> None:
        # An object of its own, which nobody can set the gauge to: so long as it is the value,
        # the child has said nothing, and the parent's later values stand.
        self.value = float(self.value) + 0.0 if _is_finite(self.value) else 0.0
        self.inherited = self.value


class _Timer(StoredHistogram):
    """A histogram that also keeps the values since the last flush, or a uniform sample of them."""

    __slots__ = ("in_seconds", "path", "sample", "seen")

    def __init__(self, store: StatsDStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self.path = path_of(store.prefix, metric.name, values)
        self.in_seconds = metric.unit == "seconds"

    def observe(self, value: float) -> None:
        if value != value:
            raise ValueError("a histogram cannot observe NaN")
        with self.lock:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value
            if not 0 <= value <= MAX_TIMER:
                return  # the daemon takes no such timer
            self.seen += 1
            if self.seen <= SAMPLE_SIZE:
                self.sample.append(value)
            elif (place := int(random.random() * self.seen)) < SAMPLE_SIZE:
                self.sample[place] = value

    def reset(self) -> None:
        super().reset()
        self.disown()

    def take(self, changes: Changes) -> None:
        if self.seen:
            changes.timers.append((self.path, self.in_seconds, self.sample, self.seen))
            self.disown()

    def disown(self) -> None:
        self.sample: list[float] = []
        self.seen = 0


class StatsDStore(Store):
    """A store that knows what it has given out for sending."""

    def __init__(self, prefix: str) -> None:
        super().__init__(SentCounter, SentGauge, _Timer)
        self.prefix = prefix
        self.taken: deque[Changes] = deque()

    def take(self) -> None:
        """Put on ``taken`` what changed since the last time, and every gauge, of one moment."""
        observed = {metric.name: series for metric, series in self.observed()}
        changes = Changes()
        with self.lock:
            for name, family in self.series.items():
                if observed.get(name):
                    continue
                for series in family.values():
                    series.take(changes)
            for name, values in observed.items():
                changes.gauges += [(path_of(self.prefix, name, v), n) for v, n in values]  # type: ignore[misc]
            self.taken.append(changes)

    def disown(self) -> None:
        """Forget what is not sent: after a fork it is the parent's to send."""
        self.taken.clear()
        for family in self.series.values():
            for series in family.values():
                series.disown()
