"""LangGraph graphs as a user follows them on this version of Python."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

from agentmetrics import InstrumentedAgent, Recorder


def followed(graph: Any, name: str, recorder: Recorder | None) -> Any:
    """The graph; on Python 3.10 inside an ``InstrumentedAgent`` of its name.

    There LangGraph does not hand callbacks on to async nodes, as its documentation says; the
    agent around does, as ours says.
    """
    return graph if sys.version_info >= (3, 11) else _Around(graph, name, recorder)


class _Around(InstrumentedAgent):
    def __init__(self, graph: Any, name: str, recorder: Recorder | None) -> None:
        self.graph = graph
        self.agent_name = name  # type: ignore[misc]
        self.recorder = recorder

    def invoke(self, task: Any, config: Any) -> Any:
        return self.graph.invoke(task, config)

    async def ainvoke(self, task: Any, config: Any) -> Any:
        return await self.graph.ainvoke(task, config)

    async def astream(self, task: Any, config: Any, **options: Any) -> AsyncIterator[Any]:
        async for item in self.graph.astream(task, config, **options):
            yield item

    async def arun(self, items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in items:
            yield item

    def astream_events(self, task: Any, config: Any, **options: Any) -> AsyncIterator[Any]:
        return self.arun(self.graph.astream_events(task, config, **options))
