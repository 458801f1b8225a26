"""What a failed call cost: errors may carry the response that was billed."""

from __future__ import annotations

from contextlib import suppress

from agentmetrics.calls.facts import LLMCall
from agentmetrics.providers.failures import response_of
from agentmetrics.providers.responses import read_response
from agentmetrics.providers.streams import StreamReader


def read_error(call: LLMCall, error: BaseException) -> ValueError | None:
    """Put what the response says that an error carries into its call: usage, cost, model and tier.

    What the call has already stands. Nothing is read from the network, and an error that carries
    no response, or one without usage, changes nothing. Returns the doubt about that usage.
    """
    if call.usage is not None and not call.usage.is_empty:
        return None
    reader = StreamReader()
    with suppress(Exception):  # somebody's own error, whose attributes raise
        response = response_of(error)
        if response is not None:
            read_response(reader, response)
    if reader.cost is not None:
        call.cost(reader.cost)
    if reader.usage is None:
        return reader.doubt
    call.usage = reader.usage
    call.service_tier = reader.service_tier or call.service_tier
    if not call.served_model:
        call.serve(reader.served_model)
    return reader.doubt
