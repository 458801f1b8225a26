"""Updates of several plain slots in a row, written out: the hot path."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from sys import modules
from typing import Any

from agentmetrics.recording.exemplars import OPENTELEMETRY, span_here, told
from agentmetrics.recording.instruments import Batch


@cache
def slots_batch(
    adds: int, sets: int, observations: int, exemplars: int = 0
) -> Callable[..., Batch]:
    """A function that updates so many plain slots in a row.

    It is written out once for each shape, and has the series as local names; a loop over them takes
    twice as long. They are kept as one tuple: a cell for each makes a new label set dearer, and an
    update no cheaper. ``exemplars`` is how many of the observations, the last ones, are of
    histograms that keep exemplars. What it makes for one counter, one gauge and one such
    histogram::

        def make(*series):
            def apply(v0, v1, v2):
                s0, s1, s2, = series
                s0.value += v0
                s1.value = v1
                s2.counts[bisect(s2.bounds, v2)] += 1; s2.sum += v2
                if 'opentelemetry.trace' in modules and told.span is not None:
                    span = span_here()
                    if span is not None:
                        now = time()
                        s2.exemplars[bisect(s2.bounds, v2)] = v2, now, span
            return apply
    """
    lines = [
        *("s{0}.value += v{0}" for _ in range(adds)),
        *("s{0}.value = v{0}" for _ in range(sets)),
        *("s{0}.counts[bisect(s{0}.bounds, v{0})] += 1; s{0}.sum += v{0}",) * observations,
    ]
    body = [line.format(i) for i, line in enumerate(lines)]
    if exemplars:
        keep = "        s{0}.exemplars[bisect(s{0}.bounds, v{0})] = v{0}, now, span"
        body += [
            f"if {OPENTELEMETRY!r} in modules and told.span is not None:",
            "    span = span_here()",
            "    if span is not None:",
            "        now = time()",
            *(keep.format(i) for i in range(len(lines) - exemplars, len(lines))),
        ]
    series = "".join(f"s{i}, " for i in range(len(lines)))
    values = ", ".join(f"v{i}" for i in range(len(lines)))
    body = [f"{series}= series", *body] if lines else ["pass"]
    written = "".join(f"        {line}\n" for line in body)
    source = f"def make(*series):\n    def apply({values}):\n{written}    return apply\n"
    namespace: dict[str, Any] = {
        "bisect": bisect_left,
        "modules": modules,
        "span_here": span_here,
        "time": time.time,
        "told": told,
    }
    _execute(source, namespace)
    made: Callable[..., Batch] = namespace["make"]
    return made


@cache
def picking(count: int, kept: tuple[int, ...]) -> Callable[[Batch], Batch]:
    """A function that makes a batch of ``count`` values of one that takes those in these places.

    Written out for the same reason; the one that keeps the first and the last of three::

        def make(apply):
            def pick(v0, v1, v2):
                apply(v0, v2)
            return pick
    """
    values = ", ".join(f"v{i}" for i in range(count))
    passed = ", ".join(f"v{i}" for i in kept)
    source = (
        f"def make(apply):\n    def pick({values}):\n        apply({passed})\n    return pick\n"
    )
    namespace: dict[str, Any] = {}
    _execute(source, namespace)
    made: Callable[[Batch], Batch] = namespace["make"]
    return made


def _execute(source: str, namespace: dict[str, Any]) -> None:
    """Compiled first: ``exec`` of a text at the exit of the interpreter makes CPython forget that
    the program ends by Ctrl-C, and the exit status is then 1."""
    exec(compile(source, "<batch>", "exec"), namespace)
