"""Providers of embeddings and rerankings on loopback, each in its own wire, that count themselves.

Every answer bills another number of tokens, so that no two can be taken for each other. What is
answered is scripted: ``wire.script(Refusal(429), Answer(tokens=1000))`` is for the next two
requests. The formats are those of the providers' API references, as their SDKs read them.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.services.wire import ERROR, LEFT, SUCCESS, Refusal, serving

SERVED = {"prod-embeddings": "text-embedding-3-large"}
"""What stands behind a deployment at Azure."""
AWS_ERRORS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    429: "ThrottlingException",
}
BEDROCK_MILLISECONDS = 250
OLLAMA_NANOSECONDS = 125_000_000

# One connection for each request, as in the wire of chat models; SDKs retry at once.
_HEADERS = {"connection": "close", "retry-after-ms": "1"}


@dataclass(frozen=True)
class Answer:
    """An answer that bills ``tokens``, ``None`` for a number that no other answer has.

    ``silent`` says nothing of them. ``waits_for`` is an event that the answer waits for, or for
    the client to leave.
    """

    tokens: int | None = None
    silent: bool = False
    waits_for: threading.Event | None = None


@dataclass(frozen=True)
class Asked:
    """One request as the wire saw it: how it ended, and the tokens that it reported."""

    provider: str
    model: str
    ended: str
    tokens: int | None = None


@dataclass
class EmbeddingsWire:
    """The providers: where they are, what they were told to answer, and what they counted."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    open: int = 0
    _script: deque[Answer | Refusal] = field(default_factory=deque)
    _answers: int = 0

    def script(self, *answers: Answer | Refusal) -> None:
        """What the next requests get, in this order."""
        self._script.extend(answers)

    def next_answer(self) -> Answer | Refusal:
        answer = self._script.popleft() if self._script else Answer()
        if isinstance(answer, Answer) and answer.tokens is None:
            self._answers += 1
            return Answer(100 + 3 * self._answers, answer.silent, answer.waits_for)
        return answer

    def counted(self) -> Counter[tuple[str, str, str]]:
        """Requests by provider, model and ending."""
        return Counter((asked.provider, asked.model, asked.ended) for asked in self.asked)

    def tokens(self) -> Counter[tuple[str, str]]:
        """Reported tokens by provider and model."""
        billed: Counter[tuple[str, str]] = Counter()
        for asked in self.asked:
            if asked.tokens is not None:
                billed[asked.provider, asked.model] += asked.tokens
        return billed

    def settled(self, seconds: float = 5.0) -> None:
        """Wait until no request is open: a client that left is noticed a moment later."""
        deadline = time.monotonic() + seconds
        while self.open:
            assert time.monotonic() < deadline, f"{self.open} requests are still open at the wire"
            time.sleep(0.005)

    def forget(self) -> None:
        """Start counting anew; ``AssertionError`` when a scripted answer was never asked for."""
        left = list(self._script)
        self._script.clear()
        self.asked.clear()
        assert not left, f"never asked for: {left}"


class _Api:
    """One provider's way of saying things."""

    provider: str

    def __init__(self, wire: EmbeddingsWire) -> None:
        self.wire = wire

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.wire.open += 1
        try:
            return await self._answer(request, body, self.model(request, body))
        finally:
            self.wire.open -= 1

    async def _answer(self, request: Request, body: Any, model: str) -> Response:
        answer = self.wire.next_answer()
        if isinstance(answer, Refusal):
            self.wire.asked.append(Asked(self.provider, model, ERROR))
            return self.refuse(answer)
        while answer.waits_for is not None and not answer.waits_for.is_set():
            if await request.is_disconnected():
                self.wire.asked.append(Asked(self.provider, model, LEFT))
                return Response()
            await asyncio.sleep(0.005)
        served = SERVED.get(model, model)
        tokens = None if answer.silent else answer.tokens
        told, headers = self.say(served, body, tokens)
        reported = tokens if self.reports else None
        self.wire.asked.append(Asked(self.provider, model, SUCCESS, reported))
        return JSONResponse(told, 200, {**_HEADERS, **headers})

    reports = True
    """Whether the provider's SDK has a place for tokens."""

    def model(self, request: Request, body: Any) -> str:
        return str(body["model"])

    def say(self, model: str, body: Any, tokens: int | None) -> tuple[Any, dict[str, str]]:
        raise NotImplementedError

    def refuse(self, refusal: Refusal) -> Response:
        return JSONResponse(self.refusal(refusal), refusal.status, _HEADERS)

    def refusal(self, refusal: Refusal) -> Any:
        return {"message": refusal.text}


