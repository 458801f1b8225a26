"""An hour of cache creation is dearer than five minutes, and no metric shows the two apart."""

from __future__ import annotations

import pytest

from agentmetrics import MemoryRecorder, MetricsCallbackHandler, Usage
from agentmetrics.pipeline import pipeline_of
from tests.conformance.ask import ask
from tests.conformance.case import CASES, Case
from tests.conformance.replay import replaying


def usage_of(wire: str, name: str, way: str) -> Usage:
    recorder = MemoryRecorder()
    heard: list[Usage | None] = []
    handler = MetricsCallbackHandler(recorder)
    pipeline_of(recorder).subscribe(lambda call: heard.append(call.usage))
    with replaying() as url:
        ask(Case.read(CASES / wire / f"{name}.json"), way, url, [handler])
    (usage,) = heard
    assert usage is not None
    return usage


@pytest.mark.filterwarnings("default")
class TestFiveMinutesAndAnHour:
    @pytest.mark.parametrize(
        ("wire", "name", "way"),
        [
            ("anthropic", "cache-creation", "invoke"),
            ("bedrock-converse", "cache-creation", "invoke"),
            ("bedrock-converse", "cache-creation-streamed", "stream"),
        ],
    )
    def test_five_minutes_and_an_hour_are_told_apart(self, wire: str, name: str, way: str) -> None:
        usage = usage_of(wire, name, way)
        assert usage.cache_creation_tokens == 1500
        assert usage.cache_creation_1h_tokens == 500

    def test_five_minutes_and_an_hour_of_anthropic_are_not_told_apart_in_a_stream(self) -> None:
        # message_start tells them apart, and langchain-anthropic reads message_delta alone.
        usage = usage_of("anthropic", "cache-creation-streamed", "stream")
        assert usage.cache_creation_tokens == 1500
        assert usage.cache_creation_1h_tokens is None
