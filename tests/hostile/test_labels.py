"""Whatever is in a label, series and memory are bounded, and what is exported can be read back."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from unicodedata import bidirectional, category

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

from agentmetrics import (
    FanoutRecorder,
    MemoryRecorder,
    PrometheusRecorder,
    StatsDRecorder,
    record_call,
    record_model_selection,
    track_run,
    track_tool,
)
from agentmetrics.pipeline import Options, pipeline_of
from tests.hostile import times
from tests.hostile.conftest import Proves

LABELS = times(short=2_000, whole=100_000)
MANY = times(short=5_000, whole=1_000_000)
MAX_SERIES = times(short=20, whole=100)
MOST_MB = 100
MAX_LENGTH = 128

HOSTILE = (
    *("\n", "\r\n", "\t", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "\ud800"),
    *("\udfff", "\U0010ffff", "\U000e0041", "\u202e", "\u2066", "\u200b", "\u200d", "\u00ad"),
    *("e\u0301", "Ⅷ", "ﬁ", "İ", "👨‍👩‍👧", "'", '"', "\\", '\\"', "`", "{", "}", "{}", '"} 1\n'),
    *("# HELP x\n", "# EOF\n", ":", "|", "@", "#", ",", ";", "=", ".", "/", "%s", "{0}", "$(id)"),
    *("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "<b>", "&amp;", "../..", "NaN", "+Inf", "None"),
    *("other", "unknown", " ", "  ", "1" * 40, "é" * 200, "x" * 5_000, "\u202e" * 300),
)
TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
LINE = re.compile(rb"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*:-?[0-9.]+\|(c|g|ms)(\|@[0-9.]+)?")


def hostile(random: Random) -> Iterator[str]:
    """Labels without end: each hostile in some of its parts, and of all of Unicode in another."""
    number = 0
    while True:
        number += 1
        anything = "".join(map(chr, random.choices(range(0x110000), k=2)))
        parts = [*random.choices(HOSTILE, k=2), anything, str(number)]
        random.shuffle(parts)
        yield "".join(parts)


OVER = b"over"


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port, and the lines that have come to it by UDP."""
    lines: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))

        def listen() -> None:
            while (packet := listener.recv(65_535)) != OVER:
                lines.extend(packet.split(b"\n"))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield listener.getsockname()[1], lines
        listener.sendto(OVER, listener.getsockname())
        thread.join(60)


def test_series_are_bounded_and_every_reader_can_read_what_is_exported(
    promtool: Callable[[bytes], list[str]], proves: Proves
) -> None:
    with listening() as (port, lines):
        prometheus = PrometheusRecorder(CollectorRegistry())
        statsd = StatsDRecorder("127.0.0.1", port)
        memory = MemoryRecorder()
        recorder = FanoutRecorder([prometheus, statsd, memory])
        pipeline_of(recorder, Options(max_series=MAX_SERIES, extra_labels=("tenant",)))
        labels = hostile(Random(1))

        def record(number: int) -> None:
            for _ in range(number // 5):
                with track_run(next(labels), recorder=recorder):
                    with track_tool(next(labels), recorder=recorder):
                        pass
                    record_call(next(labels), next(labels), input_tokens=1, recorder=recorder)
                    record_model_selection(next(labels), "gpt-4o", "cheap", recorder=recorder)

        record(LABELS)
        statsd.close()

    assert memory.value("llm_calls_total") == LABELS // 5
    for parse, accept in ((text, ""), (openmetrics, "application/openmetrics-text; version=1.0.0")):
        exposition = prometheus.exposition(accept).body
        families = list(parse(exposition.decode()))
        samples = [sample for family in families for sample in family.samples]
        calls = [sample for sample in samples if sample.name == "llm_calls_total"]
        assert sum(sample.value for sample in calls) == LABELS // 5
        sets = {
            (*(each.labels[name] for name in ("agent_name", "provider", "model")),)
            for each in calls
        }
        assert MAX_SERIES < len(sets) <= MAX_SERIES + 1  # the rest is other
        values = {value for sample in samples for value in sample.labels.values()}
        assert max(map(len, values)) <= MAX_LENGTH
        seen = set("".join(values))
        assert {*map(category, seen)}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
        assert {*map(bidirectional, seen)}.isdisjoint(TURNS)
    promtool(prometheus.exposition().body)
    assert lines
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    proves(
        f"{LABELS:,} labels of quotes, line breaks, NUL, surrogates, bidirectional marks, formulas",
        f"0 raised, {LABELS // 5:,} of {LABELS // 5:,} calls counted, in {len(sets)} label sets a "
        f"metric; {len(lines):,} lines of StatsD and {len(samples):,} samples read back",
    )


@pytest.mark.parametrize("backend", ["memory", "prometheus"])
def test_labels_without_end_take_no_more_memory(backend: str, proves: Proves) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.programs.labelled", backend, str(MANY)],
        capture_output=True,
        text=True,
        timeout=1_000,
    )
    assert not done.returncode, done.stderr[-2000:]
    made, counted, most = json.loads(done.stdout)
    assert counted == made
    assert most < MOST_MB
    proves(
        f"{MANY:,} labels, as agents, providers, models, tools and an extra label, in a new "
        "process with the default limit of series",
        f"{counted:,.0f} of {made:,} calls counted; {most:.0f} MB more at most",
    )
