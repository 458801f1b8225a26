"""The live page below its servers: who may see it, what is sampled when, what it is told."""

from __future__ import annotations

import json
import os
import re
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from agentmetrics import ConfigurationError, PrometheusRecorder, exposition, record_call
from agentmetrics.backends.multiprocess import MultiprocessCollector
from agentmetrics.config.loading import load_settings
from agentmetrics.exposition.page import events as streaming
from agentmetrics.exposition.page import feed as feeding
from agentmetrics.exposition.page import places as placing
from agentmetrics.exposition.page.access import Access, is_loopback
from agentmetrics.exposition.page.answers import Page, Request, part_of
from agentmetrics.exposition.page.document import document
from agentmetrics.exposition.page.feed import Feed
from agentmetrics.exposition.page.places import MAX_CLIENTS, Places
from agentmetrics.exposition.page.reading import page_of_collector
from agentmetrics.exposition.page.state import MOST_GROUPS, MOST_ROWS
from agentmetrics.live.samples import Snapshot, from_recorder

# Who may see it


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "[::1]", "localhost", "LOCALHOST.", "127.9.9.9"]
)
def test_the_page_is_served_on_addresses_of_this_machine_alone(host: str) -> None:
    assert is_loopback(host)
    assert exposition.is_page_served(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "metrics.example.com", "", None])
def test_the_page_is_not_served_elsewhere_unless_asked_for(host: str | None) -> None:
    assert not exposition.is_page_served(host)
    assert exposition.is_page_served(host, True)


def test_the_setting_asks_for_the_page_and_the_argument_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENTMETRICS_PAGE", "on")
    assert exposition.is_page_served("0.0.0.0")
    assert not exposition.is_page_served("0.0.0.0", False)
    monkeypatch.setenv("AGENTMETRICS_PAGE", "off")
    assert not exposition.is_page_served("127.0.0.1")


def test_a_token_that_is_easily_guessed_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENTMETRICS_PAGE_TOKEN", "1234")
    with pytest.raises(ConfigurationError, match="AGENTMETRICS_PAGE_TOKEN"):
        load_settings()


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        basic("", "pärchen:9"),
        basic("anybody", "pärchen:9"),
        "bearer " + "pärchen:9".encode().decode("latin-1"),
    ],
)
def test_the_token_lets_in_as_password_and_as_bearer(authorization: str) -> None:
    access = Access("pärchen:9", is_asked_for=True)
    assert access.is_let_in({"authorization": authorization})


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ???",
        "Basic 4pyTw6A=",
        basic("x", ""),
        basic("pärchen:9", "x"),
        "Bearer ",
        "Bearer \u2713",
    ],
)
def test_without_the_token_nobody_is_let_in(authorization: str) -> None:
    assert not Access("pärchen:9", is_asked_for=True).is_let_in({"authorization": authorization})


@pytest.mark.parametrize("host", ["127.0.0.1:9464", "localhost", "[::1]:9464", ""])
def test_a_page_that_nobody_asked_for_answers_to_names_of_this_machine(host: str) -> None:
    assert Access("", is_asked_for=False).is_right_host({"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "127.0.0.1.attacker.example:9464",
        "[::2]",
        "[",
        "[::2",
        "]",
        "[]:80",
        ":",
    ],
)
def test_a_page_that_nobody_asked_for_answers_to_no_other_name(host: str) -> None:
    assert not Access("", is_asked_for=False).is_right_host({"host": host})
    assert Access("", is_asked_for=True).is_right_host({"host": host})


def test_there_are_so_many_places_and_one_that_is_left_is_free_at_once() -> None:
    places = Places()
    taken = [places.take(f"client-{number}") for number in range(200)]
    assert taken == [True] * MAX_CLIENTS + [False] * (200 - MAX_CLIENTS)
    assert places.take("client-3")  # has one
    places.leave("client-3")
    assert places.take("another")
    assert not places.take("client-3")


def test_who_does_not_ask_again_loses_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "AWAY_SECONDS", 0.0)
    places = Places()
    assert all(places.take(number) for number in range(MAX_CLIENTS * 3))


