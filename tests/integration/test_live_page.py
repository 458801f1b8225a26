"""The live page in a real browser: on a live demo, and on programs that misbehave.

It is one module, however long, since each would start a browser and a demo of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from prometheus_client.parser import text_string_to_metric_families

from agentmetrics import CacheTracker, track_call, track_run
from agentmetrics.exposition import start_http_server_in_thread
from agentmetrics.exposition.page import events, feed, state
from agentmetrics.recording.metric import clean_label
from tests.integration.test_demo import announced, started
from tests.services.browser import chromium, violations
from tests.services.live_page import (
    PATIENCE,
    Proxy,
    Seen,
    asleep,
    called,
    new,
    noted,
    opened,
    ran,
    said,
    served,
    turn,
    wait_until,
)
from tests.services.process import free_port

pytestmark = pytest.mark.asyncio_alone


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def starting_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """A demo with live traffic; gives its address, without a path, once it is there.

    A test that does little but wait asks for it, too: the demo then starts meanwhile.
    """
    log = tmp_path_factory.mktemp("demo") / "log"
    with started("demo", "--serve", "--port", "0", log=log) as process:
        yield lambda: announced(log, process).removesuffix("/metrics")


@pytest.fixture(scope="module")
def demo(starting_demo: Callable[[], str]) -> str:
    return starting_demo()


CALLS = "td[data-field=calls_total]"
STATUS = "#status"

# On programs of the test


MARKUP = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"


def test_names_with_markup_and_scripts_are_shown_as_text(browser: Browser) -> None:
    recorder = new()
    names = [MARKUP, "__proto__", "constructor", "агент", "研究員", "مساعد", "\u202eesrever"]
    for name in names:
        called(recorder, name)
    with served(recorder) as url, opened(browser, url) as seen:
        shown = seen.page.locator("#rows th")
        expect(shown).to_have_count(len(names))
        assert set(shown.all_text_contents()) == set(map(clean_label, names))
        assert seen.page.locator("#rows img, #rows script, main script").count() == 0
        assert seen.page.title() != "hacked"
        assert seen.complaints == []


def test_what_is_in_flight_is_shown_by_agent_and_model(browser: Browser) -> None:
    recorder = new()
    with (
        served(recorder) as url,
        track_run("planner", recorder=recorder),
        track_call("openai", "gpt-4o-mini", recorder=recorder),
        opened(browser, url) as seen,
    ):
        expect(seen.page.locator("#running")).to_contain_text("planner")
        expect(seen.page.locator("#flight")).to_contain_text("openai:gpt-4o-mini")


def test_the_last_runs_are_strips_in_which_the_odd_one_is_seen_heard_and_read(
    browser: Browser,
) -> None:
    recorder = new()
    called(recorder, MARKUP)
    with served(recorder) as url, opened(browser, url, has_touch=True) as seen:
        page = seen.page
        expect(page.locator("#runs-none")).to_be_visible()
        for number in range(6):
            ran(recorder, MARKUP, fails=number == 2)
        ran(recorder, MARKUP, calls=5)
        expect(page.locator("#runs .run")).to_have_count(7)
        expect(page.locator("#runs .name")).to_have_text(MARKUP)
        expect(page.locator("#runs li")).to_contain_text(re.compile("7 runs · 1 failed, .*1 dear"))
        expect(page.locator("#runs .run").nth(2)).to_have_attribute("data-status", "error")
        page.locator("#runs .run").nth(6).hover()
        expect(page.locator("#runs .tip")).to_contain_text("dear")
        expect(page.locator("#runs .tip")).to_contain_text("5,500 tokens")
        strip = page.get_by_role("img", name="The last 7 runs of")
        strip.tap(position={"x": 2 * 6 + 5, "y": 4})  # over the third bar, and beside it
        expect(page.locator("#runs .tip")).to_contain_text("failed")
        page.locator("#pause").focus()
        expect(page.locator("#runs .tip")).to_be_hidden()
        strip.focus()
        for _ in range(5):
            page.keyboard.press("ArrowLeft")
        expect(page.locator("#reading")).to_contain_text("failed")
        expect(page.locator("#reading")).to_contain_text("1 call, 0 tool calls, 1,100 tokens")
        assert violations(page) == []
        assert seen.complaints == []


def test_where_events_cannot_be_had_the_page_polls(browser: Browser) -> None:
    recorder = new()
    called(recorder, "planner")
    with (
        start_http_server_in_thread(recorder) as server,
        opened(browser, server.url.removesuffix("/metrics")) as seen,
    ):
        expect(seen.page.locator("#status")).to_contain_text("polling")
        called(recorder, "planner")
        expect(seen.page.locator("td[data-field=calls_total]")).to_have_text("2")
        assert not any("/events" in url for url in seen.requests)
        assert seen.complaints == []


def test_numbers_that_are_old_since_sampling_fails_are_not_called_live(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = new()
    called(recorder, "planner")
    with served(recorder) as url, opened(browser, url) as seen:
        expect(seen.page.locator("#status-text")).to_have_text("live")
        monkeypatch.setattr(feed, "view", None)
        monkeypatch.setattr(events, "_ALIVE_SECONDS", 0.1)
        seen.page.clock.install()
        seen.page.clock.fast_forward(15_000)
        expect(seen.page.locator("#status-text")).to_have_text("no new numbers")
        assert seen.page.locator(CALLS).text_content() == "1"
        monkeypatch.undo()
        expect(seen.page.locator("#status-text")).to_have_text("live")


def test_a_page_that_is_paused_shows_what_it_showed_whatever_is_pressed(browser: Browser) -> None:
    recorder = new()
    called(recorder, "planner")
    with (
        start_http_server_in_thread(recorder) as server,
        opened(browser, server.url.removesuffix("/metrics")) as seen,
    ):
        page = seen.page
        expect(page.locator(CALLS)).to_have_text("1")
        page.get_by_role("button", name="Pause").click()
        called(recorder, "planner")
        for _ in range(2):  # the first may have been asked for before
            page.wait_for_event("response", lambda response: "/state" in response.url)
        page.locator("th[data-field=calls_total] button").click()
        assert page.locator(CALLS).text_content() == "1"
        page.get_by_role("button", name="Pause").click()
        expect(page.locator(CALLS)).to_have_text("2")


def test_names_are_no_keys_of_javascript(browser: Browser, in_little_time: None) -> None:
    recorder = new()
    names = ("constructor", "__proto__", "toString")
    caches = [CacheTracker(name, recorder=recorder) for name in names]
    called(recorder, "planner")
    with served(recorder) as url, opened(browser, url) as seen:
        for _ in range(4):
            shows_newer(seen.page)  # without these names
        for name, cache in zip(names, caches, strict=True):
            called(recorder, name)
            cache.hit()
        for name in names:
            expect(seen.page.locator("#legend")).to_contain_text(name)
            expect(seen.page.locator("#chart-caches .keys")).to_contain_text(f"{name}100%")
        latest, *_, before = read(seen.page, points=500, chart="caches")
        assert sorted(re.findall(r"\S+ 100%", latest)) == sorted(f"{name} 100%" for name in names)
        assert before.endswith("nothing")
        assert not any("NaN" in each for each in read(seen.page, points=20))
        assert seen.complaints == []


# Sleep, and servers that come and go


@pytest.fixture
def in_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The points of a chart come from half a second on, and four a second."""
    monkeypatch.setattr(state, "SHORTEST_WINDOW", 0.5)
    monkeypatch.setattr(feed, "EVERY_SECONDS", 0.25)


