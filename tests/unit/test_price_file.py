"""A user's own prices: what the file may say, its mistakes, and that calls follow it."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from agentmetrics import (
    ConfigurationError,
    MemoryRecorder,
    MetricsCallbackHandler,
    Usage,
    configure,
    track_call,
)
from agentmetrics._toml import Document, TomlError
from agentmetrics.config.active import replaced
from agentmetrics.config.assembly import make_prices, make_recorder
from agentmetrics.config.loading import load_settings
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.pricing import PriceFile, Prices, prices
from agentmetrics.pricing.own import OwnPrices
from tests.unit.scripted import Chat, answer, by, errors
from tests.unit.test_store import in_a_child

SECONDS_TO_WAIT = 10.0
MILLION = Usage(1_000_000, 1_000_000)
FILE = """
free_providers = ["lmstudio"]

[prices.openai."gpt-4o"]  # by contract
input = 2.0
output = 8.0
cache_read = 0.5
service_tiers.flex = { input = 1.0, output = 4.0 }

[prices.openai."ft:gpt-4o-2024-08-06"]
input = 3.75
output = 15
[prices.openai."ft:gpt-4o-2024-08-06:acme::special"]
input = 5
output = 20

[prices.bedrock."anthropic.claude-sonnet-4-5"]
input = 2.5
output = 12
[prices.bedrock."eu.anthropic.claude-sonnet-4-5-20250929-v1:0"]
input = 2.8
output = 13

[prices.ollama.big]
input = 0.1
output = 0.2

[aliases.azure]
prod = "gpt-4o-mini"
house = { provider = "openai", model = "gpt-4o" }

[aliases.amazon_bedrock]
"arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc" = "amazon.nova-pro-v1:0"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "prices.toml"
    file.write_text(FILE)
    return file


@pytest.fixture
def known(path: Path) -> Prices:
    return Prices(PriceFile(path))


