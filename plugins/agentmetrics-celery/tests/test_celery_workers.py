"""Real workers of every pool over real brokers, compared with what their tasks wrote down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import pools
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from agentmetrics import Ledger, MemoryRecorder
from agentmetrics_celery import instrument_app
from tests.services.process import free_port
from tests.services.rabbitmq import RabbitMQServer
from tests.services.statsd import StatsDDaemon, eventually

HERE = Path(__file__).parent
POOLS_WITHOUT_CHILDREN = ("threads", "gevent", "solo")
SECONDS = 60.0
STATUSES = ("success", "error", "retry", "ignored", "rejected")

ANY_POOL = {"ok": 6, "bad": 2, "flaky": 1, "hopeless": 1, "ignored": 1, "rejected": 2, "answer": 3}
"""How many of each task every worker is sent."""
ANSWERS = {("clerk", "tenant-0", "success"): 2.0, ("clerk", "tenant-1", "success"): 1.0}
"""The calls that these make."""


@dataclass
class Shop:
    """A worker as a process, a program that sends tasks, and the log that tasks write."""

    directory: Path
    broker: str
    sender: Celery
    process: subprocess.Popen[bytes]
    port: int | None
    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Tasks that end without a chance to write it down, by name and status."""

    @property
    def queue(self) -> str:
        return str(self.sender.conf.task_default_queue)

    def send(self, task: str, *args: object, **options: Any) -> Any:
        return self.sender.send_task(f"celery_shop.{task}", args, **options)

    def lines(self) -> list[list[str]]:
        """What tasks wrote: name, how it ended, process, time."""
        log = self.directory / "log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def noted(self) -> Counter[tuple[str, str]]:
        return Counter((task, how) for task, how, *_ in self.lines())

    def endings(self) -> Counter[tuple[str, str]]:
        """How tasks ended, as they wrote it."""
        noted = self.noted().items()
        return self.told + Counter({what: n for what, n in noted if what[1] in STATUSES})

    def is_counted(self) -> bool:
        return sum(self.tasks().values()) >= self.endings().total()

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            said = (self.directory / "worker.log").read_text()
            assert self.process.poll() is None, f"the worker has ended: {said}"
            if time.monotonic() > deadline:
                wrote, counted = self.endings(), self.tasks() if self.port else None
                pytest.fail(f"no {what}: {wrote=}, {counted=}; {said[-3000:]}")
            time.sleep(0.02)

    def samples(self) -> list[Sample]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return [sample for family in families for sample in family.samples]

    def values(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The values of a sample by these labels, without those that are 0."""
        found: dict[tuple[str, ...], float] = {}
        for sample in self.samples():
            if sample.name == name and sample.value:
                key = tuple(sample.labels[label].removeprefix("celery_shop.") for label in labels)
                found[key] = found.get(key, 0.0) + sample.value
        return found

    def tasks(self) -> dict[tuple[str, ...], float]:
        return self.values("celery_tasks_total", "task_name", "status")

    def end(self) -> None:
        """A warm shutdown: what has begun is finished."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SECONDS) == 0


@contextmanager
def working(
    directory: Path, broker: str, pool: str, *options: str, serves: bool = True, **env: str
) -> Iterator[Shop]:
    """A worker with two tasks at a time, that is ready."""
    queue = f"shop-{directory.name}"
    port = free_port() if serves else None
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    settings = {
        "SHOP_LOG": str(directory / "log"),
        "SHOP_BROKER": broker,
        "SHOP_QUEUE": queue,
        "PYTHONPATH": path,
        "AGENTMETRICS_EXTRA_LABELS": "tenant",
        **({"SHOP_PORT": str(port), "AGENTMETRICS_BACKEND": "prometheus"} if serves else {}),
        **env,
    }
    command = [
        *(sys.executable, "-m", "celery", "-A", "celery_shop", "worker", "-P", pool, "-c", "2"),
        *("-Q", queue, "-l", "WARNING", "--without-gossip", "--without-mingle"),
        *("-n", f"{queue}@localhost", *options),
    ]
    with (directory / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, env={**os.environ, **settings}, stdout=log, stderr=log
        )
    sender = Celery("sender", broker=broker)
    sender.conf.task_default_queue = queue
    instrument_app(sender, recorder=MemoryRecorder())
    shop = Shop(directory, broker, sender, process, port)
    try:
        shop.until("start", lambda: ("worker", "ready") in shop.noted())
        yield shop
    finally:
        process.kill()
        process.wait()
        sender.close()
        pools.reset()  # kombu's own, whose connections would be left open


def send_every_kind(shop: Shop) -> None:
    for task, count in ANY_POOL.items():
        for number in range(count):
            shop.send(task, *([f"tenant-{number % 2}"] if task == "answer" else []))


def all_ended(noted: Counter[tuple[str, str]]) -> bool:
    return all(
        sum(n for (name, how), n in noted.items() if name == task and how not in ("retry", "lost"))
        >= count
        for task, count in ANY_POOL.items()
    )


def calls_of_agents(shop: Shop) -> dict[tuple[str, ...], float]:
    return shop.values("llm_calls_total", "agent_name", "tenant", "status")


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def prefork(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """A worker with children over each kind of broker, that all tests of it share."""
    broker = request.getfixturevalue(request.param)
    url = broker.url if isinstance(broker, RabbitMQServer) else broker()
    directory = tmp_path_factory.mktemp("prefork")
    files = directory / "metrics"
    files.mkdir()
    with working(
        directory,
        url,
        "prefork",
        *("--max-tasks-per-child", "3"),
        PROMETHEUS_MULTIPROC_DIR=str(files),
        SHOP_QUEUES=f"shop-{directory.name},shop-{directory.name}-later",
    ) as shop:
        yield shop


def test_every_attempt_counts_once_while_children_are_killed(prefork: Shop) -> None:
    send_every_kind(prefork)
    alone = {
        **dict.fromkeys([("crash", "error"), ("leaves", "error"), ("stuck", "error")], 2),
        **dict.fromkeys([("slow", "error"), ("redelivered", "success")], 2),
    }
    for task, _ in alone:
        prefork.send(task)
        prefork.send(task)
    prefork.send("chat", "acme")
    prefork.send("nobody")
    prefork.told["unknown", "rejected"] += 1

    def all_are_through() -> bool:
        noted = prefork.noted()
        return all_ended(noted) and {**alone, ("chat", "success"): 1}.items() <= noted.items()

    prefork.until("end of all tasks", all_are_through)
    prefork.until("count of all tasks", prefork.is_counted)
    assert prefork.tasks() == prefork.endings()
    assert prefork.noted()["redelivered", "lost"] == 2
    assert prefork.values("celery_task_retries_total", "task_name") == {
        (task,): n for (task, how), n in prefork.noted().items() if how == "retry"
    }
    durations = prefork.values("celery_task_duration_seconds_count", "task_name")
    assert durations["ok",] == ANY_POOL["ok"]
    assert ("crash",) not in durations  # nobody was there to measure it
    assert calls_of_agents(prefork) == {**ANSWERS, ("seller", "acme", "success"): 1.0}
    assert not prefork.values("agentmetrics_handler_errors_total", "event")


def test_a_task_is_active_until_its_child_is_killed(prefork: Shop, tmp_path: Path) -> None:
    goes_on, killed = tmp_path / "go on", tmp_path / "never"
    prefork.send("hold", str(goes_on))
    prefork.send("hold", str(killed))
    held = ("celery_tasks_active", "task_name")
    prefork.until("two active", lambda: prefork.values(*held) == {("hold",): 2.0})
    of_killed = [line for line in prefork.lines() if line[:2] == ["hold", str(killed)]]
    os.kill(int(of_killed[-1][2]), signal.SIGKILL)
    prefork.told["hold", "error"] += 1
    prefork.until("one active", lambda: prefork.values(*held) == {("hold",): 1.0})
    goes_on.touch()
    prefork.until("none active", lambda: prefork.values(*held) == {})
    prefork.until("both counted", prefork.is_counted)
    assert prefork.tasks() == prefork.endings()


def test_a_task_that_is_terminated_counts_as_revoked(prefork: Shop, tmp_path: Path) -> None:
    begun = prefork.noted()["hold", str(tmp_path / "never")]
    running = [prefork.send("hold", str(tmp_path / "never")) for _ in range(2)]
    prefork.until(
        "two begun", lambda: prefork.noted()["hold", str(tmp_path / "never")] == begun + 2
    )
    told = prefork.sender.control.revoke(
        [task.id for task in running],
        terminate=True,
        reply=True,
        destination=[f"{prefork.queue}@localhost"],
        timeout=30,
    )
    assert told, "the worker has not heard of it"
    prefork.told["hold", "revoked"] += 2
    prefork.until("count of all", prefork.is_counted)
    assert prefork.tasks() == prefork.endings()


def test_the_length_of_queues_is_told_by_the_main_process_alone(prefork: Shop) -> None:
    later = f"{prefork.queue}-later"
    for priority in (0, 3, 9):
        prefork.send("ok", queue=later, priority=priority)
    length = ("celery_queue_length", "queue")
    prefork.until("length", lambda: prefork.values(*length) == {(later,): 3.0})
    ended = prefork.noted()["ok", "success"]
    for _ in range(8):  # so many that children are replaced, and none says that it has no queue
        prefork.send("ok")
    prefork.until("eight", lambda: prefork.noted()["ok", "success"] == ended + 8)
    assert prefork.values(*length)[later,] == 3.0


@pytest.mark.parametrize("pool", POOLS_WITHOUT_CHILDREN)
def test_every_attempt_counts_once_in_a_pool_without_children(
    pool: str, redis: Callable[[], str], tmp_path: Path
) -> None:
    with working(tmp_path, redis(), pool) as shop:
        began = time.time()
        send_every_kind(shop)
        shop.send("ok", countdown=1.5)
        shop.send("ok", expires=-1)  # it is late already
        shop.told["ok", "revoked"] += 1
        shop.until("end of the last", lambda: shop.noted()["ok", "success"] == ANY_POOL["ok"] + 1)
        shop.until("end of all tasks", lambda: all_ended(shop.noted()))
        shop.until("count of all tasks", shop.is_counted)
        expected = shop.endings()
        assert shop.tasks() == expected
        counts = shop.values("celery_task_duration_seconds_count", "task_name")
        assert counts == {
            (task,): sum(
                n for (name, how), n in expected.items() if name == task and how in STATUSES
            )
            for task, _ in expected
        }
        assert calls_of_agents(shop) == ANSWERS
        assert shop.values("celery_tasks_active") == {}
        queues = {s.labels["queue"] for s in shop.samples() if s.name == "celery_queue_length"}
        assert queues == {shop.queue}  # which it takes its tasks from

        waits = shop.values("celery_task_wait_seconds_count", "task_name")
        assert waits == counts
        waited = shop.values("celery_task_wait_seconds_sum", "task_name")["ok",]
        started = [float(when) for task, _, _, when in shop.lines() if task == "ok"]
        # All were sent at once and due then, but for the last, which was due 1.5 seconds later.
        assert 0 <= waited <= sum(started) - began * len(started) - 1.5


def test_every_child_delivers_what_it_has_before_it_ends(
    redis: Callable[[], str], tmp_path: Path, statsd: StatsDDaemon
) -> None:
    broker = redis()
    with working(
        tmp_path,
        broker,
        "prefork",
        *("--max-tasks-per-child", "1"),
        serves=False,
        AGENTMETRICS_BACKEND="statsd,prometheus",
        AGENTMETRICS_STATSD_HOST=statsd.host,
        AGENTMETRICS_STATSD_PORT=str(statsd.udp_port),
        AGENTMETRICS_STATSD_FLUSH_INTERVAL="3600",
        AGENTMETRICS_LEDGER_URL=f"sqlite:///{tmp_path / 'spend.db'}",
        AGENTMETRICS_LEDGER_FLUSH_INTERVAL="3600",
        SHOP_PORT=broker.rpartition(":")[2].partition("/")[0],  # where Redis listens already
    ) as shop:
        for _ in range(3):
            shop.send("ok")
        for _ in range(2):
            shop.send("answer", "acme")
        shop.until(
            "five", lambda: shop.endings() == {("ok", "success"): 3, ("answer", "success"): 2}
        )
        shop.end()
        counted = {"ok": 3.0, "answer": 2.0}
        names = {task: f"celery_tasks_total.celery_shop_{task}.success" for task in counted}
        assert eventually(
            lambda: {task: statsd.counters().get(name) for task, name in names.items()} == counted
        ), statsd.counters()
    with Ledger(f"sqlite:///{tmp_path / 'spend.db'}") as ledger:
        assert ledger.summary().total.calls == 2
    said = (tmp_path / "worker.log").read_text()
    assert "set PROMETHEUS_MULTIPROC_DIR to an empty directory before the worker starts" in said
    assert "cannot serve metrics on 127.0.0.1" in said  # and it worked all the same
