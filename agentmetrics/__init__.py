"""Metrics for LLM agents, in the metrics system you already use: the public names, listed in
``__init__.pyi``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

import lazy_loader

_EXTRAS = {
    "prometheus_client": "prometheus",
    "statsd": "statsd",
    "langchain_core": "langchain",
    "sqlalchemy": "ledger",
}

_load, _names, __all__ = lazy_loader.attach_stub(__name__, __file__)


_OF_THE_PROCESS = frozenset({"Ledger", "Budgets"})
"""What takes the options of the process, of which ``config`` knows, without asking for them."""


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
        return _load(name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ModuleNotFoundError(
            f"{name} needs the package {error.name!r}: pip install 'llm-agentmetrics[{extra}]'",
            name=error.name,
        ) from None


def __dir__() -> list[str]:
    return [*_names(), "__version__"]
