"""What providers and models are called: from the names that frameworks report to price lists'.

Nothing here guesses: a name is rewritten only where its provider says that both mean the same
model. A name that may stand for any model (a deployment, an opaque ARN, an endpoint) gives none
but itself, and a fine-tune is never given the name of its base model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from agentmetrics.recording.metric import MAX_LABEL_LENGTH

LOCAL_PROVIDERS = frozenset(
    {
        *("ollama", "llamacpp", "llama_cpp", "vllm", "huggingface_pipeline", "gpt4all", "mlx"),
        *("llamafile", "localai", "sglang"),
    }
)
"""Providers that run on the user's own machine: every call costs 0, by declaration."""

_PROVIDERS = {
    "alibaba": ("alibaba_cloud", "aliyun", "dashscope", "qwen", "tongyi"),
    "azure": ("azure_openai", "azure_ai"),
    "aws": (
        "amazon_bedrock",
        "amazon_bedrock_converse",
        "anthropic_bedrock",
        "anthropic_mantle",
        "bedrock",
        "bedrock_converse",
        "openai_mantle",
    ),
    "fireworks": ("fireworks_ai",),
    "google": (
        "gemini",
        "google_anthropic_vertex",
        "google_gemini",
        "google_genai",
        "google_generative_ai",
        "google_vertexai",
        "vertex_ai",
        "vertexai",
    ),
    "mistral": ("mistralai",),
    "moonshotai": ("moonshot",),
    "together": ("together_ai",),
    "x_ai": ("xai",),
}
_PROVIDER_IDS = {spelling: name for name, others in _PROVIDERS.items() for spelling in others}
_AFFIXES = re.compile(r"^chat_|_chat$|_llm$")  # of LangChain's _llm_type: openai-chat
_LOCAL = re.compile(r"^local_|_local$")  # as teams name servers of their own: local_ollama

_GATEWAYS = frozenset({"openai", "litellm"})
"""Clients that speak to any provider, which the model's name then begins with."""

# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
BEDROCK_ARN = re.compile(
    r"arn:aws[a-z-]*:bedrock:(?P<region>[^:]*):[^:]*:"
    r"(?P<kind>foundation-model|inference-profile)/(?P<id>[^/]+)"
)
_BEDROCK_GEOGRAPHY = re.compile(r"(?P<name>us|us-gov|eu|apac|au|ca|in|jp)\.(?=[a-z])")
# https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
GOOGLE_PATH = re.compile(
    r"(?:projects/[^/]+/locations/(?P<location>[^/]+)/)?"
    r"(?:publishers/(?:google|anthropic)/)?models/(?P<id>[^/]+)"
)

_SNAPSHOT = re.compile(r"(?:[-@](?:\d{8}|\d{4}-\d{2}-\d{2}))?(?:-v\d:\d)?$")
_VERSION = re.compile(
    r"""[-@](?:
        20\d{6} | 20\d{2}-\d{2}-\d{2}          # 20250929, 2025-09-29
      | \d{2}-20\d{2} | \d{2}-\d{2}           # 09-2025, 05-20
      | [012]\d{3} | 0\d{2}                  # 0613, 2411, 001
      | v[01] | 20\d{6}-v\d | v\d@20\d{6}    # a second version is the same one only by date
      | default | latest | preview
      | customtools   # https://ai.google.dev/gemini-api/docs/models/gemini-3.1-pro-preview
    )$ | :\d$""",
    re.VERBOSE,
)
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")


class Name(NamedTuple):
    """A provider's id and a model's name, both in lower case."""

    provider: str
    model: str


def provider_id(reported: str) -> str:
    """One spelling for each provider: ``aws`` for ``amazon_bedrock``, ``x_ai`` for ``xai``."""
    name = _AFFIXES.sub("", reported.strip().lower().replace("-", "_"))
    server = _LOCAL.sub("", name)
    if _PROVIDER_IDS.get(server, server) in LOCAL_PROVIDERS:
        name = server
    return _PROVIDER_IDS.get(name, name)


def names_of(provider: str, model: str) -> Iterator[Name]:
    """The names that a reported model can be called by, the reported one first."""
    return _names(provider, model, _REWRITES)


def listed_names(provider: str, model: str) -> Iterator[Name]:
    """The names under which a list has this model's price, the reported one first.

    Those of ``names_of``, but for a name that leaves out a geography where it costs something else.
    For a region that the name says, see ``places``.
    """
    return _names(provider, model, _LISTED)