# How many pixels apart what is drawn in a chart is, where it is more than a few.
GAPS = """(canvas) => {
  const { width, height } = canvas;
  const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
  const drawn = [...Array(width).keys()].filter((x) => [...Array(height).keys()].some((y) => {
    const [red, green, blue, alpha] = data.slice(4 * (y * width + x), 4 * (y * width + x) + 4);
    return alpha > 60 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60;
  }));
  return drawn.slice(1).map((x, at) => x - drawn[at]).filter((step) => step > 3);
}"""


def read(page: Page, *, points: int, chart: str = "usd") -> list[str]:
    """What the arrow keys read in a chart, from the latest point back to a gap."""
    page.locator(f"#chart-{chart} .plot").focus()
    page.keyboard.press("End")
    found: list[str] = []
    while len(found) < points and "nothing" not in "".join(found):
        found.append(page.locator("#reading").text_content() or "")
        page.keyboard.press("ArrowLeft")
    page.locator("#pause").focus()
    return found


def shows_newer(page: Page) -> None:
    """Return once the page shows a later sample."""
    now = page.evaluate("() => document.querySelector('#status').dataset.time")
    page.wait_for_function("(t) => document.querySelector('#status').dataset.time > t", arg=now)


def test_a_tab_in_the_background_asks_for_nothing_and_then_shows_the_newest(
    browser: Browser,
) -> None:
    recorder = new()
    called(recorder, "planner")
    with served(recorder) as url, opened(browser, url) as seen:
        page = seen.page
        expect(page.locator(CALLS)).to_have_text("1")
        turn(page, hidden=True)
        page.evaluate("() => document.dispatchEvent(new Event('freeze'))")
        noted(page)
        asked = len(seen.requests)
        page.evaluate("() => dispatchEvent(new Event('online'))")  # as on a machine that wakes up
        called(recorder, "planner")
        page.evaluate("() => document.dispatchEvent(new Event('resume'))")
        assert page.locator(CALLS).text_content() == "1"
        assert len(seen.requests) == asked
        turn(page, hidden=False)
        expect(page.locator(CALLS)).to_have_text("2")
        assert said(page) == ["live", "lost", "live"]
        assert seen.complaints == []


