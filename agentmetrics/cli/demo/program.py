"""The demo's program: a LangGraph team of three named agents that answers questions."""

from __future__ import annotations

import functools
import operator
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

import openai
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph

from agentmetrics.cli.demo.models import chat_model

Team = CompiledStateGraph[Any, Any, Any, Any]
Answer = Callable[[list[AnyMessage], RunnableConfig], Awaitable[AnyMessage]]

_PAGES = {
    "latency": "Of a thousand calls the mean took 0.8 s and the slowest fifty more than 6 s.",
    "cost": "Nine tenths of the cost came from one agent, whose prompt had grown unseen.",
}


class Work(TypedDict):
    """What the agents hand on to each other."""

    messages: Annotated[list[AnyMessage], add_messages]


@tool
def search(query: str) -> str:
    """Find the titles of pages on a subject."""
    return ", ".join(sorted(_PAGES))


@tool
def read_page(title: str) -> str:
    """Read a page by its title."""
    return _PAGES.get(title, "There is no such page.")


def make_team(base_url: str) -> Team:
    """The three agents, one after the other, as one graph.

    The planner's model is retried on rate limits and answers a question that it knows from
    LangChain's cache; the researcher is LangChain's ``create_agent`` with tools, run in a thread;
    the writer streams.
    """
    # On Python 3.10 callbacks do not reach what an async node calls: there the config is passed
    # on, and the agent whose nodes are LangChain's own runs in sync code.
    planner = chat_model(base_url, "o4-mini", cache=InMemoryCache(maxsize=50)).with_retry(
        retry_if_exception_type=(openai.RateLimitError,),
        wait_exponential_jitter=False,
        stop_after_attempt=3,
    )
    writer = chat_model(base_url, "gpt-4o")

    async def plan(messages: list[AnyMessage], config: RunnableConfig) -> AnyMessage:
        return await planner.ainvoke(messages, config)

    async def write(messages: list[AnyMessage], config: RunnableConfig) -> AnyMessage:
        chunks = [chunk async for chunk in writer.astream(messages, config)]
        return functools.reduce(operator.add, chunks)

    researcher: Runnable[Any, Any] = create_agent(
        chat_model(base_url, "gpt-4o-mini"),
        [search, read_page],
        system_prompt="You are the researcher. Look things up before you answer, and name both.",
        name="researcher",
    )

    def research(state: Work, config: RunnableConfig) -> Any:
        return researcher.invoke(state, config)

    team = StateGraph(Work)
    team.add_node("plan", _agent("planner", plan))
    team.add_node("research", research)
    team.add_node("write", _agent("writer", write))
    team.add_edge(START, "plan")
    team.add_edge("plan", "research")
    team.add_edge("research", "write")
    team.add_edge("write", END)
    return team.compile()


def _agent(name: str, answer: Answer) -> Team:
    """An agent of one step, as a named graph of its own."""
    prompt = SystemMessage(f"You are the {name}. Be brief.")

    async def step(state: Work, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [await answer([prompt, *_gist(state["messages"])], config)]}

    graph = StateGraph(Work)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_edge("step", END)
    return graph.compile(name=name)


def _gist(messages: list[AnyMessage]) -> list[AnyMessage]:
    """The user's question, and the last word on it."""
    return [*messages[:1], *messages[1:][-1:]]


def question(subject: str) -> dict[str, Any]:
    """What the team is asked about a subject."""
    return {"messages": [HumanMessage(f"Write a brief on {subject}.")]}
