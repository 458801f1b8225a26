"""Which provider answers at a base URL: several speak the wire of another one."""

from __future__ import annotations

from urllib.parse import urlsplit

_PROVIDERS = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "cognitiveservices.azure.com": "azure",
    "api.anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "generativelanguage.googleapis.com": "google_genai",
    "aiplatform.googleapis.com": "google_vertexai",
    "api.groq.com": "groq",
    "router.huggingface.co": "huggingface",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshot",
    "api.moonshot.cn": "moonshot",
    "openrouter.ai": "openrouter",
    "api.perplexity.ai": "perplexity",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.x.ai": "xai",
    "amazonaws.com": "amazon_bedrock",
    "api.aws": "amazon_bedrock",
}
"""By host, as LangChain's packages name them; what is below a host is its own, as a region is."""


def provider_at(base_url: object, otherwise: str) -> str:
    """The provider at a URL; ``otherwise`` for a host that is nobody's we know, as a gateway's."""
    host = urlsplit(str(base_url)).hostname or ""
    # A region may stand before the name (eu.api.openai.com), or in it (eu-aiplatform).
    parts = host.split(".")
    for start in range(len(parts)):
        name = ".".join(parts[start:])
        if name in _PROVIDERS:
            return _PROVIDERS[name]
    if host.endswith("-aiplatform.googleapis.com"):
        return _PROVIDERS["aiplatform.googleapis.com"]
    return otherwise
