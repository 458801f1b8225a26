"""Metrics of LLM agents, in the metrics system you have: the public names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentmetrics.agent import InstrumentedAgent
    from agentmetrics.backends.memory import MemoryRecorder
    from agentmetrics.backends.noop import NoopRecorder
    from agentmetrics.backends.prometheus import PrometheusRecorder
    from agentmetrics.backends.statsd import StatsDRecorder
    from agentmetrics.budget.budget import Budget, BudgetStatus
    from agentmetrics.budget.budgets import Budgets
    from agentmetrics.budget.database import LedgerUnavailable
    from agentmetrics.budget.exceeded import BudgetExceeded
    from agentmetrics.budget.ledger import Ledger
    from agentmetrics.caching import CacheTracker
    from agentmetrics.configured import configure, get_ledger, get_recorder
    from agentmetrics.context import labels
    from agentmetrics.langchain.attach import instrument
    from agentmetrics.langchain.cache import InstrumentedCache
    from agentmetrics.langchain.embeddings import InstrumentedEmbeddings
    from agentmetrics.langchain.handler import MetricsCallbackHandler
    from agentmetrics.langchain.reranker import InstrumentedReranker
    from agentmetrics.layers import CardinalityLimit, CommonLabels, FanoutRecorder, Namespace
    from agentmetrics.recorder import Counter, Gauge, Histogram, Metric, Recorder
    from agentmetrics.selection import record_cost_savings, record_model_selection, routing
    from agentmetrics.settings import ConfigurationError, Settings
    from agentmetrics.tracking import track_call
    from agentmetrics.usage import Usage

_HOMES = {
    "CacheTracker": "caching",
    "Budget": "budget.budget",
    "BudgetExceeded": "budget.exceeded",
    "BudgetStatus": "budget.budget",
    "Budgets": "budget.budgets",
    "CardinalityLimit": "layers",
    "CommonLabels": "layers",
    "ConfigurationError": "settings",
    "Counter": "recorder",
    "FanoutRecorder": "layers",
    "Gauge": "recorder",
    "Histogram": "recorder",
    "InstrumentedAgent": "agent",
    "InstrumentedEmbeddings": "langchain.embeddings",
    "InstrumentedReranker": "langchain.reranker",
    "InstrumentedCache": "langchain.cache",
    "Ledger": "budget.ledger",
    "LedgerUnavailable": "budget.database",
    "MemoryRecorder": "backends.memory",
    "Metric": "recorder",
    "MetricsCallbackHandler": "langchain.handler",
    "Namespace": "layers",
    "NoopRecorder": "backends.noop",
    "PrometheusRecorder": "backends.prometheus",
    "Recorder": "recorder",
    "Settings": "settings",
    "StatsDRecorder": "backends.statsd",
    "Usage": "usage",
    "configure": "configured",
    "get_ledger": "configured",
    "get_recorder": "configured",
    "instrument": "langchain.attach",
    "labels": "context",
    "record_cost_savings": "selection",
    "record_model_selection": "selection",
    "routing": "selection",  # and so no module has this name
    "track_call": "tracking",
}
_EXTRAS = {
    "prometheus_client": "prometheus",
    "statsd": "statsd",
    "langchain_core": "langchain",
    "sqlalchemy": "ledger",
}

__all__ = [
    "Budget",
    "BudgetExceeded",
    "BudgetStatus",
    "Budgets",
    "CacheTracker",
    "CardinalityLimit",
    "CommonLabels",
    "ConfigurationError",
    "Counter",
    "FanoutRecorder",
    "Gauge",
    "Histogram",
    "InstrumentedAgent",
    "InstrumentedCache",
    "InstrumentedEmbeddings",
    "InstrumentedReranker",
    "Ledger",
    "LedgerUnavailable",
    "MemoryRecorder",
    "Metric",
    "MetricsCallbackHandler",
    "Namespace",
    "NoopRecorder",
    "PrometheusRecorder",
    "Recorder",
    "Settings",
    "StatsDRecorder",
    "Usage",
    "configure",
    "get_ledger",
    "get_recorder",
    "instrument",
    "labels",
    "record_cost_savings",
    "record_model_selection",
    "routing",
    "track_call",
]


def __getattr__(name: str) -> object:
    # Names are imported when asked for: the package itself needs none of the extras.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ModuleNotFoundError(
            f"{name} needs the package {error.name!r}: pip install 'llm-agentmetrics[{extra}]'",
            name=error.name,
        ) from None
    globals()[name] = value
    return value
