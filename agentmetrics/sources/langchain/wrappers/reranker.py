"""InstrumentedReranker: rerankers, which have no LangChain callbacks, as calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import PrivateAttr

from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.langchain.wrappers.clients import RERANKERS
from agentmetrics.sources.langchain.wrappers.requests import RequestSource


class InstrumentedReranker(BaseDocumentCompressor):
    """A document compressor that records the provider requests of the wrapped one.

    The same as ``InstrumentedEmbeddings``, with ``task_type="rerank"``. With Cohere and Bedrock, a
    request is one call to the provider's SDK, including in ``rerank``; with other compressors, each
    use of the two methods is a call. Rerankers that bill search units have no tokens and, in these
    metrics, no cost.

    Raises ``agentmetrics.ConfigurationError`` as ``InstrumentedEmbeddings`` does.
    """

    _source: RequestSource = PrivateAttr()

    def __init__(
        self,
        compressor: BaseDocumentCompressor,
        *,
        agent_name: str | None = None,
        recorder: Recorder | None = None,
        provider: str | None = None,
        model: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(compressor, InstrumentedReranker):  # else it would be counted twice
            compressor = compressor._source.wrapped
        self._source = RequestSource(
            compressor, "rerank", RERANKERS, agent_name, recorder, provider, model
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pydantic's own
            return super().__getattr__(name)  # type: ignore[misc]
        return getattr(self._source.target, name)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        ask = self._source.ask
        ranked: Sequence[Document] = ask("compress_documents", documents, query, callbacks)
        return ranked

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        ask = self._source.ask
        ranked: Sequence[Document] = await ask("acompress_documents", documents, query, callbacks)
        return ranked
