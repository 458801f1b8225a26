"""The wires, by the name of their folder of cases."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.wires import (
    anthropic,
    azure,
    deepseek,
    groq,
    mistral,
    openai,
    openrouter,
)
from tests.conformance.wires.wire import Wire

WIRES: Mapping[str, Wire] = {
    "anthropic": anthropic.MESSAGES,
    "azure-openai": azure.CHAT,
    "azure-openai-text": azure.TEXT,
    "deepseek": deepseek.CHAT,
    "groq": groq.CHAT,
    "mistral": mistral.CHAT,
    "openai-chat": openai.CHAT,
    "openai-compatible": openai.COMPATIBLE,
    "openai-responses": openai.RESPONSES,
    "openai-text": openai.TEXT,
    "openrouter": openrouter.CHAT,
}
