"""An Agent over UDP and unix sockets has what was recorded: under load, over forks and kills, and
when it goes away and comes back."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from agentmetrics import CommonLabels, FanoutRecorder, MemoryRecorder, Metric, Namespace
from agentmetrics_datadog import DogStatsDRecorder
from tests.services.dogstatsd import Agent, Series, agent_at
from tests.services.statsd import eventually

CALLS = Metric("calls_total", "counter", "Calls.", ("agent", "status"))
MONEY = Metric("money_usd_total", "counter", "Money.", ("agent",), "usd")
DEPTH = Metric("depth", "gauge", "Depth.", ("queue",))
LATENCY = Metric("latency_seconds", "histogram", "Latency.", ("agent",), "seconds", (1.0,))

LONG = 3600.0  # an interval that no test sees the end of
Make = Callable[..., DogStatsDRecorder]


@pytest.fixture(params=["udp", "unix", "unixstream"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Agent]:
    with agent_at(request.param, tmp_path) as agent:
        yield agent


@pytest.fixture(params=["unix", "unixstream"])
def on_socket(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Agent]:
    with agent_at(request.param, tmp_path) as agent:
        yield agent


@pytest.fixture
def make() -> Iterator[Make]:
    with ExitStack() as made:

        def make(url: str, flush_interval_seconds: float = LONG, **more: Any) -> DogStatsDRecorder:
            recorder = DogStatsDRecorder(url, flush_interval_seconds=flush_interval_seconds, **more)
            made.callback(recorder.close)
            return recorder

        yield make


def dropped(recorder: DogStatsDRecorder) -> float:
    return recorder.value("agentmetrics_packets_dropped_total", backend="datadog")


class TestWhatIsRecordedIsWhatTheAgentHas:
    def test_the_sums_of_many_threads_over_many_flushes_arrive(
        self, agent: Agent, make: Make
    ) -> None:
        recorder = make(agent.url, flush_interval_seconds=0.02)
        done: list[dict[Series, tuple[int, float]]] = []

        def work(seed: int) -> None:
            dice = random.Random(seed)
            sums: dict[Series, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
            for number in range(2000):
                name, status = f"agent {dice.randrange(30)}", dice.choice(["success", "error"])
                cost, seconds = dice.random() * 1e-4, dice.random()
                with recorder.update():
                    recorder.counter(CALLS).labels(name, status).inc()
                    recorder.counter(MONEY).labels(name).inc(cost)
                    recorder.histogram(LATENCY).labels(name).observe(seconds)
                key = ("agent", name.replace(" ", "_"))
                for metric, value, tags in (
                    ("calls_total", 1, (key, ("status", status))),
                    ("money_usd_total", cost, (key,)),
                    ("latency_seconds", seconds, (key,)),
                ):
                    count, total = sums[metric, tags]
                    sums[metric, tags] = count + 1, total + value
                if number % 50 == 0:
                    time.sleep(0.001)  # so that there are flushes in between
            done.append(sums)

        workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        recorder.close()
        expected: dict[Series, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
        for sums in done:
            for series, (count, total) in sums.items():
                before = expected[series]
                expected[series] = before[0] + count, before[1] + total

        def of(kind: str) -> dict[Series, tuple[int, float]]:
            return {key: value for key, value in expected.items() if key[0] == kind}

        assert eventually(lambda: agent.counted("calls_total") == 12_000)
        counters = {key: total for kind in ("calls_total", "money_usd_total")
                    for key, (_, total) in of(kind).items()}  # fmt: skip
        assert agent.counters() == pytest.approx(counters, rel=1e-9)
        observed = {key: count for key, (count, _) in of("latency_seconds").items()}
        assert eventually(
            lambda: observed == {key: count for key, (count, _) in agent.distributions().items()}
        )
        heard = agent.distributions()
        seconds = {key: total for key, (_, total) in of("latency_seconds").items()}
        assert {key: total for key, (_, total) in heard.items()} == pytest.approx(seconds)
        assert dropped(recorder) == 0

    def test_namespace_labels_and_a_backend_beside_it_change_nothing_but_names_and_tags(
        self, agent: Agent, make: Make
    ) -> None:
        memory, ours = MemoryRecorder(), make(agent.url)
        recorder = Namespace(CommonLabels(FanoutRecorder([memory, ours]), {"env": "prod"}), "shop")
        recorder.counter(CALLS).labels("planner", "success").inc(3)
        recorder.flush()
        tags = (("agent", "planner"), ("status", "success"), ("env", "prod"))
        assert eventually(lambda: agent.counters() == {("shop_calls_total", tags): 3})
        assert memory.value("shop_calls_total", agent="planner") == 3


class TestAnAgentThatGoesAndComesBack:
    def test_it_is_counted_blocks_nobody_and_later_values_arrive(
        self, agent: Agent, make: Make
    ) -> None:
        recorder = make(agent.url, flush_interval_seconds=0.02)
        calls = recorder.counter(CALLS).labels("planner", "success")
        recorder.gauge(DEPTH).labels("mail").set(42)
        calls.inc()
        assert eventually(lambda: agent.counted("calls_total") == 1)
        agent.stop()
        slowest, before = 0.0, dropped(recorder)
        while dropped(recorder) < before + 5:
            began = time.perf_counter()
            calls.inc()
            slowest = max(slowest, time.perf_counter() - began)
            time.sleep(0.001)
        assert slowest < 0.25
        agent.packets.clear()
        agent.start()
        assert eventually(lambda: 42 in agent.gauges().values()), "a gauge heals"
        settled = dropped(recorder)
        received = agent.counted("calls_total")
        calls.inc(1000)
        assert eventually(lambda: agent.counted("calls_total") >= received + 1000)
        assert dropped(recorder) <= settled + 1  # the last datagram that was refused

    def test_an_agent_that_began_again_between_two_flushes_gets_everything(
        self, on_socket: Agent, make: Make
    ) -> None:
        recorder = make(on_socket.url)
        calls = recorder.counter(CALLS).labels("planner", "success")
        calls.inc()
        recorder.flush()
        assert eventually(lambda: on_socket.counted("calls_total") == 1)
        on_socket.stop()
        on_socket.start()
        calls.inc(5)
        recorder.flush()
        assert eventually(lambda: on_socket.counted("calls_total") == 6)
        assert dropped(recorder) == 0

    def test_a_socket_that_is_not_there_yet_is_counted_and_found_later(
        self, tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        agent = Agent.at("unix", tmp_path)
        recorder = make(agent.url)
        calls = recorder.counter(CALLS).labels("planner", "success")
        for number in range(1, 4):
            calls.inc()
            recorder.flush()
            assert dropped(recorder) == number
        [message] = caplog.messages
        assert message == (
            f"there is no socket {agent.path!r}, as the Agent makes one when it starts; packets "
            "that cannot be sent are dropped and counted"
        )
        assert (recorder.probe() or "").startswith("there is no socket")
        agent.start()
        try:
            assert recorder.probe() is None
            calls.inc(10)
            recorder.flush()
            assert eventually(lambda: agent.counted("calls_total") == 10)
        finally:
            agent.stop()

    def test_an_agent_that_does_not_read_costs_packets_and_nobodys_time(
        self, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import socket

        from agentmetrics.backends import delivery

        monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.2)
        path = str(tmp_path / "dsd.socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
            deaf.bind(path)
            recorder = make(f"unix://{path}")
            for number in range(8000):
                recorder.counter(CALLS).labels(f"agent-{number}", "success").inc()
            began = time.monotonic()
            recorder.flush()
            assert time.monotonic() - began < 2
            assert dropped(recorder) > 10

    @pytest.mark.parametrize("scheme", ["udp", "unix", "unixstream"])
    def test_probing_says_whether_it_is_there(
        self, scheme: str, tmp_path: Path, make: Make
    ) -> None:
        with agent_at(scheme, tmp_path) as agent:
            recorder = make(agent.url)
            assert recorder.probe(2) is None
        assert "nothing is listening at" in (recorder.probe(2) or "")


PROGRAM = """
    import os, sys, time, warnings
    warnings.simplefilter("ignore")
    from agentmetrics import Metric
    from agentmetrics_datadog import DogStatsDRecorder

    recorder = DogStatsDRecorder(sys.argv[1], flush_interval_seconds=float(sys.argv[2]))
    calls = recorder.counter(Metric("calls_total", "counter", "Calls.")).labels()
    last = recorder.gauge(Metric("last", "gauge", "Last.")).labels()
    active = recorder.gauge(Metric("active", "gauge", "Active.", merge="sum")).labels()
    seconds = recorder.histogram(
        Metric("seconds", "histogram", "Time.", unit="seconds", buckets=(1.0,))
    ).labels()
