"""Interleaved timing: contenders take turns, so that a noisy machine is noisy to all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyperf

Timer = Callable[[int], float]
"""Does something this many times and returns the seconds that it took."""


@dataclass(frozen=True)
class Measured:
    """Seconds per loop of one contender, one value a round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio(self, baseline: Measured) -> float:
        """The median over the rounds of this contender's time by the baseline's of that round."""
        return statistics.median(self._ratios(baseline))

    def above(self, baseline: Measured) -> float:
        """The median over the rounds of how many seconds more it took than the baseline."""
        pairs = zip(self.seconds, baseline.seconds, strict=True)
        return statistics.median(own - other for own, other in pairs)

    def spread(self, baseline: Measured) -> tuple[float, float]:
        """The first and the third quartile of the ratio."""
        low, _, high = statistics.quantiles(self._ratios(baseline), n=4)
        return low, high

    def _ratios(self, baseline: Measured) -> list[float]:
        pairs = zip(self.seconds, baseline.seconds, strict=True)
        return [own / other for own, other in pairs]

    def as_benchmark(self, row: str) -> pyperf.Benchmark:
        name = f"{row}: {self.name}"
        run = pyperf.Run(list(self.seconds), metadata={"name": name}, collect_metadata=False)
        return pyperf.Benchmark([run])


Row = dict[str, Measured]


def interleaved(
    contenders: Mapping[str, Timer], *, loops: int, rounds: int, warmup: int = 0
) -> Row:
    """Time every contender once a round, each round beginning with another one."""
    for timer in contenders.values():
        timer(warmup or loops)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders.items())
    for _ in range(rounds):
        for name, timer in order:
            seconds[name].append(timer(loops) / loops)
        order.append(order.pop(0))
    return {name: Measured(name, tuple(values)) for name, values in seconds.items()}
