"""The providers' own SDKs, each asked for a case without LangChain."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from tests.conformance.case import Case
from tests.conformance.wires.wire import NO_KEY

PROMPT = "What is the tallest mountain?"
MESSAGES = [{"role": "user", "content": PROMPT}]
_KEY = NO_KEY.get_secret_value()

Ask = Callable[[Case, str], Any]
"""Makes a case's request at a URL and returns what the SDK returns: a response or a stream, or
what has to be awaited for one."""


def prepared(client: Any) -> Any:
    """What is done with every client before it is asked: nothing, unless a test puts another
    function in place of this one."""
    return client


UNTOLD: Mapping[str, Mapping[str, Any]] = {
    # What InvokeModel's body says is the program's to read.
    "bedrock-invoke/no-headers": {"input_tokens": None, "output_tokens": None},
    "bedrock-text/titan-no-headers": {"input_tokens": None, "output_tokens": None},
    "ollama/prompt-cached-streamed": {"details": {}},  # not among the fields of its SDK
    # Nothing but the text of the error says so.
    "anthropic/error-too-long": {"error_type": "invalid_request"},
    "bedrock-converse/error-too-long": {"error_type": "invalid_request"},
    "gemini/error-too-long": {"error_type": "invalid_request"},
}
"""What a response says that its SDK keeps to itself, so that it comes out as unknown."""


@cache
def _http(kind: str) -> Any:
    """An HTTP client for all that take one: each would read the certificates anew."""
    import httpx

    return getattr(httpx, kind)()


@cache
def _first(package: str, kind: str, **options: str) -> Any:
    """A client of which others are copies, which share its HTTP client."""
    return getattr(import_module(package), kind)(api_key=_KEY, max_retries=0, **options)


def openai_at(kind: str, url: str) -> Any:
    """A client of OpenAI's SDK that speaks to a case's URL."""
    return prepared(_first("openai", kind).with_options(base_url=f"{url}/v1"))


def _openai(kind: str) -> Ask:
    return lambda case, url: openai_at(kind, url)


def _azure(kind: str) -> Ask:
    def client(case: Case, url: str) -> Any:
        first = _first("openai", kind, azure_endpoint="http://none", api_version="2024-10-21")
        return prepared(first.with_options(base_url=f"{url}/openai"))

    return client


def _chat(client: Ask) -> Ask:
    def ask(case: Case, url: str) -> Any:
        create = client(case, url).chat.completions.create
        return create(model=case.model, messages=MESSAGES, stream=case.streamed)

    return ask


def _completion(client: Ask) -> Ask:
    def ask(case: Case, url: str) -> Any:
        create = client(case, url).completions.create
        return create(model=case.model, prompt=PROMPT, stream=case.streamed)

    return ask


def _responses(client: Ask) -> Ask:
    def ask(case: Case, url: str) -> Any:
        create = client(case, url).responses.create
        return create(model=case.model, input=PROMPT, stream=case.streamed)

    return ask


def _anthropic(kind: str) -> Ask:
    def ask(case: Case, url: str) -> Any:
        client = prepared(_first("anthropic", kind).with_options(base_url=url))
        return client.messages.create(
            model=case.model, messages=MESSAGES, max_tokens=1000, stream=case.streamed
        )

    return ask


def _groq(kind: str) -> Ask:
    return _chat(lambda case, url: prepared(_first("groq", kind).with_options(base_url=url)))


@cache
def _google(vertex: bool, aio: bool, url: str) -> Any:
    """A client of this case's own, kept: one that is dropped closes its streams."""
    from google import genai
    from google.oauth2.credentials import Credentials

    where: dict[str, Any] = {"api_key": _KEY}
    if vertex:
        where = {
            "vertexai": True,
            "project": "no-project",
            "location": "us-central1",
            "credentials": Credentials(token=_KEY),
        }
    no_certificates = {"verify": False}
    http: Any = {"client_args": no_certificates, "async_client_args": no_certificates}
    return genai.Client(**where, http_options=http)


def _gemini(aio: bool, vertex: bool) -> Ask:
    def ask(case: Case, url: str) -> Any:
        client = prepared(_google(vertex, aio, url))
        models = client.aio.models if aio else client.models
        name = "generate_content_stream" if case.streamed else "generate_content"
        config = {"http_options": {"base_url": url}}
        return getattr(models, name)(model=case.model, contents=PROMPT, config=config)

    return ask


