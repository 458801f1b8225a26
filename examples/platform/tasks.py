"""The desk's Celery worker: tickets are answered in the background."""

import os

from agents import answer
from celery import Celery
from database import Session, Ticket
from openai import OpenAIError

from agentmetrics_celery import instrument_app

app = Celery("desk", broker=os.environ["REDIS_URL"])
# The worker's main process serves /metrics, of all its children.
instrument_app(app, port=int(os.environ.get("WORKER_METRICS_PORT", "9808")))


@app.task(autoretry_for=(OpenAIError,), max_retries=3, default_retry_delay=1)
def answer_ticket(ticket_id: int) -> None:
    with Session.begin() as session:
        ticket = session.get(Ticket, ticket_id)
        ticket.answer = answer(ticket.question)
