"""The length of queues, over real brokers that may be away."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery

from agentmetrics import ConfigurationError, MemoryRecorder
from agentmetrics_celery import observe_queues
from tests.services.process import free_port
from tests.services.rabbitmq import RabbitMQServer
from tests.services.redis import running_redis


def lengths(recorder: MemoryRecorder) -> dict[str, float]:
    return {
        sample.labels["queue"]: sample.value
        for sample in recorder.samples()
        if sample.name == "celery_queue_length"
    }


def assert_becomes(recorder: MemoryRecorder, expected: dict[str, float]) -> None:
    """This is read in time; each reading is within a second."""
    deadline = time.monotonic() + 20
    while True:
        began = time.monotonic()
        read = lengths(recorder)
        assert time.monotonic() - began < 1
        if read == expected:
            return
        assert time.monotonic() < deadline, read
        time.sleep(0.02)


def unacknowledged(recorder: MemoryRecorder) -> float | None:
    name = "celery_tasks_unacknowledged"
    return next((sample.value for sample in recorder.samples() if sample.name == name), None)


def send(app: Celery, queue: str, *priorities: int) -> None:
    for priority in priorities:
        app.send_task("task", queue=queue, priority=priority)


def test_over_redis_tasks_of_every_priority_are_counted(
    redis: Callable[[], str], recorder: MemoryRecorder
) -> None:
    app = Celery("shop", broker=redis())
    app.conf.broker_transport_options = {
        "global_keyprefix": "shop:",
        "sep": ":",
        "priority_steps": [0, 5, 9],
    }
    observe_queues(app, ["mail", "empty"], recorder=recorder)
    send(app, "mail", 0, 0, 3, 5, 7, 9)
    assert_becomes(recorder, {"mail": 6, "empty": 0})
    assert unacknowledged(recorder) == 0


def test_what_a_worker_holds_does_not_wait_any_more(
    redis: Callable[[], str], rabbitmq: RabbitMQServer
) -> None:
    for number, url in enumerate((redis(), rabbitmq.url)):
        recorder = MemoryRecorder()
        app = Celery("shop", broker=url)
        queue = f"held-{number}"
        observe_queues(app, [queue], recorder=recorder)
        send(app, queue, 0, 0, 0)
        assert_becomes(recorder, {queue: 3})
        with app.connection_for_read() as connection:
            taken = app.amqp.queues[queue](connection.channel()).get()
            assert_becomes(recorder, {queue: 2})
            assert unacknowledged(recorder) == (1 if url.startswith("redis") else None)
            taken.ack()


def test_over_rabbitmq_a_queue_that_is_not_there_is_left_out(
    rabbitmq: RabbitMQServer, recorder: MemoryRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    app = Celery("shop", broker=rabbitmq.url)
    observe_queues(app, ["not-there", "there"], recorder=recorder)
    send(app, "there", 0)
    assert_becomes(recorder, {"there": 1})
    send(app, "not-there", 0, 0)
    assert_becomes(recorder, {"there": 1, "not-there": 2})
    assert caplog.messages == ["there is no queue 'not-there': it has no celery_queue_length"]


def test_a_broker_that_is_away_keeps_nobody_waiting(
    tmp_path: Path, recorder: MemoryRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    app = Celery("shop", broker=f"redis://127.0.0.1:{port}/0")
    observe_queues(app, ["mail"], recorder=recorder)
    for _ in range(3):
        assert_becomes(recorder, {})
    with running_redis(tmp_path, port):
        send(app, "mail", 0)
        assert_becomes(recorder, {"mail": 1})
    assert_becomes(recorder, {})
    said = [message for message in caplog.messages if "broker of Celery" in message]
    assert len(said) == 1 + (len(said) == 2)  # once for each time that it goes away
    assert "celery_queue_length is left out" in said[0]


def test_a_broker_that_is_frozen_keeps_nobody_waiting(
    tmp_path: Path, recorder: MemoryRecorder
) -> None:
    with running_redis(tmp_path) as server:
        app = Celery("shop", broker=server.url())
        observe_queues(app, ["mail"], recorder=recorder)
        send(app, "mail", 0)
        assert_becomes(recorder, {"mail": 1})
        server.process.send_signal(signal.SIGSTOP)
        try:
            assert_becomes(recorder, {})
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert_becomes(recorder, {"mail": 1})


def test_a_broker_that_nobody_answers_for_keeps_nobody_waiting(recorder: MemoryRecorder) -> None:
    app = Celery("shop", broker="amqp://guest:guest@192.0.2.1:5672//")  # documentation's own
    observe_queues(app, ["mail"], recorder=recorder)
    assert_becomes(recorder, {})
    assert_becomes(recorder, {})


def test_the_newest_question_does_not_wait_for_the_oldest(
    recorder: MemoryRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    app = Celery("shop", broker="redis://192.0.2.1:6379/0")
    observe_queues(app, ["mail"], recorder=recorder)
    lengths(recorder)
    began = time.monotonic()
    for _ in range(100):
        lengths(recorder)
    assert time.monotonic() - began < 1


def test_what_is_no_list_of_queues(recorder: MemoryRecorder) -> None:
    with pytest.raises(ConfigurationError, match="write queues=\\['celery'\\]"):
        observe_queues(Celery("shop"), "celery", recorder=recorder)
