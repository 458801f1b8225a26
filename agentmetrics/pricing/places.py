"""Where a model is served, and what that does to its price.

A tier and a place are one text, ``flex@eu-west-1``, since both say which price of a model it is.
"""

from __future__ import annotations

import re

from agentmetrics.pricing.names import BEDROCK_ARN, GOOGLE_PATH, Name, provider_id

_AT = "@"

_LIST_REGIONS = {
    # https://aws.amazon.com/bedrock/pricing: of its regions these are the ones that lists price
    "aws": frozenset({"us-east-1", "us-east-2", "us-west-2"}),
    "google": frozenset({"global"}),
}

_SAYS_ITS_PLACE = re.compile(r"(?:global|regional|us|us-gov|eu|apac|au|ca|in|jp)\.[a-z]")
"""An inference profile of Bedrock, wherever it is called from.

https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
"""

_DIFFERS_FROM_THE_LIST = re.compile(r"us-gov\.|(?:eu|apac|au|ca|in|jp)\.amazon\.")
"""Profiles of Bedrock that the list prices like others, and AWS does not.

https://aws.amazon.com/bedrock/pricing: GovCloud, and Amazon's own models outside of America
"""

_VERTEX = frozenset({"google_vertexai", "vertexai", "vertex_ai"})
_OTHERWISE_ON_VERTEX = re.compile(r"gemini-2\.0-flash(?!-lite)")
"""https://cloud.google.com/vertex-ai/generative-ai/pricing: half more than on the Gemini API, which
the list's price is of."""

_SAME_EVERYWHERE = re.compile(
    r"(?:gemini-[12]\.|gemini-embedding|text-embedding|claude-3|claude-(?:opus|sonnet)-4(?!-[2-9]\b))"
)
_DEARER_IN_A_REGION = re.compile(r"claude-")
_REGIONAL = 1.1
"""From Claude 4.5 on, Vertex' regional endpoints cost a tenth more than its global ones.

https://platform.claude.com/docs/en/about-claude/pricing#third-party-platform-pricing; Google's own
models before Gemini 3 cost the same everywhere, of later ones this list does not say what they
cost in a region: https://cloud.google.com/vertex-ai/generative-ai/pricing
"""


def tier_at(tier: str, place: str) -> str:
    """A tier and a place as one text; either may be empty."""
    return f"{tier}{_AT}{place}" if place else tier


def tier_and_place(text: str) -> tuple[str, str]:
    """What ``tier_at`` made one of."""
    tier, _, place = text.partition(_AT)
    return tier, place


def is_listed(provider: str, place: str) -> bool:
    """Whether the prices that lists have of a provider's models are those of this place."""
    regions = _LIST_REGIONS.get(provider_id(provider))
    return not place or regions is None or place in regions


def place_in(model: str) -> str:
    """The region that a model's name says, be it an ARN or a path; empty where it says none."""
    name = model.strip().lower()
    arn = BEDROCK_ARN.fullmatch(name)
    if arn:
        return arn["region"] if arn["kind"] == "foundation-model" else ""
    path = GOOGLE_PATH.fullmatch(name)
    return (path["location"] or "") if path else ""


def factor_at(name: Name, place: str, reported: str = "") -> float | None:
    """What the listed price of a model is multiplied with at a place; ``None`` where nobody knows.

    ``name`` is the one under which the list has it, and ``reported`` what the provider was called.
    """
    if name.provider == "aws" and _DIFFERS_FROM_THE_LIST.match(name.model):
        return None
    if name.provider == "google" and (place or reported.replace("-", "_") in _VERTEX):
        if _OTHERWISE_ON_VERTEX.match(name.model):
            return None
    if is_listed(name.provider, place):
        return 1.0
    if name.provider == "aws":
        return 1.0 if _SAYS_ITS_PLACE.match(name.model) else None
    if _SAME_EVERYWHERE.match(name.model):
        return 1.0
    return _REGIONAL if _DEARER_IN_A_REGION.match(name.model) else None
