"""How resident memory changes over a run, from readings that are shared and few."""

from __future__ import annotations

import psutil
import pytest

from agentmetrics import MemoryRecorder, expect, labels, track_run
from agentmetrics.meters import system
from agentmetrics.pipeline import Options, pipeline_of

MIB = 2**20


class Process:
    """A process that has the resident memory it is told to have, and counts who asks."""

    pid = 0

    def __init__(self) -> None:
        self.rss = 100 * MIB
        self.readings = 0

    def memory_info(self) -> Process:
        self.readings += 1
        return self


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    monkeypatch.setattr(psutil, "Process", lambda: process)
    return process


def delta(recorder: MemoryRecorder, **asked: str) -> float:
    return recorder.value("agent_run_rss_delta_bytes", **asked)


@pytest.mark.parametrize("grown", [8 * MIB, -8 * MIB, 0])
def test_it_is_what_the_last_run_gained_or_gave_back(process, monkeypatch, grown):
    monkeypatch.setattr(system, "READ_INTERVAL_SECONDS", 0.0)
    recorder = MemoryRecorder()
    for change in (999, grown):
        with track_run("reviewer", recorder=recorder):
            process.rss += change
    assert delta(recorder, agent_name="reviewer") == grown


def test_runs_share_a_reading_for_a_while(process):
    recorder = MemoryRecorder()
    for _ in range(50):
        with track_run("reviewer", recorder=recorder):
            process.rss += MIB
    assert process.readings < 10
    assert recorder.value("agent_runs_total", agent_name="reviewer") == 50


def test_a_run_inside_of_another_is_measured_for_itself(process, monkeypatch):
    monkeypatch.setattr(system, "READ_INTERVAL_SECONDS", 0.0)
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    with labels(tenant="acme"), track_run("outer", recorder=recorder):
        process.rss += 3
        with track_run("inner", recorder=recorder):
            process.rss += 4
    assert delta(recorder, agent_name="inner", tenant="acme") == 4
    assert delta(recorder, agent_name="outer", tenant="acme") == 7


def test_there_is_none_of_an_agent_that_has_not_run(process):
    recorder = MemoryRecorder()
    expect(["reviewer"], recorder=recorder)
    assert "agent_run_rss_delta_bytes" not in {sample.name for sample in recorder.samples()}
