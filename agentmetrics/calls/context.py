"""The context of a call: the agent run it is in, and the values of the extra labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token, copy_context
from typing import Any, TypeVar

from agentmetrics.calls.facts import AgentRun
from agentmetrics.recording.collector import COLLECTING, is_collecting
from agentmetrics.recording.metric import clean_label

current_run: ContextVar[AgentRun | None] = ContextVar("agentmetrics_run", default=None)
"""The run of the ``InstrumentedAgent`` around, where :func:`run_here` finds it."""

R = TypeVar("R")


class _Labels(dict[str, str]):
    """What a block has set, what is around it included."""

    is_left = False
    """As ``AgentRun.is_left``."""

    def __init__(self, values: Mapping[str, str], around: _Labels | None) -> None:
        super().__init__(values)
        self.around = around


_labels: ContextVar[_Labels | None] = ContextVar("agentmetrics_labels", default=None)


def put_back(*tokens: Token[Any]) -> bool:
    """Leave what these were given for, as a block does at its end; whether that is done.

    It is not in a collection, nor where a signal handler raises in the middle of the block's
    beginning or of this: what was set is to be marked as left then, for whoever finds it there.
    """
    if not tokens or is_collecting():
        return False
    with suppress(ValueError):  # in another context, which never saw these
        for token in tokens:
            token.var.reset(token)
    return True


def run_here() -> AgentRun | None:
    """The run of the ``InstrumentedAgent`` around."""
    if COLLECTING[0] and is_collecting():
        return None
    run = current_run.get()
    while run is not None and run.is_left:
        run = run.around
    return run


def _labels_here() -> _Labels | None:
    if COLLECTING[0] and is_collecting():
        return None
    labels = _labels.get()
    while labels is not None and labels.is_left:
        labels = labels.around
    return labels


@contextmanager
def labels(**values: str) -> Iterator[None]:
    """Set these extra labels for everything inside, including tasks started there.

    Only names listed in ``AGENTMETRICS_EXTRA_LABELS`` are recorded; nested blocks are combined.
    """
    if is_collecting():
        yield
        return
    around = _labels_here()
    own = _Labels({**(around or {}), **values}, around)
    tokens: tuple[Token[Any], ...] = ()
    is_put_back = False
    try:
        tokens = (_labels.set(own),)
        yield
    finally:
        try:
            is_put_back = put_back(*tokens)
        finally:
            if not is_put_back:
                own.is_left = True


def bound(function: Callable[..., R]) -> Callable[..., R]:
    """The function with the context of here, wherever it is called: in a thread, in an executor.

    ``pool.submit(bound(work), …)`` and ``pool.map(bound(work), …)`` keep the agent run and the
    labels around, which threads do not have of themselves. Not needed for ``asyncio.to_thread``,
    tasks, and LangChain's own threads, which take the context along.
    """
    context = copy_context()

    @functools.wraps(function)
    def in_context(*args: Any, **kwargs: Any) -> R:
        # A copy, since several threads cannot be in one context at a time.
        return context.copy().run(function, *args, **kwargs)

    return in_context


def extra_values(
    names: tuple[str, ...], told: tuple[Mapping[str, Any], ...], run: AgentRun | None
) -> tuple[str, ...]:
    """The values of the extra labels, each from the first that has one, else ``""``.

    They are: what a source or a framework ``told``; ``labels``; the agent run ``run`` that this is
    in.
    """
    if not names:
        return ()
    of_run = {} if run is None else dict(zip(names, run.extra, strict=False))
    return first_values(names, (*told, _labels_here() or {}, of_run))


def first_values(names: tuple[str, ...], sources: tuple[Mapping[str, Any], ...]) -> tuple[str, ...]:
    """For each name the value of the first source that has one, cleaned, else ``""``."""
    return tuple(
        next((clean_label(s[name]) for s in sources if s.get(name) is not None), "")
        for name in names
    )