def _names(provider: str, model: str, rewrites: Mapping[str, Rewrite]) -> Iterator[Name]:
    seen: set[Name] = set()
    waiting = [Name(provider_id(provider), model.strip().lower())]
    if not waiting[0].model or len(model) >= MAX_LABEL_LENGTH:  # it may have been cut
        return
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            yield name
            waiting += _rewritten(name, rewrites)


def is_meant(provider: str, named: str, reported: str) -> bool:
    """Whether ``named`` is a name of the model that was reported: as it is, or without its date.

    ``claude-3-5-haiku-latest`` is a name of every ``claude-3-5-haiku``.
    """
    if named == reported:
        return True
    meant = {name.model.removesuffix("-latest") for name in names_of(provider, named)}
    return any(
        shorter in meant
        for name in names_of(provider, reported)
        for shorter in _shortened(name.model)
    )


def _rewritten(name: Name, rewrites: Mapping[str, Rewrite]) -> Iterator[Name]:
    rewrite = rewrites.get(name.provider)
    if rewrite is not None:
        for model in rewrite(name.model):
            yield Name(name.provider, model)
    if name.model.startswith("ft:"):  # ft:gpt-4o-2024-08-06:acme::id is a fine-tune of its base
        yield Name(name.provider, ":".join(name.model.split(":")[:2]))
    elif _COMPACT_DATE.search(name.model):  # as OpenRouter and LiteLLM write them
        yield Name(name.provider, _COMPACT_DATE.sub(r"-\1-\2-\3", name.model))
    prefix, slash, rest = name.model.partition("/")
    if slash and rest and prefix != "models":
        prefix = provider_id(prefix)
        if prefix == name.provider or name.provider in _GATEWAYS:
            yield Name(prefix, rest)


def _bedrock(model: str) -> Iterator[str]:
    arn = BEDROCK_ARN.fullmatch(model)
    if arn:
        yield arn["id"]
    geography = _BEDROCK_GEOGRAPHY.match(model)
    if geography:  # "global." stays: what it costs is not what a geography costs
        yield model[geography.end() :]


def _google(model: str) -> Iterator[str]:
    path = GOOGLE_PATH.fullmatch(model)
    if path:
        yield path["id"]
    elif model.startswith("anthropic/"):
        yield model.removeprefix("anthropic/")


def _azure(model: str) -> Iterator[str]:
    if model.startswith("gpt-35-"):  # Azure's spelling
        yield model.replace("gpt-35-", "gpt-3.5-", 1)


def _fireworks(model: str) -> Iterator[str]:
    if "/" not in model:
        yield f"accounts/fireworks/models/{model}"


def _bedrock_listed(model: str) -> Iterator[str]:
    # The list's plain ids are priced as in the United States, where "us." profiles cost the same:
    # https://aws.amazon.com/bedrock/pricing. What it has as "regional." costs so everywhere, but
    # for the regions of the US government, which have prices of their own.
    arn = BEDROCK_ARN.fullmatch(model)
    if arn:
        yield arn["id"]
    geography = _BEDROCK_GEOGRAPHY.match(model)
    if geography and geography["name"] == "us":
        yield model[geography.end() :]
    elif geography and geography["name"] != "us-gov":
        yield f"regional.{model[geography.end() :]}"


Rewrite = Callable[[str], Iterator[str]]
_REWRITES: dict[str, Rewrite] = {
    "aws": _bedrock,
    "google": _google,
    "azure": _azure,
    "fireworks": _fireworks,
}
_LISTED: dict[str, Rewrite] = {**_REWRITES, "aws": _bedrock_listed}


def without_snapshot(model: str) -> str:
    """The name without the date and version that say which snapshot of the model it is."""
    return _SNAPSHOT.sub("", model)


def without_version(model: str) -> str:
    """The name up to what can follow it and leaves the model and its price the same.

    ``latest``, a date, a version, ``preview``: what they follow is the model.
    """
    *_, shortest = _shortened(model)
    return shortest


def _shortened(model: str) -> Iterator[str]:
    """The name, and it without one thing after the other that can follow the model."""
    yield model
    while (shorter := _VERSION.sub("", model)) not in ("", model):
        yield shorter
        model = shorter
