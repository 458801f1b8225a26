"""FastAPI: an endpoint that runs an agent, and the metrics of it at /metrics."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from prometheus_client import generate_latest

import agentmetrics
from agentmetrics.exposition import metrics_route

agentmetrics.configure(backend="prometheus")  # the same as AGENTMETRICS_BACKEND=prometheus
agentmetrics.instrument()  # every LangChain run of the process, without passing callbacks


def opening_hours(day: str) -> str:
    """The opening hours of the shop on a day of the week."""
    return "closed" if day.lower() == "sunday" else "9 to 18"


model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"))
agent = create_agent(model, [opening_hours], name="clerk")  # the label agent_name


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield  # and when the server has stopped, what was recorded:
    lines = generate_latest().decode().splitlines()
    print(*(line for line in lines if "_total{" in line and "clerk" in line), sep="\n")


app = FastAPI(lifespan=lifespan)
app.router.routes.append(metrics_route())  # app.mount("/metrics", …) would answer with a redirect


@app.get("/ask")
def ask(question: str) -> str:
    return str(agent.invoke({"messages": [HumanMessage(question)]})["messages"][-1].content)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
