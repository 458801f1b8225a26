"""What LangChain knows our handlers by."""

from __future__ import annotations

from langchain_core.callbacks import BaseCallbackHandler


class Marker(BaseCallbackHandler):
    """The base class of ``MetricsCallbackHandler``: where one is passed, no other is added."""

    agent_name: str | None = None