def rewrite(path: Path, text: str) -> None:
    """A change that shows even when the clock of the file system has not ticked."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


class TestOwnPrices:
    @pytest.mark.parametrize(
        ("provider", "model", "usd"),
        [
            ("openai", "gpt-4o", 10),
            ("OpenAI", "GPT-4o", 10),
            ("openai", "openai/gpt-4o", 10),
            ("openai", "gpt-4o-2024-08-06", 10),  # a snapshot of it
            ("openai-chat", "gpt-4o-20240806", 10),
            ("amazon_bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 14.5),
            ("bedrock_converse", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", 15.8),
            ("ollama", "big", 0.3),
        ],
    )
    def test_own_prices_come_before_the_price_list(self, known, provider, model, usd):
        assert known.cost_usd(provider, model, MILLION) == usd

    @pytest.mark.parametrize(
        ("provider", "model", "usd"),
        [
            ("openai", "gpt-4o-mini", 0.75),
            ("azure", "gpt-4o", 12.5),  # the file has OpenAI's price, not Azure's
            ("ollama", "small", 0),
        ],
    )
    def test_own_prices_leave_other_models_as_they_are(self, known, provider, model, usd):
        assert known.cost_usd(provider, model, MILLION) == usd

    def test_own_prices_of_a_fine_tune_are_those_of_every_fine_tune_of_its_base_or_its_own(
        self, known
    ):
        cost = known.cost_usd
        assert cost("openai", "ft:gpt-4o-2024-08-06:acme::one", MILLION) == 18.75
        assert cost("openai", "ft:gpt-4o-2024-08-06:acme::special", MILLION) == 25
        assert cost("openai", "ft:gpt-4o-mini-2024-07-18:acme::one", MILLION) is None

    @pytest.mark.parametrize(
        ("provider", "model", "usd"),
        [
            ("azure", "prod", 0.75),
            ("azure_openai", "PROD", 0.75),
            ("azure", "house", 10),
            (
                "bedrock",
                "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
                4.0,
            ),
        ],
    )
    def test_own_prices_know_what_an_alias_means(self, known, provider, model, usd):
        assert known.cost_usd(provider, model, MILLION) == usd

    def test_own_prices_make_a_provider_free(self, known):
        assert known.cost_usd("lmstudio", "anything", Usage()) == 0
        assert Prices().cost_usd("lmstudio", "anything", MILLION) is None

    def test_own_prices_have_the_rates_of_parts(self, known):
        usage = Usage(1000, 0, cache_read_tokens=400)
        assert known.cost_usd("openai", "gpt-4o", usage) == (600 * 2 + 400 * 0.5) / 1e6

    def test_own_prices_have_the_service_tiers_that_they_state_and_no_others(self, known):
        assert known.cost_usd("openai", "gpt-4o", MILLION, "flex") == 5
        assert known.cost_usd("openai", "gpt-4o", MILLION, "priority") is None

    def test_own_prices_of_input_alone_do_not_price_output(self):
        own = OwnPrices.parse("[prices.acme.embed]\ninput = 1")
        name = own.find("acme", "embed")
        assert name
        price = own.price(name, "")
        assert price.cost_usd(Usage(1_000_000, 0)) == 1
        assert price.cost_usd(MILLION) is None

    def test_own_prices_say_where_they_are_from(self, known):
        found = known.find("azure", "house")
        assert (found.provider, found.model, found.source) == ("openai", "gpt-4o", "prices.toml")

    def test_own_prices_need_no_price_list(self, known, monkeypatch):
        monkeypatch.setattr("agentmetrics.pricing.source.snapshot", lambda: None)
        assert known.cost_usd("openai", "gpt-4o", MILLION) == 10

    def test_own_prices_are_read_as_the_documentation_writes_them(self, path):
        page = Path(__file__).parents[2].joinpath("docs", "prices.md").read_text(encoding="utf-8")
        path.write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
        cost = Prices(PriceFile(path)).cost_usd
        assert cost("openai", "gpt-4o-2024-08-06", MILLION) == 11.25
        assert cost("openai", "gpt-4o", MILLION, "priority") == 20
        assert cost("openai", "ft:gpt-4o-mini-2024-07-18:acme::id", MILLION) == 1.5
        assert cost("azure", "prod-chat", MILLION) == 12.5
        assert cost("azure", "house-chat", MILLION) == 11.25
        assert cost("lmstudio", "any", MILLION) == 0

    def test_own_prices_may_be_none(self):
        assert OwnPrices.parse("") == OwnPrices()


def mistake_in(text: str) -> str | None:
    try:
        Document(text)
    except TomlError as error:
        return str(error)
    return None


class TestAMistake:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("[prices.openai.a\n", "line 1: expected ']' at the end of a table declaration"),
            ("\nx = [1,\n", "line 2: invalid value"),
            (
                '[prices.openai."a.b"]\ninput=1\n\n[prices.openai."a.b"]\ninput=2',
                'line 4: [prices.openai."a.b"] is defined twice',
            ),
            ("[prices.openai.a]\ninput = 1\ninput = 2", "line 3: input is defined twice"),
            (
                "[prices.aws.a]\ninput = 1\n[prices.bedrock]\nA = { input = 2 }",
                "line 4: a (aws) already has a price",
            ),
            (
                "[prices.openai.a]\ninput = 1\noutput = '2'",
                "line 3: prices.openai.a.output is '2': input should be a valid number",
            ),
            (
                "[prices.openai]\na = { input = 1, output = -2 }",
                "line 2: prices.openai.a.output is -2: input should be greater than or equal to 0",
            ),
            (
                "[prices.openai.a]\ninput = inf",
                "line 2: prices.openai.a.input is inf: input should be a finite number",
            ),
            (
                "[prices.openai.a]\ninput = true",
                "line 2: prices.openai.a.input is True: input should be a valid number",
            ),
            ("\n[prices.openai.a]\noutput = 1", "line 2: prices.openai.a.input is missing"),
            (
                "[prices.openai]\ninput = 1",
                "line 2: prices.openai.input is 1: must be a table",
            ),
            (
                "[prices.openai.a]\ninput = 1\ncached = 2",
                (
                    "line 3: prices.openai.a.cached is not allowed here; use one of input, output, "
                    "cache_read, cache_creation, cache_creation_1h, reasoning, audio_input, "
                    "audio_output, image_input, image_output, request, service_tiers"
                ),
            ),
            (
                "[prices.openai.a]\ninput = 1\n[prices.openai.a.service_tiers.flex]\ninptu = 1",
                "line 3: prices.openai.a.service_tiers.flex.input is missing",
            ),
            (
                "[models.openai.a]\ninput = 1",
                "line 1: models is not allowed here; use one of free_providers, aliases, prices",
            ),
            (
                "[aliases.azure]\na = 'b'\n[aliases.azure_openai]\nA = 'c'",
                "line 4: a (azure) is already an alias",
            ),
            (
                "[prices.azure.a]\ninput = 1\n[aliases.azure]\na = 'c'",
                "line 4: a (azure) already has a price",
            ),
            (
                "[aliases.azure]\na = 'b'\nb = 'c'",
                "line 2: b is itself an alias: use the model's name",
            ),
            ("[aliases.azure]\na = 3", "line 2: aliases.azure.a is 3: must be a table"),
            (
                "[aliases.azure]\na = { modle = 'b' }",
                "line 2: aliases.azure.a.model is missing",
            ),
            (
                "[aliases.azure]\na = { model = 'b', region = 'eu' }",
                "line 2: aliases.azure.a.region is not allowed here; use one of provider, model",
            ),
            (
                "free_providers = [\n  'a',\n  3,\n]",
                "line 1: free_providers.1 is 3: input should be a valid string",
            ),
        ],
    )
    def test_a_mistake_is_one_sentence_that_begins_with_the_line(self, text, sentence):
        with pytest.raises(TomlError) as raised:
            OwnPrices.parse(text)
        assert str(raised.value) == sentence

    @given(st.text(alphabet="[]{}=\"'.,#\n ab1", max_size=60))
    def test_a_mistake_in_any_text_is_one_line_with_a_number(self, text):
        said = mistake_in(text)
        assert said is None or (said.startswith("line ") and "\n" not in said)

    def test_a_mistake_without_a_place_in_the_text_has_no_line(self):
        assert str(Document("a = 1").mistake(("b",), "no")) == "no"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[prices.openai.a]\ninput = '1'", "line 2: prices.openai.a.input is '1'"),
            (None, "cannot be read: No such file or directory"),
            (b"\xff\xfe", "is not UTF-8 text"),
        ],
    )
    def test_a_mistake_stops_the_program_at_the_start(self, tmp_path, monkeypatch, text, said):
        file = tmp_path / "prices.toml"
        if text is not None:
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        monkeypatch.setenv("AGENTMETRICS_PRICES_FILE", str(file))
        with pytest.raises(ConfigurationError) as raised:
            configure()
        assert str(raised.value).startswith(f"AGENTMETRICS_PRICES_FILE='{file}': {said}")
        assert "\n" not in str(raised.value)


class TestAFileThatChanges:
    def test_a_file_that_changes_gives_calls_their_new_price_in_series_that_exist(
        self, path, known
    ):
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(prices=known))
        handler = MetricsCallbackHandler(recorder, agent_name="a")
        model = Chat(answers=[answer(tokens=(1_000_000, 0))], callbacks=[handler])
        model.invoke([HumanMessage("x")])
        rewrite(path, '[prices.openai."gpt-4o"]\ninput = 7\noutput = 1')
        known.refresh()
        model.invoke([HumanMessage("x")])
        assert recorder.value("llm_cost_usd_total") == 2 + 7

    def test_a_file_that_changes_can_take_a_price_away_and_give_one(self, path, known):
        pricers = [known.pricer("openai", name) for name in ("gpt-4o", "gpt-99")]
        assert [each.price.cost_usd(MILLION) for each in pricers] == [10, None]
        rewrite(path, '[prices.openai."gpt-99"]\ninput = 1\noutput = 1')
        known.refresh()
        assert [each.price.cost_usd(MILLION) for each in pricers] == [12.5, 2]

    def test_a_file_that_changes_is_followed_by_pricers_that_the_table_has_let_go(
        self, path, known, monkeypatch
    ):
        pricer = known.pricer("openai", "gpt-4o")
        monkeypatch.setattr(prices, "_MAX_PRICERS", 1)
        known.pricer("openai", "gpt-5")
        assert known._pricers.keys() == {("openai", "gpt-5", "")}
        rewrite(path, '[prices.openai."gpt-4o"]\ninput = 7\noutput = 1')
        known.refresh()
        assert pricer.price.cost_usd(MILLION) == 8

    def test_a_file_that_changes_is_read_only_when_it_has_changed(self, path, known, monkeypatch):
        read = []
        real = OwnPrices.parse

        def parse(text: str) -> OwnPrices:
            read.append(text)
            return real(text)

        monkeypatch.setattr(OwnPrices, "parse", parse)
        pricer = known.pricer("openai", "gpt-4o")
        price = pricer.price
        for _ in range(3):
            known.refresh()
        assert read == []
        assert pricer.price is price

    @pytest.mark.parametrize("mistake", ["[prices.openai.a]\ninput = 'x'", None])
    def test_a_file_that_changes_into_a_mistake_keeps_the_prices_logs_once_and_counts(
        self, path, known, caplog, mistake
    ):
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(prices=known))
        MetricsCallbackHandler(recorder)
        if mistake is None:
            path.unlink()
        else:
            rewrite(path, mistake)
        for _ in range(3):
            known.refresh()
        assert known.cost_usd("openai", "gpt-4o", MILLION) == 10
        assert errors(recorder) == {"prices_file": 1}
        said = "cannot be read" if mistake is None else "line 2: prices.openai.a.input is 'x'"
        (message,) = [record.getMessage() for record in caplog.records]
        assert message.startswith(f"{path}: {said}")
        assert message.endswith("the previous prices stay in use")
        path.write_text('[prices.openai."gpt-4o"]\ninput = 1\noutput = 1')
        known.refresh()
        assert known.cost_usd("openai", "gpt-4o", MILLION) == 2

    def test_a_file_that_changes_is_noticed_by_a_thread(self, path, monkeypatch):
        monkeypatch.setattr(prices, "WATCH_SECONDS", 0.001)
        monkeypatch.setenv("AGENTMETRICS_PRICES_FILE", str(path))
        recorder = make_recorder(load_settings())
        with replaced(recorder), track_call("openai", "gpt-4o") as call:
            call.record_usage(1_000_000, 0)
        assert recorder.value("llm_cost_usd_total") == 2
        rewrite(path, '[prices.openai."gpt-4o"]\ninput = 7\noutput = 1')
        pricer = pipeline_of(recorder).prices.pricer("openai", "gpt-4o")
        assert waited_for(lambda: pricer.price.cost_usd(MILLION) == 8)

    def test_a_file_that_changes_is_noticed_in_a_forked_child_too(self, path, monkeypatch):
        monkeypatch.setattr(prices, "WATCH_SECONDS", 0.001)
        known = Prices(PriceFile(path))
        known.watch()
        pricer = known.pricer("openai", "gpt-4o")
        assert pricer.price.cost_usd(MILLION) == 10

        def child() -> bool:
            rewrite(path, '[prices.openai."gpt-4o"]\ninput = 7\noutput = 1')
            return waited_for(lambda: pricer.price.cost_usd(MILLION) == 8)

        assert in_a_child(child) == "True"

    def test_a_file_that_changes_at_the_moment_of_a_fork_does_not_hold_the_child_up(self, known):
        with known._changing:  # as the thread that takes up a change does

            def child() -> float:
                return known.cost_usd("openai", "gpt-4o", MILLION)

            assert in_a_child(child) == "10.0"

    def test_a_file_that_changes_while_its_price_is_being_looked_up_is_not_missed(
        self, path, known, monkeypatch
    ):
        real = Prices.find

        def slow_find(self, *key):
            quote = real(self, *key)
            monkeypatch.setattr(Prices, "find", real)
            rewrite(path, '[prices.openai."gpt-4o"]\ninput = 7\noutput = 1')
            known.refresh()
            return quote

        monkeypatch.setattr(Prices, "find", slow_find)
        pricer = known.pricer("openai", "gpt-4o")
        assert pricer.price.cost_usd(MILLION) == 10  # it ended before the change
        assert pricer.price.cost_usd(MILLION) == 8


def waited_for(happened) -> bool:
    """Whether it happened within some seconds."""
    tick = threading.Event()
    for _ in range(int(SECONDS_TO_WAIT / 0.005)):
        if happened():
            return True
        tick.wait(0.005)
    return False


class TestTheWatch:
    def test_the_watch_is_kept_only_where_there_is_something_to_watch(self, known):
        plain = Prices()
        plain.watch()
        plain.refresh()
        assert plain._watch is None
        known.watch()
        watch = known._watch
        known.watch()
        assert known._watch is watch

    def test_the_watch_does_not_keep_the_prices_alive(self, path, monkeypatch):
        monkeypatch.setattr(prices, "WATCH_SECONDS", 0.001)
        known = Prices(PriceFile(path))
        known.watch()
        assert known._watch
        periodic = known._watch[1]
        gone = weakref.ref(known)
        del known
        assert waited_for(lambda: gc.collect() is not None and gone() is None)
        periodic._thread.join(SECONDS_TO_WAIT)
        assert not periodic._thread.is_alive()

    def test_the_watch_is_not_begun_by_settings_alone(self, path, monkeypatch):
        monkeypatch.setenv("AGENTMETRICS_PRICES_FILE", str(path))
        made = make_prices(load_settings())
        assert made
        assert made._watch is None


class TestTheSetting:
    def test_the_setting_reaches_calls_through_every_layer(self, path):
        with replaced(MemoryRecorder()):
            recorder = configure(
                prices_file=str(path), namespace="shop", common_labels={"env": "test"}
            )
            with track_call("openai", "gpt-4o") as call:
                call.record_usage(1_000_000, 0)
            memory: Any = recorder.inner[0].inner[0]
            assert by(memory, "shop_llm_cost_usd_total", "model") == {"gpt-4o": 2}

    def test_the_setting_is_off_by_default_and_when_empty(self, monkeypatch):
        assert make_prices(load_settings()) is None
        monkeypatch.setenv("AGENTMETRICS_PRICES_FILE", "")
        assert make_prices(load_settings()) is None
