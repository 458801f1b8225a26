"""Where LangChain puts a call's model, provider and usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agentmetrics.facts import UNKNOWN, LLMCall
from agentmetrics.recorder import clean_label
from agentmetrics.usage import Usage

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

_NOTHING: Mapping[str, Any] = {}


def requested(
    metadata: Mapping[str, Any] | None, invocation_params: Mapping[str, Any] | None
) -> tuple[str, str]:
    """The provider and model that a call asked for.

    ``BaseLLM.generate()`` called directly sets neither in the metadata.
    """
    if metadata:
        provider, model = metadata.get("ls_provider"), metadata.get("ls_model_name")
        if type(provider) is str and type(model) is str and provider and model:
            return provider, model
    else:
        provider = model = None
    parameters = invocation_params or _NOTHING
    provider = provider or parameters.get("_type")
    model = model or parameters.get("model") or parameters.get("model_name")
    return clean_label(provider) or UNKNOWN, clean_label(model) or UNKNOWN


def read_response(call: LLMCall, response: LLMResult) -> None:
    """Put the model that served and the usage of a response into its call.

    With several choices the same usage stands on every generation: the first counts. Answers
    from LangChain's LLM cache carry ``total_cost: 0`` in their usage and are marked cached.
    Raises ``ValueError`` on usage that cannot be.
    """
    served: Mapping[str, Any] | None = None
    for choices in response.generations:
        for generation in choices:
            try:
                message: Any = generation.message  # type: ignore[union-attr]
            except AttributeError:  # of a text LLM
                continue
            served = message.response_metadata
            usage = getattr(message, "usage_metadata", None)
            if usage is not None:
                _read_served(call, served or _NOTHING, response)
                if usage.get("total_cost") == 0:
                    call.cached = True
                else:
                    call.usage = _usage(usage)
                return
    _read_served(call, served or _NOTHING, response)
    output = response.llm_output or _NOTHING
    block = output.get("token_usage") or output.get("usage")
    if block:
        call.usage = Usage.from_response({"usage": block})


def _read_served(call: LLMCall, served: Mapping[str, Any], response: LLMResult) -> None:
    model = served.get("model_name") or served.get("model")
    if not model and response.llm_output:  # with several choices no message names it
        model = response.llm_output.get("model_name")
    if model:
        call.model = model if type(model) is str else clean_label(model)
    if call.provider == UNKNOWN:
        call.provider = clean_label(served.get("model_provider")) or UNKNOWN


def _usage(block: Mapping[str, Any]) -> Usage:
    """LangChain's ``UsageMetadata``: input includes what was cached, details are subsets."""
    inputs, outputs = block.get("input_token_details"), block.get("output_token_details")
    if not (inputs and any(inputs.values())) and not (outputs and any(outputs.values())):
        return Usage.plain(block.get("input_tokens"), block.get("output_tokens"))
    inputs, outputs = inputs or _NOTHING, outputs or _NOTHING
    return Usage(
        block.get("input_tokens"),
        block.get("output_tokens"),
        inputs.get("cache_read"),
        inputs.get("cache_creation") or _ephemeral(inputs),
        inputs.get("ephemeral_1h_input_tokens"),
        outputs.get("reasoning"),
        inputs.get("audio"),
        outputs.get("audio"),
    ).checked()


def _ephemeral(details: Mapping[str, Any]) -> Any:
    # langchain-anthropic, not streamed: the two kinds beside "cache_creation": 0.
    if "ephemeral_5m_input_tokens" not in details:
        return details.get("cache_creation")
    kinds = (details["ephemeral_5m_input_tokens"], details.get("ephemeral_1h_input_tokens"))
    return sum(kind or 0 for kind in kinds)
