"""InstrumentedEmbeddings: embeddings, which have no LangChain callbacks, as calls."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.langchain.wrappers.clients import EMBEDDINGS
from agentmetrics.sources.langchain.wrappers.requests import RequestSource


class InstrumentedEmbeddings(Embeddings):
    """Embeddings that record the provider requests of the wrapped ones.

    Each request to the provider is recorded in the metrics for LLM calls, with the extra label
    ``task_type="embedding"`` if ``AGENTMETRICS_EXTRA_LABELS`` contains ``task_type``. With OpenAI,
    Azure OpenAI, Ollama, Cohere, Mistral, Google and Bedrock, a request is one call to the
    provider's SDK, so documents sent in three batches are three calls, each with the input tokens
    that its response reports (and no output). With other embeddings, each use of the four methods
    is a call, without tokens. Tokens are never counted here.

    The agent is ``agent_name``, or else that of the enclosing LangChain run or
    ``InstrumentedAgent``. ``recorder`` defaults to the configured one. ``provider`` and ``model``
    override what the wrapped object and the responses report. The wrapped object is not modified: a
    shallow copy does the work, and any other attribute is read from it.

    Raises ``agentmetrics.ConfigurationError`` when made without a recorder and the environment's
    settings are invalid.
    """

    _source: RequestSource

    def __init__(
        self,
        embeddings: Embeddings,
        *,
        agent_name: str | None = None,
        recorder: Recorder | None = None,
        provider: str | None = None,
        model: str | None = None,
    ) -> None:
        if isinstance(embeddings, InstrumentedEmbeddings):  # else it would be counted twice
            embeddings = embeddings._source.wrapped
        self._source = RequestSource(
            embeddings, "embedding", EMBEDDINGS, agent_name, recorder, provider, model
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_source":  # asked for before there is a source
            raise AttributeError(name)
        return getattr(self._source.target, name)

    def embed_documents(self, texts: list[str], *args: Any, **kwargs: Any) -> list[list[float]]:
        vectors: list[list[float]] = self._source.ask("embed_documents", texts, *args, **kwargs)
        return vectors

    def embed_query(self, text: str, *args: Any, **kwargs: Any) -> list[float]:
        vector: list[float] = self._source.ask("embed_query", text, *args, **kwargs)
        return vector

    async def aembed_documents(
        self, texts: list[str], *args: Any, **kwargs: Any
    ) -> list[list[float]]:
        asked = self._source.ask("aembed_documents", texts, *args, **kwargs)
        vectors: list[list[float]] = await asked
        return vectors

    async def aembed_query(self, text: str, *args: Any, **kwargs: Any) -> list[float]:
        vector: list[float] = await self._source.ask("aembed_query", text, *args, **kwargs)
        return vector
