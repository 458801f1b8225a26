"""The wires, by the name of their folder of cases."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.wires import anthropic, bedrock, cohere, gemini, ollama, openai
from tests.conformance.wires.wire import Wire

WIRES: Mapping[str, Wire] = {
    "anthropic": anthropic.MESSAGES,
    "bedrock-converse": bedrock.CONVERSE,
    "bedrock-invoke": bedrock.INVOKE,
    "bedrock-text": bedrock.TEXT,
    "cohere": cohere.CHAT,
    "gemini": gemini.GEMINI,
    "gemini-text": gemini.TEXT,
    "ollama": ollama.CHAT,
    "ollama-text": ollama.TEXT,
    "openai-chat": openai.CHAT,
    "vertex": gemini.VERTEX,
}
