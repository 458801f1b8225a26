"""Reported names and the price they resolve to: real ones from a corpus, and made-up siblings.

``tests/corpus/model_names.csv`` has names as providers, their packages and their documentation
write them, with the entry of genai-prices that each is by reading both; no entry for what must
stay unpriced. Where the installed list does not have an entry, its names must have no price.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ClauseAnd, ClauseOr, ClauseRegex
from hypothesis import given
from hypothesis import strategies as st

from agentmetrics.pricing import LOCAL_PROVIDERS, Prices, source
from agentmetrics.pricing.names import (
    Name,
    names_of,
    provider_id,
    without_snapshot,
    without_version,
)

CORPUS = Path(__file__).parents[1] / "corpus" / "model_names.csv"
with CORPUS.open(newline="", encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))
LISTED = {(p.id, model.id) for p in get_snapshot().providers for model in p.models}


def expected(row: dict[str, str]) -> tuple[str, str] | None:
    entry = row["price_provider"], row["price_model"]
    return entry if entry in LISTED or entry[0] in LOCAL_PROVIDERS else None


def resolved(provider: str, model: str) -> tuple[str, str] | None:
    quote = Prices().find(provider, model)
    return (quote.provider, quote.model) if quote and quote.price.bands else None


class TestTheCorpus:
    def test_the_corpus_is_large_and_of_every_kind(self):
        kinds = Counter(row["kind"] for row in ROWS)
        assert len(ROWS) >= 200
        assert sum(not row["price_model"] for row in ROWS) >= 25
        assert len({(row["provider"], row["model"]) for row in ROWS}) == len(ROWS)
        assert kinds.keys() >= {
            "azure", "bedrock", "bedrock arn", "bedrock region", "cohere", "compact date", "dated",
            "deepseek", "fine-tune", "fireworks", "gemini", "gemini path", "groq", "latest",
            "local", "made-up sibling", "mistral", "opaque", "openrouter", "prefix", "sibling",
            "together", "variant", "vertex", "xai",
        }  # fmt: skip

    def test_the_corpus_resolves_right_and_to_no_sibling(self, record_property, capsys):
        found = [(row, expected(row), resolved(row["provider"], row["model"])) for row in ROWS]
        wrong = [(r["provider"], r["model"], want, got) for r, want, got in found if want != got]
        siblings = [each for each in wrong if each[3] is not None]
        score = 1 - len(wrong) / len(ROWS)
        missing = sum(want is None and bool(row["price_model"]) for row, want, _ in found)
        with capsys.disabled():
            print(f"\n{len(ROWS)} names, {score:.1%} right, {len(siblings)} priced as a sibling")
        record_property("model names resolved right", score)
        assert siblings == []
        assert score >= 0.99, wrong
        assert missing < len(ROWS) / 20  # else this says little about the installed list

    @pytest.mark.parametrize("row", ROWS[:: len(ROWS) // 20], ids=lambda row: row["model"])
    def test_the_corpus_says_the_same_in_capitals_and_with_spaces_around(self, row):
        assert resolved(row["provider"].upper(), f" {row['model'].upper()} ") == expected(row)


def literals(clause: object) -> Iterator[str]:
    """The pieces of names in a pattern of the price list."""
    if isinstance(clause, ClauseOr | ClauseAnd):
        for part in clause.or_ if isinstance(clause, ClauseOr) else clause.and_:
            yield from literals(part)
    elif not isinstance(clause, ClauseRegex):
        yield str(*vars(clause).values())


class TestAMadeUpSibling:
    SUFFIXES = ("-ultra", "-8b", "2", ".1", "-1", "-5-1", "x", "-thinking", "-vision-exp", "-70b")

    @pytest.mark.parametrize(
        "provider",
        ["anthropic", "aws", "azure", "cohere", "deepseek", "google", "groq", "mistral",
         "moonshotai", "openai", "together", "x-ai"],
    )  # fmt: skip
    def test_a_made_up_sibling_of_a_listed_model_has_no_price(self, provider):
        (listed,) = (p for p in get_snapshot().providers if p.id == provider)
        named = {literal.lower() for m in listed.models for literal in literals(m.match)}
        found = [
            (made_up, entry.model.id)
            for model in listed.models
            for literal in {model.id, *literals(model.match)}
            for made_up in (f"{literal}{suffix}".lower() for suffix in self.SUFFIXES)
            for name in names_of(provider, made_up)
            if (entry := source.find(name))
            and name.model not in named
            # what another provider lists by this very name is no sibling
            and name.model not in {piece.lower() for piece in literals(entry.model.match)}
        ]
        assert found == []

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("azure", "o4-mini-deep-research-plus"),
            ("deepseek", "deepseek-r1-distill-llama-70b"),
            ("google_genai", "gemini-1.5-flash-8b"),
            ("google_genai", "gemini-3.5-flash-8b"),
        ],
    )
    def test_a_made_up_sibling_that_the_price_list_itself_would_take_for_another_has_no_price(
        self, provider, model
    ):
        assert get_snapshot().find_provider_model(model, None, provider_id(provider), None)
        assert resolved(provider, model) is None


class TestProviders:
    @pytest.mark.parametrize(
        ("reported", "means"),
        [
            ("amazon_bedrock", "aws"),
            ("amazon_bedrock_converse_chat", "aws"),
            ("anthropic-bedrock-chat", "aws"),
            ("anthropic-chat", "anthropic"),
            ("Anthropic", "anthropic"),
            ("azure-openai-chat", "azure"),
            ("chat-google-generative-ai", "google"),
            ("chat-ollama", "ollama"),
            ("ollama-llm", "ollama"),
            ("google_vertexai", "google"),
            ("mistralai-chat", "mistral"),
            ("openai", "openai"),
            ("xai-chat", "x_ai"),
            ("x-ai", "x_ai"),
            ("my-openai-proxy", "my_openai_proxy"),
        ],
    )
    def test_providers_have_one_spelling(self, reported, means):
        assert provider_id(reported) == means


class TestNames:
    def test_names_begin_with_the_reported_one(self):
        arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0"
        assert list(names_of("bedrock", arn)) == [
            Name("aws", arn),
            Name("aws", "us.amazon.nova-pro-v1:0"),
            Name("aws", "amazon.nova-pro-v1:0"),
        ]

    @pytest.mark.parametrize(
        "model",
        [
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
            "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-pro-v1:0/abc",
            "global.amazon.nova-pro-v1:0",
        ],
    )
    def test_names_of_what_is_priced_apart_are_themselves(self, model):
        assert list(names_of("bedrock", model)) == [Name("aws", model)]

    def test_names_of_a_gateway_may_begin_with_the_provider(self):
        assert Name("groq", "qwen/qwen3-32b") in names_of("litellm", "groq/qwen/qwen3-32b")
        assert Name("openai", "gpt-4o") not in names_of("groq", "openai/gpt-4o")

    def test_names_of_a_fine_tune_have_its_base_only_as_that(self):
        assert list(names_of("openai", "ft:gpt-4o-2024-08-06:acme::id")) == [
            Name("openai", "ft:gpt-4o-2024-08-06:acme::id"),
            Name("openai", "ft:gpt-4o-2024-08-06"),
        ]

    @pytest.mark.parametrize("model", ["", "x" * 128])
    def test_names_that_are_empty_or_may_have_been_cut_are_none(self, model):
        assert list(names_of("openai", model)) == []

    @given(st.text(max_size=40), st.text(max_size=200))
    def test_names_are_few_for_any_text(self, provider, model):
        assert len(list(names_of(provider, model))) < 250

    @pytest.mark.parametrize(
        ("model", "bare"),
        [
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
            ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
            ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku"),
            ("amazon.nova-pro-v1:0", "amazon.nova-pro"),
            ("nvidia.nemotron-nano-9b-v2", "nvidia.nemotron-nano-9b-v2"),
            ("gpt-4o", "gpt-4o"),
            ("mistral-large-2411", "mistral-large-2411"),
        ],
    )
    def test_names_without_the_snapshot_are_the_models(self, model, bare):
        assert without_snapshot(model) == bare

    @pytest.mark.parametrize(
        ("model", "bare"),
        [
            ("gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
            ("gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
            ("gemini-2.0-flash-001", "gemini-2.0-flash"),
            ("claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet"),
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet"),
            ("amazon.nova-pro-v1:0", "amazon.nova-pro"),
            ("amazon.nova-pro-v2:0", "amazon.nova-pro-v2"),
            ("claude-opus-4-1", "claude-opus-4-1"),
            ("gemini-1.5-flash-8b-001", "gemini-1.5-flash-8b"),
            ("-latest", "-latest"),
        ],
    )
    def test_names_without_what_leaves_the_model_the_same_are_the_models(self, model, bare):
        assert without_version(model) == bare
