"""A Celery application with a task that makes a call: ``celery -A tests.ends.programs.tasks``."""

from __future__ import annotations

import os

from celery import Celery

from tests.ends.programs.calls import call

app = Celery("ends", broker=os.environ["ENDS_BROKER"])
app.conf.update(
    task_default_queue="ends",
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task(name="call")
def make() -> None:
    call()
