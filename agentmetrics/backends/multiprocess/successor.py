"""What a process does about files that an earlier one of the same number left.

prometheus-client goes on in them: that is right for counters, which go on where they were. But it
fails on a torn file, at every metric, and shows what the earlier process had in flight.
"""

from __future__ import annotations

import os
from pathlib import Path

from agentmetrics.backends.multiprocess import values
from agentmetrics.backends.multiprocess.directory import KINDS
from agentmetrics.backends.multiprocess.owners import Owners, is_open
from agentmetrics.backends.multiprocess.skipped import warn_of


def make_way(directory: Path) -> int:
    """Remove the earlier process' live gauges, and keep of a torn file what can be read.

    Returns how many were torn. It leaves alone what this process has open already.
    """
    repaired = []
    for kind in KINDS:
        file = directory / f"{kind}_{os.getpid()}.db"
        held = is_open(file)
        if held or not file.exists():
            continue
        if kind.startswith("gauge_live"):
            if held is False or Owners().is_over(os.getpid(), file):
                file.unlink()
        elif not (contents := values.read(file)).is_whole:
            values.replace(file, contents.entries)
            repaired.append(file.name)
    warn_of(repaired)
    return len(repaired)