def vector(text: str) -> list[float]:
    """A vector that is the same for the same text, and not for most others."""
    return [1.0, *(float(text.count(letter)) for letter in "aeiou")]


def _texts(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


class _OpenAI(_Api):
    """https://platform.openai.com/docs/api-reference/embeddings"""

    provider = "openai"

    def say(self, model: str, body: Any, tokens: int | None) -> tuple[Any, dict[str, str]]:
        vectors: list[Any] = [vector(text) for text in _texts(body["input"])]
        if body.get("encoding_format") == "base64":
            vectors = [base64.b64encode(struct.pack("<6f", *v)).decode() for v in vectors]
        told: dict[str, Any] = {
            "id": "embd-1",  # Mistral's SDK demands one
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)
            ],
            "model": model,
        }
        if tokens is not None:
            told["usage"] = self.usage(tokens)
        return told, {}

    def usage(self, tokens: int) -> dict[str, int]:
        return {"prompt_tokens": tokens, "total_tokens": tokens}

    def refusal(self, refusal: Refusal) -> Any:
        return {"error": {"message": refusal.text, "type": "error", "code": refusal.code or None}}


class _Azure(_OpenAI):
    """The same; the deployment is in the path."""

    provider = "azure"

    def model(self, request: Request, body: Any) -> str:
        return str(request.path_params["deployment"])


class _Mistral(_OpenAI):
    """https://docs.mistral.ai/api/#tag/embeddings"""

    provider = "mistral"

    def usage(self, tokens: int) -> dict[str, int]:
        return {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}

    def refusal(self, refusal: Refusal) -> Any:
        return {"object": "error", "message": refusal.text, "code": refusal.code or None}


class _Ollama(_Api):
    """https://docs.ollama.com/api/embed"""

    provider = "ollama"

    def say(self, model: str, body: Any, tokens: int | None) -> tuple[Any, dict[str, str]]:
        told = {
            "model": model,
            "embeddings": [vector(text) for text in _texts(body["input"])],
            "total_duration": OLLAMA_NANOSECONDS,
            "load_duration": 1_000,
        }
        return told if tokens is None else {**told, "prompt_eval_count": tokens}, {}

    def refusal(self, refusal: Refusal) -> Any:
        return {"error": refusal.text}


class _Cohere(_Api):
    """https://docs.cohere.com/v1/reference/embed"""

    provider = "cohere"

    def say(self, model: str, body: Any, tokens: int | None) -> tuple[Any, dict[str, str]]:
        billed = {} if tokens is None else {"input_tokens": tokens}
        return {
            "id": "e-1",
            "texts": body["texts"],
            "embeddings": {"float": [vector(text) for text in body["texts"]]},
            "meta": {"api_version": {"version": "1"}, "billed_units": billed},
            "response_type": "embeddings_by_type",
        }, {}


class _CohereRerank(_Api):
    """https://docs.cohere.com/reference/rerank: billed in search units, which are no tokens."""

    provider = "cohere"
    reports = False

    def say(self, model: str, body: Any, tokens: int | None) -> tuple[Any, dict[str, str]]:
        ranks = [
            {"index": i, "relevance_score": 1 / (1 + i)} for i in range(len(body["documents"]))
        ]
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        return {"id": "r-1", "results": ranks[: body["top_n"]], "meta": meta}, {}


class _Gemini(_Api):
    """https://ai.google.dev/api/embeddings: its SDK has no place for usage."""

    provider = "google_genai"
    reports = False

    def model(self, request: Request, body: Any) -> str:
        return str(request.path_params["model"])

    def say(self, model: str, body: Any, tokens: int | None) -> tuple[Any, dict[str, str]]:
        texts = [asked["content"]["parts"][0]["text"] for asked in body["requests"]]
        return {"embeddings": [{"values": vector(text)} for text in texts]}, {}

    def refusal(self, refusal: Refusal) -> Any:
        return {"error": {"code": refusal.status, "message": refusal.text, "status": "NO"}}


