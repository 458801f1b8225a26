"""A program whose signal handler does what the program does: ``… BACKEND SECONDS DIR [PORT]``.

Prints how many signals were handled, how many calls were made, by the program, by the handler and
by threads, and how many were counted, by whom; with StatsD that is for the daemon at ``PORT``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 100
PAUSE_SECONDS = 0.005
"""From the end of one signal to the next: none inside of another without end."""


def main(backend: str, seconds: float, directory: Path, port: int) -> None:
    faulthandler.dump_traceback_later(PATIENCE_SECONDS + seconds, exit=True)
    if backend == "multiprocess":
        files = directory / "files"
        files.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(files)
    from prometheus_client import Counter
    from prometheus_client.parser import text_string_to_metric_families

    from agentmetrics import (
        Budget,
        LedgerUnavailable,
        PrometheusRecorder,
        configure,
        get_ledger,
        record_call,
        track_call,
        track_run,
    )
    from agentmetrics.catalog import LLM_CALLS

    recorder = configure(
        backend={"multiprocess": "prometheus"}.get(backend, backend),
        statsd_port=port,
        statsd_protocol="tcp",
        statsd_dialect="statsd_exporter",
        ledger_url=f"sqlite:///{directory}/x.db",
        budgets=[Budget("all", 1e6, action="block")],
    )
    ledger = get_ledger()
    jobs = Counter("jobs", "The program's own.", ["kind"])
    made = handled = 0

    def everything() -> None:
        nonlocal made
        agent = f"agent-{made // 20}"  # a new one now and then, in the handler or not
        with track_run(agent, max_cost_usd=1e6), track_call("openai", "gpt-4o-mini") as call:
            call.record_usage(1, 1)
        made += 1
        record_call("openai", "gpt-4o-mini", agent_name=agent, input_tokens=1, output_tokens=1)
        made += 1
        recorder.flush()
        if backend == "memory":
            recorder.value(LLM_CALLS.name)
        with suppress(LedgerUnavailable):
            ledger.flush()
            ledger.summary()

    def handle(*_: object) -> None:
        nonlocal handled
        everything()
        handled += 1
        signal.setitimer(signal.ITIMER_REAL, PAUSE_SECONDS)

    def record(done: list[int]) -> None:
        while not stop.is_set():
            record_call("openai", "gpt-4o-mini", agent_name="t", input_tokens=1, output_tokens=1)
            done[0] += 1

    signal.signal(signal.SIGALRM, handle)
    everything()
    stop = threading.Event()
    by_threads = [[0], [0]]
    threads = [threading.Thread(target=record, args=(done,)) for done in by_threads]
    for thread in threads:
        thread.start()
    signal.setitimer(signal.ITIMER_REAL, PAUSE_SECONDS)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        everything()
        jobs.labels(f"kind-{made}").inc()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    counted = {"ledger": ledger.summary().total.calls}
    if isinstance(recorder, PrometheusRecorder):
        families = text_string_to_metric_families(recorder.exposition().body.decode())
        samples = [sample for family in families for sample in family.samples]
        counted["scrape"] = int(sum(s.value for s in samples if s.name == LLM_CALLS.name))
    counted["metrics"] = int(recorder.value(LLM_CALLS.name))
    print(json.dumps([handled, made + sum(done for [done] in by_threads), counted]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
