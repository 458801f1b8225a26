"""Whatever is recorded, the StatsD lines parse back to it, in packets that are small enough."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from agentmetrics.backends.changes import SendingStore, number_text, rate_text
from agentmetrics.backends.delivery import UDP_PACKET_BYTES, packets
from agentmetrics.backends.statsd_lines import Timer, entries, lines_for, path_of
from agentmetrics.recording.metric import Metric, clean_label

LINE = re.compile(
    r"(?P<path>[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)"
    r":(?P<value>-?[0-9]+(\.[0-9]+)?)"
    r"\|(?P<type>c|g|ms)(\|@(?P<rate>[0-9]+(\.[0-9]+)?))?"
)
CALLS = Metric("calls_total", "counter", "Calls.", ("a", "b", "c"))
DEPTH = Metric("depth", "gauge", "Depth.", ("a", "b", "c"))
SECONDS = Metric("seconds", "histogram", "Time.", ("a", "b", "c"), "seconds", (1.0,))

texts = st.text() | st.text(alphabet="ab.:|@#/;=, \n\r\t\0é\u2028\ud800", max_size=200) | st.none()
labels = st.tuples(texts, texts, texts)
prefixes = st.text(alphabet="ab.:|@#/ \né", max_size=30)
numbers = st.floats(allow_nan=False)
updates = st.lists(
    st.tuples(st.just(CALLS), labels, st.floats(min_value=0, allow_nan=False))
    | st.tuples(st.just(DEPTH), labels, st.floats())
    | st.tuples(st.just(SECONDS), labels, numbers),
    max_size=60,
)


def made(prefix: str) -> SendingStore:
    return SendingStore(lines_for(prefix, "etsy"), Timer)


def sent(store: SendingStore) -> list[str]:
    store.take()
    lines = [entry.encode("ascii") for entry in entries(store.taken.popleft())]
    return [packet.decode() for packet in packets(lines, UDP_PACKET_BYTES)]


def record(store: SendingStore, metric: Metric, values: tuple[object, ...], number: float) -> None:
    store.declare(metric)
    series = store.bind(metric, tuple(map(clean_label, values)))
    update = getattr(
        series, {"counter": "inc", "gauge": "set", "histogram": "observe"}[metric.kind]
    )
    update(number)


@given(prefixes, updates)
def test_every_line_parses_back_and_no_packet_is_too_large(
    prefix: str, recorded: list[tuple[Metric, tuple[object, ...], float]]
) -> None:
    store = made(prefix)
    for metric, values, number in recorded:
        record(store, metric, values, number)
    for packet in sent(store):
        assert len(packet) <= UDP_PACKET_BYTES
        lines = packet.split("\n")
        for index, line in enumerate(lines):
            match = LINE.fullmatch(line)
            assert match, line
            assert match["path"].count(".") >= 3, "a label value is no component"
            if match["type"] == "g" and match["value"].startswith("-"):
                assert lines[index - 1] == f"{match['path']}:0|g", "a step, not a value"


@given(st.lists(st.lists(st.integers(0, 2**40), max_size=8), max_size=8))
def test_the_differences_add_up_to_what_was_counted(flushes: list[list[int]]) -> None:
    store = made("")
    received = 0
    for amounts in flushes:
        for amount in amounts:
            record(store, CALLS, ("x", "y", "z"), amount)
        parsed = [LINE.fullmatch(line) for p in sent(store) for line in p.split("\n")]
        received += sum(int(line["value"]) for line in parsed if line)
        assert all(parsed)
    assert received == sum(map(sum, flushes))


@given(st.lists(st.floats(0, 1e6), max_size=1500), st.integers(0, 100))
def test_a_timer_sends_values_that_were_observed_and_counts_them_all(
    observed: list[float], earlier: int
) -> None:
    store = made("")
    for _ in range(earlier):
        record(store, SECONDS, ("x", "y", "z"), 0.5)
    sent(store)
    for number in observed:
        record(store, SECONDS, ("x", "y", "z"), number)
    matches = [LINE.fullmatch(line) for packet in sent(store) for line in packet.split("\n")]
    known: defaultdict[float, int] = defaultdict(int)
    for number in observed:
        known[round(number * 1000, 6)] += 1
    for match in matches:
        assert match is not None
        known[float(match["value"])] -= 1
    assert min(known.values(), default=0) >= 0, "a value that was not observed, or twice"
    counted = sum(1 / float(match["rate"] or 1) for match in matches if match)
    assert round(counted, 3) == len(observed)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_in_digits_is_the_number(value: float) -> None:
    text = number_text(value)
    assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text)
    assert float(text) == value
    assert math.copysign(1, value) == 1 or value == 0 or text[0] == "-"


@given(prefixes, st.lists(texts, max_size=6))
def test_a_name_has_a_component_for_every_label(prefix: str, values: list[str | None]) -> None:
    path = path_of(prefix, "calls_total", [clean_label(value) for value in values])
    assert re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", path)
    assert len(path.split(".calls_total", 1)[-1].removeprefix("calls_total").split(".")) > len(
        values
    )


@given(st.integers(1, 2**31))
def test_a_weight_survives_a_server_that_cuts_off_what_is_not_whole(weight: int) -> None:
    rate = float(rate_text(weight).removeprefix("|@") or 1)
    assert int(1 / rate) == weight
    assert 1 / rate < weight + 1e-3


@given(st.lists(st.binary(min_size=1, max_size=UDP_PACKET_BYTES), max_size=50))
def test_packing_keeps_every_entry_in_order(lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b"x") for line in lines]
    packed = list(packets(lines, UDP_PACKET_BYTES))
    assert [line for packet in packed for line in packet.split(b"\n")] == lines
    assert all(len(packet) <= UDP_PACKET_BYTES for packet in packed)
    for packet, following in itertools.pairwise(packed):
        first = following.split(b"\n")[0]
        assert len(packet) + 1 + len(first) > UDP_PACKET_BYTES, "room was left"