def test_an_address_with_a_password_or_another_host_in_its_path_asks_its_own_server(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTMETRICS_PAGE_TOKEN", "open sesame")
    recorder = new()
    called(recorder, "planner")
    with start_http_server_in_thread(recorder) as server:
        own = f"127.0.0.1:{server.port}"
        address = f"http://me:open%20sesame@{own}//elsewhere.example"
        with opened(browser, address) as seen:
            expect(seen.page.locator(CALLS)).to_have_text("1")
            assert {urlsplit(url).netloc.rpartition("@")[2] for url in seen.requests} == {own}
            assert seen.complaints == []


def test_a_machine_that_slept_while_the_server_restarted_shows_the_new_numbers_and_a_gap(
    browser: Browser, in_little_time: None, starting_demo: object
) -> None:
    port, recorder, again = free_port(), new(), new()
    with ExitStack() as until_the_end, ExitStack() as until_it_stops:
        url = until_it_stops.enter_context(served(recorder, port))
        called(recorder, "planner", times=40)
        seen = until_the_end.enter_context(opened(browser, url))
        page = seen.page
        expect(page.locator(CALLS)).to_have_text("40")
        called(recorder, "planner", times=10)
        wait_until(lambda: "$" in read(page, points=1)[0])
        for _ in range(3):
            shows_newer(page)
        noted(page)
        with asleep(browser):
            until_it_stops.close()
            called(again, "planner", times=3)
            until_the_end.enter_context(served(again, port))
            time.sleep(6.5)  # longer than a page waits for a word, and than two points may be apart
        expect(page.locator(CALLS)).to_have_text("3")
        expect(page.locator(STATUS)).to_have_attribute("data-state", "live")
        assert said(page)[:2] == ["live", "lost"]
        called(again, "planner", times=2)
        expect(page.locator(CALLS)).to_have_text("5")
        for _ in range(4):
            shows_newer(page)
        (gap,) = page.locator("#chart-usd canvas").evaluate(GAPS)
        assert gap > 20
        *rates, before = read(page, points=500)
        assert "nothing" in before
        assert all(re.search(r"planner \$\d", rate) for rate in rates)


def test_behind_a_proxy_events_come_back_with_the_server_and_no_rate_is_negative(
    browser: Browser,
) -> None:
    recorder, again = new(), new()
    called(recorder, "planner", times=50)
    called(again, "planner", times=3)
    with Proxy().listening() as proxy, ExitStack() as until_it_stops:
        proxy.server = until_it_stops.enter_context(served(recorder))
        with opened(browser, proxy.url) as seen:
            page = seen.page
            expect(page.locator(CALLS)).to_have_text("50")
            with page.expect_request(lambda request: "/state" in request.url):
                until_it_stops.close()  # the proxy answers with 502: no stream, and no state
            expect(page.locator(STATUS)).to_have_attribute("data-state", "lost")
            with served(again) as proxy.server:
                expect(page.locator("#status-text")).to_have_text("live")
                expect(page.locator(CALLS)).to_have_text("3")
                called(again, "planner", times=2)
                expect(page.locator(CALLS)).to_have_text("5")
                rate = page.locator("td[data-field=calls_per_minute]")
                expect(rate).not_to_have_text("\N{EN DASH}")
                assert float(rate.get_attribute("data-value") or "nan") >= 0
        assert all(url.startswith(f"{proxy.url}/agentmetrics") for url in seen.requests)


# On the demo, last: it works for as long as it is there


@pytest.fixture(scope="module")
def at_demo(browser: Browser, demo: str) -> Iterator[Seen]:
    """A page that has looked at the demo until its charts have lines."""
    with opened(browser, demo) as seen:
        expect(seen.page.locator("#rows tr").nth(8)).to_be_visible()
        expect(seen.page.locator("#legend button").nth(3)).to_be_visible()
        yield seen


@contextmanager
def looked_at(page: Page, width: int, scheme: Literal["light", "dark"] = "light") -> Iterator[None]:
    """On a screen of this width, in this scheme, once it has drawn itself for that."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    shows_newer(page)
    yield
    page.set_viewport_size({"width": 1360, "height": 900})
    page.emulate_media(color_scheme="light")


def counted(url: str) -> dict[str, dict[str, float]]:
    """What ``/metrics`` has of each agent, by the fields of the page."""
    fields = {
        "llm_calls_total": "calls_total",
        "llm_cost_usd_total": "usd_total",
        "llm_cost_today_usd": "usd_today",
        "agent_runs_total": "runs_total",
    }
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            if sample.name in fields:
                of_agent = found.setdefault(sample.labels["agent_name"], {})
                field = fields[sample.name]
                of_agent[field] = of_agent.get(field, 0.0) + sample.value
    return found


ROWS = """() => [document.querySelector('#tiles-minute').textContent, Object.fromEntries(
  [...document.querySelectorAll('#rows tr')].map((row) => [row.children[0].textContent,
    Object.fromEntries([...row.children].slice(1).map((cell) =>
      [cell.dataset.field, [Number(cell.dataset.value), cell.textContent]]))]))]"""


def test_the_numbers_on_the_page_are_those_of_metrics(at_demo: Seen, demo: str) -> None:
    before = counted(demo)
    # A sample that was taken after the first scrape, and is shown before the second.
    at_demo.page.wait_for_function(
        "(now) => Number(document.querySelector('#status').dataset.time) > now", arg=time.time()
    )
    _, rows = at_demo.page.evaluate(ROWS)
    after = counted(demo)
    assert len(rows) >= 10
    for agent, fields in before.items():
        for field, value in fields.items():
            shown, text = rows[agent][field]
            assert value - 1e-9 <= shown <= after[agent][field] + 1e-9, (agent, field)
            if "usd" not in field:
                assert text == f"{shown:,.0f}"
            else:
                assert float(text.lstrip("$").replace(",", "")) == pytest.approx(shown, rel=0.01)


@pytest.mark.parametrize(("width", "scheme"), [(1360, "dark"), (400, "light")])
def test_axe_finds_nothing_and_the_page_does_not_scroll_sideways(
    at_demo: Seen, width: int, scheme: Literal["light", "dark"]
) -> None:
    with looked_at(at_demo.page, width, scheme):
        assert violations(at_demo.page) == []
        assert at_demo.page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_no_request_leaves_and_the_browser_has_no_complaint(at_demo: Seen, demo: str) -> None:
    at_demo.page.locator("#chart-usd .plot").hover()
    assert {urlsplit(url).netloc for url in at_demo.requests} == {urlsplit(demo).netloc}
    assert {urlsplit(url).path for url in at_demo.requests} == {
        "/agentmetrics",
        "/agentmetrics/events",
    }
    assert at_demo.complaints == []


def test_the_keyboard_alone_sorts_the_table_and_reads_a_chart(at_demo: Seen) -> None:
    page = at_demo.page
    page.locator("th[data-field=calls_total] button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("th[data-field=calls_total]")).to_have_attribute("aria-sort", "descending")
    page.locator("#chart-usd .plot").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#reading")).to_contain_text("$")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.matches(':focus-visible')")


def test_the_others_are_summed_where_numbers_add_up_which_quantiles_do_not(at_demo: Seen) -> None:
    others = re.compile("all others")
    expect(at_demo.page.locator("#chart-tokens .plot")).to_have_attribute("aria-label", others)
    latency = at_demo.page.locator("#chart-latency .plot")
    expect(latency).to_have_attribute("aria-label", re.compile("now: .* s"))
    assert others.search(latency.get_attribute("aria-label") or "") is None


def test_by_model_shows_models(at_demo: Seen) -> None:
    page = at_demo.page
    page.get_by_role("button", name="By model").click()
    expect(page.locator("#rows th").first).to_contain_text(":")
    assert all(":" in name for name in page.locator("#rows th").all_text_contents())
    expect(page.locator("#legend")).to_contain_text("openai:gpt-4o")
    page.get_by_role("button", name="By agent").click()
    expect(page.locator("#rows")).to_contain_text("researcher")
