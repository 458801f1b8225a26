"""What agentmetrics recorded of one call, in the terms of a bill."""

from __future__ import annotations

from agentmetrics import MemoryRecorder
from tests.conformance.case import Bill


def recorded(recorder: MemoryRecorder) -> list[Bill]:
    """The bill of every label set that counted a call; one call, where all went well."""
    return [
        Bill(
            labels["provider"],
            labels["model"],
            _tokens(recorder, "input", **labels),
            _tokens(recorder, "output", **labels),
            _details(recorder, **labels),
            status,
            _error_type(recorder, **labels),
            recorder.histogram("llm_api_latency_seconds", provider=labels["provider"]).sum,
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


def _tokens(recorder: MemoryRecorder, token_type: str, **labels: str) -> int | None:
    values = [
        sample.value
        for sample in recorder.samples()
        if sample.name == "llm_tokens_total"
        and sample.labels.items() >= {**labels, "token_type": token_type}.items()
    ]
    return int(sum(values)) if values else None


def _details(recorder: MemoryRecorder, **labels: str) -> dict[str, int]:
    return {
        sample.labels["token_detail"]: int(sample.value)
        for sample in recorder.samples()
        if sample.name == "llm_token_details_total" and sample.labels.items() >= labels.items()
    }


def _error_type(recorder: MemoryRecorder, **labels: str) -> str:
    types = [
        sample.labels["error_type"]
        for sample in recorder.samples()
        if sample.name == "llm_errors_total" and sample.labels.items() >= labels.items()
    ]
    return ",".join(types)
