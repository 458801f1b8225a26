"""One call of a case through a provider's own SDK, sync or async, on a wrapped client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from agentmetrics import MemoryRecorder, wrap
from tests.conformance.ask import PROMPT
from tests.conformance.case import Case

KEY = "none"
MESSAGES = [{"role": "user", "content": PROMPT}]
BLOCKS = [{"role": "user", "content": [{"text": PROMPT}]}]
Ask = Callable[..., Any]
"""Makes the request of a case with a client; gives the answer, or the stream of one."""


# Without certificates, which take longer to read than a call takes.


def _openai(url: str, *, is_async: bool) -> Any:
    import httpx2
    import openai

    if is_async:
        return openai.AsyncOpenAI(
            api_key=KEY,
            base_url=f"{url}/v1",
            max_retries=0,
            http_client=httpx2.AsyncClient(verify=False),
        )
    return openai.OpenAI(
        api_key=KEY, base_url=f"{url}/v1", max_retries=0, http_client=httpx2.Client(verify=False)
    )


def _azure(url: str, *, is_async: bool) -> Any:
    import httpx2
    import openai

    version = "2024-10-21"
    if is_async:
        return openai.AsyncAzureOpenAI(
            api_key=KEY,
            azure_endpoint=url,
            api_version=version,
            max_retries=0,
            http_client=httpx2.AsyncClient(verify=False),
        )
    return openai.AzureOpenAI(
        api_key=KEY,
        azure_endpoint=url,
        api_version=version,
        max_retries=0,
        http_client=httpx2.Client(verify=False),
    )


def _anthropic(url: str, *, is_async: bool) -> Any:
    import anthropic
    import httpx2

    if is_async:
        return anthropic.AsyncAnthropic(
            api_key=KEY,
            base_url=url,
            max_retries=0,
            http_client=httpx2.AsyncClient(verify=False),
        )
    return anthropic.Anthropic(
        api_key=KEY, base_url=url, max_retries=0, http_client=httpx2.Client(verify=False)
    )


def _groq(url: str, *, is_async: bool) -> Any:
    import groq
    import httpx

    if is_async:
        return groq.AsyncGroq(
            api_key=KEY, base_url=url, max_retries=0, http_client=httpx.AsyncClient(verify=False)
        )
    return groq.Groq(
        api_key=KEY, base_url=url, max_retries=0, http_client=httpx.Client(verify=False)
    )


def _mistral(url: str, *, is_async: bool) -> Any:
    import httpx2
    from mistralai.client import Mistral

    return Mistral(
        api_key=KEY,
        server_url=url,
        client=httpx2.Client(verify=False),
        async_client=httpx2.AsyncClient(verify=False),
    )


def _cohere(url: str, *, is_async: bool) -> Any:
    import cohere
    import httpx

    if is_async:
        return cohere.AsyncClientV2(KEY, base_url=url, httpx_client=httpx.AsyncClient(verify=False))
    return cohere.ClientV2(KEY, base_url=url, httpx_client=httpx.Client(verify=False))


def _ollama(url: str, *, is_async: bool) -> Any:
    import ollama

    return (ollama.AsyncClient if is_async else ollama.Client)(url, verify=False)


def _gemini(url: str, *, is_async: bool) -> Any:
    from google import genai

    return genai.Client(api_key=KEY, http_options=_gemini_options(url))


def _vertex(url: str, *, is_async: bool) -> Any:
    from google import genai
    from google.oauth2.credentials import Credentials

    return genai.Client(
        vertexai=True,
        project="no-project",
        location="us-central1",
        credentials=Credentials(token=KEY),
        http_options=_gemini_options(url),
    )


def _gemini_options(url: str) -> Any:
    no_certificates = {"verify": False}
    return {
        "base_url": url,
        "client_args": no_certificates,
        "async_client_args": no_certificates,
    }


def _bedrock(url: str, *, is_async: bool) -> Any:
    from botocore.config import Config

    from tests.conformance.wires.bedrock import session

    config = Config(retries={"max_attempts": 0})
    return session().client("bedrock-runtime", endpoint_url=url, config=config)


def _chat(client: Any, case: Case) -> Any:
    more = {"stream_options": {"include_usage": True}} if case.streamed else {}
    return client.chat.completions.create(
        model=case.model, messages=MESSAGES, stream=case.streamed, **more
    )


def _groq_chat(client: Any, case: Case) -> Any:
    return client.chat.completions.create(model=case.model, messages=MESSAGES, stream=case.streamed)


def _text(client: Any, case: Case) -> Any:
    return client.completions.create(model=case.model, prompt=PROMPT, stream=case.streamed)


def _responses(client: Any, case: Case) -> Any:
    return client.responses.create(model=case.model, input=PROMPT, stream=case.streamed)


def _messages(client: Any, case: Case) -> Any:
    return client.messages.create(
        model=case.model, messages=MESSAGES, max_tokens=100, stream=case.streamed
    )


def _mistral_chat(client: Any, case: Case, *, is_async: bool) -> Any:
    name = ("stream" if case.streamed else "complete") + ("_async" if is_async else "")
    return getattr(client.chat, name)(model=case.model, messages=MESSAGES)


def _cohere_chat(client: Any, case: Case) -> Any:
    chat = client.chat_stream if case.streamed else client.chat
    return chat(model=case.model, messages=MESSAGES, request_options={"max_retries": 0})


def _ollama_chat(client: Any, case: Case) -> Any:
    return client.chat(case.model, MESSAGES, stream=case.streamed)


def _ollama_text(client: Any, case: Case) -> Any:
    return client.generate(case.model, PROMPT, stream=case.streamed)


def _generate(client: Any, case: Case, *, is_async: bool) -> Any:
    models = client.aio.models if is_async else client.models
    generate = models.generate_content_stream if case.streamed else models.generate_content
    return generate(model=case.model, contents=PROMPT)


def _converse(client: Any, case: Case) -> Any:
    converse = client.converse_stream if case.streamed else client.converse
    answer = converse(modelId=case.model, messages=BLOCKS)
    return answer["stream"] if case.streamed else answer


def _invoke(client: Any, case: Case) -> Any:
    if case.streamed:
        return client.invoke_model_with_response_stream(modelId=case.model, body="{}")["body"]
    return client.invoke_model(modelId=case.model, body="{}")


SDKS: Mapping[str, tuple[Callable[..., Any], Ask]] = {
    "anthropic": (_anthropic, _messages),
    "azure-openai": (_azure, _chat),
    "azure-openai-text": (_azure, _text),
    "bedrock-converse": (_bedrock, _converse),
    "bedrock-invoke": (_bedrock, _invoke),
    "bedrock-text": (_bedrock, _invoke),
    "cohere": (_cohere, _cohere_chat),
    "deepseek": (_openai, _chat),
    "gemini": (_gemini, _generate),
    "gemini-text": (_gemini, _generate),
    "groq": (_groq, _groq_chat),
    "mistral": (_mistral, _mistral_chat),
    "ollama": (_ollama, _ollama_chat),
    "ollama-text": (_ollama, _ollama_text),
    "openai-chat": (_openai, _chat),
    "openai-compatible": (_openai, _chat),
    "openai-responses": (_openai, _responses),
    "openai-text": (_openai, _text),
    "openrouter": (_openai, _chat),
    "vertex": (_vertex, _generate),
}
"""By wire, the client of the SDK that speaks it, and how that asks."""

BEHIND = {"deepseek": "deepseek", "openrouter": "openrouter", "vertex": "google_genai"}
"""The provider where the base URL on loopback does not tell it."""
_ONE_FOR_BOTH: tuple[Ask, ...] = (_mistral_chat, _generate)
_SYNC_ALONE: tuple[Ask, ...] = (_converse, _invoke)


def ways(case: Case) -> tuple[str, ...]:
    """How the SDK of a case can be used."""
    return ("sync",) if SDKS[case.wire][1] in _SYNC_ALONE else ("sync", "async")


def ask(
    case: Case, way: str, url: str, recorder: MemoryRecorder, loop: asyncio.AbstractEventLoop
) -> Exception | None:
    """Make the call of a case, and return what the SDK raised, which is the case's own affair."""
    make, request = SDKS[case.wire]
    is_async = way == "async"
    client = make(f"{url}/{case.id}", is_async=is_async)
    client = wrap(client, provider=BEHIND.get(case.wire), recorder=recorder)
    if request in _ONE_FOR_BOTH:
        request = partial(request, is_async=is_async)
    try:
        if is_async:
            loop.run_until_complete(_read_async(request(client, case), case.streamed))
        else:
            answer = request(client, case)
            for _ in answer if case.streamed else ():
                pass
    except Exception as error:
        return error
    return None


async def _read_async(asked: Any, streamed: bool) -> None:
    answer = await asked if hasattr(asked, "__await__") else asked
    if streamed:
        async for _ in answer:
            pass
