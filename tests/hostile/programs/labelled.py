"""A program whose every label is another: ``python -m …labelled BACKEND LABELS``.

Prints as JSON how many calls it made, how many were counted, and by how many MB the memory of the
process had grown at most, from before its first call.
"""

from __future__ import annotations

import gc
import json
import logging
import re
import sys
from pathlib import Path
from random import Random

import psutil
from prometheus_client import CollectorRegistry

from agentmetrics import (
    MemoryRecorder,
    PrometheusRecorder,
    Recorder,
    labels,
    record_call,
    track_run,
    track_tool,
)
from agentmetrics.pipeline import Options, pipeline_of
from tests.hostile.test_labels import hostile

LABELS_A_ROUND = 5
MB = 2**20


def main(backend: str, many: int) -> None:
    logging.disable(logging.CRITICAL)
    recorder: Recorder = (
        MemoryRecorder() if backend == "memory" else PrometheusRecorder(CollectorRegistry())
    )
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    names, rounds = hostile(Random(1)), many // LABELS_A_ROUND
    gc.collect()
    before = psutil.Process().memory_info().rss
    for _ in range(rounds):
        with labels(tenant=next(names)), track_run(next(names), recorder=recorder):
            with track_tool(next(names), recorder=recorder):
                pass
            record_call(
                next(names), next(names), input_tokens=1, output_tokens=1, recorder=recorder
            )
    print(json.dumps([rounds, recorder.value("llm_calls_total"), (most_ever() - before) / MB]))


def most_ever() -> int:
    """The most resident memory that this process has had: ``getrusage`` counts who started it."""
    status = Path("/proc/self/status").read_text()
    [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
