"""What agentmetrics recorded of one call, in the terms of a bill."""

from __future__ import annotations

from agentmetrics import MemoryRecorder
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.pricing import Prices
from tests.conformance.case import Bill

UNPRICED = "unpriced"

_OPTIONS = Options(prices=Prices())
"""Made once: without, the settings are read anew for every recorder, which takes longest."""


def own_recorder() -> MemoryRecorder:
    """A recorder for one call."""
    recorder = MemoryRecorder()
    pipeline_of(recorder, _OPTIONS)
    return recorder


def recorded(recorder: MemoryRecorder) -> list[Bill]:
    """The bill of every label set that counted a call; one call, where all went well."""
    return [
        Bill(
            labels["provider"],
            _values(recorder, "llm_served_calls_total", "served_model", **labels)
            or labels["model"],
            _tokens(recorder, "input", **labels),
            _tokens(recorder, "output", **labels),
            _details(recorder, **labels),
            status,
            _values(recorder, "llm_errors_total", "error_type", **labels),
            recorder.histogram("llm_api_latency_seconds", provider=labels["provider"]).sum,
            labels["model"],
            _values(recorder, "llm_finish_reasons_total", "finish_reason", **labels),
            int(recorder.value("agentmetrics_handler_errors_total")),
            _cost(recorder),
        )
        for labels, status in _finished(recorder)
    ]


def _finished(recorder: MemoryRecorder) -> list[tuple[dict[str, str], str]]:
    found = []
    for sample in recorder.samples():
        if sample.name == "llm_calls_total":
            labels = {name: sample.labels[name] for name in ("provider", "model")}
            found += [(labels, sample.labels["status"])] * int(sample.value)
    return found


def _values(recorder: MemoryRecorder, name: str, label: str, **labels: str) -> str:
    """The values of a label of what was counted, one where all went well."""
    return ",".join(
        sample.labels[label]
        for sample in recorder.samples()
        if sample.name == name and sample.value and sample.labels.items() >= labels.items()
    )


def _tokens(recorder: MemoryRecorder, token_type: str, **labels: str) -> int | None:
    known = any(
        sample.name == f"llm_{token_type}_tokens_last_call"
        and sample.labels.items() >= labels.items()
        for sample in recorder.samples()
    )
    found = recorder.value("llm_tokens_total", **labels, token_type=token_type)
    return int(found) if known or found else None


def _cost(recorder: MemoryRecorder) -> float | str:
    if recorder.value("llm_unpriced_calls_total"):
        return UNPRICED
    return round(recorder.value("llm_cost_usd_total"), 9)


def _details(recorder: MemoryRecorder, **labels: str) -> dict[str, int]:
    return {
        sample.labels["token_detail"]: int(sample.value)
        for sample in recorder.samples()
        if sample.name == "llm_token_details_total" and sample.labels.items() >= labels.items()
    }
