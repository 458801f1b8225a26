"""The service tier of a call: where each provider's response names it.

https://developers.openai.com/api/docs/guides/flex-processing, /priority-processing
https://platform.claude.com/docs/en/api/service-tiers, /fast-mode, /data-residency
https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html
https://docs.aws.amazon.com/bedrock/latest/userguide/latency-optimized-inference.html
https://console.groq.com/docs/service-tiers
"""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.providers.bedrock import HEADERS
from agentmetrics.providers.fields import Path, field, first_of
from agentmetrics.recording.metric import clean_label

_PLAIN = (None, "default", "standard", "on_demand", "")
"""What providers call the tier that costs what their price list says, or say nothing of it."""


def service_tier_of(response: object) -> str:
    """The tier that served a response; ``""`` for the standard one and where none is named.

    Anthropic's fast mode and its inference in one country count as tiers, ``fast`` and ``us``, as
    does Bedrock's ``optimized`` latency, since they too are priced apart. Several at once are
    joined: ``batch+us``.
    """
    named = field(response, "service_tier")
    if named is None:
        bedrock = first_of(response, _BEDROCK)
        named = field(bedrock, "type") if isinstance(bedrock, Mapping) else bedrock
    tiers = [_priced_apart(named)]
    block = field(response, "usage")
    if named is None and block is not None:
        tiers = [_priced_apart(field(block, "service_tier")), _priced_apart(field(block, "speed"))]
        tiers.append("us" if field(block, "inference_geo") == "us" else "")
    tiers.append(_priced_apart(first_of(response, _LATENCY)))
    return "+".join(filter(None, tiers))


_BEDROCK: tuple[Path, ...] = (("serviceTier",), (*HEADERS, "x-amzn-bedrock-service-tier"))
_LATENCY: tuple[Path, ...] = (
    ("performanceConfig", "latency"),
    (*HEADERS, "x-amzn-bedrock-performanceconfig-latency"),
)
"""Of Converse, and of InvokeModel's headers."""


def tier_told(told: object) -> str:
    """The tier that a program names, where it is priced apart, else ``""``: of text alone."""
    if not issubclass(type(told), str):
        return ""
    return service_tier_of({"service_tier": str.__str__(told)})


def _priced_apart(name: object) -> str:
    if not name or name in _PLAIN:  # Mistral's SDK has a value for what was not set
        return ""
    tier = clean_label(name).lower().replace("@", "_")  # which is for a place
    tier = tier[: (tier * 2).find(tier, 1)]  # LangChain joins those of several streamed choices
    return "" if tier in _PLAIN else tier
