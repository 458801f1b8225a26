"""The wires, by the name of their folder of cases."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.wires import anthropic, openai
from tests.conformance.wires.wire import Wire

WIRES: Mapping[str, Wire] = {
    "anthropic": anthropic.MESSAGES,
    "openai-chat": openai.CHAT,
}
