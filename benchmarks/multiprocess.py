"""One call in Prometheus' multiprocess mode; run in a process that has the directory from birth."""

from __future__ import annotations

import json
import sys

from benchmarks import contenders as who
from benchmarks.measure import interleaved
from benchmarks.workload import call_timer


def main() -> None:
    handlers = {
        who.HAND: who.handwritten(),
        who.LABELS: who.labels_each_time(),
        "prometheus": who.prometheus(),
    }
    timers = {name: call_timer(handler) for name, handler in handlers.items()}
    row = interleaved(timers, loops=200, rounds=int(sys.argv[1]))
    print(json.dumps({name: measured.seconds for name, measured in row.items()}))


if __name__ == "__main__":
    main()
