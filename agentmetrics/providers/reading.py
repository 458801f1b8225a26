"""What was read of a call's response so far: usage, the model that served, why it stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentmetrics.providers.blocks import served_model
from agentmetrics.providers.costs import Told, told_cost
from agentmetrics.providers.failures import ErrorInResponse, failure_of
from agentmetrics.providers.fields import field
from agentmetrics.providers.finish_reasons import (
    REFUSAL,
    STOP,
    TOOL_CALLS,
    finish_reason_of,
    meaning_of,
)
from agentmetrics.providers.service_tier import service_tier_of
from agentmetrics.providers.timing import provider_seconds
from agentmetrics.providers.usage import Usage

ELSEWHERE = ("msg_bdrk_", "msg_vrtx_")
"""Ids of Claude's messages on Bedrock and Vertex, where the model is named otherwise than there."""


class Reading:
    """What a response, or the events of a stream so far, have said.

    ``api_seconds`` is the provider's own account of the time, 0 where it gives none. ``failure`` is
    the error that it was instead. ``doubt`` is why something in any part of it was left out, since
    it cannot be. ``cost`` is what the provider says that it cost. ``headers`` are those of a raw
    response. ``begun`` is what an event left for a later one of its stream. What a later part says
    stands for what an earlier one did: counts are of the whole, and never added up.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.doubt: ValueError | None = None
        self.served_model = ""
        self.service_tier = ""
        self.api_seconds = 0.0
        self.cost: Told | None = None
        self.headers: Any = None
        self.failure: ErrorInResponse | None = None
        self.calls_tool = False
        self.refuses = False
        self.begun: Any = None
        self._reason = ""

    @property
    def finish_reason(self) -> str:
        """Why the model stopped, as ``finish_reason_of`` says it."""
        if self._reason == STOP:
            if self.calls_tool:
                return TOOL_CALLS
            if self.refuses:
                return REFUSAL
        return self._reason

    def take(self, response: object) -> None:
        """Read a whole response, or the last event of a stream that is in place of one."""
        self.failure = failure_of(response)
        self.serve(response)
        self._reason = finish_reason_of(response) or self._reason
        self.count(response)

    def serve(self, response: object) -> None:
        """Note the model that served, and its tier."""
        self.name_model(response)
        self.service_tier = service_tier_of(response) or self.service_tier

    def name_model(self, response: object) -> None:
        """Note the model that served; it is no secret before the tier is."""
        response_id = field(response, "id")
        if isinstance(response_id, str) and response_id.startswith(ELSEWHERE):
            return
        self.served_model = served_model(response) or self.served_model

    def stop(self, word: object) -> None:
        """Note the provider's word for why the model stopped, if it is one."""
        # google-genai has an enumeration
        self._reason = meaning_of(getattr(word, "name", word)) or self._reason

    def count(self, response: object) -> None:
        """Note the usage in a response, if it has any, and the provider's time."""
        self.api_seconds = provider_seconds(response) or self.api_seconds
        self.cost = told_cost(response, self.headers) or self.cost
        usage = Usage.from_response(response)
        if usage is None:
            return
        self.doubt = self.doubt or usage.doubt
        if not usage.is_empty and (self.usage is None or _says_more(usage, self.usage)):
            self.usage = usage


def _says_more(usage: Usage, before: Usage) -> bool:
    """Whether it stands for what an earlier part of the same stream said: nothing does not."""
    return bool(usage.total_tokens or not before.total_tokens)


Read = Callable[[Reading, Any], bool]
"""Reads an event, and tells whether the model says something in it."""
