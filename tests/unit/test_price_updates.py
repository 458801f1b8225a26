"""Newer prices over the network: only when asked for, and then calls follow them."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import genai_prices
import pytest
from genai_prices.data_snapshot import set_custom_snapshot

from agentmetrics import ConfigurationError, MemoryRecorder, Usage, track_call
from agentmetrics.config.assembly import make_prices, make_recorder
from agentmetrics.config.loading import load_settings
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.pricing import Prices, Updates, prices, updates
from tests.unit.scripted import errors
from tests.unit.test_price_file import waited_for

MILLION = Usage(1_000_000, 0)


class Publisher:
    """A server on loopback that publishes a price list, as genai-prices' repository does."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.body = self.listing(9)
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked += 1
                body = publisher.body.encode()
                self.send_response(publisher.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/data.json"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def listing(usd: float) -> str:
        gpt_4o = {
            "id": "gpt-4o",
            "match": {"equals": "gpt-4o"},
            "prices": {"input_mtok": usd, "output_mtok": usd},
        }
        openai = {"id": "openai", "name": "OpenAI", "api_pattern": "x", "models": [gpt_4o]}
        return json.dumps([openai])


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Publisher()
    yield server
    server.close()
    set_custom_snapshot(None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic time that updates go by, in seconds: ``clock[0]``."""
    now = [1000.0]
    # The module's own: event loops in other threads go by the real one.
    monkeypatch.setattr(updates, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def updated_from(publisher: Publisher) -> Prices:
    return Prices(updates=Updates(genai_prices.UpdatePrices(url=publisher.url)))


class TestAnUpdate:
    def test_an_update_is_followed_by_pricers_that_are_bound(self, publisher):
        known = updated_from(publisher)
        pricer = known.pricer("openai", "gpt-4o")
        assert pricer.price.cost_usd(MILLION) == 2.5
        known.refresh()
        assert pricer.price.cost_usd(MILLION) == 9
        quote = known.find("openai", "gpt-4o")
        assert quote
        assert "fetched" in quote.source

    def test_an_update_comes_again_after_the_updaters_interval(self, publisher, clock):
        known = updated_from(publisher)
        for later in (0, 10, 3599, 3600, 3601):
            clock[0] = 1000.0 + later
            known.refresh()
        assert publisher.asked == 2

    @pytest.mark.parametrize("wrong", ["status", "text", "shape"])
    def test_an_update_that_fails_keeps_the_prices_is_logged_once_and_counted_and_tried_again(
        self, publisher, clock, caplog, monkeypatch, wrong
    ):
        recorder = MemoryRecorder()
        known = updated_from(publisher)
        pipeline_of(recorder, Options(prices=known))
        monkeypatch.setattr(known, "watch", lambda: None)  # the test calls refresh itself
        with track_call("openai", "gpt-4o", recorder=recorder) as call:
            call.record_usage(1_000_000, 0)
        good = publisher.body
        publisher.status = 503 if wrong == "status" else 200
        publisher.body = {"text": "<html>", "shape": "[3]"}.get(wrong, good)
        for later in (0, 10, updates.RETRY_SECONDS):
            clock[0] = 1000.0 + later
            known.refresh()
        assert publisher.asked == 2
        assert known.cost_usd("openai", "gpt-4o", MILLION) == 2.5
        assert errors(recorder) == {"prices_update": 2}
        (message,) = [r.getMessage() for r in caplog.records if r.name == "agentmetrics"]
        assert message.startswith("newer prices could not be fetched: ")
        publisher.status, publisher.body = 200, good
        clock[0] += updates.RETRY_SECONDS
        known.refresh()
        assert known.cost_usd("openai", "gpt-4o", MILLION) == 9

    def test_an_update_is_made_by_a_thread(self, publisher, monkeypatch):
        monkeypatch.setattr(prices, "WATCH_SECONDS", 0.001)
        recorder = MemoryRecorder()
        known = updated_from(publisher)
        pipeline_of(recorder, Options(prices=known))
        pricer = known.pricer("openai", "gpt-4o")
        with track_call("openai", "gpt-4o", recorder=recorder):
            assert waited_for(lambda: pricer.price.cost_usd(MILLION) == 9)
        assert publisher.asked == 1


class TestTheSetting:
    def test_the_setting_is_off_by_default_and_nothing_is_fetched(self, monkeypatch):
        def fetch(self: object) -> None:
            raise AssertionError("fetched without being asked")

        monkeypatch.setattr(genai_prices.UpdatePrices, "fetch", fetch)
        recorder = make_recorder(load_settings())
        assert isinstance(recorder, MemoryRecorder)
        with track_call("openai", "gpt-4o", recorder=recorder) as call:
            call.record_usage(1_000_000, 0)
        assert pipeline_of(recorder).options.prices is None
        assert recorder.value("llm_cost_usd_total") == 2.5
        assert errors(recorder) == {}

    def test_the_setting_asks_for_genai_prices_own_updater_from_the_first_call_on(
        self, monkeypatch
    ):
        asked = threading.Event()

        class Updater(genai_prices.UpdatePrices):  # which no other test's thread has
            def fetch(self):
                asked.set()

        monkeypatch.setattr(prices, "WATCH_SECONDS", 0.001)
        monkeypatch.setattr(genai_prices, "UpdatePrices", Updater)
        monkeypatch.setenv("AGENTMETRICS_PRICES_UPDATE", "1")
        recorder = make_recorder(load_settings())
        assert not asked.wait(0.05)
        with track_call("openai", "gpt-4o", recorder=recorder):
            assert asked.wait(10)

    def test_the_setting_needs_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "genai_prices", None)
        monkeypatch.setenv("AGENTMETRICS_PRICES_UPDATE", "1")
        with pytest.raises(ConfigurationError) as raised:
            make_prices(load_settings())
        assert str(raised.value) == (
            "AGENTMETRICS_PRICES_UPDATE=True: it needs the package 'genai_prices'; "
            "install it with: pip install 'llm-agentmetrics[prices]'"
        )

    def test_the_setting_that_is_no_yes_or_no_is_a_mistake(self, monkeypatch):
        monkeypatch.setenv("AGENTMETRICS_PRICES_UPDATE", "hourly")
        with pytest.raises(ConfigurationError, match=r"^AGENTMETRICS_PRICES_UPDATE='hourly': "):
            load_settings()
