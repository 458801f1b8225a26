"""The application of the tests of Celery: tasks that write down how they end, and end in every way.

Run by ``celery -A celery_shop worker``, with what it needs in the environment.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, Reject
from celery.signals import worker_ready

import agentmetrics
from agentmetrics import track_call
from agentmetrics_celery import instrument_app

LOG = os.environ["SHOP_LOG"]
PORT = os.environ.get("SHOP_PORT")
QUEUES = os.environ.get("SHOP_QUEUES")

app = Celery("shop", broker=os.environ["SHOP_BROKER"])
app.conf.update(
    task_default_queue=os.environ["SHOP_QUEUE"],
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
)
for _ in range(2):  # the second time changes nothing
    instrument_app(
        app, port=int(PORT) if PORT else None, queues=QUEUES.split(",") if QUEUES else None
    )


def note(*what: object) -> None:
    """Write a line down, which is there even if the process is killed right after."""
    line = " ".join(map(str, (*what, os.getpid(), time.time()))) + "\n"
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, line.encode())
    os.close(log)


@worker_ready.connect
def ready(**_: Any) -> None:
    note("worker", "ready")


@app.task
def ok() -> None:
    note("ok", "success")


@app.task
def bad() -> None:
    note("bad", "error")
    raise ValueError("a text that nobody may see in a label")


@app.task(bind=True, max_retries=2)
def flaky(self: Any) -> None:
    if self.request.retries < 2:
        note("flaky", "retry")
        raise self.retry(countdown=0.01)
    note("flaky", "success")


@app.task(bind=True, max_retries=1)
def hopeless(self: Any) -> None:
    if self.request.retries < 1:
        note("hopeless", "retry")
    else:
        note("hopeless", "error")
    raise self.retry(countdown=0.01, exc=ValueError())


@app.task
def ignored() -> None:
    note("ignored", "ignored")
    raise Ignore


@app.task(acks_late=True)
def rejected() -> None:
    note("rejected", "rejected")
    raise Reject("no", requeue=False)


@app.task(soft_time_limit=0.2, time_limit=60)
def slow() -> None:
    note("slow", "error")
    time.sleep(30)


@app.task(time_limit=0.2)
def stuck() -> None:
    note("stuck", "error")
    time.sleep(30)


@app.task
def crash() -> None:
    note("crash", "error")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def leaves() -> None:
    note("leaves", "error")
    raise SystemExit(3)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def redelivered(self: Any) -> None:
    """Its first worker is killed, and it is delivered again: one success."""
    if not self.request.delivery_info.get("redelivered"):
        note("redelivered", "lost")
        os.kill(os.getpid(), signal.SIGKILL)
    note("redelivered", "success")


@app.task
def hold(until: str) -> None:
    """Hold on until there is a file; ends by itself, or is killed."""
    note("hold", until)
    while not Path(until).exists():
        time.sleep(0.01)
    note("hold", "success")


@app.task
def answer(tenant: str) -> None:
    """One call by hand."""
    with (
        agentmetrics.labels(tenant=tenant),
        track_call("openai", "gpt-4o-mini", agent_name="clerk") as call,
    ):
        call.record_usage(input_tokens=100, output_tokens=10)
    note("answer", "success")


@app.task
def chat(tenant: str) -> None:
    """One call of a LangChain model."""
    from langchain_core.language_models import GenericFakeChatModel

    from agentmetrics import MetricsCallbackHandler

    model = GenericFakeChatModel(messages=iter(["yes"]))
    handler = MetricsCallbackHandler(agent_name="seller")
    with agentmetrics.labels(tenant=tenant):
        model.invoke("?", config={"callbacks": [handler]})
    note("chat", "success")
