"""What surrounds a call: the agent run it is in, and the values of the extra labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from agentmetrics.facts import AgentRun
from agentmetrics.recorder import clean_label

current_run: ContextVar[AgentRun | None] = ContextVar("agentmetrics_run", default=None)
handler_around: ContextVar[Any] = ContextVar("agentmetrics_handler", default=None)
"""The LangChain handler of the agent around; LangChain attaches it to every run it starts."""

_NO_LABELS: Mapping[str, str] = {}
_labels: ContextVar[Mapping[str, str]] = ContextVar("agentmetrics_labels", default=_NO_LABELS)


@contextmanager
def labels(**values: str) -> Iterator[None]:
    """Give the extra labels these values for everything inside, tasks started there included.

    Only names that ``AGENTMETRICS_EXTRA_LABELS`` lists come through; nested uses add up.
    """
    token = _labels.set({**_labels.get(), **values})
    try:
        yield
    finally:
        with suppress(ValueError):  # left in another context, as an async generator may be
            _labels.reset(token)


def extra_values(
    names: tuple[str, ...], metadata: Mapping[str, object] | None = None
) -> tuple[str, ...]:
    """The extra labels' values: from the run's metadata, else from ``labels``, else ``""``."""
    if not names:
        return ()
    around = _labels.get()
    own = metadata or _NO_LABELS
    return tuple(clean_label(own.get(name, around.get(name))) for name in names)
