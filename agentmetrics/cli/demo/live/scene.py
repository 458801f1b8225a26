"""What a scene of the live traffic is, and what it plays on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig

from agentmetrics.cli.demo.models import chat_model
from agentmetrics.cli.demo.wire import Wire

Agent = Runnable[dict[str, Any], BaseMessage]


@dataclass(frozen=True)
class Scene:
    """Something that happens every few seconds for as long as the demo runs.

    ``first`` and ``every`` are seconds; ``play`` is given chance, which is seeded.
    """

    what: str
    play: Callable[[random.Random], Awaitable[object]]
    every: float
    first: float


@dataclass(frozen=True)
class Setting:
    """Where the model server is, who is told of every run, and when it is over."""

    server: Wire
    handler: BaseCallbackHandler
    stopping: asyncio.Event

    @property
    def config(self) -> RunnableConfig:
        """What a program passes to LangChain so that its runs are measured."""
        return {"callbacks": [self.handler]}

    def model(self, name: str, **parameters: Any) -> BaseChatModel:
        """A model of OpenAI's at the demo's server."""
        return chat_model(self.server.base_url, name, **parameters)

    def agent(self, name: str, model: Runnable[Any, BaseMessage], **metadata: str) -> Agent:
        """An agent of a prompt and a model; it is asked ``{"question": …}``."""
        system = f"You are the {name}. Be brief."
        prompt = ChatPromptTemplate.from_messages([("system", system), ("human", "{question}")])
        chain: Agent = prompt | model
        return chain.with_config(
            run_name=name, metadata={"agent_name": name, **metadata}, callbacks=[self.handler]
        )

    async def pause(self, seconds: float) -> None:
        """Let time pass, unless it is over."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except asyncio.TimeoutError:
            return


async def ask(agent: Agent, question: str) -> BaseMessage:
    """One answer in one piece."""
    return await agent.ainvoke({"question": question})


async def read(agent: Agent, question: str) -> None:
    """One answer as it streams in, to its end."""
    async for _ in agent.astream({"question": question}):
        pass
