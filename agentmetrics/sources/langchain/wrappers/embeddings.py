"""InstrumentedEmbeddings: embeddings, of which LangChain tells no callback, as calls."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.langchain.wrappers.clients import EMBEDDINGS
from agentmetrics.sources.langchain.wrappers.requests import RequestSource


class InstrumentedEmbeddings(Embeddings):
    """Embeddings that record what the wrapped ones ask of their provider.

    Each request to the provider is a call in the metrics of LLM calls, with the extra label
    ``task_type="embedding"`` where ``AGENTMETRICS_EXTRA_LABELS`` names ``task_type``. With
    OpenAI, Azure OpenAI, Ollama, Cohere, Mistral, Google and Bedrock a request is one use of the
    provider's SDK, so that documents sent in three batches are three calls, each with the input
    tokens that its response reports (and no output). With other embeddings each use of the four
    methods is a call, without tokens. Tokens are never counted here.

    The agent is ``agent_name``, else that of the LangChain run or ``InstrumentedAgent`` around.
    ``recorder`` is by default the configured one. ``provider`` and ``model`` stand in place of
    what the wrapped object and the responses say. The wrapped object is left as it is: a shallow
    copy does the work, and has every other attribute that is asked for.

    Raises ``agentmetrics.ConfigurationError`` when made without a recorder and the
    environment's settings cannot be used.
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
