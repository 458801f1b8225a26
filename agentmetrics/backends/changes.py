"""Series that know what of them has been sent, and what one flush sends, by line of the wire."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar, NamedTuple

from agentmetrics.recording.fork import NOTICED, notice_fork
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.store import Store, StoredCounter, StoredGauge, StoredHistogram

SAMPLE_SIZE = 512
"""Values of one histogram series that a flush sends; of more, a uniform sample and its rates."""


def number_text(value: float) -> str:
    """A finite number in plain digits, as many as tell it from its neighbours.

    Never with an exponent: in a sample rate the original StatsD reads ``@1e-05`` as 1, and other
    daemons know no exponents at all.
    """
    value = float(value)
    if value.is_integer():
        return str(int(value))
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


class Line(NamedTuple):
    """What all lines of one series have: ``name:value|type``, then a sample rate, then ``tail``.

    ``scale`` is how many of the wire's units are one of the metric's.
    """

    name: str
    type: str
    tail: str = ""
    scale: int = 1

    def of(self, value: float) -> str:
        """The line for one value."""
        return f"{self.name}:{self._text(value)}|{self.type}{self.tail}"

    def packed(self, values: Sequence[float], weight: int, most_bytes: int) -> Iterator[str]:
        """Lines for values that stand for ``weight`` observations each, with as many in a line as
        fit ``most_bytes``; of 0 it is one in each."""
        end = f"|{self.type}{rate_text(weight)}{self.tail}"
        room = most_bytes - len(f"{self.name}{end}".encode())
        texts: list[str] = []
        used = 0
        for value in values:
            text = f":{self._text(value)}"
            if texts and used + len(text) > room:
                yield f"{self.name}{''.join(texts)}{end}"
                texts, used = [], 0
            texts.append(text)
            used += len(text)
        if texts:
            yield f"{self.name}{''.join(texts)}{end}"

    def _text(self, value: float) -> str:
        # Of seconds in milliseconds this is the nanosecond, which is what clocks have.
        return number_text(value if self.scale == 1 else round(value * self.scale, 6))


def rate_text(weight: int) -> str:
    """The sample rate with which a value counts ``weight`` times; nothing for once.

    Datadog's Agent, statsd_exporter and Telegraf count it ``int(1 / rate)`` times, so ``1 / rate``
    must not come out a hair below ``weight``.
    """
    if weight == 1:
        return ""
    rate = 1 / weight
    while 1 / rate < weight:
        rate = math.nextafter(rate, 0)
    return f"|@{number_text(rate)}"


LineOf = Callable[[Metric, tuple[str, ...]], Line]
"""What the lines of a metric's series with these label values have in common."""


@dataclass(slots=True)
class Changes:
    """What one flush sends: differences of counters, gauges, and observed values."""

    counters: list[tuple[Line, float]] = field(default_factory=list)
    gauges: list[tuple[Line, float]] = field(default_factory=list)
    samples: list[tuple[Line, list[float], int]] = field(default_factory=list)
    """Observed values, or a uniform sample of them, and how many were observed."""

    def weighted(self) -> Iterator[tuple[Line, list[float], int]]:
        """Observed values, with how many observations each of them stands for.

        The weights are whole, since daemons cut off what is not, and add up to what was observed.
        """
        for line, sample, seen in self.samples:
            weight, heavier = divmod(seen, len(sample))
            if heavier:
                random.shuffle(sample)  # so that a value's weight does not depend on its time
                yield line, sample[:heavier], weight + 1
            yield line, sample[heavier:], weight


class SentCounter(StoredCounter):
    __slots__ = ("line", "sent")

    def __init__(self, store: SendingStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self.line = store.line_of(metric, values)
        self.sent = 0.0

    def reset(self) -> None:
        super().reset()
        self.sent = 0.0

    def take(self, changes: Changes) -> None:
        if self.value != self.sent:
            changes.counters.append((self.line, self.value - self.sent))
            self.sent = self.value

    def disown(self) -> None:
        self.sent = self.value


class SentGauge(StoredGauge):
    __slots__ = ("inherited", "line")

    def __init__(self, store: SendingStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self.line = store.line_of(metric, values)
        self.inherited: object = None

    def take(self, changes: Changes) -> None:
        if self.value is not self.inherited:
            changes.gauges.append((self.line, self.value))

    def disown(self) -> None:
        # An object of its own, which nobody can set the gauge to: so long as it is the value,
        # the child has said nothing, and the parent's later values stand.
        self.value = float(self.value) + 0.0 if is_finite(self.value) else 0.0
        self.inherited = self.value


class SampledHistogram(StoredHistogram):
    """A histogram that also keeps the values since the last flush, or a uniform sample of them.

    Values outside ``lowest`` to ``highest`` are counted here, and not sent.
    """

    lowest: ClassVar[float] = -1e300
    highest: ClassVar[float] = 1e300
    __slots__ = ("line", "sample", "seen")

    def __init__(self, store: SendingStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self.line = store.line_of(metric, values)

    def observe(self, value: float) -> None:
        if value != value:
            raise ValueError("a histogram cannot observe NaN")
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value
            if not self.lowest <= value <= self.highest:
                return
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
            changes.samples.append((self.line, self.sample, self.seen))
            self.disown()

    def disown(self) -> None:
        self.sample: list[float] = []
        self.seen = 0


def is_finite(value: object) -> bool:
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False  # a gauge takes what it is given; a flush has to survive it


class SendingStore(Store):
    """A store that knows what it has given out for sending, and what lines its series have."""

    def __init__(
        self, line_of: LineOf, histogram: type[SampledHistogram] = SampledHistogram
    ) -> None:
        super().__init__(SentCounter, SentGauge, histogram)
        self.line_of = line_of
        self.taken: deque[Changes] = deque()

    def take(self) -> None:
        """Put on ``taken`` what changed since the last time, and every gauge, of one moment.

        Values that no wire can say (infinite, not a number) are left out.
        """
        observed = {metric.name: (metric, series) for metric, series in self.observed()}
        changes = Changes()
        with self.lock:
            for name, family in self.series.copy().items():
                if name in observed and observed[name][1]:
                    continue
                for series in family.copy().values():
                    series.take(changes)
        for metric, read in observed.values():
            changes.gauges += [(self.line_of(metric, values), n) for values, n in read]  # type: ignore[misc]
        changes.counters = [each for each in changes.counters if is_finite(each[1])]
        changes.gauges = [each for each in changes.gauges if is_finite(each[1])]
        self.taken.append(changes)

    def disown(self) -> None:
        """Forget what is not sent: after a fork it is the parent's to send.

        Lines are made anew, since they may name the process.
        """
        self.taken.clear()
        for name, family in self.series.items():
            for values, series in family.items():
                series.line = self.line_of(self.metrics[name], values)
                series.disown()