"""


def command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", dedent(PROGRAM) + dedent(script), *map(str, arguments)]


def run(script: str, *arguments: object, **env: str) -> None:
    done = subprocess.run(
        command(script, *arguments),
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr


class TestProcesses:
    @pytest.fixture
    def agent(self, tmp_path: Path) -> Iterator[Agent]:
        with agent_at("unix", tmp_path) as agent:
            yield agent

    def test_a_child_sends_its_own_and_not_what_the_parent_had_not_sent(self, agent: Agent) -> None:
        run(
            """
            calls.inc(1); recorder.flush()  # so there is a socket to inherit
            calls.inc(10); seconds.observe(1); last.set(5)
            child = os.fork()
            if not child:
                calls.inc(100); seconds.observe(2)
                sys.exit()  # which flushes
            os.waitpid(child, 0)
            """,
            agent.url,
            LONG,
        )
        assert eventually(lambda: agent.counted("calls_total") == 111)
        assert eventually(lambda: agent.distributions() == {("seconds", ()): (2, 3.0)})
        lines = agent.lines()
        assert sorted(line for line in lines if line.startswith("last")) == ["last:0|g", "last:5|g"]

    def test_what_is_in_flight_in_each_process_can_be_summed(self, agent: Agent) -> None:
        run(
            """
            active.inc(1)
            child = os.fork()
            if not child:
                active.inc(2)
                recorder.close()
                os._exit(0)
            os.waitpid(child, 0)
            """,
            agent.url,
            LONG,
        )
        assert eventually(lambda: sorted(agent.gauges_of("active")) == [1, 2])

    def test_a_killed_process_has_lost_at_most_what_came_after_its_last_flush(
        self, agent: Agent
    ) -> None:
        script = """
            calls.inc(7); last.set(3)
            print("recorded", flush=True)
            time.sleep(60)
        """
        process = subprocess.Popen(command(script, agent.url, 0.02), stdout=subprocess.PIPE)
        try:
            assert process.stdout
            assert process.stdout.readline() == b"recorded\n"
            assert eventually(lambda: agent.counted("calls_total") == 7)
            assert agent.gauges()["last", ()] == 3
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        agent.settle()
        heard = len(agent.packets)
        time.sleep(0.1)
        assert len(agent.packets) == heard, "nobody speaks for it any more"

    def test_children_forked_while_the_parent_flushes_and_updates_lose_nothing(
        self, agent: Agent
    ) -> None:
        run(
            """
            import threading
            def work():
                for _ in range(10_000):
                    calls.inc()
            worker = threading.Thread(target=work)
            worker.start()
            children = []
            for _ in range(5):
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
            agent.url,
            0.002,
        )
        assert eventually(lambda: agent.counted("calls_total") == 15_000)

    def test_a_program_that_is_configured_by_its_environment_has_sent_everything(
        self, agent: Agent
    ) -> None:
        run(
            """
            import agentmetrics
            with agentmetrics.track_call("openai", "gpt-4o", agent_name="planner") as call:
                call.record_usage(10, 5)
            """,
            agent.url,
            LONG,
            AGENTMETRICS_BACKEND="datadog",
            DD_DOGSTATSD_URL=agent.url,
            DD_SERVICE="shop",
        )
        assert eventually(lambda: agent.counted("llm_tokens_total") == 15)
        tags = (("service", "shop"), ("agent_name", "planner"), ("provider", "openai"),
                ("model", "gpt-4o"), ("status", "success"))  # fmt: skip
        assert agent.counters()["llm_calls_total", tags] == 1
