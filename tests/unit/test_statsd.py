"""The StatsD backend at one socket's length: names, lines, packets, losses, threads."""

from __future__ import annotations

import errno
import logging
import re
import socket
import threading
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import pytest

from agentmetrics import track_call
from agentmetrics.backends import delivery
from agentmetrics.backends.changes import SAMPLE_SIZE, number_text
from agentmetrics.backends.delivery import UDP_PACKET_BYTES, packets
from agentmetrics.backends.statsd import StatsDRecorder
from agentmetrics.backends.statsd_lines import DIALECTS, path_of
from agentmetrics.config.assembly import make_recorder
from agentmetrics.config.loading import load_settings
from agentmetrics.config.settings import Settings
from agentmetrics.errors import ConfigurationError
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder
from agentmetrics.recording.values import Sample
from agentmetrics.testing.conformance import RecorderConformance
from tests.services.process import free_port
from tests.services.statsd import eventually

CALLS = Metric("calls_total", "counter", "Calls.", ("agent", "model"))
DEPTH = Metric("depth", "gauge", "Depth.", ("queue",))
ACTIVE = Metric("active", "gauge", "In flight.", ("agent",), merge="sum")
LATENCY = Metric("latency_seconds", "histogram", "Latency.", ("agent",), "seconds", (1.0,))
COST = Metric("cost_usd", "histogram", "Cost.", ("agent",), "usd", (1.0,))

LONG = 3600.0  # an interval that no test sees the end of


class Ear:
    """A UDP socket that keeps what it hears."""

    def __init__(self, port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]

    def packets(self) -> list[str]:
        """What came since the last time; loopback delivers before ``send`` returns."""
        heard = []
        while True:
            try:
                heard.append(self.socket.recv(65536).decode("ascii"))
            except BlockingIOError:
                return heard

    def lines(self) -> list[str]:
        return [line for packet in self.packets() for line in packet.split("\n")]


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.socket.close()


@pytest.fixture
def recorder(ear: Ear) -> Iterator[StatsDRecorder]:
    """One of the daemon's, which flushes when it is told to."""
    recorder = StatsDRecorder("127.0.0.1", ear.port, flush_interval_seconds=LONG)
    yield recorder
    recorder.close()


@pytest.fixture
def away() -> Iterator[StatsDRecorder]:
    """A recorder whose daemon does not listen."""
    recorder = StatsDRecorder(
        "127.0.0.1", free_port(socket.SOCK_DGRAM), flush_interval_seconds=LONG
    )
    yield recorder
    recorder.close()


def dropped(recorder: StatsDRecorder) -> float:
    return recorder.value("agentmetrics_packets_dropped_total", backend="statsd")


def packets_of(recorder: StatsDRecorder) -> int:
    """How many packets become of what was taken from the store last."""
    lines = [entry.encode() for entry in recorder.entries(recorder.store.taken[-1])]
    return len(list(packets(lines, UDP_PACKET_BYTES)))


def flush_threads() -> int:
    return sum(thread.name == "agentmetrics-flush" for thread in threading.enumerate())


class TestStatsD(RecorderConformance):
    """What a daemon that adds up what it hears would know."""

    buckets = False  # a daemon makes its own percentiles, from values

    def make(self) -> Recorder:
        self.ear = Ear()
        self.timers: Tally[str] = Tally()
        self.numbers: dict[tuple[str, str], float] = {}
        return StatsDRecorder("127.0.0.1", self.ear.port, flush_interval_seconds=LONG)

    @pytest.fixture(autouse=True)
    def _closed(self) -> Iterator[None]:
        yield
        self.ear.socket.close()

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        assert isinstance(recorder, StatsDRecorder)
        for line in self.ear.lines():
            path, value, kind, rate = re.fullmatch(
                r"([^:]+):([-\d.]+)\|(\w+)(?:\|@([\d.]+))?", line
            ).groups()  # type: ignore[union-attr]
            if kind == "g":
                self.numbers[path, ""] = float(value)
            elif kind == "c":
                self.numbers[path, ""] = self.numbers.get((path, ""), 0) + float(value)
            else:
                scale = 1 / float(rate or 1)
                for suffix, number in ("_count", 1), ("_sum", float(value) / 1000):
                    so_far = self.numbers.get((path, suffix), 0)
                    self.numbers[path, suffix] = so_far + number * scale
        for (path, suffix), number in self.numbers.items():
            name, *values = path.split(".")
            labels = recorder.store.metrics[name].labels
            yield Sample(name + suffix, dict(zip(labels, values, strict=True)), round(number, 6))


