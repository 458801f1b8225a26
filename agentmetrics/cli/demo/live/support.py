"""A support agent at Azure: a retriever, a tool that is slow, and one that fails now and then."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool, tool

from agentmetrics.cli.demo.live.scene import Scene, Setting
from agentmetrics.cli.demo.models import azure_model

_PAGES = tuple(f"Page {number} of the handbook" for number in range(6))
_QUESTIONS = ("When will it be here, order", "I want my money back for order")
_ORDERS = 40


class Handbook(BaseRetriever):
    """Finds none to six pages, and is out of reach for the order 0."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        time.sleep(0.02 + len(query) % 5 / 50)
        if query.endswith(" 0"):
            raise ConnectionError("the index of the handbook is out of reach")
        return [Document(page) for page in _PAGES[: len(query) % (len(_PAGES) + 1)]]


def _tools() -> list[BaseTool]:
    handbook, payments = Handbook(), itertools.cycle([False, True, True])

    @tool
    def look_up(query: str, config: RunnableConfig) -> str:
        """Find pages of the handbook."""
        try:
            return "\n".join(page.page_content for page in handbook.invoke(query, config))
        except ConnectionError:
            return "The handbook is out of reach."

    @tool
    def delivery_date(order: str) -> str:
        """Ask the carrier when an order will be delivered, which takes a while."""
        time.sleep(1.2)
        return f"Order {order} will be delivered on Monday."

    @tool
    def refund(order: str) -> str:
        """Refund an order; the payment service fails every third time."""
        time.sleep(0.05)
        if not next(payments):
            raise ConnectionError("the payment service is out of reach")
        return f"Order {order} was refunded."

    return [look_up, delivery_date, refund]


def scenes(setting: Setting) -> list[Scene]:
    """Customers who ask where their order is, or want their money back."""
    support: Runnable[Any, Any] = create_agent(
        azure_model(setting.server.url, "gpt-4o-mini"),
        _tools(),
        system_prompt="You are the support. Look into the handbook before you do anything.",
        middleware=[ToolRetryMiddleware(max_retries=1, initial_delay=0.1, jitter=False)],
        name="support",
    )
    numbers = itertools.count()

    async def help_customer(chance: random.Random) -> None:
        number = next(numbers)
        order = 0 if number % 5 == 4 else chance.randrange(1, _ORDERS)
        asked = HumanMessage(f"{_QUESTIONS[number % 2]} {order}")
        # In a thread: on Python 3.10 callbacks do not reach what async nodes call.
        await asyncio.to_thread(support.invoke, {"messages": [asked]}, setting.config)

    return [Scene("support looks things up and uses tools", help_customer, every=4, first=1)]
