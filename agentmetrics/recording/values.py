"""What series hold at one moment, as it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from agentmetrics.recording.exemplars import Exemplar
from agentmetrics.recording.metric import Metric


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """A histogram series at one moment; ``counts`` has one entry more than ``bounds``.

    ``exemplars`` are by the index of their bucket in ``counts``, for a series of a recorder that
    keeps exemplars; the sum of several series has none.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict, compare=False, repr=False)

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def buckets(self) -> dict[float, int]:
        """Cumulative counts by upper bound, as the exposition has them."""
        return dict(self.cumulative())

    def cumulative(self) -> Iterator[tuple[float, int]]:
        running = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            yield bound, running

    def quantile(self, q: float) -> float:
        """The value below which the share ``q`` (0 to 1) of observations lies, interpolated in its
        bucket.

        The rule is that of Prometheus' ``histogram_quantile``: linear inside a bucket that begins
        at 0 or at the bound below, the highest bound if it falls into ``+Inf``, NaN if nothing was
        observed. Raises ``ValueError`` for ``q`` outside 0 to 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile must be between 0 and 1, not {q}")
        if not self.count:
            return float("nan")
        rank, below, lower = q * self.count, 0, 0.0
        for bound, running in zip(self.bounds, accumulate(self.counts), strict=False):
            if running >= rank and running > below:
                lower = min(lower, bound)
                return lower + (bound - lower) * (rank - below) / (running - below)
            below, lower = running, bound
        return self.bounds[-1]

    def __add__(self, other: HistogramValue) -> HistogramValue:
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return HistogramValue(self.bounds, counts, self.sum + other.sum)


Value = float | HistogramValue


class Sample(NamedTuple):
    """One line of an exposition: a histogram gives ``_bucket``, ``_sum`` and ``_count``."""

    name: str
    labels: dict[str, str]
    value: float


class Family(NamedTuple):
    """A metric and its series at one moment."""

    metric: Metric
    series: list[tuple[tuple[str, ...], Value]]


def bound_text(bound: float) -> str:
    """A bucket's upper bound as the exposition formats write it in ``le``."""
    if bound == float("inf"):
        return "+Inf"
    whole, dot, fraction = repr(float(bound)).partition(".")
    if dot and bound > 0 and len(whole) > 6:  # Go, and so every exposition, has exponents sooner
        mantissa = f"{whole[0]}.{whole[1:]}{fraction}".rstrip("0").rstrip(".")
        return f"{mantissa}e+{len(whole) - 1:02}"
    return f"{whole}{dot}{fraction}"