# Where it is


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/agentmetrics", ""),
        ("/agentmetrics/", ""),
        ("/behind/a/proxy/agentmetrics/events", "events"),
        ("/agentmetrics/state", "state"),
        ("/agentmetrics/runs", "runs"),
        ("/metrics", None),
        ("/agentmetrics/other", None),
        ("/agentmetricsfoo", None),
        ("/agentmetrics/events/", None),
        ("", None),
    ],
)
def test_the_paths_of_the_page(path: str, part: str | None) -> None:
    assert part_of(path) == part


# The document


@pytest.mark.parametrize("transport", ["events", "poll"])
def test_the_policy_allows_what_is_in_the_document_and_nothing_else(transport: Any) -> None:
    html, policy = document(transport)
    text = html.decode()
    inside = re.findall(r"<(script|style)>(.*?)</\1>", text, re.DOTALL)
    assert [kind for kind, _ in inside] == ["style", "script", "script"]
    for kind, content in inside:
        hashed = b64encode(sha256(content.encode()).digest()).decode()
        (rule,) = [rule for rule in policy.split("; ") if rule.startswith(f"{kind}-src")]
        assert f"'sha256-{hashed}'" in rule
    assert text.count("<script") == 2
    assert text.count("<style") == 1
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(
        r"\s(on\w+|style|src)=", re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    )
    assert "innerHTML" not in text.split("</script>")[1]


# Sampling


