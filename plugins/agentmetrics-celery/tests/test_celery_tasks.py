"""Tasks in the calling process, as ``task_always_eager`` runs them, and what is wrong use."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from celery import Celery, signals
from celery.exceptions import Ignore, Reject, Retry

import agentmetrics
from agentmetrics import ConfigurationError, MemoryRecorder, track_call
from agentmetrics_celery import instrument_app


@pytest.fixture
def app() -> Celery:
    """An application whose tasks run where they are called."""
    app = Celery("eager")
    app.conf.task_always_eager = True
    return app


@pytest.fixture
def counted(app: Celery, recorder: MemoryRecorder) -> MemoryRecorder:
    """The recorder of the application's tasks."""
    instrument_app(app, recorder=recorder)
    return recorder


def statuses(recorder: MemoryRecorder) -> dict[tuple[str, ...], float]:
    """How many tasks ended in which way, without the zeros."""
    families = {family.metric.name: family for family in recorder.collect()}
    return {
        values: value
        for values, value in families["celery_tasks_total"].series
        if isinstance(value, float) and value
    }


def nothing_is_left(recorder: MemoryRecorder) -> bool:
    errors = recorder.value("agentmetrics_handler_errors_total")
    return recorder.value("celery_tasks_active") == 0 and errors == 0


class Ends:
    """A task for each way to end."""

    def __init__(self, app: Celery) -> None:
        @app.task(name="ok")
        def ok() -> str:
            return "done"

        @app.task(name="bad")
        def bad() -> None:
            raise ValueError

        @app.task(name="ignored")
        def ignored() -> None:
            raise Ignore

        @app.task(name="rejected")
        def rejected() -> None:
            raise Reject("no")

        @app.task(name="flaky", bind=True, max_retries=2)
        def flaky(self: Any) -> str:
            if self.request.retries < 2:
                raise self.retry()
            return "done"

        @app.task(name="exits")
        def exits() -> None:
            raise SystemExit(3)

        @app.task(name="outer")
        def outer() -> Any:
            return ok.delay().get(disable_sync_subtasks=False)

        self.ok, self.bad, self.ignored, self.rejected = ok, bad, ignored, rejected
        self.flaky, self.exits, self.outer = flaky, exits, outer


@pytest.fixture
def ends(app: Celery) -> Ends:
    return Ends(app)


@pytest.mark.parametrize(
    ("task", "status"),
    [("ok", "success"), ("bad", "error"), ("ignored", "ignored"), ("rejected", "rejected")],
)
def test_a_task_counts_once_by_its_end(
    ends: Ends, counted: MemoryRecorder, task: str, status: str
) -> None:
    getattr(ends, task).delay()
    assert statuses(counted) == {(task, status): 1}
    assert counted.histogram("celery_task_duration_seconds", task_name=task).count == 1
    assert nothing_is_left(counted)


def test_a_retry_is_no_failure(ends: Ends, counted: MemoryRecorder) -> None:
    assert ends.flaky.delay().get() == "done"
    assert statuses(counted) == {("flaky", "retry"): 2, ("flaky", "success"): 1}
    assert counted.value("celery_task_retries_total", task_name="flaky") == 2
    assert nothing_is_left(counted)


@pytest.mark.parametrize(
    ("task", "error", "status"),
    [("bad", ValueError, "error"), ("flaky", Retry, "retry"), ("exits", SystemExit, "error")],
)
def test_an_error_that_reaches_the_caller_counts_once(
    ends: Ends, counted: MemoryRecorder, task: str, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error):
        getattr(ends, task).apply(throw=True)
    assert statuses(counted) == {(task, status): 1}
    assert counted.value("celery_task_retries_total", task_name=task) == (status == "retry")
    assert counted.histogram("celery_task_duration_seconds", task_name=task).count == 1
    assert nothing_is_left(counted)


def test_a_task_that_begins_while_an_error_is_handled_has_none(
    ends: Ends, counted: MemoryRecorder
) -> None:
    try:
        raise KeyError
    except KeyError:
        ends.ok.delay()
    assert statuses(counted) == {("ok", "success"): 1}


def test_a_task_inside_of_a_task_is_another_one(ends: Ends, counted: MemoryRecorder) -> None:
    ends.outer.delay()
    assert statuses(counted) == {("outer", "success"): 1, ("ok", "success"): 1}
    assert nothing_is_left(counted)


