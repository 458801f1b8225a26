"""What an agent run costs while nobody looks, while a page is open, and while ``top`` runs.

Time is the CPU time of the thread that the agent works in: what looking adds to the program's own
work. What a sample or a scrape costs the thread that answers is bounded elsewhere, and does not
depend on how many runs there are. Those who look are other processes, as they always are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from time import thread_time
from typing import Any
from urllib.request import urlopen

from langchain_core.language_models import BaseChatModel
from prometheus_client import CollectorRegistry

from agentmetrics import PrometheusRecorder, Recorder, track_run
from agentmetrics.cli.top.feeds import Feeds
from agentmetrics.cli.top.sources import source_of
from agentmetrics.exposition import start_http_server_in_thread
from benchmarks.contenders import handler_on
from benchmarks.measure import Row, Timer, interleaved

NOBODY, ONE_PAGE, ONE_TOP = "nobody looks", "one page looks", "one top looks"
CALLS = 3
RUNS = 400
"""A round: a fraction of a second, in which whoever looks does so at least once."""
AGENTS = [f"agent-{number}" for number in range(13)]
"""As many as the demo has."""


def measured(rounds: int, model: BaseChatModel) -> Row:
    """One agent run of three calls of a model that answers at once, through LangChain."""
    with ExitStack() as served:
        timers = {name: _timer(name, served, model) for name in (NOBODY, ONE_PAGE, ONE_TOP)}
        return interleaved(timers, loops=RUNS, rounds=rounds)


def _timer(name: str, served: ExitStack, model: BaseChatModel) -> Timer:
    recorder = PrometheusRecorder(CollectorRegistry())
    run = partial(_run, recorder, model, {"callbacks": [handler_on(recorder)]})
    run(AGENTS[0])  # so that there is something to look at
    server = served.enter_context(start_http_server_in_thread(recorder))

    def timer(loops: int) -> float:
        with _looking(name, server.url):
            began = thread_time()
            for number in range(loops):
                run(AGENTS[number % len(AGENTS)])
            return thread_time() - began

    return timer


def _run(recorder: Recorder, model: BaseChatModel, config: Any, agent: str) -> None:
    with track_run(agent, recorder=recorder):
        for _ in range(CALLS):
            model.invoke("hi", config=config)


@contextmanager
def _looking(name: str, url: str) -> Iterator[None]:
    """Somebody who has looked once already, unless it is nobody."""
    if name == NOBODY:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.looking", name, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as looker:
        try:
            assert looker.stdout is not None
            assert looker.stdout.readline() == b"looking\n"
            yield
        finally:
            looker.kill()


def _look(name: str, url: str) -> None:
    """Look on, as the process that does."""
    if name == ONE_TOP:
        feeds = Feeds([source_of(url)], interval=2.0)
        while not feeds.take():
            time.sleep(0.01)
        assert not feeds.problems
        print("looking", flush=True)
        while True:
            time.sleep(0.25)
            feeds.take()
    page, last = url.removesuffix("/metrics") + "/agentmetrics/state", ""
    while True:
        with urlopen(f"{page}?client=bench&last={last}") as answer:
            told = json.load(answer)
        if not last:
            print("looking", flush=True)
        last = told["last"]
        time.sleep(1.0)


if __name__ == "__main__":
    _look(*sys.argv[1:])
