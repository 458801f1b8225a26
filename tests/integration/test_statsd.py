"""The StatsD backend and the original daemon: what was recorded is what it has."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from textwrap import dedent

import pytest

from agentmetrics.backends.changes import SAMPLE_SIZE
from agentmetrics.backends.statsd import StatsDRecorder
from agentmetrics.backends.statsd_lines import path_of
from agentmetrics.recording.metric import Metric
from tests.services.statsd import StatsDDaemon, eventually

CALLS = Metric("calls_total", "counter", "Calls.", ("agent", "status"))
COST = Metric("cost_usd_total", "counter", "Cost.", ("agent",), "usd")
DEPTH = Metric("depth", "gauge", "Depth.", ("queue",))
MEMORY = Metric("memory_mb", "gauge", "Read at every flush.")
LATENCY = Metric("latency_seconds", "histogram", "Latency.", ("agent",), "seconds", (1.0,))
COST_OF_A_CALL = Metric("call_cost_usd", "histogram", "Cost.", ("agent",), "usd", (1.0,))

LONG = 3600.0  # an interval that no test sees the end of
Make = Callable[..., StatsDRecorder]


@pytest.fixture(params=["udp", "tcp"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(statsd: StatsDDaemon, protocol: str) -> Iterator[Make]:
    """A recorder for the running daemon."""
    with ExitStack() as made:

        def make(prefix: str = "", flush_interval_seconds: float = LONG) -> StatsDRecorder:
            recorder = StatsDRecorder(
                statsd.host, statsd.port(protocol), prefix, protocol, flush_interval_seconds
            )
            made.callback(recorder.close)
            return recorder

        yield make


def dropped(recorder: StatsDRecorder) -> float:
    return recorder.value("agentmetrics_packets_dropped_total", backend="statsd")


class TestWhatIsRecordedIsWhatTheDaemonHas:
    def test_the_daemon_has_what_is_recorded_over_several_flushes(
        self, statsd: StatsDDaemon, make: Make
    ) -> None:
        recorder, dice = make("shop.agents"), random.Random(7)
        counters: dict[str, float] = defaultdict(float)
        gauges: dict[str, float] = {}
        timers: dict[str, list[float]] = defaultdict(list)
        memory = [0.0]
        recorder.observe_gauge(MEMORY, lambda: memory[0])
        for _ in range(8):
            for _ in range(200):
                agent = f"agent {dice.randrange(40)}"
                status, queue = dice.choice(["success", "error"]), f"q{dice.randrange(30)}"
                cost, depth, seconds = dice.random() * 1e-4, dice.uniform(-9, 9), dice.random()
                recorder.counter(CALLS).labels(agent, status).inc()
                recorder.counter(COST).labels(agent).inc(cost)
                recorder.gauge(DEPTH).labels(queue).set(depth)
                recorder.histogram(LATENCY).labels(agent).observe(seconds)
                counters[path_of("shop.agents", "calls_total", [agent, status])] += 1
                counters[path_of("shop.agents", "cost_usd_total", [agent])] += cost
                gauges[path_of("shop.agents", "depth", [queue])] = depth
                timers[path_of("shop.agents", "latency_seconds", [agent])].append(seconds * 1000)
            memory[0] = gauges["shop.agents.memory_mb"] = dice.random()
            recorder.flush()
        assert eventually(lambda: sum(map(len, statsd.timers().values())) == 1600)
        assert statsd.counters() == pytest.approx(dict(counters), rel=1e-12)
        assert statsd.gauges() == gauges
        assert statsd.timers() == {
            name: pytest.approx(values, abs=1e-6) for name, values in timers.items()
        }
        assert "Bad line" not in statsd.log.read_text()
        assert dropped(recorder) == 0

    def test_smallest_and_largest_numbers_keep_every_digit(
        self, statsd: StatsDDaemon, make: Make
    ) -> None:
        recorder = make()
        numbers = [1e-7, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, -1e-5, -123456.789, 2.0**53]
        for index, number in enumerate(numbers):
            recorder.gauge(DEPTH).labels(index).set(number)
        recorder.flush()
        expected = {f"depth.{index}": number for index, number in enumerate(numbers)}
        assert eventually(lambda: len(statsd.gauges()) == len(numbers))
        assert statsd.gauges() == expected

    def test_a_gauge_goes_below_zero_and_back(self, statsd: StatsDDaemon, make: Make) -> None:
        recorder = make()
        depth = recorder.gauge(DEPTH).labels("mail")
        for value in (-5, -5, 3, -7.5, 0, -1):
            depth.set(value)
            recorder.flush()
            assert eventually(lambda: statsd.gauges() == {"depth.mail": value}), value  # noqa: B023

    @pytest.mark.parametrize("agent", ["a:1|c", "a|#env:prod", "a;env=prod", "a/b c", "ü\n", ""])
    def test_a_hostile_label_is_one_component_of_one_name(
        self, statsd: StatsDDaemon, make: Make, agent: str
    ) -> None:
        recorder = make()
        recorder.counter(CALLS).labels(agent, "success").inc(3)
        recorder.flush()
        assert eventually(lambda: statsd.counters() != {})
        [(name, value)] = statsd.counters().items()
        assert re.fullmatch(r"calls_total\.[\w-]+\.success", name, re.ASCII)
        assert value == 3

    def test_a_sampled_timer_counts_as_many_as_were_observed(
        self, statsd: StatsDDaemon, make: Make
    ) -> None:
        recorder, dice = make(), random.Random(7)
        observed = [dice.random() for _ in range(5000)]
        for seconds in observed:
            recorder.histogram(LATENCY).labels("planner").observe(seconds)
        recorder.histogram(LATENCY).labels("writer").observe(1)
        recorder.flush()
        assert eventually(lambda: len(statsd.timers().get("latency_seconds.writer", [])) == 1)
        sample = statsd.timers()["latency_seconds.planner"]
        assert len(sample) == SAMPLE_SIZE
        known = {round(seconds * 1000, 6) for seconds in observed}
        assert set(sample) <= known
        assert sum(sample) / len(sample) == pytest.approx(500, rel=0.15)
        counts = statsd.timer_counts()
        assert counts["latency_seconds.planner"] == pytest.approx(5000)
        assert counts["latency_seconds.writer"] == 1


class TestDialects:
    def test_the_original_daemon_takes_the_default_as_timers_and_counts_what_it_does_not_know(
        self, statsd: StatsDDaemon
    ) -> None:
        for dialect in ("etsy", "statsd_exporter"):
            recorder = StatsDRecorder(statsd.host, statsd.udp_port, dialect, dialect=dialect)
            recorder.histogram(LATENCY).labels("planner").observe(0.25)
            recorder.histogram(COST_OF_A_CALL).labels("planner").observe(0.5)
            recorder.close()
        assert eventually(lambda: len(statsd.counters()) == 2)
        assert statsd.timers() == {
            "etsy.latency_seconds.planner": [250.0],
            "etsy.call_cost_usd.planner": [0.5],
        }
        assert statsd.counters() == {
            "statsd_exporter.latency_seconds.planner": 0.25,
            "statsd_exporter.call_cost_usd.planner": 0.5,
        }


class TestADaemonThatGoesAndComesBack:
    def test_it_is_counted_blocks_nobody_and_later_values_arrive(
        self, statsd: StatsDDaemon, make: Make, protocol: str
    ) -> None:
        recorder = make(flush_interval_seconds=0.05)
        calls = recorder.counter(CALLS).labels("planner", "success")
        recorder.gauge(DEPTH).labels("mail").set(42)
        calls.inc()
        assert eventually(lambda: statsd.counters() == {"calls_total.planner.success": 1})

        statsd.stop()
        slowest = 0.0
        before = dropped(recorder)
        while dropped(recorder) < before + 5:
            began = time.perf_counter()
            calls.inc()
            slowest = max(slowest, time.perf_counter() - began)
            time.sleep(0.001)
        assert slowest < 0.25

        statsd.start()
        assert eventually(lambda: statsd.gauges() == {"depth.mail": 42}), "a gauge heals"
        settled = dropped(recorder)
        received = statsd.counters().get("calls_total.planner.success", 0)
        calls.inc(1000)
        assert eventually(
            lambda: statsd.counters().get("calls_total.planner.success", 0) >= received + 1000
        )
        assert dropped(recorder) <= settled + 1  # the last datagram that was refused

    def test_a_gauge_heals_after_a_lost_packet(self, statsd: StatsDDaemon, make: Make) -> None:
        recorder = make()
        depth = recorder.gauge(DEPTH).labels("mail")
        statsd.stop()
        depth.set(-3)
        recorder.flush()
        statsd.start()
        assert statsd.gauges() == {}
        recorder.flush()
        assert eventually(lambda: statsd.gauges() == {"depth.mail": -3})

    def test_probing_says_whether_it_is_there(self, statsd: StatsDDaemon, make: Make) -> None:
        recorder = make()
        assert recorder.probe(2) is None
        statsd.stop()
        assert "nothing is listening at" in (recorder.probe(2) or "")
        statsd.start()
        assert recorder.probe(2) is None

    def test_a_host_that_does_not_resolve_blocks_nobody(self, protocol: str) -> None:
        recorder = StatsDRecorder(
            "statsd.invalid", protocol=protocol, flush_interval_seconds=0.05
        )  # RFC 6761: it never exists
        calls = recorder.counter(CALLS).labels("planner", "success")
        assert eventually(lambda: (calls.inc(), dropped(recorder) >= 2)[1], 20)
        began = time.monotonic()
        recorder.close()
        assert time.monotonic() - began < 10
        assert "does not resolve" in (recorder.probe(5) or "did not answer")


FORKING = """
    import os, sys, time, warnings
    warnings.simplefilter("ignore")
    from agentmetrics.backends.statsd import StatsDRecorder
    from agentmetrics.recording.metric import Metric

    host, port, protocol, interval = sys.argv[1:]
    recorder = StatsDRecorder(host, int(port), "", protocol, float(interval))
    calls = recorder.counter(Metric("calls_total", "counter", "Calls.")).labels()
    last = recorder.gauge(Metric("last", "gauge", "Last.")).labels()
    active = recorder.gauge(Metric("active", "gauge", "Active.", merge="sum")).labels()
    seconds = recorder.histogram(
        Metric("seconds", "histogram", "Time.", unit="seconds", buckets=(1.0,))
    ).labels()
