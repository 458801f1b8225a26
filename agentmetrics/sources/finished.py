"""record_call and record_tool: what was over before it is told, by a module that measured it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime
from time import perf_counter
from typing import Any

from agentmetrics import catalog
from agentmetrics.calls.facts import FOUND, PROGRAM, UNKNOWN, LLMCall, ToolExecution
from agentmetrics.calls.failed import read_error
from agentmetrics.calls.outcome import ERROR, SUCCESS, status_of
from agentmetrics.config.active import pipeline_for
from agentmetrics.pipeline import Pipeline
from agentmetrics.providers.costs import Told
from agentmetrics.providers.error_types import OTHER, error_type_of
from agentmetrics.providers.service_tier import tier_told
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.metric import class_name, clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.amounts import amount, dollars, seconds
from agentmetrics.sources.surroundings import call_here, tool_here

CLOCKS_DIFFER_SECONDS = 1.0
"""How far ahead another clock may be for its now to be ours."""
Failure = str | BaseException | type[BaseException]


def record_call(
    provider: str,
    model: str,
    *,
    agent_name: str | None = None,
    duration_seconds: float | None = None,
    usage: Usage | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cost_usd: float | None = None,
    cached: bool = False,
    status: str | None = None,
    error_type: Failure | None = None,
    started: float | datetime | None = None,
    time_to_first_token_seconds: float | None = None,
    served_model: str | None = None,
    service_tier: str | None = None,
    recorder: Recorder | None = None,
) -> None:
    """Record a call of a model that is over; the ledger and budgets see it like any other.

    ``usage`` has every kind of token; ``input_tokens`` and ``output_tokens`` are enough for a plain
    call. ``cost_usd`` is what it cost where that is known, else the price list says. ``cached`` is
    a call that a cache answered: no provider was asked, and nothing is billed. ``status`` is one of
    ``success``, ``error``, ``cancelled`` and ``interrupted``, by default what ``error_type`` makes
    of it, which is a value of the label of that name, or an exception, whose response is read where
    it carries one and no tokens are passed. ``started`` is when it
    began, in Unix seconds or as a ``datetime``; without it the call ended just now. Without a
    duration no latency is recorded. ``service_tier`` is the one that served, such as ``batch``,
    where that is priced apart. ``agent_name`` defaults to that of the enclosing agent, found
    as for ``track_call``, and ``recorder`` to the configured one.

    What cannot be (a negative duration or cost, tokens that are no counts, an end in the future) is
    left out of the call, which counts, and increments
    ``agentmetrics_handler_errors_total{event="record_call"}``. Raises ``ValueError`` for arguments
    that contradict each other, or a status or error type that is none, and ``TypeError`` for a
    ``usage`` that is no ``Usage``.
    """
    outcome = _Outcome(status, error_type)
    _check_usage(usage, input_tokens, output_tokens)
    pipeline = pipeline_for(recorder)
    wrong = _Implausible(pipeline, "record_call")
    cost_usd = wrong.amount(cost_usd, dollars)
    cached = wrong.truth(cached)
    if cached and (outcome.status != SUCCESS or cost_usd):
        raise ValueError(
            f"cached=True: what a cache answers is a success and costs nothing, not "
            f"status={outcome.status!r} and cost_usd={cost_usd!r}"
        )
    call = call_here(
        pipeline,
        clean_label(agent_name) or None,
        clean_label(provider) or UNKNOWN,
        clean_label(model) or UNKNOWN,
    )
    _time(call, duration_seconds, started, wrong)
    call.status, call.error_type = outcome.status, outcome.error_type
    call.serve(clean_label(served_model))
    call.service_tier = tier_told(service_tier)
    if cached:
        call.lookup = FOUND
    first = wrong.amount(time_to_first_token_seconds, seconds)
    if first is not None and call.started + first <= call.ended:
        call.first_token = call.started + first
    try:
        call.usage = _told(usage, input_tokens, output_tokens)
    except Exception as error:  # somebody's own class
        wrong.found(error)
    doubt = call.usage.doubt if call.usage is not None else None
    if issubclass(type(error_type), BaseException):
        doubt = read_error(call, error_type) or doubt  # type: ignore[arg-type]
    if doubt is not None:
        wrong.found(doubt)
    if cost_usd is not None:
        call.cost(Told(cost_usd, PROGRAM))
    pipeline.record(call)


def record_tool(
    tool_name: str,
    *,
    agent_name: str | None = None,
    duration_seconds: float | None = None,
    status: str | None = None,
    error: BaseException | type[BaseException] | None = None,
    started: float | datetime | None = None,
    recorder: Recorder | None = None,
) -> None:
    """Record an execution of a tool that is over; the arguments are as for ``record_call``.

    ``error`` is the exception that ended it, of which nothing but the status is recorded.
    """
    outcome = _Outcome(status, error)
    pipeline = pipeline_for(recorder)
    tool = tool_here(pipeline, clean_label(agent_name) or None, clean_label(tool_name) or UNKNOWN)
    _time(tool, duration_seconds, started, _Implausible(pipeline, "record_tool"))
    tool.status = outcome.status
    pipeline.record(tool)


class _Outcome:
    """A status and an error type that go together.

    Raises ``ValueError`` where they are none, or do not.
    """

    def __init__(self, status: str | None, failure: Failure | None) -> None:
        self.status, self.error_type = SUCCESS, ""
        if issubclass(type(failure), str):
            self.status = ERROR
            self.error_type = _one_of("error_type", failure, catalog.ERROR_TYPES)
        elif failure is not None:
            self._read(failure)
        if status is None:
            return
        status = _one_of("status", status, catalog.STATUSES)
        if failure is not None and status != self.status:
            raise ValueError(
                f"status={status!r}: the error that was passed makes it {self.status!r}, so leave "
                "out one of the two"
            )
        self.status = status
        if status == ERROR and not self.error_type:
            self.error_type = OTHER

    def _read(self, failure: Any) -> None:
        try:
            # Not failure(): the class may want arguments.
            error = failure.__new__(failure) if issubclass(type(failure), type) else failure
            self.status = status_of(error)
            self.error_type = error_type_of(error) if self.status == ERROR else ""
        except Exception:  # somebody's own error, whose attributes raise
            self.status, self.error_type = ERROR, OTHER


class _Implausible:
    """What was told and cannot be: left out, and counted as an event that was not understood."""

    def __init__(self, pipeline: Pipeline, event: str) -> None:
        self._pipeline, self._event = pipeline, event

    def amount(self, value: Any, read: Callable[[Any], float] = amount) -> float | None:
        """What ``read`` makes of a value; ``None`` where that is nothing."""
        if value is None:
            return None
        try:
            return read(value)
        except Exception as error:
            self.found(error)
            return None

    def truth(self, value: object) -> bool:
        """Whether a value is true."""
        try:
            return bool(value)
        except Exception as error:
            self.found(error)
            return False

    def found(self, error: Exception) -> None:
        self._pipeline.failed(self._event, error)


def _time(
    fact: LLMCall | ToolExecution,
    duration_seconds: float | None,
    started: float | datetime | None,
    wrong: _Implausible,
) -> None:
    """Put the fact's times on the clock of the calls; NaN is a beginning that nobody knows."""
    took = wrong.amount(duration_seconds, seconds)
    fact.ended = now = perf_counter()
    began = wrong.amount(started, _unix_seconds)
    if began is not None:
        ended = began + (took or 0.0) - time.time() + now
        if ended > now + CLOCKS_DIFFER_SECONDS:
            wrong.found(ValueError("it ends in the future"))
        else:
            fact.ended = min(ended, now)
    fact.started = fact.ended - (math.nan if took is None else took)


def _unix_seconds(moment: Any) -> float:
    return amount(moment.timestamp() if issubclass(type(moment), datetime) else moment)


def _told(usage: Usage | None, input_tokens: int | None, output_tokens: int | None) -> Usage | None:
    if usage is None and input_tokens is None is output_tokens:
        return None
    return (usage or Usage(input_tokens, output_tokens)).as_told


def _check_usage(usage: object, input_tokens: int | None, output_tokens: int | None) -> None:
    if usage is None:
        return
    if not issubclass(type(usage), Usage):
        raise TypeError(
            f"usage must be a Usage, not {class_name(usage)}: Usage.from_response(response) "
            "makes one of a provider's response"
        )
    if input_tokens is not None or output_tokens is not None:
        raise ValueError("usage and input_tokens or output_tokens: pass one or the other")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """The value, if it is one of those; ``ValueError`` otherwise."""
    word = clean_label(value)
    if word not in allowed:
        raise ValueError(f"{name}={word!r}: use one of {', '.join(map(repr, allowed))}")
    return word
