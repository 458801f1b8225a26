"""What a provider says that a call has cost, where it says so: then that is its cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agentmetrics.providers.fields import Path, field, first_of

MAX_CALL_USD = 1_000_000.0
"""Above it is no cost of one call that anybody told: the dearest model of 2025 takes 600 USD for a
million tokens (https://platform.openai.com/docs/pricing, o1-pro)."""

PROVIDER = "provider"
"""The figure is that of who bills the call."""
GATEWAY = "gateway"
"""The figure is that of a gateway which has a price list of its own."""

HEADER = "x-litellm-response-cost"
"""https://docs.litellm.ai/docs/proxy/response_headers"""

_TICKS = 1e10
"""xAI's ticks in a dollar. https://docs.x.ai/docs/api-reference: ``cost_in_usd_ticks``"""

_ROUNDING = 0.01
"""How far apart two figures for the same call may be: who hands one on may round it."""

WHERE = frozenset({"cost", "cost_in_usd_ticks"})
"""The fields of a usage that say what the call has cost."""

_USAGES: tuple[Path, ...] = (("usage",), ("token_usage",))


class Told(NamedTuple):
    """A cost in USD that was told, and whose figure it is.

    Not a number where that is no cost that can be: it is for the pipeline to leave it out.
    """

    usd: float
    source: str


def told_cost(response: object, headers: object = None) -> Told | None:
    """What a response, or the usage of a stream so far, says of its cost; ``None`` where nothing.

    https://openrouter.ai/docs/use-cases/usage-accounting (``cost``),
    https://docs.perplexity.ai/api-reference (``cost.total_cost``), xAI's ticks, and LiteLLM's
    hidden parameters and header. ``headers`` are those of the response, where they are known.

    Where two do not agree, nobody knows which of them is the bill: neither is told then.
    """
    figures = [Told(_plausible(usd), source) for usd, source in _figures(response, headers)]
    if not figures:
        return None
    usd = [figure.usd for figure in figures]
    return figures[0] if _agree(usd) else Told(math.nan, figures[0].source)


def _agree(usd: Sequence[float]) -> bool:
    return not any(map(math.isnan, usd)) and max(usd) - min(usd) <= _ROUNDING * max(usd)


def _figures(response: object, headers: object) -> Iterator[tuple[object, str]]:
    usage = first_of(response, _USAGES)
    for holder in (usage, response):  # langchain-openrouter puts it beside the usage
        cost = field(holder, "cost")
        if isinstance(cost, Mapping) or field(cost, "total_cost") is not None:
            yield from _perplexity(cost)
        elif _is_said(cost):
            yield _with_own_key(holder, cost), PROVIDER
    ticks = field(usage, "cost_in_usd_ticks")
    if _is_said(ticks):
        yield _number(ticks) / _TICKS, PROVIDER
    hidden = getattr(response, "_hidden_params", None)
    if isinstance(hidden, Mapping) and _is_said(hidden.get("response_cost")):
        yield hidden["response_cost"], GATEWAY
    if isinstance(headers, Mapping):
        said = headers.get(HEADER)
        if said and said != "None":
            yield _of_text(said), GATEWAY


def _is_said(figure: object) -> bool:
    """Whether it is a figure, be it one that cannot be; OpenRouter's SDK has a value for unset."""
    return bool(figure) or (figure is not None and type(figure) in (int, float))


def _perplexity(cost: object) -> Iterator[tuple[object, str]]:
    total, currency = field(cost, "total_cost"), field(cost, "currency")
    if total is not None:
        yield total if currency in (None, "USD") else math.nan, PROVIDER


def _with_own_key(usage: object, cost: object) -> object:
    """What OpenRouter took, and what the provider behind it takes of a key of the user's own.

    https://openrouter.ai/docs/use-cases/byok: the second is on another bill. Where nobody says
    whether a key was one's own, an upstream cost above the cost is that of one.
    """
    upstream = first_of(usage, (("cost_details", "upstream_inference_cost"),))
    own = field(usage, "is_byok")
    if own is False or not _is_said(upstream):
        return math.nan if own is True and upstream is None else cost
    taken, behind = _number(cost), _number(upstream)
    return taken + behind if own is True or behind > taken * (1 + _ROUNDING) else cost


def _number(figure: Any) -> float:
    """A figure as a number; not a number where it is none."""
    if type(figure) is float or (type(figure) is int and abs(figure) < _MANY):
        return figure
    return math.nan


_MANY = 2**63
"""More than any unit of money has in a cost; far more are no float either."""


def _of_text(figure: Any) -> float:
    try:
        return float(figure)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _plausible(figure: object) -> float:
    number = _number(figure)
    return round(float(number), 9) if 0 <= number <= MAX_CALL_USD else math.nan
