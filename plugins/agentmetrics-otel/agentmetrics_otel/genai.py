"""Finished calls, agent runs and tool executions, in the words of the GenAI conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.metrics import Meter

from agentmetrics.plugin import AgentRun, Bundles, LLMCall, Pipeline, ToolExecution
from agentmetrics_otel.conventions import PROVIDERS, Convention, Reported

OTHER = "other"
"""The value of attributes past the limit of series, as everywhere."""
UNKNOWN_ERROR = "_OTHER"
"""``error.type`` where no type is known, as the conventions have it."""

Record = Callable[[float, Mapping[str, str]], None]
Step = tuple[Callable[[Any], "float | None"], Record, dict[str, str]]


class GenAIMeter:
    """Records what has ended on the instruments of ``conventions``.

    ``attributes`` are put on all of them. It records in the thread and context in which the call
    ended, so the SDK finds the current span for its exemplars.
    """

    def __init__(
        self,
        conventions: Sequence[Convention],
        meter: Meter,
        pipeline: Pipeline,
        attributes: Mapping[str, str],
    ) -> None:
        self._make, self._attributes = pipeline.make, attributes
        self._instruments = [
            (convention, reported, _record(meter, reported))
            for convention in conventions
            for reported in convention.instruments
        ]
        self._seen: set[tuple[Any, ...]] = set()
        self._calls = Bundles(self._of_calls)
        self._runs = Bundles(self._of_runs)
        self._tools = Bundles(self._of_tools)

    def hear_call(self, call: LLMCall) -> None:
        if not call.cached:  # no provider was asked
            _take(
                self._calls[
                    call.agent_name, call.provider, call.model, call.served_model,
                    _error(call.status, call.error_type), call.extra,
                ],
                call,
            )  # fmt: skip

    def hear_run(self, run: AgentRun) -> None:
        _take(self._runs[run.agent_name, _error(run.status), run.extra], run)

    def hear_tool(self, tool: ToolExecution) -> None:
        steps = self._tools[tool.agent_name, tool.tool_name, _error(tool.status), tool.extra]
        _take(steps, tool)

    def _of_calls(
        self,
        agent_name: str,
        provider: str,
        model: str,
        served: str,
        error: str,
        extra: tuple[str, ...],
    ) -> list[Step]:
        agent_name, provider, model, served = self._limited(
            "llm", (agent_name, provider, model, served), extra
        )
        named = PROVIDERS.get(provider, provider)
        own = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "gen_ai.agent.name": agent_name,
        }
        if served:
            own["gen_ai.response.model"] = served
        return list(self._steps("llm", own, error, extra, named))

    def _of_runs(self, agent_name: str, error: str, extra: tuple[str, ...]) -> list[Step]:
        (agent_name,) = self._limited("agent", (agent_name,), extra)
        return list(self._steps("agent", {"gen_ai.agent.name": agent_name}, error, extra))

    def _of_tools(
        self, agent_name: str, tool_name: str, error: str, extra: tuple[str, ...]
    ) -> list[Step]:
        agent_name, tool_name = self._limited("tool", (agent_name, tool_name), extra)
        own = {"gen_ai.tool.name": tool_name, "gen_ai.agent.name": agent_name}
        return list(self._steps("tool", own, error, extra))

    def _limited(
        self, kind: str, values: tuple[str, ...], extra: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The values, or ``other`` for each where there are as many sets as may be."""
        key = (kind, *values, extra)
        if key not in self._seen:
            if len(self._seen) >= self._make.max_series:
                return (OTHER,) * len(values)
            self._seen.add(key)
        return values

    def _steps(
        self,
        kind: str,
        own: Mapping[str, str],
        error: str,
        extra: tuple[str, ...],
        provider: str = "",
    ) -> Iterator[Step]:
        for convention, reported, record in self._instruments:
            if reported.of != kind:
                continue
            attributes = {**self._attributes, **self._make.named(extra), **own, **reported.fixed}
            if provider:
                attributes.update(dict.fromkeys(convention.provider, provider))
            if error and reported.of_errors:
                attributes["error.type"] = error
            yield reported.measure, record, attributes


class Listener:
    """Hears what ends at a pipeline, for as long as it goes on, and has it recorded.

    ``meter`` gives the OpenTelemetry meter to record on, ``None`` where there is none any more.
    """

    def __init__(
        self,
        conventions: Sequence[Convention],
        attributes: Mapping[str, str],
        meter: Callable[[], Meter | None],
    ) -> None:
        self._conventions, self._attributes, self._meter = conventions, dict(attributes), meter
        self._pipeline: Pipeline | None = None
        self._made: GenAIMeter | None = None

    def follow(self, pipeline: object) -> None:
        """Hear what ends at this pipeline, once there is one; the first stays."""
        if self._pipeline is None and self._conventions and isinstance(pipeline, Pipeline):
            self._pipeline = pipeline
            pipeline.subscribe(self._hear_call)
            pipeline.subscribe_to("agent", self._hear_run)
            pipeline.subscribe_to("tool", self._hear_tool)

    def begin_anew(self) -> None:
        """Ask for the meter again: the former is a parent process'."""
        self._made = None

    def _genai(self) -> GenAIMeter | None:
        if self._made is None and self._pipeline is not None:
            meter = self._meter()
            if meter is not None:
                self._made = GenAIMeter(self._conventions, meter, self._pipeline, self._attributes)
        return self._made

    def _hear_call(self, call: LLMCall) -> None:
        genai = self._genai()
        if genai is not None:
            genai.hear_call(call)

    def _hear_run(self, run: AgentRun) -> None:
        genai = self._genai()
        if genai is not None:
            genai.hear_run(run)

    def _hear_tool(self, tool: ToolExecution) -> None:
        genai = self._genai()
        if genai is not None:
            genai.hear_tool(tool)


def _take(steps: Sequence[Step], fact: Any) -> None:
    for measure, record, attributes in steps:
        value = measure(fact)
        if value is not None:
            record(value, attributes)


def _error(status: str, error_type: str = "") -> str:
    """``error.type`` of a fact that ended so; an interrupted one has only paused."""
    if status == "error":
        return error_type or UNKNOWN_ERROR
    return status if status == "cancelled" else ""


def _record(meter: Meter, reported: Reported) -> Record:
    if reported.instrument == "counter":
        return meter.create_counter(reported.name, reported.unit, reported.description).add
    return meter.create_histogram(
        reported.name,
        reported.unit,
        reported.description,
        explicit_bucket_boundaries_advisory=list(reported.buckets),
    ).record
