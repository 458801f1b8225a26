"""A program with a ledger that does what its input says, a line at a time, and answers each.

``calls N``, ``flush``, ``jump SECONDS`` (of the ledger's clock), ``lost`` (by reason, as JSON),
``spool`` (bytes), ``end``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from agentmetrics import Ledger, LedgerUnavailable, MemoryRecorder, track_call

LOST = "agentmetrics_ledger_calls_lost_total"


class Program:
    """The ledger, its clock, and what can be asked."""

    def __init__(self, url: str, spool: Path | None) -> None:
        self._recorder = MemoryRecorder()
        self._ahead_seconds = 0.0
        self._ledger = Ledger(
            url,
            spool_dir=spool,
            flush_interval_seconds=0.2,
            clock=lambda: time.time() + self._ahead_seconds,
        )
        self._ledger.attach(self._recorder)

    def calls(self, many: str) -> str:
        for _ in range(int(many)):
            with track_call(
                "openai", "gpt-4o-mini", agent_name="driven", recorder=self._recorder
            ) as call:
                call.record_usage(1000, 1000)
        return "made"

    def flush(self) -> str:
        with suppress(LedgerUnavailable):
            self._ledger.flush()
            return "written"
        return "away"

    def jump(self, seconds: str) -> str:
        self._ahead_seconds += float(seconds)
        return "jumped"

    def lost(self) -> str:
        lost = {
            sample.labels["reason"]: sample.value
            for sample in self._recorder.samples()
            if sample.name == LOST and sample.value
        }
        return json.dumps(lost)

    def spool(self) -> str:
        return str(self._recorder.value("agentmetrics_spool_bytes"))

    def end(self) -> str:
        self._ledger.close()
        return "ended"


def serve(made: type[Program]) -> None:
    """Do what the input says."""
    spool = os.environ.get("DRIVEN_SPOOL")
    program = made(os.environ["DRIVEN_URL"], Path(spool) if spool else None)
    print("ready", flush=True)
    for line in sys.stdin:
        word, *arguments = line.split()
        print(getattr(program, word)(*arguments), flush=True)


if __name__ == "__main__":
    serve(Program)