"""


def run(script: str, *arguments: object, **env: str) -> None:
    command = [sys.executable, "-c", dedent(FORKING) + dedent(script), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr


class TestForking:
    def test_a_child_sends_its_own_and_not_what_the_parent_had_not_sent(
        self, statsd: StatsDDaemon, protocol: str
    ) -> None:
        run(
            """
            calls.inc(1); recorder.flush()  # so there is a socket to inherit
            calls.inc(10); seconds.observe(1); last.set(5); active.inc()
            child = os.fork()
            if not child:
                calls.inc(100); seconds.observe(2)
                sys.exit()  # which flushes
            os.waitpid(child, 0)
            recorder.flush()
            """,
            statsd.host,
            statsd.port(protocol),
            protocol,
            LONG,
        )
        assert eventually(lambda: statsd.counters().get("calls_total") == 111)
        assert Tally(statsd.lines()) == {
            "calls_total:1|c": 1,
            "last:0|g": 1,
            "active:0|g": 1,
            "calls_total:100|c": 1,  # the child, which says nothing of gauges it did not set
            "seconds:2000|ms": 1,
            "calls_total:10|c": 1,
            "seconds:1000|ms": 1,
            "last:5|g": 2,  # the parent, at its flush and at its exit
            "active:1|g": 2,
        }

    def test_a_gauge_that_the_child_sets_is_sent_even_to_the_same_value(
        self, statsd: StatsDDaemon, protocol: str
    ) -> None:
        run(
            """
            five = 5.0
            last.set(five)
            child = os.fork()
            if not child:
                last.set(five)
                sys.exit()
            os.waitpid(child, 0)
            os._exit(0)
            """,
            statsd.host,
            statsd.port(protocol),
            protocol,
            LONG,
        )
        assert eventually(lambda: statsd.lines() == ["last:5|g"])

    def test_the_flush_thread_begins_again_in_the_child(
        self, statsd: StatsDDaemon, protocol: str
    ) -> None:
        run(
            """
            calls.inc(1); time.sleep(0.3)
            child = os.fork()
            if not child:
                calls.inc(100); time.sleep(0.5)
                os._exit(0)  # which does not flush
            os.waitpid(child, 0)
            calls.inc(10)
            """,
            statsd.host,
            statsd.port(protocol),
            protocol,
            0.05,
        )
        assert eventually(lambda: statsd.counters() == {"calls_total": 111})

    def test_a_child_forked_while_the_parent_resolves_the_host_resolves_it_itself(
        self, statsd: StatsDDaemon, protocol: str
    ) -> None:
        run(
            """
            import socket, threading
            parent, resolve, resolving = os.getpid(), socket.getaddrinfo, threading.Event()
            def slow(*arguments, **options):
                if os.getpid() == parent:
                    resolving.set()
                    time.sleep(0.3)
                return resolve(*arguments, **options)
            socket.getaddrinfo = slow
            calls.inc(1)
            flush = threading.Thread(target=recorder.flush)
            flush.start()
            resolving.wait()
            child = os.fork()
            if not child:
                calls.inc(100)
                recorder.close()
                os._exit(0)
            os.waitpid(child, 0)
            flush.join()
            """,
            statsd.host,
            statsd.port(protocol),
            protocol,
            LONG,
        )
        assert eventually(lambda: statsd.counters() == {"calls_total": 101})

    def test_children_forked_while_the_parent_flushes_and_updates_lose_nothing(
        self, statsd: StatsDDaemon, protocol: str
    ) -> None:
        run(
            """
            import threading
            def work():
                for _ in range(20_000):
                    calls.inc()
            worker = threading.Thread(target=work)
            worker.start()
            children = []
            for _ in range(10):
                children.append(os.fork())
                if not children[-1]:
                    for _ in range(1000):
                        calls.inc()
                    recorder.close()
                    os._exit(0)
                time.sleep(0.005)
            worker.join()
            assert all(os.waitpid(child, 0)[1] == 0 for child in children)
            """,
            statsd.host,
            statsd.port(protocol),
            protocol,
            0.002,
        )
        assert eventually(lambda: statsd.counters() == {"calls_total": 30_000})


class TestLeaving:
    def test_a_program_that_just_ends_has_sent_everything(
        self, statsd: StatsDDaemon, protocol: str
    ) -> None:
        script = """
            calls.inc(3); seconds.observe(0.5); del recorder, calls, seconds, last, active
        """
        run(script, statsd.host, statsd.port(protocol), protocol, LONG)
        assert eventually(lambda: statsd.timers() == {"seconds": [500.0]})
        assert statsd.counters() == {"calls_total": 3}

    def test_a_program_that_is_configured_by_its_environment_has_sent_everything(
        self, statsd: StatsDDaemon, protocol: str
    ) -> None:
        script = """
            import agentmetrics
            recorder = agentmetrics.get_recorder()
            recorder.counter(Metric("configured_total", "counter", "Calls.")).labels().inc(3)
        """
        run(
            script,
            statsd.host,
            statsd.port(protocol),
            protocol,
            LONG,
            AGENTMETRICS_BACKEND="statsd",
            AGENTMETRICS_STATSD_HOST=statsd.host,
            AGENTMETRICS_STATSD_PORT=str(statsd.port(protocol)),
            AGENTMETRICS_STATSD_PROTOCOL=protocol,
            AGENTMETRICS_STATSD_PREFIX="shop",
        )
        assert eventually(lambda: statsd.counters() == {"shop.configured_total": 3})
