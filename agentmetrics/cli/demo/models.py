"""The chat models of the demo's programs, as langchain-openai has them."""

from __future__ import annotations

from typing import Any

from langchain_openai import AzureChatOpenAI, ChatOpenAI
from pydantic import SecretStr

_LIKE_ALL: dict[str, Any] = {
    "max_retries": 0,  # retries inside the SDK are invisible to callbacks
    "timeout": 30,
}


def chat_model(base_url: str, name: str, *, api_key: str = "demo", **parameters: Any) -> ChatOpenAI:
    """A model of OpenAI's, which tells the usage of its streams."""
    # A base_url of one's own turns stream_usage off.
    options = {**_LIKE_ALL, "stream_usage": True, **parameters}
    return ChatOpenAI(model=name, base_url=base_url, api_key=SecretStr(api_key), **options)


def azure_model(url: str, name: str) -> AzureChatOpenAI:
    """The same model as a deployment at Azure."""
    return AzureChatOpenAI(
        azure_endpoint=url,
        azure_deployment=name,
        model=name,
        api_key=SecretStr("demo"),
        api_version="2024-10-21",
        **_LIKE_ALL,
    )
