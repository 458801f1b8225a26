"""A program in which everything happens that boards show, to two agents with a model each."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from langchain_core.caches import InMemoryCache
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool

import agentmetrics
from agentmetrics import (
    Budget,
    BudgetExceeded,
    Budgets,
    CacheTracker,
    InstrumentedAgent,
    InstrumentedCache,
    Ledger,
    Metric,
    MetricsCallbackHandler,
    Recorder,
    catalog,
)
from agentmetrics.pipeline import pipeline_of
from tests.unit.scripted import Chat, StreamingChat, answer

AGENTS = ("writer", "researcher")
PROVIDERS = ("openai", "house")
MODELS = ("gpt-4.1-mini", "house-v1.5")
"""An agent's provider and model have its place; the second model has no price."""
TENANT = "north"
ROWS = (*catalog.CATALOG, *catalog.APPLICATION, *catalog.PLATFORM)
NOT_DONE = {
    **{row.name: "plugins measure it: see test_platform_example.py" for row in catalog.PLATFORM},
    "llm_cost_anomaly_ratio": "the ledger knows of no day before",
    "agentmetrics_series_dropped_total": "there are few series",
    "agentmetrics_packets_dropped_total": "nothing is sent to StatsD",
    "agentmetrics_multiprocess_files_skipped_total": "it is one process",
    "agentmetrics_multiprocess_files_remade_total": "it is one process",
    "agentmetrics_multiprocess_series_unwritten_total": "it is one process",
    "llm_cost_difference_usd_total": "no provider says here what a call has cost",
    "service_info": "the settings that name the service are the process's, which has several",
}
"""What the program brings no series of, and why; these rows are recorded directly."""


def noon_somewhere() -> timezone:
    """A zone whose day is well under way: in its first hour a budget has no projection."""
    return timezone(timedelta(hours=12 - datetime.now(timezone.utc).hour))


class Everything:
    """The program, on a recorder with the pipeline that it should have."""

    def __init__(self, recorder: Recorder, directory: Path) -> None:
        self._recorder = recorder
        self._config: Any = {
            "callbacks": [MetricsCallbackHandler(recorder)],
            "metadata": {"intent": "chat"},
        }
        held = {"tenant": TENANT}
        self._cache = InstrumentedCache(InMemoryCache(maxsize=2), "llm", recorder, labels=held)
        self._prompts = CacheTracker(
            "prompt",
            labels=held,
            recorder=recorder,
            entries=lambda: 3.0,
            size_bytes=lambda: 300.0,
        )
        self._questions = itertools.count()
        self._ledger = Ledger(f"sqlite:///{directory / 'spend.db'}")
        self._ledger.attach(recorder)
        scope = {"agent_name": "refused"}
        self._budgets = Budgets(
            [Budget("team", 5.0), Budget("refused", 0.0, scope=scope, action="block")],
            recorder,
            ledger=self._ledger,
            zone=noon_somewhere(),
        )

    def close(self) -> None:
        self._budgets.close()
        self._ledger.close()

    def work(self) -> None:
        """One round of traffic."""
        with agentmetrics.labels(tenant=TENANT):
            for agent, provider, model in zip(AGENTS, PROVIDERS, MODELS, strict=True):
                self._agent(agent, provider, model)
            self._outside_of_agents()
        self._ledger.flush()
        self._ledger.upkeep.run()
        self._budgets.status()

    def _agent(self, name: str, provider: str, model: str) -> None:
        recorder, config = self._recorder, self._config
        said = answer(model=model, input_token_details={"cache_read": 4})
        said.response_metadata["finish_reason"] = "stop"
        chat = Chat(answers=[said], provider=provider, model=model)
        successor = Chat(answers=[answer(model="next")], provider=provider, model=model)
        stream = StreamingChat(answers=[said], provider=provider, model=model)
        cached = Chat(answers=[said], provider=provider, model=model, cache=self._cache)
        broken = Chat(answers=[TimeoutError()], provider=provider, model=model)
        question = f"{name} {next(self._questions)}"

        class Worker(InstrumentedAgent):
            agent_name = name

            def run(self) -> None:
                chat.invoke(question, config)
                for _ in stream.stream(question, config):
                    pass
                for _ in range(2):
                    cached.invoke(question, config)
                broken.with_fallbacks([successor]).invoke(question, config)
                search.invoke("metrics", config)
                with suppress(ZeroDivisionError):
                    divide.invoke({"by": 0}, config)
                Shelf().invoke("metrics", config)
                with suppress(asyncio.CancelledError), self.track_call(provider, model):
                    raise asyncio.CancelledError

            def execute(self) -> None:
                raise RuntimeError

        Worker.recorder = recorder
        Worker().run()
        with suppress(RuntimeError):
            Worker().execute()

    def _outside_of_agents(self) -> None:
        recorder = self._recorder
        refused = agentmetrics.track_call(
            PROVIDERS[0], MODELS[0], agent_name="refused", recorder=recorder
        )
        with suppress(BudgetExceeded), refused:
            raise AssertionError("the budget let it pass")
        with agentmetrics.track_call(
            PROVIDERS[0], MODELS[0], agent_name=AGENTS[0], recorder=recorder
        ) as call:
            call.record_usage(-1, -1)
        for model, tier in zip(MODELS, ("small", "large"), strict=True):
            with agentmetrics.routing("chat", recorder=recorder) as choice:
                choice.select(model, tier)
        agentmetrics.record_cost_savings("chat", 0.002, recorder=recorder)
        agentmetrics.record_error(ValueError(), component="api", recorder=recorder)
        self._prompts.hit()
        self._prompts.miss()
        self._prompts.evicted()