def _mistral(method: str) -> Ask:
    def ask(case: Case, url: str) -> Any:
        from mistralai.client import Mistral

        client = Mistral(
            api_key=_KEY,
            server_url=url,
            client=_http("Client"),
            async_client=_http("AsyncClient"),
        )
        chat = prepared(client).chat
        name = method.replace("complete", "stream") if case.streamed else method
        return getattr(chat, name)(model=case.model, messages=MESSAGES)

    return ask


def _cohere(kind: str) -> Ask:
    def ask(case: Case, url: str) -> Any:
        import cohere

        http = _http("AsyncClient" if "Async" in kind else "Client")
        client = prepared(getattr(cohere, kind)(api_key=_KEY, base_url=url, httpx_client=http))
        options = {"request_options": {"max_retries": 0}}
        if case.streamed:
            return client.chat_stream(model=case.model, messages=MESSAGES, **options)
        return client.chat(model=case.model, messages=MESSAGES, **options)

    return ask


def _ollama(kind: str) -> Ask:
    def ask(case: Case, url: str) -> Any:
        import ollama

        client = prepared(getattr(ollama, kind)(host=url, verify=False))
        if case.wire == "ollama-text":
            return client.generate(model=case.model, prompt=PROMPT, stream=case.streamed)
        return client.chat(model=case.model, messages=MESSAGES, stream=case.streamed)

    return ask


def _boto3(case: Case, url: str) -> Any:
    from botocore.config import Config

    from tests.conformance.wires.bedrock import session

    config = Config(retries={"max_attempts": 0})
    return prepared(session().client("bedrock-runtime", endpoint_url=url, config=config))


def _converse(case: Case, url: str) -> Any:
    client = _boto3(case, url)
    messages = [{"role": "user", "content": [{"text": PROMPT}]}]
    if case.streamed:
        return client.converse_stream(modelId=case.model, messages=messages)["stream"]
    return client.converse(modelId=case.model, messages=messages)


def _invoke(case: Case, url: str) -> Any:
    client = _boto3(case, url)
    if case.streamed:
        return client.invoke_model_with_response_stream(modelId=case.model, body=b"{}")["body"]
    return client.invoke_model(modelId=case.model, body=b"{}")


SYNC: Mapping[str, Ask] = {
    "anthropic": _anthropic("Anthropic"),
    "azure-openai": _chat(_azure("AzureOpenAI")),
    "azure-openai-text": _completion(_azure("AzureOpenAI")),
    "bedrock-converse": _converse,
    "bedrock-invoke": _invoke,
    "bedrock-text": _invoke,
    "cohere": _cohere("ClientV2"),
    "deepseek": _chat(_openai("OpenAI")),
    "gemini": _gemini(aio=False, vertex=False),
    "gemini-text": _gemini(aio=False, vertex=False),
    "groq": _groq("Groq"),
    "mistral": _mistral("complete"),
    "ollama": _ollama("Client"),
    "ollama-text": _ollama("Client"),
    "openai-chat": _chat(_openai("OpenAI")),
    "openai-compatible": _chat(_openai("OpenAI")),
    "openai-responses": _responses(_openai("OpenAI")),
    "openai-text": _completion(_openai("OpenAI")),
    "openrouter": _chat(_openai("OpenAI")),
    "vertex": _gemini(aio=False, vertex=True),
}
ASYNC: Mapping[str, Ask] = {
    "anthropic": _anthropic("AsyncAnthropic"),
    "azure-openai": _chat(_azure("AsyncAzureOpenAI")),
    "cohere": _cohere("AsyncClientV2"),
    "gemini": _gemini(aio=True, vertex=False),
    "groq": _groq("AsyncGroq"),
    "mistral": _mistral("complete_async"),
    "ollama": _ollama("AsyncClient"),
    "openai-chat": _chat(_openai("AsyncOpenAI")),
    "openai-responses": _responses(_openai("AsyncOpenAI")),
}


_TOPIC = re.compile(r"tool|cach|reason|think|usage|event")


def one_of_each_kind(cases: Iterable[Case]) -> Iterator[Case]:
    """Of each wire a case of each kind, which is enough where every case is read the same way."""
    seen = set()
    for case in cases:
        kind = (case.wire, case.streamed, case.ends, case.failed, *_TOPIC.findall(case.name)[:1])
        if kind not in seen or case.id in UNTOLD:
            seen.add(kind)
            yield case


def is_wrapped_async(case: Case) -> bool:
    """Whether a case of a kind is asked for with an async client, too."""
    return case.wire in ASYNC and not _TOPIC.search(case.name)
