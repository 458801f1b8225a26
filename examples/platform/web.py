"""The desk's web application: tickets, questions that are answered at once, and /metrics."""

from collections.abc import Iterator

from agents import answer, model
from database import Session, Ticket
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from tasks import answer_ticket

import agentmetrics
from agentmetrics_asgi import MetricsMiddleware

app = FastAPI()
app.add_middleware(MetricsMiddleware, metrics_path="/metrics")


@app.post("/tickets", status_code=202)
def open_ticket(question: str) -> int:
    """Write a ticket down, and have it answered in the background."""
    with Session.begin() as session:
        ticket = Ticket(question=question)
        session.add(ticket)
        session.flush()
        number = ticket.id
    answer_ticket.delay(number)
    return number


@app.get("/tickets/{number}")
def read_ticket(number: int) -> str | None:
    """The answer to a ticket, or nothing yet."""
    with Session() as session:
        ticket = session.get(Ticket, number)
    if ticket is None:
        raise HTTPException(404)
    return ticket.answer


@app.get("/ask")
def ask(question: str) -> str:
    """What the agents say to a question, while the client waits."""
    try:
        return answer(question)
    except Exception as error:
        agentmetrics.record_error(error, component="ask")
        raise HTTPException(502, "the agents have no answer") from error


@app.get("/hints")
def hints(question: str) -> StreamingResponse:
    """What the model says to a question, word by word."""

    def words() -> Iterator[str]:
        for chunk in model.stream(question):
            yield f"data: {chunk.content}\n\n"

    return StreamingResponse(words(), media_type="text/event-stream")
