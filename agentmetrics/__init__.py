"""Metrics for LLM agents, in the metrics system you already use: the public names, listed in
``__init__.pyi``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

import lazy_loader

_INSTALLED_AS = {
    "prometheus_client": "llm-agentmetrics[prometheus]",
    "statsd": "llm-agentmetrics[statsd]",
    "langchain_core": "llm-agentmetrics[langchain]",
    "langgraph": "langgraph",
    "sqlalchemy": "llm-agentmetrics[ledger]",
}

_load, _names, __all__ = lazy_loader.attach_stub(__name__, __file__)


_OF_THE_PROCESS = frozenset({"Ledger", "Budgets"})
"""What takes the options of the process, of which ``config`` knows, without asking for them."""

_FIRST = _OF_THE_PROCESS | {
    *("configure", "get_ledger", "get_recorder", "print_summary"),
    *("MemoryRecorder", "NoopRecorder", "PrometheusRecorder", "StatsDRecorder"),
}
"""What a program begins with. A call that comes later is to import nothing: a child that is forked
while a thread imports would wait for that thread for ever."""
_LATER = (
    *("agent", "application", "caches", "event_loop", "expected", "finished", "routing", "spans"),
    "track",
)
"""What is then there, too: all of ``sources`` that needs no extra."""


def __getattr__(name: str) -> object:
    # Names are imported when asked for: the package itself needs none of the extras.
    if name == "__version__":
        value: object = version("llm-agentmetrics")
    elif name in __all__:
        value = _public(name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _public(name: str) -> object:
    try:
        if name in _OF_THE_PROCESS:
            import_module("agentmetrics.config.active")
        if name in _FIRST:
            for source in _LATER:
                import_module(f"agentmetrics.sources.{source}")
        elif name == "Recorder":  # one of somebody's own shows itself, too
            import_module("agentmetrics.summary.reading")
        return _load(name)
    except ModuleNotFoundError as error:
        installed_as = _INSTALLED_AS.get((error.name or "").partition(".")[0])
        if installed_as is None:
            raise
        raise ModuleNotFoundError(
            f"{name} needs the package {error.name!r}: pip install '{installed_as}'",
            name=error.name,
        ) from None


def __dir__() -> list[str]:
    return [*_names(), "__version__"]