class TestNames:
    def test_a_name_is_prefix_metric_and_label_values_in_the_metrics_order(self, ear: Ear) -> None:
        recorder = StatsDRecorder("127.0.0.1", ear.port, "shop.agents")
        recorder.counter(CALLS).labels("planner", "gpt-4o").inc()
        recorder.close()
        assert ear.lines() == ["shop.agents.calls_total.planner.gpt-4o:1|c"]

    @pytest.mark.parametrize(
        ("value", "component"),
        [
            ("gpt-4.1", "gpt-4_1"),
            ("meta/Llama 3", "meta_Llama_3"),
            ("a:1|c|@0.1", "a_1_c__0_1"),
            ("a#b;c=d,e", "a_b_c_d_e"),
            ("línea", "l_nea"),
            ("a\nb", "a_b"),
            ("...", "___"),
            ("", "none"),
        ],
    )
    def test_what_statsd_or_graphite_would_misread_becomes_an_underscore(
        self, value: str, component: str
    ) -> None:
        assert path_of("", "calls_total", [value]) == f"calls_total.{component}"

    @pytest.mark.parametrize("prefix", ["shop", "shop.", ".shop", "shop.."])
    def test_a_prefix_leaves_no_empty_component(self, prefix: str) -> None:
        assert path_of(prefix, "calls_total", []) == "shop.calls_total"


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (1.0, "1"),
            (-0.0, "0"),
            (0.1, "0.1"),
            (1e-7, "0.0000001"),
            (1.5e-5, "0.000015"),
            (1e22, "10000000000000000000000"),
            (-3.25, "-3.25"),
            (2**53 + 1, "9007199254740992"),
            (True, "1"),
        ],
    )
    def test_numbers_have_no_exponent(self, value: float, text: str) -> None:
        assert number_text(value) == text


