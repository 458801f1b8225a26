"""The demo's environment: none of the variables that would send its calls elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

_DISTURBING = re.compile(
    r"(OPENAI|AZURE_OPENAI|LANGSMITH|LANGCHAIN|LANGGRAPH|AGENTMETRICS|PROMETHEUS)_.*"
    r"|LC_OUTPUT_VERSION|SSL_CERT_(FILE|DIR)|SSLKEYLOGFILE|(HTTP|HTTPS|ALL|NO)_PROXY",
    re.IGNORECASE,
)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Take away what the model's client, LangSmith and prometheus-client read, and put it back."""
    taken = {name: os.environ.pop(name) for name in list(filter(_DISTURBING.fullmatch, os.environ))}
    os.environ["NO_PROXY"] = "*"  # else a system-wide proxy is asked for, on macOS
    try:
        from langsmith import tracing_context  # reads LANGSMITH_*, and keeps what it read

        with tracing_context(enabled=False):
            yield
    finally:
        del os.environ["NO_PROXY"]
        os.environ.update(taken)
