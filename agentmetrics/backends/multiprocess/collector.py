"""The scrape over the files of all processes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric as PrometheusFamily
from prometheus_client.multiprocess import MultiProcessCollector as FilesCollector
from prometheus_client.registry import Collector

from agentmetrics.backends.multiprocess import lock, values
from agentmetrics.backends.multiprocess.compaction import tidy
from agentmetrics.backends.multiprocess.directory import (
    Listing,
    ValueFile,
    check_directory,
    listing,
)
from agentmetrics.backends.multiprocess.owners import Owners
from agentmetrics.backends.multiprocess.skipped import count_skipped, warn_of
from agentmetrics.backends.multiprocess.values import Contents, Entries

LAST = "livemostrecent"
"""prometheus-client's mode for gauges of which the last value set counts."""
LOCK_WAIT_SECONDS = 3.0
"""How long a scrape waits for a compaction; one takes milliseconds."""
ATTEMPTS = 5
"""How often a scrape without the lock looks anew when a file has gone as it read."""


class MultiprocessCollector(Collector):
    """The files of all workers as one collector; what dead workers left is tidied up first.

    A file that is empty, torn or none of prometheus-client's is skipped from where it cannot be
    read on, counted in ``agentmetrics_multiprocess_files_skipped_total`` and logged once.
    """

    def __init__(self, directory: str) -> None:
        check_directory(directory)
        self._directory = Path(directory)

    def describe(self) -> list[PrometheusFamily]:
        return []

    def collect(self) -> Iterable[PrometheusFamily]:
        tidy(self._directory)
        families = _families(_entries(self._directory))
        for family in families:
            if getattr(family, "_multiprocess_mode", "") == LAST:  # NaN is "not any more"
                family.samples = [s for s in family.samples if not math.isnan(s.value)]
        return families


def _entries(directory: Path) -> dict[tuple[str, str], list[Entries]]:
    """What all files hold, by their kind and, for a gauge, by whose they are."""
    with lock.shared(directory, LOCK_WAIT_SECONDS):
        found, contents = _contents(directory)
    owners = Owners()
    skipped = [path.name for path in found.strangers] + [
        file.path.name
        for file, of in contents.items()
        if not (of.is_whole or found.is_counted(file) or _is_just_begun(owners, file, of))
    ]
    warn_of(skipped)
    entries: defaultdict[tuple[str, str], list[Entries]] = defaultdict(list)
    for file, of in contents.items():
        entries[file.kind, file.owner if file.kind.startswith("gauge") else ""].append(of.entries)
    if skipped:
        entries["counter", ""].append(count_skipped(len(skipped)))
    return entries


def _contents(directory: Path) -> tuple[Listing, dict[ValueFile, Contents]]:
    """Which files there are, and what they hold together."""
    for _ in range(ATTEMPTS):
        contents: dict[ValueFile, Contents] = {}
        is_moving = False
        found = listing(directory)
        for file in found.read:
            try:
                contents[file] = values.read(file.path)
            except FileNotFoundError:
                is_moving = is_moving or not file.is_live_gauge
            except OSError:  # another user's, or a directory
                contents[file] = values.UNREADABLE
        if not is_moving:
            break
    return found, contents


def _is_just_begun(owners: Owners, file: ValueFile, contents: Contents) -> bool:
    """A process that makes a file has it empty for a moment; if it is killed then, for ever."""
    return contents.size == 0 and (file.pid is None or owners.alive_since(file.pid) is not None)


def _families(entries: dict[tuple[str, str], list[Entries]]) -> list[PrometheusFamily]:
    found: dict[str, PrometheusFamily] = {}
    for (kind, owner), files in entries.items():
        type_, _, mode = kind.partition("_")
        label = (("pid", owner),) if mode else ()
        for text, (value, timestamp) in values.merged(kind, files).items():
            key = values.parsed(text)
            assert key is not None  # what is read is what can be parsed
            family = found.get(key.family)
            if family is None:
                family = found[key.family] = PrometheusFamily(key.family, key.help, type_)
            if mode:
                family._multiprocess_mode = mode  # type: ignore[attr-defined]
            family.add_sample(key.sample, key.labels + label, value, timestamp)  # type: ignore[arg-type]
    merge: Any = FilesCollector._accumulate_metrics
    return list(merge(found, True))