class _Vertex(_Gemini):
    """https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api"""

    reports = True

    def say(self, model: str, body: Any, tokens: int | None) -> tuple[Any, dict[str, str]]:
        texts = [instance["content"] for instance in body["instances"]]
        each = _shares(tokens, len(texts))
        return {
            "predictions": [
                {"embeddings": {"values": vector(text), **_statistics(share)}}
                for text, share in zip(texts, each, strict=True)
            ],
            "metadata": {"billableCharacterCount": sum(map(len, texts))},
        }, {}


def _shares(tokens: int | None, texts: int) -> list[int | None]:
    if tokens is None:
        return [None] * texts
    return [tokens - (texts - 1), *([1] * (texts - 1))]


def _statistics(tokens: int | None) -> dict[str, Any]:
    return {} if tokens is None else {"statistics": {"token_count": tokens, "truncated": False}}


class _Bedrock(_Api):
    """https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html"""

    provider = "amazon_bedrock"

    def model(self, request: Request, body: Any) -> str:
        return str(request.path_params["model"])

    def say(self, model: str, body: Any, tokens: int | None) -> tuple[Any, dict[str, str]]:
        headers = {"x-amzn-bedrock-invocation-latency": str(BEDROCK_MILLISECONDS)}
        if tokens is not None:
            headers["x-amzn-bedrock-input-token-count"] = str(tokens)
        if "texts" in body:  # a model of Cohere's
            return {"embeddings": [vector(text) for text in body["texts"]]}, headers
        return {"embedding": vector(body["inputText"]), "inputTextTokenCount": tokens}, headers

    def refuse(self, refusal: Refusal) -> Response:
        kind = AWS_ERRORS.get(refusal.status, "InternalServerException")
        headers = {**_HEADERS, "x-amzn-errortype": kind}
        return JSONResponse({"message": refusal.text}, refusal.status, headers)


class _BedrockRerank(_Bedrock):
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_Rerank.html"""

    reports = False

    def model(self, request: Request, body: Any) -> str:
        reranking = body["rerankingConfiguration"]["bedrockRerankingConfiguration"]
        return str(reranking["modelConfiguration"]["modelArn"])

    def say(self, model: str, body: Any, tokens: int | None) -> tuple[Any, dict[str, str]]:
        configured = body["rerankingConfiguration"]["bedrockRerankingConfiguration"]
        ranks = [{"index": i, "relevanceScore": 1 / (1 + i)} for i in range(len(body["sources"]))]
        return {"results": ranks[: configured["numberOfResults"]]}, {}


_PATHS: dict[str, type[_Api]] = {
    "/v1/embeddings": _OpenAI,
    "/openai/deployments/{deployment}/embeddings": _Azure,
    "/mistral/v1/embeddings": _Mistral,
    "/api/embed": _Ollama,
    "/v1/embed": _Cohere,
    "/v2/rerank": _CohereRerank,
    "/v1beta/models/{model}:batchEmbedContents": _Gemini,
    "/v1beta1/projects/{project}/locations/{where}/publishers/google/models/{model}:predict": (
        _Vertex
    ),
    "/model/{model}/invoke": _Bedrock,
    "/rerank": _BedrockRerank,
}


@contextmanager
def running_embeddings_wire() -> Iterator[EmbeddingsWire]:
    """All the providers, on one free loopback port, in a thread."""
    wire = EmbeddingsWire()
    routes = [Route(path, api(wire).answer, methods=["POST"]) for path, api in _PATHS.items()]
    with serving(Starlette(routes=routes)) as wire.url:
        yield wire


@pytest.fixture(scope="session")
def _embeddings_wire() -> Iterator[EmbeddingsWire]:
    with running_embeddings_wire() as wire:
        yield wire


@pytest.fixture
def embeddings_wire(_embeddings_wire: EmbeddingsWire) -> Iterator[EmbeddingsWire]:
    """Providers that have counted nothing yet."""
    _embeddings_wire.settled()
    with suppress(AssertionError):  # what a failed test left
        _embeddings_wire.forget()
    yield _embeddings_wire
    _embeddings_wire.forget()
