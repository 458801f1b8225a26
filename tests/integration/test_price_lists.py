"""What the library charges, beside a second public list: they agree, or somebody knows why not.

``tests/corpus/price_differences.csv`` has what differs by more than one percent and the reason. To
review it after a change of either list, run ``python -m tests.integration.test_price_lists``, which
writes the differences there with the reasons that are known, and ``?`` for the others.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentmetrics.pricing import Prices
from tests.services.price_list import second_list

REVIEWED = Path(__file__).parents[1] / "corpus" / "price_differences.csv"
ON = datetime(2026, 11, 27, 8, tzinfo=timezone.utc)
"""When they are compared: some prices have dates, and times of day, at which they are highest."""

PROVIDERS = {
    "anthropic": "anthropic",
    "azure": "azure",
    "azure_ai": "azure_ai",
    "bedrock": "amazon_bedrock",
    "bedrock_converse": "amazon_bedrock",
    "cerebras": "cerebras",
    "cloudflare": "cloudflare",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google_genai",
    "groq": "groq",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshot": "moonshot",
    "novita": "novita",
    "openai": "openai",
    "openrouter": "openrouter",
    "ovhcloud": "ovhcloud",
    "perplexity": "perplexity",
    "together_ai": "together",
    "vertex_ai-anthropic_models": "google_vertexai",
    "vertex_ai-language-models": "google_vertexai",
    "voyage": "voyageai",
    "xai": "xai",
    "zai": "zai",
}
"""By their name of a provider, ours."""

RATES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_creation": "cache_creation_input_token_cost",
    "cache_creation_1h": "cache_creation_input_token_cost_above_1hr",
}
MODES = frozenset({"chat", "completion", "responses", "embedding"})


class Difference(NamedTuple):
    """A rate in USD per million tokens that both lists have and do not agree on."""

    provider: str
    model: str
    rate: str
    ours: str
    theirs: str
    reason: str = "?"


def compared(
    theirs: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[str, str, list[Difference]]]:
    """Every model that both lists price at the same place, with what they do not agree on."""
    prices = Prices()
    seen: set[tuple[str, str]] = set()
    for name, entry in theirs.items():
        provider = PROVIDERS.get(str(entry.get("litellm_provider")))
        if provider is None or entry.get("mode") not in MODES or not entry.get(RATES["input"]):
            continue
        model = _name_of(name, str(entry["litellm_provider"]))
        if model is None or (provider, model) in seen:
            continue
        seen.add((provider, model))
        quote = prices.find(provider, model)
        if quote is not None and quote.price.bands:
            rates = quote.price.bands[0][1].in_usd()
            yield provider, model, list(_differences(provider, model, rates, entry))


def _name_of(name: str, provider: str) -> str | None:
    """What the provider calls the model; ``None`` for a name that says a place we are not told."""
    model = name
    for prefix in (provider.partition("-")[0], "azure", "bedrock", "vertex_ai"):
        model = model.removeprefix(f"{prefix}/")
    is_place = provider.startswith(("bedrock", "azure")) and "/" in model
    return None if is_place else model


def _differences(
    provider: str, model: str, rates: Mapping[str, float | None], entry: Mapping[str, Any]
) -> Iterator[Difference]:
    for rate, field in RATES.items():
        ours, per_token = rates[rate], entry.get(field)
        if ours is None or per_token is None or (rate == "output" and entry["mode"] == "embedding"):
            continue
        theirs = per_token * 1e6
        if abs(ours - theirs) > 0.01 * max(ours, theirs):
            yield Difference(provider, model, rate, f"{ours:g}", f"{theirs:.6g}")


def reviewed() -> list[Difference]:
    with REVIEWED.open(newline="", encoding="utf-8") as file:
        return [Difference(**row) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def found() -> Iterator[list[tuple[str, str, list[Difference]]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", ON.timestamp)
        yield list(compared(second_list()))


def test_two_lists_agree_on_every_price_or_somebody_has_looked_why_not(
    found: list[tuple[str, str, list[Difference]]],
) -> None:
    known = {each._replace(reason="?"): each.reason for each in reviewed()}
    differences = [each for *_, differing in found for each in differing]
    assert [each for each in differences if each not in known] == []
    assert known.keys() - set(differences) == set(), "these agree by now: take them out"


def test_a_difference_that_was_looked_at_has_a_reason() -> None:
    rows = reviewed()
    assert all(len(row.reason) > 20 for row in rows)
    assert len({row[:3] for row in rows}) == len(rows)


def test_two_lists_have_enough_in_common_to_say_something(
    found: list[tuple[str, str, list[Difference]]],
) -> None:
    assert len(found) >= 700
    assert len({provider for provider, *_ in found}) >= 15
    assert sum(not differing for *_, differing in found) >= 0.85 * len(found)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("azure_ai", "grok-3-mini"),
        ("amazon_bedrock", "eu.amazon.nova-lite-v1:0"),
        ("amazon_bedrock", "apac.amazon.nova-pro-v1:0"),
        ("google_vertexai", "gemini-2.0-flash"),
        ("mistral", "mistral-large-latest"),
        ("deepseek", "deepseek-chat"),
    ],
)
def test_what_differs_by_place_or_moves_has_no_price(provider: str, model: str) -> None:
    quote = Prices().find(provider, model)
    assert quote is None or not quote.price.bands


def _write() -> None:
    known = {row[:3]: row.reason for row in reviewed()} if REVIEWED.exists() else {}
    time.time = ON.timestamp
    with REVIEWED.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Difference._fields)
        for *_, differing in compared(second_list()):
            for each in differing:
                writer.writerow(each._replace(reason=known.get(each[:3], "?")))


if __name__ == "__main__":
    _write()
