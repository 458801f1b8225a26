"""The wires, by the name of their folder of cases."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.wires import (
    anthropic,
    azure,
    bedrock,
    cohere,
    deepseek,
    gemini,
    groq,
    mistral,
    ollama,
    openai,
    openrouter,
)
from tests.conformance.wires.wire import Wire

WIRES: Mapping[str, Wire] = {
    "anthropic": anthropic.MESSAGES,
    "azure-openai": azure.CHAT,
    "azure-openai-text": azure.TEXT,
    "bedrock-converse": bedrock.CONVERSE,
    "bedrock-invoke": bedrock.INVOKE,
    "bedrock-text": bedrock.TEXT,
    "cohere": cohere.CHAT,
    "deepseek": deepseek.CHAT,
    "gemini": gemini.GEMINI,
    "gemini-text": gemini.TEXT,
    "groq": groq.CHAT,
    "mistral": mistral.CHAT,
    "ollama": ollama.CHAT,
    "ollama-text": ollama.TEXT,
    "openai-chat": openai.CHAT,
    "openai-compatible": openai.COMPATIBLE,
    "openai-responses": openai.RESPONSES,
    "openai-text": openai.TEXT,
    "openrouter": openrouter.CHAT,
    "vertex": gemini.VERTEX,
}
