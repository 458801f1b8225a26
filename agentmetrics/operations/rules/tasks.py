"""Alerts on background tasks and their queues."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, quantile, share
from agentmetrics.operations.rules.samples import JOB, histogram

_TASK = f'{JOB}, task_name="index"'
_BY = "job, task_name"
_OF = {"job": "app", "task_name": "index"}
_QUEUE = f'celery_queue_length{{{JOB}, queue="default"}}'
_FINISHED = 'celery_tasks_total{status=~"success|error"}'
_QUEUES = "max by (queue) (celery_queue_length)"


def _tasks(success: str, error: str) -> dict[str, str]:
    return {
        f'celery_tasks_total{{{_TASK}, status="success"}}': success,
        f'celery_tasks_total{{{_TASK}, status="error"}}': error,
    }


ALERTS = (
    Alert(
        name="TasksFailing",
        severity="warning",
        when="more than 10% of the tasks of one name fail over 15 minutes; with at least 10 tasks",
        condition=share('celery_tasks_total{status="error"}', _FINISHED, _BY, "15m") + " > 0.1",
        floor=at_least(10, _FINISHED, _BY, "15m"),
        for_="5m",
        labels=("job", "task_name"),
        board="platform",
        summary="Tasks {{ $labels.task_name }} fail",
        description="{{ $value | humanizePercentage }} of the tasks {{ $labels.task_name }} of "
        "{{ $labels.job }} failed.",
        runbook=Runbook(
            means="Tasks end with an exception after their last retry.",
            who_is_hurt="Whoever waits for their results: nobody is told when a task fails.",
            look_at={
                "Tasks by status": "sum by (task_name, status) (rate(celery_tasks_total[5m]))",
                "Retries": "sum by (task_name) (rate(celery_task_retries_total[5m]))",
                "Failed agent runs": "sum by (agent_name) "
                '(rate(agent_runs_total{status="error"}[5m]))',
            },
            causes=(
                "What the task depends on fails: an agent, a provider, the database.",
                "A deployment changed the task's arguments while old messages were in the queue.",
                "Time limits are too short.",
            ),
            do_now=(
                "Read the traceback in the worker's log.",
                steps.ROLL_BACK,
                "Send failed tasks again when the cause is gone.",
            ),
        ),
        fires=(Fires(_tasks("0+8x60", "0+2x60"), "30m", _OF, "20%"),),
        silent=(
            Silent("one in twenty fails", _tasks("0+19x60", "0+1x60"), "30m"),
            Silent("one of two says little", _tasks("0x20 1x40", "0x20 1x40"), "30m"),
        ),
    ),
    Alert(
        name="TasksRetried",
        severity="warning",
        when="tasks of one name are retried more than half as often as they finish, over "
        "15 minutes; with at least 10 retries",
        condition=share("celery_task_retries_total", _FINISHED, _BY, "15m") + " > 0.5",
        floor=at_least(10, "celery_task_retries_total", _BY, "15m"),
        for_="5m",
        labels=("job", "task_name"),
        board="platform",
        summary="Tasks {{ $labels.task_name }} are retried often",
        description="Tasks {{ $labels.task_name }} of {{ $labels.job }} are retried "
        '{{ $value | printf "%.2f" }} times for each that finishes.',
        runbook=Runbook(
            means="Tasks fail at first and are sent again; each attempt may pay for calls.",
            who_is_hurt="Your bill, and tasks that wait behind them.",
            look_at={
                "Retries": "sum by (task_name) (rate(celery_task_retries_total[5m]))",
                "Tasks by status": "sum by (task_name, status) (rate(celery_tasks_total[5m]))",
                "Errors of calls": "sum by (agent_name, error_type) (rate(llm_errors_total[5m]))",
            },
            causes=(
                "A provider limits the rate.",
                "What the task depends on is down for a while.",
            ),
            do_now=(
                "Lower the concurrency of the workers, or set a `rate_limit` on the task.",
                "Retry with a growing pause: `retry_backoff=True`.",
                steps.SWITCH_THE_MODEL,
            ),
        ),
        fires=(
            Fires(
                {**_tasks("0+4x60", "0x60"), f"celery_task_retries_total{{{_TASK}}}": "0+3x60"},
                "30m",
                _OF,
                "0.75",
            ),
        ),
        silent=(
            Silent(
                "three in ten are",
                {**_tasks("0+10x60", "0x60"), f"celery_task_retries_total{{{_TASK}}}": "0+3x60"},
                "30m",
            ),
        ),
    ),
    Alert(
        name="QueueBacklog",
        severity="warning",
        when="more than 100 tasks wait in a queue, and their number grows",
        condition="max by (job, queue) (celery_queue_length) > 100\n"
        "and max by (job, queue) (deriv(celery_queue_length[15m])) > 0",
        for_="10m",
        labels=("job", "queue"),
        board="platform",
        summary="Tasks pile up in the queue {{ $labels.queue }}",
        description='{{ $value | printf "%.0f" }} tasks wait in the queue {{ $labels.queue }} '
        "({{ $labels.job }}), and their number grows.",
        runbook=Runbook(
            means="Tasks come faster than workers finish them.",
            who_is_hurt="Whoever waits for the results; the broker, whose memory fills.",
            look_at={
                "Length of queues": _QUEUES,
                "Finished tasks per second": "sum by (task_name) (rate(celery_tasks_total[5m]))",
                "p95 of the duration": "histogram_quantile(0.95, sum by (task_name, le) "
                "(rate(celery_task_duration_seconds_bucket[5m])))",
                "Tasks in progress": "sum by (task_name) (celery_tasks_active)",
            },
            causes=(
                "Workers are down, or do not listen to this queue.",
                "Tasks have become slower, such as with a slow provider.",
                "A job sent very many at once.",
            ),
            do_now=(
                "See that workers listen: `celery -A APP inspect active_queues`.",
                "Start more workers, mindful of the provider's rate limit.",
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=(Fires({_QUEUE: "0+10x60"}, "40m", {"job": "app", "queue": "default"}, "400"),),
        silent=(
            Silent("it becomes less", {_QUEUE: "900-10x60"}, "40m"),
            Silent("few tasks wait", {_QUEUE: "0+2x60"}, "40m"),
        ),
    ),
    Alert(
        name="TasksWait",
        severity="warning",
        when="the 95th percentile of the time that tasks of one name wait for a worker is above "
        "1 minute over 15 minutes; with at least 10 tasks",
        condition=quantile(0.95, "celery_task_wait_seconds", _BY, "15m") + " > 60",
        floor=at_least(10, "celery_task_wait_seconds_count", _BY, "15m"),
        for_="5m",
        labels=("job", "task_name"),
        board="platform",
        summary="Tasks {{ $labels.task_name }} wait for a worker",
        description="One in twenty tasks {{ $labels.task_name }} of {{ $labels.job }} begins more "
        "than {{ $value | humanizeDuration }} after it was due.",
        runbook=Runbook(
            means="Tasks begin late, since all workers are busy.",
            who_is_hurt="Whoever waits for the results.",
            look_at={
                "p95 of the wait": "histogram_quantile(0.95, sum by (task_name, le) "
                "(rate(celery_task_wait_seconds_bucket[5m])))",
                "Tasks in progress": "sum by (task_name) (celery_tasks_active)",
                "Length of queues": _QUEUES,
            },
            causes=(
                "There are too few workers.",
                "Long tasks are in front of short ones in the same queue.",
                "Workers fetch tasks ahead that they cannot begin.",
            ),
            do_now=(
                "Start more workers.",
                "Give long tasks a queue and workers of their own.",
                "Set `worker_prefetch_multiplier = 1`.",
            ),
        ),
        fires=(
            Fires(
                histogram(
                    "celery_task_wait_seconds", _TASK, {"60.0": 93, "300.0": 100, "+Inf": 100}
                ),
                "40m",
                _OF,
                "2m 8s",
            ),
        ),
        silent=(
            Silent(
                "they begin within a minute",
                histogram("celery_task_wait_seconds", _TASK, {"30.0": 0, "60.0": 10, "+Inf": 10}),
                "40m",
            ),
        ),
    ),
)