@tool
def search(query: str) -> str:
    """Find something."""
    return query


@tool
def divide(by: int) -> float:
    """Divide one by a number."""
    return 1 / by


class Shelf(BaseRetriever):
    """A retriever that finds the question."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [Document(query)]


_VALUES: dict[str, tuple[str, str]] = {
    "agent_name": AGENTS,
    "tenant": (TENANT, TENANT),
    "status": ("success", "success"),
    "service": ("shop", "shop"),
    "version": ("1.4.0", "1.4.0"),
    "method": ("POST", "GET"),
    "endpoint": ("/answers", "/threads"),
    "operation": ("select", "insert"),
    "pool": ("main", "reports"),
    "queue": ("default", "reports"),
    "task_name": ("summarise", "clean_up"),
}
"""The values of a label in two series; any other label has its own name as its value."""
_GAUGES = {
    "system_cpu_percent": 41.0,
    "system_memory_percent": 62.0,
    "system_memory_used_bytes": 0.62 * 2**30,
    "system_memory_limit_bytes": 2.0**30,
    "system_disk_percent": 37.0,
    "system_disk_used_bytes": 14.8 * 2**30,
    "db_connections_max": 5.0,
}
"""The values of gauges; any other is 2."""
_SELDOM = re.compile("_(errors|slow|retries|dropped)_")
_OFTEN = 20.0
"""How many of other things there are to one that happens seldom."""


def unrecorded(recorder: Recorder) -> list[Metric]:
    """The rows of the catalogue that the program has brought no series of."""
    recorded = {family.metric.name for family in recorder.collect() if family.series}
    return [row for row in ROWS if row.name not in recorded]


def record_directly(recorder: Recorder, rows: list[Metric]) -> None:
    """A few series of each row, recorded on the catalogue's rows and not by what happens.

    They stand for what plugins measure around agents, and for the rest of ``NOT_DONE``.
    """
    make = pipeline_of(recorder).make
    for row in rows:
        for labels in _label_sets(make.shaped(row).labels):
            if row.kind == "counter":
                seldom = _SELDOM.search(row.name) or labels.get("status") == "error"
                make.counter(row).labels(**labels).inc(1.0 if seldom else _OFTEN)
            elif row.kind == "gauge":
                make.gauge(row).labels(**labels).set(_GAUGES.get(row.name, 2.0))
            else:
                make.histogram(row).labels(**labels).observe(0.02 if row.unit == "seconds" else 3e3)


def _label_sets(names: Iterable[str]) -> Iterator[dict[str, str]]:
    """Those that differ, which are two of each status at the most."""
    made = [{name: _VALUES.get(name, (name, name))[place] for name in names} for place in range(2)]
    for labels in made if made[0] != made[1] else made[:1]:
        yield labels
        if "status" in labels:
            yield {**labels, "status": "error"}


@contextmanager
def working(recorder: Recorder, directory: Path) -> Iterator[Everything]:
    program = Everything(recorder, directory)
    try:
        yield program
    finally:
        program.close()
