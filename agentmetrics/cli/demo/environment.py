"""The demo's environment: nothing that would send its calls elsewhere or talk into its output."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

_DISTURBING = re.compile(
    r"(OPENAI|AZURE_OPENAI|LANGSMITH|LANGCHAIN|LANGGRAPH|AGENTMETRICS|PROMETHEUS)_.*"
    r"|LC_OUTPUT_VERSION|SSL_CERT_(FILE|DIR)|SSLKEYLOGFILE|(HTTP|HTTPS|ALL|NO)_PROXY",
    re.IGNORECASE,
)
_WARNING = ("langchain_core.callbacks.manager", "agentmetrics")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Take away what the model's client, LangSmith and prometheus-client read, and put it back."""
    taken = {name: os.environ.pop(name) for name in list(filter(_DISTURBING.fullmatch, os.environ))}
    os.environ["NO_PROXY"] = "*"  # else a system-wide proxy is asked for, on macOS
    try:
        from langsmith import tracing_context  # reads LANGSMITH_*, and keeps what it read

        with tracing_context(enabled=False), _quiet():
            yield
    finally:
        del os.environ["NO_PROXY"]
        os.environ.update(taken)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about what the demo does on purpose.

    LangChain logs every error of a handler, and a budget's refusal is one; we warn of calls whose
    tokens or price nobody knows.
    """
    before = {name: logging.getLogger(name).level for name in _WARNING}
    for name in _WARNING:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