def test_a_failure_that_is_not_the_tasks_own_counts_too(
    app: Celery, counted: MemoryRecorder
) -> None:
    class Broken(app.Task):
        def after_return(self, *_: object) -> None:
            raise OSError

    @app.task(name="broken", base=Broken)
    def broken() -> None: ...

    with pytest.raises(OSError):
        broken.delay()
    assert statuses(counted) == {("broken", "error"): 1}
    assert nothing_is_left(counted)


def test_alerts_find_a_zero_before_the_first_failure(ends: Ends, counted: MemoryRecorder) -> None:
    active: list[float] = []
    signals.task_success.connect(
        lambda **_: active.append(counted.value("celery_tasks_active", task_name="ok")),
        sender=ends.ok,
        weak=False,
    )
    ends.ok.delay()
    assert active == [1]
    (shown,) = (f for f in counted.collect() if f.metric.name == "celery_tasks_total")
    assert (("ok", "error"), 0.0) in shown.series


def test_threads_count_apart(ends: Ends, counted: MemoryRecorder) -> None:
    threads = [
        threading.Thread(target=lambda: [ends.ok.apply() for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses(counted) == {("ok", "success"): 200}
    assert nothing_is_left(counted)


def test_a_call_in_a_task_is_attributed_as_elsewhere(
    app: Celery, agent_metrics: MemoryRecorder
) -> None:
    instrument_app(app)

    @app.task(name="calls")
    def calls() -> None:
        with track_call("openai", "gpt-4o-mini", agent_name="clerk") as call:
            call.record_usage(input_tokens=10, output_tokens=1)

    calls.delay()
    assert agent_metrics.value("llm_calls_total", agent_name="clerk", status="success") == 1
    assert agent_metrics.value("celery_tasks_total", task_name="calls", status="success") == 1


def test_the_recorder_is_the_one_that_is_configured_by_then(
    ends: Ends, app: Celery, agent_metrics: MemoryRecorder
) -> None:
    instrument_app(app)
    late = agentmetrics.configure(MemoryRecorder())
    ends.ok.delay()
    assert late.value("celery_tasks_total", task_name="ok", status="success") == 1
    assert "celery_tasks_total" not in {f.metric.name for f in agent_metrics.collect()}


def test_instrumenting_again_changes_nothing(
    ends: Ends, app: Celery, counted: MemoryRecorder
) -> None:
    instrument_app(app, recorder=counted)
    ends.ok.delay()
    assert statuses(counted) == {("ok", "success"): 1}


def test_another_application_is_not_counted(ends: Ends, counted: MemoryRecorder) -> None:
    other = Celery("other")
    Ends(other).ok.apply()
    ends.ok.apply()
    assert statuses(counted) == {("ok", "success"): 1}


def test_a_recorder_that_fails_is_not_the_tasks_concern(
    ends: Ends, counted: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentmetrics_celery.tasks import TaskMeter

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(TaskMeter, "ended", fail)
    assert ends.ok.delay().get() == "done"
    assert counted.value("agentmetrics_handler_errors_total", event="celery_postrun") == 1


class TestWrongUse:
    def test_other_arguments_than_before(self, app: Celery, counted: MemoryRecorder) -> None:
        with pytest.raises(ConfigurationError, match="call instrument_app\\(\\) once"):
            instrument_app(app, recorder=MemoryRecorder())

    def test_what_is_no_application(self) -> None:
        with pytest.raises(ConfigurationError, match="takes a Celery app, not str"):
            instrument_app("shop")

    @pytest.mark.parametrize("queues", ["celery", [""], [1]])
    def test_what_is_no_list_of_queues(self, app: Celery, queues: Any) -> None:
        with pytest.raises(ConfigurationError, match="write queues=\\['celery'\\]"):
            instrument_app(app, queues=queues)

    def test_a_port_without_prometheus(self, app: Celery, recorder: MemoryRecorder) -> None:
        with pytest.raises(ConfigurationError, match="contains no PrometheusRecorder"):
            instrument_app(app, recorder=recorder, port=9464)

    def test_what_cannot_be_used_instruments_nothing(
        self, app: Celery, recorder: MemoryRecorder
    ) -> None:
        with pytest.raises(ConfigurationError):
            instrument_app(app, recorder=recorder, port=9464)
        instrument_app(app, recorder=recorder)
