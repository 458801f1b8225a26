"""The service tier of a call: where each provider's response names it.

https://developers.openai.com/api/docs/guides/flex-processing, /priority-processing
https://platform.claude.com/docs/en/api/service-tiers, /fast-mode, /data-residency
https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html
https://console.groq.com/docs/service-tiers
"""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.providers.fields import field
from agentmetrics.recording.metric import clean_label

_PLAIN = (None, "default", "standard", "on_demand", "")
"""What providers call the tier that costs what their price list says, or say nothing of it."""


def service_tier_of(response: object) -> str:
    """The tier that served a response; ``""`` for the standard one and where none is named.

    Anthropic's fast mode and its inference in one country count as tiers, ``fast`` and ``us``,
    since they too are priced apart. Several at once are joined: ``batch+us``.
    """
    named = field(response, "service_tier")
    if named is None:
        bedrock = field(response, "serviceTier")
        named = field(bedrock, "type") if isinstance(bedrock, Mapping) else bedrock
    if named is not None:
        return _priced_apart(named)
    block = field(response, "usage")
    if block is None:
        return ""
    geography = field(block, "inference_geo")
    tiers = (
        _priced_apart(field(block, "service_tier")),
        _priced_apart(field(block, "speed")),
        "us" if geography == "us" else "",
    )
    return "+".join(filter(None, tiers))


def _priced_apart(name: object) -> str:
    if name in _PLAIN:
        return ""
    tier = clean_label(name).lower()
    tier = tier[: (tier * 2).find(tier, 1)]  # LangChain joins those of several streamed choices
    return "" if tier in _PLAIN else tier
