"""A process that is sent a chain, asks it, and says what its own recorder counted."""

from __future__ import annotations

import json
import pickle
import sys

from agentmetrics import MemoryRecorder, configure


def main() -> None:
    recorder = configure(MemoryRecorder())
    chain = pickle.load(sys.stdin.buffer)
    chain.invoke({"about": "x"})
    list(chain.stream({"about": "x"}))
    counted = [
        [sample.name, sample.labels, sample.value]
        for sample in recorder.samples()
        if sample.name in ("llm_calls_total", "llm_tokens_total", "agentmetrics_open_runs")
    ]
    json.dump(counted, sys.stdout)


if __name__ == "__main__":
    main()