class TestCounters:
    def test_a_flush_sends_the_difference_since_the_last(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        calls = recorder.counter(CALLS).labels("planner", "gpt")
        calls.inc(3)
        recorder.flush()
        calls.inc()
        calls.inc(0.5)
        recorder.flush()
        assert ear.lines() == ["calls_total.planner.gpt:3|c", "calls_total.planner.gpt:1.5|c"]

    def test_an_unchanged_counter_is_not_sent(self, recorder: StatsDRecorder, ear: Ear) -> None:
        recorder.counter(CALLS).labels("planner", "gpt")
        recorder.flush()
        recorder.counter(CALLS).labels("writer", "gpt").inc()
        recorder.flush()
        recorder.flush()
        assert ear.lines() == ["calls_total.writer.gpt:1|c"]

    def test_a_reset_neither_takes_back_what_was_sent_nor_sends_what_was_not(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        calls = recorder.counter(CALLS).labels("planner", "gpt")
        calls.inc(5)
        recorder.flush()
        calls.inc(3)
        recorder.reset()
        calls.inc(2)
        recorder.flush()
        assert ear.lines() == ["calls_total.planner.gpt:5|c", "calls_total.planner.gpt:2|c"]

    def test_batched_updates_are_sent_like_others(self, recorder: StatsDRecorder, ear: Ear) -> None:
        apply = recorder.batch(
            [recorder.counter(CALLS).labels("a", "b"), recorder.gauge(ACTIVE).labels("a")],
            [recorder.gauge(DEPTH).labels("q")],
            [recorder.histogram(LATENCY).labels("a")],
        )
        with recorder.update():
            apply(2.0, 1.0, 7.0, 0.25)
        recorder.flush()
        assert sorted(ear.lines()) == [
            "active.a:1|g",
            "calls_total.a.b:2|c",
            "depth.q:7|g",
            "latency_seconds.a:250|ms",
        ]


class TestGauges:
    def test_a_gauge_is_sent_at_every_flush(self, recorder: StatsDRecorder, ear: Ear) -> None:
        recorder.gauge(DEPTH).labels("mail").set(5)
        recorder.flush()
        recorder.flush()
        assert ear.lines() == ["depth.mail:5|g"] * 2

    def test_a_negative_gauge_is_zeroed_first_in_the_same_packet(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        for number in range(200):
            recorder.gauge(DEPTH).labels(f"queue-{number}").set(-number - 1)
        recorder.flush()
        heard = ear.packets()
        assert len(heard) > 5
        for packet in heard:
            lines = packet.split("\n")
            for zero, value in zip(lines[::2], lines[1::2], strict=True):
                assert zero.endswith(":0|g")
                assert value.startswith(zero.removesuffix("0|g") + "-")

    def test_an_observed_gauge_is_read_at_every_flush(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        depths: dict[tuple[str, ...], float] = {("mail",): 1.0, ("print",): -2.0}
        recorder.observe_gauge(DEPTH, lambda: depths)
        recorder.flush()
        depths["mail",] = 3.0
        recorder.flush()
        assert ear.lines() == [
            "depth.mail:1|g",
            "depth.print:0|g",
            "depth.print:-2|g",
            "depth.mail:3|g",
            "depth.print:0|g",
            "depth.print:-2|g",
        ]

    def test_an_age_is_a_gauge_in_seconds_and_exactly_0_at_the_end(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        def age() -> str:
            recorder.flush()
            (line,) = (x for x in ear.lines() if x.startswith("llm_oldest_active_call_seconds."))
            return line.removeprefix("llm_oldest_active_call_seconds.planner:")

        with track_call("openai", "gpt-4o", agent_name="planner", recorder=recorder) as call:
            call.record_usage(10, 5)
            recorder.gauge(DEPTH).labels("mail").set(1)  # gauges that are read need another series
            first, second = age(), age()
            assert 0 < float(first.removesuffix("|g")) < float(second.removesuffix("|g")) < 60
        assert age() == age() == "0|g"

    def test_what_a_callback_says_stands_before_what_was_set(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        recorder.gauge(DEPTH).labels("mail").set(1)
        recorder.observe_gauge(DEPTH, lambda: {("mail",): 2.0})
        recorder.flush()
        assert ear.lines() == ["depth.mail:2|g"]

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), "text", None, 10**400])
    def test_a_gauge_that_is_no_number_costs_the_others_nothing(
        self, recorder: StatsDRecorder, ear: Ear, value: Any
    ) -> None:
        recorder.gauge(DEPTH).labels("broken").set(value)
        recorder.gauge(DEPTH).labels("fine").set(1)
        recorder.flush()
        assert ear.lines() == ["depth.fine:1|g"]


class TestTimers:
    def test_seconds_become_milliseconds_in_a_timer(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        latency = recorder.histogram(LATENCY).labels("planner")
        for seconds in (0.25, 1.1, 0.000001234567, 60):
            latency.observe(seconds)
        recorder.flush()
        assert [line.removeprefix("latency_seconds.planner:") for line in ear.lines()] == [
            "250|ms",
            "1100|ms",
            "0.001235|ms",
            "60000|ms",
        ]

    def test_other_units_stay_as_they_are_in_a_timer(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        recorder.histogram(COST).labels("planner").observe(0.00000125)
        recorder.flush()
        assert ear.lines() == ["cost_usd.planner:0.00000125|ms"]

    def test_values_of_a_timer_are_sent_once(self, recorder: StatsDRecorder, ear: Ear) -> None:
        recorder.histogram(COST).labels("planner").observe(1)
        recorder.flush()
        recorder.flush()
        assert len(ear.lines()) == 1

    @pytest.mark.parametrize("value", [-1.0, float("inf"), float("-inf"), 1e301])
    def test_a_value_that_no_timer_can_have_is_left_out(
        self, recorder: StatsDRecorder, ear: Ear, value: float
    ) -> None:
        latency = recorder.histogram(LATENCY).labels("planner")
        latency.observe(value)
        latency.observe(2)
        recorder.flush()
        assert ear.lines() == ["latency_seconds.planner:2000|ms"]

    def test_as_many_values_as_the_bound_go_unsampled(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        latency = recorder.histogram(LATENCY).labels("planner")
        for number in range(SAMPLE_SIZE):
            latency.observe(number)
        recorder.flush()
        assert [float(line.split(":")[1].removesuffix("|ms")) for line in ear.lines()] == [
            number * 1000.0 for number in range(SAMPLE_SIZE)
        ]

    def test_more_values_than_the_bound_become_a_sample_and_its_rate(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        latency = recorder.histogram(LATENCY).labels("planner")
        for number in range(4 * SAMPLE_SIZE):
            latency.observe(number)
        recorder.flush()
        lines = ear.lines()
        assert len(lines) == SAMPLE_SIZE
        assert all(line.endswith("|ms|@0.25") for line in lines)
        assert len(set(lines)) == SAMPLE_SIZE, "a value was sampled twice"
        latency.observe(1)
        recorder.flush()
        assert ear.lines() == ["latency_seconds.planner:1000|ms"], "the next flush begins anew"

    @pytest.mark.parametrize("observed", [SAMPLE_SIZE + 1, 3 * SAMPLE_SIZE - 1, 25_000])
    def test_a_server_that_repeats_a_sampled_value_counts_as_many_as_were_observed(
        self, recorder: StatsDRecorder, ear: Ear, observed: int
    ) -> None:
        latency = recorder.histogram(LATENCY).labels("planner")
        for _ in range(observed):
            latency.observe(1)
        recorder.flush()
        rates = [float(line.partition("@")[2] or 1) for line in ear.lines()]
        assert len(rates) == SAMPLE_SIZE
        assert sum(int(1 / rate) for rate in rates) == observed

    def test_the_sample_of_a_timers_values_is_uniform(self, recorder: StatsDRecorder) -> None:
        latency = recorder.histogram(LATENCY).labels("planner")
        early = 0
        for _ in range(50):
            for number in range(2 * SAMPLE_SIZE):
                latency.observe(number)
            recorder.store.take()
            [(_, sample, seen)] = recorder.store.taken.pop().samples
            assert (len(sample), seen) == (SAMPLE_SIZE, 2 * SAMPLE_SIZE)
            early += sum(value < SAMPLE_SIZE for value in sample)
        expected = 50 * SAMPLE_SIZE / 2
        assert abs(early - expected) < 0.05 * expected  # seven standard deviations


class TestDialects:
    @pytest.mark.parametrize(
        ("dialect", "lines"),
        [
            ("etsy", ["latency_seconds.a:250|ms", "cost_usd.a:0.0125|ms"]),
            ("statsd_exporter", ["latency_seconds.a:0.25|h", "cost_usd.a:0.0125|h"]),
            ("telegraf", ["latency_seconds.a:0.25|h", "cost_usd.a:0.0125|h"]),
            ("datadog", ["latency_seconds.a:0.25|d", "cost_usd.a:0.0125|d"]),
        ],
    )
    def test_a_server_that_knows_histograms_gets_them_in_their_own_unit(
        self, ear: Ear, dialect: str, lines: list[str]
    ) -> None:
        settings = load_settings(
            statsd_host="127.0.0.1", statsd_port=ear.port, statsd_dialect=dialect
        )
        recorder = StatsDRecorder.from_settings(settings)
        with recorder.update():
            recorder.histogram(LATENCY).labels("a").observe(0.25)
            recorder.histogram(COST).labels("a").observe(0.0125)
            recorder.counter(CALLS).labels("a", "b").inc()
            recorder.gauge(DEPTH).labels("a").set(-1)
        recorder.close()
        assert ear.lines() == ["calls_total.a.b:1|c", "depth.a:0|g", "depth.a:-1|g", *lines]

    def test_every_dialect_can_be_set(self) -> None:
        assert get_args(Settings.model_fields["statsd_dialect"].annotation) == tuple(DIALECTS)

    def test_the_setting_is_a_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AGENTMETRICS_STATSD_DIALECT", "graphite")
        with pytest.raises(ConfigurationError, match="AGENTMETRICS_STATSD_DIALECT='graphite'"):
            load_settings()


class TestPackets:
    def test_packets_are_full_and_no_longer_than_allowed(self) -> None:
        entries = [f"{'x' * 60}{number}:1|c".encode() for number in range(1000)]
        sent = list(packets(entries, UDP_PACKET_BYTES))
        assert b"\n".join(sent).split(b"\n") == entries
        assert all(len(packet) > UDP_PACKET_BYTES - 80 for packet in sent[:-1])
        assert max(map(len, sent)) <= UDP_PACKET_BYTES

    def test_an_entry_of_exactly_the_limit_fits(self) -> None:
        entry = b"x" * UDP_PACKET_BYTES
        assert list(packets([b"a", entry, b"b"], UDP_PACKET_BYTES)) == [b"a", entry, b"b"]

    def test_a_line_longer_than_a_packet_is_dropped_and_counted(
        self, recorder: StatsDRecorder, ear: Ear, caplog: pytest.LogCaptureFixture
    ) -> None:
        many = tuple(f"label_{number}" for number in range(12))
        wide = Metric("wide_total", "counter", "Wide.", many)
        recorder.counter(wide).labels(*("x" * 128 for _ in many)).inc()
        recorder.counter(CALLS).labels("planner", "gpt").inc()
        recorder.flush()
        assert ear.lines() == ["calls_total.planner.gpt:1|c"]
        assert dropped(recorder) == 1
        assert "longer than a packet" in caplog.text


class TestWhenTheDaemonIsAway:
    def test_every_refused_packet_is_counted_once(self, away: StatsDRecorder) -> None:
        calls = away.counter(CALLS).labels("planner", "gpt")
        for number in range(5):
            calls.inc()
            away.flush()
            assert dropped(away) == number  # the last one's refusal shows at the next flush
        away.flush()
        assert dropped(away) == 5

    def test_every_refused_packet_of_one_flush_is_counted_once(self, away: StatsDRecorder) -> None:
        for number in range(300):
            away.counter(CALLS).labels(f"agent-{number}", "gpt").inc()
        away.store.take()
        sent = packets_of(away)
        away.store.taken.clear()
        assert sent > 5
        for number in range(300):
            away.counter(CALLS).labels(f"agent-{number}", "gpt").inc()
        away.flush()
        away.flush()
        assert dropped(away) == sent

    def test_the_recorder_recovers_when_the_daemon_comes(self, away: StatsDRecorder) -> None:
        calls = away.counter(CALLS).labels("planner", "gpt")
        depth = away.gauge(DEPTH).labels("mail")
        depth.set(7)
        calls.inc()
        away.flush()
        ear = Ear(int(re.findall(r":(\d+) ", away._delivery.route.sentence(OSError("x")))[0]))
        try:
            calls.inc(2)
            away.flush()
            assert "calls_total.planner.gpt:2|c" in (heard := ear.lines())
            assert "depth.mail:7|g" in heard, "a gauge heals"
        finally:
            ear.socket.close()

    def test_each_kind_of_failure_is_logged_once(
        self, away: StatsDRecorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(5):
            away.counter(CALLS).labels("planner", "gpt").inc()
            away.flush()
        [record] = caplog.records
        assert (record.name, record.levelno) == ("agentmetrics", logging.WARNING)
        assert "connection refused" in record.getMessage()

    def test_a_host_that_does_not_resolve_raises_nothing_and_is_counted(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        recorder = StatsDRecorder("nowhere", flush_interval_seconds=LONG)
        recorder.counter(CALLS).labels("planner", "gpt").inc()
        recorder.flush()
        assert dropped(recorder) == 1
        [message] = caplog.messages
        assert message == (
            "the StatsD host 'nowhere' does not resolve; packets that cannot be sent are "
            "dropped and counted"
        )
        recorder.close()

    @pytest.mark.parametrize("host", ["a..b", "x" * 70])
    def test_a_host_that_is_no_name_is_one_that_does_not_resolve(self, host: str) -> None:
        recorder = StatsDRecorder(host, flush_interval_seconds=LONG)
        recorder.counter(CALLS).labels("planner", "gpt").inc()
        recorder.flush()
        assert dropped(recorder) == 1
        assert "does not resolve" in (recorder.probe() or "")
        recorder.close()

    def test_a_name_server_that_is_silent_blocks_nobody_and_its_late_answer_is_used(
        self, monkeypatch: pytest.MonkeyPatch, ear: Ear
    ) -> None:
        answers, asked = threading.Event(), []
        resolve = socket.getaddrinfo

        def slow(host: str, *args: Any, **kwargs: Any) -> Any:
            if host == "slow":
                asked.append(host)
                answers.wait(30)
                host = "127.0.0.1"
            return resolve(host, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.1)
        recorder = StatsDRecorder("slow", ear.port, flush_interval_seconds=LONG)
        calls = recorder.counter(CALLS).labels("planner", "gpt")
        for number in range(3):
            calls.inc()
            began = time.monotonic()
            recorder.flush()
            assert time.monotonic() - began < 1
            assert dropped(recorder) == number + 1
        assert asked == ["slow"], "one question at a time"
        answers.set()
        calls.inc(5)

        def is_sent() -> bool:
            recorder.flush()
            return "calls_total.planner.gpt" in str(ear.lines())

        assert eventually(is_sent)
        recorder.close()

    def test_the_ipv4_address_of_a_host_with_both_is_taken(
        self, monkeypatch: pytest.MonkeyPatch, ear: Ear
    ) -> None:
        both = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", ear.port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", ear.port)),
        ]
        resolve = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda h, *a, **k: both if h == "both" else resolve(h, *a, **k)
        )
        recorder = StatsDRecorder("both", ear.port, flush_interval_seconds=LONG)
        recorder.counter(CALLS).labels("planner", "gpt").inc()
        recorder.close()
        assert ear.lines() == ["calls_total.planner.gpt:1|c"]

    def test_a_network_that_is_unreachable_is_counted(
        self, recorder: StatsDRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unreachable(*_: object) -> None:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

        with monkeypatch.context() as patched:
            patched.setattr(delivery.Datagrams, "send", unreachable)
            recorder.counter(CALLS).labels("planner", "gpt").inc()
            recorder.flush()
            assert dropped(recorder) == 1

    def test_the_recorder_sends_at_exit_though_no_thread_can_be_started_there(
        self, monkeypatch: pytest.MonkeyPatch, ear: Ear
    ) -> None:
        def at_exit(_: threading.Thread) -> None:  # as in Python 3.12 and later
            raise RuntimeError("can't create new thread at interpreter shutdown")

        monkeypatch.setattr(threading.Thread, "start", at_exit)
        recorder = StatsDRecorder("127.0.0.1", ear.port, flush_interval_seconds=LONG)
        recorder.counter(CALLS).labels("planner", "gpt").inc()
        recorder.close()
        assert ear.lines() == ["calls_total.planner.gpt:1|c"]


def all_of(peer: socket.socket) -> bytes:
    """What it sends until it hangs up."""
    return b"".join(iter(lambda: peer.recv(65536), b""))


class Listener:
    """A TCP server that does what a test tells it."""

    def __init__(self, port: int = 0) -> None:
        self.socket = socket.create_server(("127.0.0.1", port))
        self.socket.settimeout(5)
        self.port: int = self.socket.getsockname()[1]

    def accept(self) -> socket.socket:
        peer = self.socket.accept()[0]
        peer.settimeout(5)
        return peer


class TestTCP:
    @pytest.fixture
    def listener(self) -> Iterator[Listener]:
        listener = Listener()
        yield listener
        listener.socket.close()

    @pytest.fixture
    def recorder(self, listener: Listener) -> Iterator[StatsDRecorder]:
        """One that sends over TCP."""
        recorder = StatsDRecorder(
            "127.0.0.1", listener.port, protocol="tcp", flush_interval_seconds=LONG
        )
        yield recorder
        recorder.close()

    def test_every_line_over_tcp_ends_with_a_newline(
        self, recorder: StatsDRecorder, listener: Listener
    ) -> None:
        calls = recorder.counter(CALLS).labels("planner", "gpt")
        calls.inc()
        recorder.flush()
        calls.inc(2)
        recorder.flush()
        with listener.accept() as peer:
            recorder.close()
            heard = b"".join(iter(lambda: peer.recv(4096), b""))
        assert heard == b"calls_total.planner.gpt:1|c\ncalls_total.planner.gpt:2|c\n"

    def test_a_daemon_that_hung_up_is_connected_anew_and_nothing_is_lost(
        self, recorder: StatsDRecorder, listener: Listener
    ) -> None:
        calls = recorder.counter(CALLS).labels("planner", "gpt")
        calls.inc()
        recorder.flush()
        with listener.accept() as peer:
            assert peer.recv(4096) == b"calls_total.planner.gpt:1|c\n"
        calls.inc(2)
        recorder.flush()
        with listener.accept() as peer:
            assert peer.recv(4096) == b"calls_total.planner.gpt:2|c\n"
        assert dropped(recorder) == 0

    def test_a_refused_connection_drops_the_packets_of_the_flush(
        self, recorder: StatsDRecorder, listener: Listener
    ) -> None:
        listener.socket.close()
        for number in range(100):
            recorder.counter(CALLS).labels(f"agent-{number}", "gpt").inc()
        recorder.store.take()
        expected = packets_of(recorder)
        recorder.flush()
        assert dropped(recorder) == expected > 1

    def test_a_daemon_that_does_not_read_holds_a_flush_up_for_a_bounded_time(
        self, recorder: StatsDRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.3)
        latency = recorder.histogram(LATENCY)
        for number in range(400):
            series = latency.labels(f"{number}{'x' * 120}")
            for _ in range(SAMPLE_SIZE):
                series.observe(0.123456)
        began = time.monotonic()
        recorder.flush()
        assert time.monotonic() - began < 10
        assert dropped(recorder) > 0

    def test_a_daemon_that_reads_slowly_gets_what_fits_the_time_of_a_flush(
        self, recorder: StatsDRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.2)
        monkeypatch.setattr(delivery.Stream, "send", lambda *_: time.sleep(0.05))
        for number in range(1500):
            recorder.counter(CALLS).labels(f"agent-{number}", "gpt").inc()
        began = time.monotonic()
        recorder.flush()
        assert time.monotonic() - began < 1
        assert dropped(recorder) > 10

    def test_a_break_in_the_middle_of_a_flush_costs_one_packet(
        self, recorder: StatsDRecorder, listener: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send = delivery.Stream.send
        writes = []

        def breaks_once(client: Any, data: bytes) -> None:
            writes.append(data)
            if len(writes) == 2:
                raise BrokenPipeError(errno.EPIPE, "Broken pipe")
            send(client, data)

        monkeypatch.setattr(delivery.Stream, "send", breaks_once)
        for number in range(300):
            recorder.counter(CALLS).labels(f"agent-{number}", "gpt").inc()
        recorder.flush()
        assert dropped(recorder) == 1
        with listener.accept() as first, listener.accept() as second:
            recorder.close()
            heard = b"".join(map(all_of, (first, second)))
        arrived = {line for line in heard.decode().split("\n") if line.startswith("calls_total")}
        lost = set(writes[1].decode().split("\n"))
        assert len(arrived) == 300 - len(lost)
        assert not arrived & lost


class TestThreadsAndLocks:
    def test_there_is_no_thread_before_the_first_series_and_one_after_it(self) -> None:
        before = flush_threads()
        recorder = StatsDRecorder("127.0.0.1", free_port(socket.SOCK_DGRAM))
        recorder.observe_gauge(DEPTH, lambda: 1.0)
        counter = recorder.counter(CALLS)
        assert flush_threads() == before
        counter.labels("planner", "gpt").inc()
        recorder.gauge(ACTIVE).labels("planner").inc()
        assert flush_threads() == before + 1
        recorder.close()
        assert flush_threads() == before
        counter.labels("writer", "gpt").inc()
        assert flush_threads() == before, "nothing begins after the end"

    def test_the_recorder_flushes_at_its_interval(self, ear: Ear) -> None:
        recorder = StatsDRecorder("127.0.0.1", ear.port, flush_interval_seconds=0.05)
        recorder.gauge(DEPTH).labels("mail").set(1)
        heard: list[str] = []

        def hears_three() -> bool:
            heard.extend(ear.lines())
            return len(heard) >= 3

        assert eventually(hears_three)
        recorder.close()

    def test_a_flush_inside_an_update_is_left_to_the_thread(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        calls = recorder.counter(CALLS).labels("planner", "gpt")
        with recorder.update():
            calls.inc()
            recorder.flush()
            assert ear.lines() == [], "half of a step was sent"
            calls.inc()
        recorder.flush()
        assert ear.lines() == ["calls_total.planner.gpt:2|c"]

    def test_flushing_updating_and_losing_packets_at_once_does_not_deadlock(
        self, away: StatsDRecorder
    ) -> None:
        calls = away.counter(CALLS).labels("planner", "gpt")
        until = time.monotonic() + 0.5

        def work() -> None:
            while time.monotonic() < until:
                with away.update():
                    calls.inc()
                    away.flush()
                away.flush()

        workers = [threading.Thread(target=work, daemon=True) for _ in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20)
            assert not worker.is_alive()

    def test_updates_do_not_wait_while_packets_are_being_sent(
        self, recorder: StatsDRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sending, go_on = threading.Event(), threading.Event()

        def hangs(*_: object) -> None:
            sending.set()
            go_on.wait(10)

        monkeypatch.setattr(delivery.Datagrams, "send", hangs)
        calls = recorder.counter(CALLS).labels("planner", "gpt")
        calls.inc()
        flush = threading.Thread(target=recorder.flush)
        flush.start()
        assert sending.wait(5)
        updated = threading.Thread(target=calls.inc)
        updated.start()
        updated.join(5)
        assert not updated.is_alive()
        go_on.set()
        flush.join(5)

    def test_no_increment_is_lost_or_sent_twice_between_threads(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        calls = recorder.counter(CALLS).labels("planner", "gpt")

        def work() -> None:
            for number in range(2000):
                calls.inc()
                if number % 50 == 0:
                    recorder.flush()

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        recorder.close()
        lines = ear.lines()
        assert len(lines) > 4
        assert sum(int(line.split(":")[1].removesuffix("|c")) for line in lines) == 8000

    def test_an_error_nobody_foresaw_is_logged_once_and_ends_nothing(
        self,
        recorder: StatsDRecorder,
        ear: Ear,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(StatsDRecorder, "entries", lambda *_: 1 / 0)
            recorder.flush()
            recorder.flush()
        assert len(caplog.records) == 1
        recorder.counter(CALLS).labels("planner", "gpt").inc()
        recorder.flush()
        assert ear.lines() == ["calls_total.planner.gpt:1|c"]


class TestClosing:
    def test_closing_sends_what_is_not_sent_yet(self, recorder: StatsDRecorder, ear: Ear) -> None:
        recorder.counter(CALLS).labels("planner", "gpt").inc()
        recorder.close()
        recorder.close()
        assert ear.lines() == ["calls_total.planner.gpt:1|c"]

    def test_updates_after_closing_are_lost_without_an_error(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        calls = recorder.counter(CALLS).labels("planner", "gpt")
        recorder.close()
        calls.inc()
        recorder.gauge(DEPTH).labels("mail").set(1)
        recorder.flush()
        assert ear.lines() == []

    def test_closing_inside_an_update_sends_and_returns(
        self, recorder: StatsDRecorder, ear: Ear
    ) -> None:
        with recorder.update():
            recorder.counter(CALLS).labels("planner", "gpt").inc()
            recorder.close()
        assert ear.lines() == ["calls_total.planner.gpt:1|c"]


class TestConfiguration:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"host": ""}, "the StatsD host is empty"),
            ({"port": 0}, "the StatsD port is 0; it must be a number from 1 to 65535"),
            ({"port": 65536}, "the StatsD port is 65536; it must be a number from 1 to 65535"),
            ({"protocol": "icmp"}, "the StatsD protocol is 'icmp'; use udp or tcp"),
            (
                {"dialect": "h"},
                "the StatsD dialect is 'h'; use one of etsy, statsd_exporter, telegraf, datadog",
            ),
            (
                {"flush_interval_seconds": 0},
                "the StatsD flush interval is 0; it must be above 0 seconds",
            ),
            (
                {"flush_interval_seconds": float("nan")},
                "the StatsD flush interval is nan; it must be above 0 seconds",
            ),
        ],
    )
    def test_a_recorder_that_can_never_work_is_refused(
        self, arguments: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(ValueError) as raised:
            StatsDRecorder(**arguments)
        assert str(raised.value) == sentence

    def test_the_settings_choose_host_port_prefix_protocol_and_interval(self, ear: Ear) -> None:
        recorder = make_recorder(
            load_settings(
                backend=("statsd",),
                statsd_host="127.0.0.1",
                statsd_port=ear.port,
                statsd_prefix="shop",
                statsd_flush_interval=0.05,
            )
        )
        recorder.counter(CALLS).labels("planner", "gpt").inc()
        heard: list[str] = []

        def hears() -> bool:
            heard.extend(ear.lines())
            return bool(heard)

        assert eventually(hears)
        assert heard == ["shop.calls_total.planner.gpt:1|c"]
        recorder.close()

    def test_the_variables_of_the_statsd_package_are_understood(
        self, monkeypatch: pytest.MonkeyPatch, ear: Ear
    ) -> None:
        monkeypatch.setenv("STATSD_HOST", "127.0.0.1")
        monkeypatch.setenv("STATSD_PORT", str(ear.port))
        monkeypatch.setenv("STATSD_PREFIX", "legacy")
        recorder = StatsDRecorder.from_settings(load_settings())
        recorder.counter(CALLS).labels("planner", "gpt").inc()
        recorder.close()
        assert ear.lines() == ["legacy.calls_total.planner.gpt:1|c"]

    def test_a_bad_setting_stops_with_its_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AGENTMETRICS_STATSD_PROTOCOL", "icmp")
        with pytest.raises(ConfigurationError, match="AGENTMETRICS_STATSD_PROTOCOL"):
            load_settings()


class TestProbing:
    def test_probing_finds_a_listening_daemon_and_counts_nothing(self, ear: Ear) -> None:
        assert StatsDRecorder("127.0.0.1", ear.port).probe(1) is None
        assert ear.packets() == [""]

    def test_probing_says_that_a_datagram_was_refused(self, away: StatsDRecorder) -> None:
        said = away.probe(1) or ""
        assert re.fullmatch(
            r"nothing is listening at 127.0.0.1:\d+ over UDP: connection refused", said
        )

    def test_probing_says_that_a_connection_was_refused(self) -> None:
        said = StatsDRecorder("127.0.0.1", free_port(), protocol="tcp").probe(1) or ""
        assert re.fullmatch(
            r"nothing is listening at 127.0.0.1:\d+ over TCP: connection refused", said
        )

    def test_probing_finds_a_daemon_that_listens_for_tcp(self) -> None:
        listener = Listener()
        assert StatsDRecorder("127.0.0.1", listener.port, protocol="tcp").probe(1) is None
        listener.socket.close()

    def test_probing_says_that_a_name_server_is_silent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.wait(10) and [])
        said = StatsDRecorder("slow", 8125).probe(0.05)
        assert said == "StatsD at slow:8125 over UDP: the name server did not answer within 0.05 s"
        answers.set()
