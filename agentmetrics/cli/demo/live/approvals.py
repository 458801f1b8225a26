"""A graph that waits for a person: interrupted runs, and errors of the program around them."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any, TypedDict

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from agentmetrics import record_error
from agentmetrics.cli.demo.live.scene import Scene, Setting

_READING_SECONDS = 2.0


class Draft(TypedDict):
    """What is to be published."""

    subject: str
    text: str


def scenes(setting: Setting) -> list[Scene]:
    """Pages that are published once they are approved."""
    drafter = setting.agent("publisher", setting.model("gpt-4o-mini"))

    def draft(state: Draft, config: RunnableConfig) -> dict[str, Any]:
        reply = drafter.invoke({"question": f"Draft {state['subject']}"}, config)
        return {"text": str(reply.content)}

    def approve(state: Draft) -> dict[str, Any]:
        return {"text": interrupt(state["text"])}

    saver = InMemorySaver()
    graph = StateGraph(Draft)
    graph.add_node("draft", draft)
    graph.add_node("approve", approve)
    graph.add_edge(START, "draft")
    graph.add_edge("draft", "approve")
    graph.add_edge("approve", END)
    publisher: Runnable[Any, Any] = graph.compile(name="publisher", checkpointer=saver)
    numbers = itertools.count(1)

    async def publish(chance: random.Random) -> None:
        number = next(numbers)
        thread = f"page {number}"
        page = {"subject": f"page {number % 30}", "text": ""}
        config: RunnableConfig = {**setting.config, "configurable": {"thread_id": thread}}
        # In threads: on Python 3.10 what is called in an async graph cannot be interrupted.
        await asyncio.to_thread(publisher.invoke, page, config)
        await setting.pause(_READING_SECONDS)
        await asyncio.to_thread(publisher.invoke, Command(resume="approved"), config)
        saver.delete_thread(thread)
        if number % 2:
            record_error("UploadFailed", "publisher")

    return [Scene("a page waits for approval", publish, every=8, first=3)]