class Reads:
    """A source that counts how often it is read."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None

    def __call__(self, time: float) -> Snapshot:
        self.times += 1
        if self.error is not None:
            raise self.error
        return Snapshot(time, {"llm_calls_total": {("a", "p", "m", "success"): float(self.times)}})


def told(feed: Feed, last: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(feed.since(last).body)
    return found


def soon(feed: Feed) -> None:
    """As if the next sample were due."""
    feed._due = time.monotonic()


def test_nothing_is_read_while_nobody_looks() -> None:
    reads = Reads()
    feed = Feed(reads)
    assert (reads.times, told(feed)["state"]) == (0, None)


def test_those_who_look_at_once_share_a_sample() -> None:
    reads = Reads()
    feed = Feed(reads)
    for _ in range(20):
        feed.look()
    assert reads.times == 1


def test_samples_that_take_long_are_taken_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([10.0, 10.5, 20.0, 20.5])
    monkeypatch.setattr(time, "thread_time", lambda: next(used))
    feed = Feed(Reads())
    feed.look()
    assert feed.due_in() <= 1  # it imported what it needs
    soon(feed)
    feed.look()
    assert feed.due_in() > 20  # half a second of 25 is a fiftieth


Sample = Callable[..., Feed]


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> Sample:
    """A feed with samples of these Unix times; the first shows no rate yet, and so no point."""
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[-1])

    def sample(*moments: float, feed: Feed | None = None) -> Feed:
        found = feed or Feed(Reads())
        for moment in moments:
            now.append(moment)
            soon(found)
            found.look()
        return found

    return sample


def times(found: dict[str, Any]) -> list[float]:
    return [point["t"] for point in found["points"]]


def test_a_client_is_told_what_is_new_since_it_was_told_last(sampled: Sample) -> None:
    feed = sampled(1000, 1010)
    first = told(feed)
    sampled(1011, feed=feed)
    second = told(feed, first["last"])
    assert (times(first), times(second), times(told(feed))) == ([1010], [1011], [1010, 1011])
    assert times(told(feed, second["last"])) == []


@pytest.mark.parametrize("last", ["another-7", "-", "x", "\u0664-\u0664", "-1"])
def test_a_client_of_another_server_is_told_everything(sampled: Sample, last: str) -> None:
    assert times(told(sampled(1000, 1010), last)) == [1010]


def test_a_client_of_several_workers_is_told_by_each_what_is_new_of_that_one(
    sampled: Sample,
) -> None:
    one, other = sampled(1000, 1010), sampled(1000, 1011)
    lasts = f"{told(one)['last']},{told(other)['last']}"
    sampled(1012, feed=other)
    assert (times(told(one, lasts)), times(told(other, lasts))) == ([], [1012])


def test_a_number_that_is_too_long_to_be_one_is_none(sampled: Sample) -> None:
    feed = sampled(1000, 1010)
    boot, _, _ = told(feed)["last"].partition("-")
    for numbers in (f"{'9' * 5000}-0", f"2-{'9' * 5000}", "2", "2-0-0"):
        assert times(told(feed, f"{boot}-{numbers}")) == [1010]


def test_a_forked_worker_is_another_server(
    sampled: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = sampled(1000, 1010)
    last = told(feed)["last"]
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert times(told(feed, last)) == [1010]


def test_points_older_than_ten_minutes_are_forgotten(sampled: Sample) -> None:
    feed = sampled(*range(1000, 2500, 60))
    assert len(times(told(feed))) == 11


def test_a_clock_that_is_set_back_costs_what_was_kept_and_nothing_else(sampled: Sample) -> None:
    feed = sampled(2000, 2010, 1000, 1010, 1011)
    assert times(told(feed)) == [1010, 1011]


def test_a_counter_that_begins_again_at_zero_has_no_negative_rate(sampled: Sample) -> None:
    labels = ("planner", "openai", "gpt-4o", "success")
    counts = iter([100.0, 160.0, 3.0, 13.0])
    feed = Feed(lambda time: Snapshot(time, {"llm_calls_total": {labels: next(counts)}}))
    states = [told(sampled(moment, feed=feed))["state"] for moment in (1000, 1010, 1020, 1030)]
    assert [state["all"]["calls_per_minute"] for state in states] == [None, 360.0, 189.0, 146.0]


def test_a_sample_that_fails_is_logged_once_and_the_next_one_is_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reads = Reads()
    feed = Feed(reads)
    reads.error = RuntimeError("secret")
    for _ in range(3):
        soon(feed)
        feed.look()
    assert [record.message for record in caplog.records] == [
        "a sample for the live page failed: RuntimeError"
    ]
    reads.error = None
    soon(feed)
    feed.look()
    assert told(feed)["state"]["all"]["calls_total"] > 0


def test_five_thousand_agents_are_told_in_bounds() -> None:
    series: dict[tuple[str, ...], float]
    series = {(f"agent-{number}", "p", "m", "success"): float(number) for number in range(1, 5001)}
    grown = {labels: 2 * value for labels, value in series.items()}
    snapshots = iter(
        [
            Snapshot(1000.0, {"llm_calls_total": {**series}}),
            Snapshot(1030.0, {"llm_calls_total": {**grown}}),
        ]
    )
    feed = Feed(lambda _: next(snapshots))
    for _ in range(2):
        soon(feed)
        feed.look()
    found = told(feed)
    state, point = found["state"], found["points"][-1]
    assert (len(state["agents"]), state["more_agents"]) == (MOST_ROWS, 5000 - MOST_ROWS)
    assert len(point["agents"]) == MOST_GROUPS + 1
    assert state["all"]["calls_total"] == sum(grown.values())


def test_labels_of_every_script_and_with_markup_come_through_as_they_are() -> None:
    recorder = PrometheusRecorder(CollectorRegistry())
    names = ["</script><script>alert(1)</script>", "研究員", 'a"b\\c', "&amp;"]
    for name in names:
        record_call("p", "m", agent_name=name, recorder=recorder)
    feed = Feed(lambda time: from_recorder(recorder, time))
    feed.look()
    assert Counter(row["name"] for row in told(feed)["state"]["agents"]) == Counter(names)


def test_caches_are_told_with_their_hits_of_the_last_minute(sampled: Sample) -> None:
    program, langchain = ("answers",), ("planner", "gpt-4o")
    looked_up = iter([(0.0, 0.0), (30.0, 10.0)])

    def read(time: float) -> Snapshot:
        hits, misses = next(looked_up)
        return Snapshot(
            time,
            {
                "cache_hits_total": {program: hits},
                "cache_misses_total": {program: misses},
                "llm_cache_hits_total": {langchain: hits},
                "llm_cache_misses_total": {langchain: hits},
            },
        )

    state = told(sampled(1000, 1010, feed=Feed(read)))["state"]
    shares = {cache["cache"]: cache["hit_share"] for cache in state["caches"]}
    assert shares == {"answers": 0.75, "LangChain's LLM cache": 0.5}


# Requests


def page(token: str = "") -> Page:
    return Page(Feed(Reads()), Access(token, is_asked_for=True))


def test_a_query_that_makes_no_sense_is_answered() -> None:
    for query in ("client=" + "&client=" * 1000, "last=%ff%00", "client=../..", "&&=&"):
        assert page().answer("state", Request.of("GET", query, [])).status == 200


def test_clients_beyond_the_last_place_are_told_to_come_back() -> None:
    shown = page()
    statuses = [
        shown.answer("state", Request.of("GET", f"client=c{number}", [])).status
        for number in range(200)
    ]
    assert Counter(statuses) == {200: MAX_CLIENTS, 503: 200 - MAX_CLIENTS}


def test_who_has_no_token_takes_no_place() -> None:
    shown = page("long-enough")
    for number in range(200):
        assert shown.answer("state", Request.of("GET", f"client=c{number}", [])).status == 401
    allowed = [("Authorization", basic("", "long-enough"))]
    assert shown.answer("state", Request.of("GET", "client=c", allowed)).status == 200


def test_a_page_of_files_alone_has_no_runs_and_says_so() -> None:
    answer = page().answer("runs", Request.of("GET", "", []))
    assert (answer.status, json.loads(answer.body)["runs"]) == (200, None)


@pytest.mark.anyio
async def test_a_stream_that_has_nothing_to_tell_says_that_it_is_there(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    monkeypatch.setattr(streaming, "_ALIVE_SECONDS", 0.0)
    monkeypatch.setattr(feeding, "EVERY_SECONDS", 3600.0)
    async with aclosing(streaming.events(page(), Request.of("GET", "", []))) as events:
        told = [await events.__anext__() for _ in range(3)]
    assert told[0] == b"retry: 1000\n\n"
    assert told[1].startswith(b"id: ")
    assert told[2] == b"event: alive\ndata:\n\n"


@pytest.mark.anyio
async def test_a_stream_ends_in_time_and_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    monkeypatch.setattr(streaming, "STREAM_SECONDS", 0.0)
    assert [event async for event in streaming.events(page(), Request.of("GET", "", []))] == [
        b"retry: 1000\n\n"
    ]


@pytest.mark.anyio
async def test_the_asgi_app_streams_until_its_client_goes(anyio_backend: str) -> None:
    app = exposition.make_asgi_app(PrometheusRecorder(CollectorRegistry()), page=True)
    sent: list[dict[str, Any]] = []
    has_event = anyio.Event()

    async def receive() -> dict[str, str]:
        await has_event.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message.get("body", b"").startswith(b"id: "):
            has_event.set()

    path = {"path": "/agentmetrics/events", "query_string": b"", "method": "GET", "headers": []}
    with anyio.fail_after(30):
        await app({"type": "http", **path}, receive, send)
    assert sent[0]["status"] == 200
    assert dict(sent[0]["headers"])[b"content-type"] == b"text/event-stream"
    assert [message["body"][:4] for message in sent[1:3]] == [b"retr", b"id: "]


@pytest.mark.anyio
async def test_a_stream_that_was_held_up_and_has_lost_its_place_ends(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    monkeypatch.setattr(placing, "MAX_CLIENTS", 1)
    monkeypatch.setattr(placing, "AWAY_SECONDS", 0.0)
    app = exposition.make_asgi_app(PrometheusRecorder(CollectorRegistry()), page=True)
    sent: list[dict[str, Any]] = []

    async def ask(part: str, query: bytes, send: Any) -> None:
        path = {"path": f"/agentmetrics/{part}", "query_string": query}
        await app(
            {"type": "http", "method": "GET", "headers": [], **path}, anyio.sleep_forever, send
        )

    async def take(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) == 2:  # its first event: now another one comes
            monkeypatch.setattr(placing, "AWAY_SECONDS", 3600.0)
            await ask("state", b"client=another", into_nothing)

    async def into_nothing(message: dict[str, Any]) -> None: ...

    with anyio.fail_after(30):
        await ask("events", b"", take)
    assert [message.get("more_body") for message in sent] == [None, True, None]


def test_a_directory_that_nobody_has_written_to_is_a_page_without_agents(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown = page_of_collector(MultiprocessCollector(str(tmp_path)), "127.0.0.1", None)
    assert shown is not None
    state = json.loads(shown.answer("state", Request.of("GET", "", [])).body)["state"]
    assert (state["agents"], state["flight_by"], caplog.records) == ([], "provider", [])
