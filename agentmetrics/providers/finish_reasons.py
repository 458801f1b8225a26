"""Why a model stopped, from every provider's own word for it."""

from __future__ import annotations

from collections.abc import Iterator

from agentmetrics.providers.fields import field, first_part, parts_of

STOP = "stop"
OTHER = "other"
TOOL_CALLS = "tool_calls"
REFUSAL = "refusal"

_WORDS = {
    "stop": (
        "stop",
        "stop_sequence",
        "end_turn",  # https://docs.anthropic.com/en/api/handling-stop-reasons
        "completed",  # https://platform.openai.com/docs/api-reference/responses/object
        "complete",  # https://docs.cohere.com/reference/chat
        "finish",  # Amazon Titan
        "finished",
        "eos",
        "eos_token",  # https://huggingface.co/docs/text-generation-inference
        "end_of_text",
        "reason_stop",  # xAI's SDK, and so below
    ),
    "length": (
        "length",
        "max_tokens",
        "max_output_tokens",
        "max_length",
        "model_length",  # https://docs.mistral.ai/api
        "model_context_window_exceeded",
        "error_limit",
        "reason_max_len",
        "reason_max_context",
    ),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call", "reason_tool_calls"),
    "content_filter": (
        "content_filter",
        "content_filtered",  # Amazon Bedrock
        "guardrail_intervened",
        "error_toxic",
        # https://ai.google.dev/api/generate-content#FinishReason
        "safety",
        "recitation",
        "language",
        "blocklist",
        "prohibited_content",
        "spii",
        "image_safety",
        "image_prohibited_content",
        "image_recitation",
        "model_armor",
    ),
    "refusal": ("refusal",),
}
_REASONS = {word: reason for reason, words in _WORDS.items() for word in words}


def meaning_of(word: object) -> str:
    """The member of ``catalog.FINISH_REASONS`` that a provider's word means.

    Empty for what is no word, and ``other`` for a word that is not known. LangChain joins the words
    of several streamed choices: ``stopstop`` is ``stop``.
    """
    if not isinstance(word, str) or not word:
        return ""
    reason = _REASONS.get(word)
    if reason is None:
        plain = word.lower()
        reason = _REASONS.get(plain) or _REASONS.get(plain[: (plain * 2).find(plain, 1)], OTHER)
    return reason


def finish_reason_of(response: object) -> str:
    """Why the model stopped, from a provider SDK's response, the same as plain data, or the
    metadata of a framework's message; empty where it does not say.

    Of several choices the first counts.
    """
    reason = meaning_of(_word_of(response))
    if reason == STOP:
        if any(_calls_tool(part) for part in _parts_of(response)):
            return TOOL_CALLS
        if any(_refuses(part) for part in _parts_of(response)):
            return REFUSAL
    return reason


def _word_of(response: object) -> object:
    for where in _WHERE:
        word = field(response, where)
        if word is not None:
            return getattr(word, "name", word)
    for holder in _CHOICES:
        choice = first_part(response, holder)
        for where in _WHERE:
            word = field(choice, where)
            if word is not None:
                return getattr(word, "name", word)  # google-genai has an enumeration
    # https://platform.openai.com/docs/api-reference/responses/object
    incomplete = field(field(response, "incomplete_details"), "reason")
    return incomplete or field(response, "status")


_WHERE = (
    "finish_reason",
    "finishReason",
    "stop_reason",
    "stopReason",
    "done_reason",
    "completionReason",  # Titan
)
_CHOICES = (
    "choices",
    "candidates",
    # On Bedrock: Titan's, Mistral's, Cohere's
    "results",
    "outputs",
    "generations",
)


def _parts_of(response: object) -> Iterator[object]:
    """The places where a response may call a tool or refuse."""
    yield response  # version 1 of Cohere's
    yield field(first_part(response, "choices"), "message")
    for holder in (
        response,  # Anthropic's content, the output of OpenAI's Responses API
        field(first_part(response, "candidates"), "content"),  # Gemini's parts
        field(field(response, "output"), "message"),  # Bedrock's Converse
    ):
        for where in ("output", "content", "parts"):
            yield from parts_of(holder, where)
    yield field(response, "message")  # Ollama's, Cohere's


def _calls_tool(part: object) -> bool:
    return bool(
        field(part, "tool_calls")
        or field(part, "function_call")
        or field(part, "functionCall")
        or field(part, "type") == "function_call"
    )


def _refuses(part: object) -> bool:
    if field(part, "refusal"):
        return True
    content = field(part, "content")  # of a message of OpenAI's Responses API
    blocks = content if isinstance(content, list) else ()
    return any(field(block, "type") == REFUSAL for block in blocks)
