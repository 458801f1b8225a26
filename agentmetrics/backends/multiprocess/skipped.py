"""Files that cannot be read to their end: counted in the files themselves, and logged once."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.mmap_dict import mmap_key

from agentmetrics.backends.multiprocess.values import Entries
from agentmetrics.recording.health import FILES_SKIPPED
from agentmetrics.recording.log_once import LogOnce

problems = LogOnce()

_KEY = mmap_key(
    FILES_SKIPPED.name.removesuffix("_total"), FILES_SKIPPED.name, [], [], FILES_SKIPPED.help
)


def count_skipped(files: int) -> Entries:
    """This many, as an entry of a file of counters.

    A scrape adds those that are there to those that are gone, so whoever answers it says the same.
    """
    return {_KEY: (float(files), 0.0)}


def warn_of(names: Iterable[str]) -> None:
    """Log that there are files of these names, once for each of them."""
    for name in names:
        problems.warn(
            ("skipped", name),
            "%s in the multiprocess directory cannot be read to its end and is skipped from there: "
            "its process was killed as it made the file, or it is none of prometheus-client's",
            name,
        )
