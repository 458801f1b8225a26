"""Dashboards drawn with Grafana's own components, from a real Prometheus in a real browser."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from tests.integration.drawings import NAMED, NOW, ONE_OF_EACH, WRONG, board, fields, panel
from tests.services.board_types import type_findings
from tests.services.panels import Panel, Picture, draw
from tests.services.process import free_port
from tests.services.prometheus import PrometheusServer

REQUESTS = {"/chat": 60, "/search": 30, "/health": 10}


@pytest.fixture(scope="module")
def server(prometheus: Callable[..., PrometheusServer]) -> Iterator[PrometheusServer]:
    """A Prometheus that scraped a few counters while they rose."""
    registry, port = CollectorRegistry(), free_port()
    requests = Counter("requests", "Requests", ["handler"], registry=registry)
    duration = Histogram("duration_seconds", "How long", registry=registry)
    Gauge("share", "A share", registry=registry).set(0.72)
    http, thread = start_http_server(port, "127.0.0.1", registry)
    try:
        scraping = prometheus(f"127.0.0.1:{port}")
        for _ in range(3):
            for handler, count in REQUESTS.items():
                requests.labels(handler).inc(count / 3)
                duration.observe(count / 100)
            scraping.scraped()
        yield scraping
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def drawn(server: PrometheusServer, board: dict[str, Any], **more: Any) -> Picture:
    """The board as of the last scrape that was waited for; a later one may have timed out.

    So may those before it, on a busy machine: rates are over four intervals of five seconds.
    """
    return draw(
        board,
        prometheus=server.url,
        scrape_interval=5.0,
        now=server.value("max(timestamp(up))"),
        width=1200,
        **more,
    )


def by_title(picture: Picture) -> dict[str, Panel]:
    return {panel.title: panel for panel in picture.panels}


@pytest.fixture(scope="module")
def one_of_each(server: PrometheusServer) -> Picture:
    return drawn(server, ONE_OF_EACH)


@pytest.fixture(scope="module")
def wrong(server: PrometheusServer) -> dict[str, Panel]:
    return by_title(drawn(server, WRONG))


def first_pixel(png: bytes) -> tuple[int, ...]:
    """The colour of the upper left corner, which no filter of PNG changes."""
    start = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[start - 4 : start])
    return tuple(zlib.decompressobj().decompress(png[start + 4 : start + 4 + length], 4)[1:])


class TestDrawing:
    def test_a_panel_of_each_type_is_drawn(self, one_of_each: Picture) -> None:
        assert one_of_each.complaints() == []
        assert {panel.type for panel in one_of_each.panels} == {
            *("stat", "timeseries", "table", "bargauge"),
            *("piechart", "gauge", "heatmap", "text"),
        }

    def test_the_picture_is_a_png_as_wide_as_it_was_asked_for(self, one_of_each: Picture) -> None:
        width, height = struct.unpack(">II", one_of_each.png[16:24])
        assert one_of_each.png.startswith(b"\x89PNG")
        assert width == 1200
        assert height > 2 * 6 * 38

    @pytest.mark.parametrize(
        ("title", "text"),
        [
            ("Share", ["72.0%"]),
            ("Used", ["72%"]),
            ("Most requests", ["/chat", "60", "/search", "30"]),
            ("Words", ["Of All alone"]),
        ],
    )
    def test_values_have_their_units_and_names(
        self, title: str, text: list[str], one_of_each: Picture
    ) -> None:
        assert by_title(one_of_each)[title].text.split("\n") == text

    def test_a_table_is_transformed_and_sorted(self, one_of_each: Picture) -> None:
        cells = by_title(one_of_each)["Handlers"].text.split("\n")
        assert cells == [
            *("Handler", "Requests", "Twice"),
            *("/chat", "60", "$120"),
            *("/search", "30", "$60"),
            *("/health", "10", "$20"),
        ]

    def test_legends_name_the_series_as_overrides_do(self, one_of_each: Picture) -> None:
        text = by_title(one_of_each)["Rate by handler"].text
        assert "Chat" in text
        assert "/search" in text
        assert "/chat" not in text
        assert "req/s" in text

    def test_a_pie_tells_shares(self, one_of_each: Picture) -> None:
        assert {"60%", "30%", "10%"} <= set(by_title(one_of_each)["Shares"].text.split())

    def test_a_board_is_dark_or_light(self, server: PrometheusServer) -> None:
        empty = board()
        dark, light = (first_pixel(drawn(server, empty, theme=t).png) for t in ("dark", "light"))
        assert max(dark) < 60 < 200 < min(light)


class TestVariables:
    SELECTED = board(
        panel(
            "bargauge",
            "Requests",
            {"expr": 'sum by (handler) (requests_total{handler=~"$handler"})', **NAMED, **NOW},
        ),
    )

    @pytest.mark.parametrize(
        ("value", "handlers"),
        [
            ("/search|/chat", {"/search", "/chat"}),
            (["/chat", "/health"], {"/chat", "/health"}),
        ],
    )
    def test_queries_are_asked_with_their_values(
        self, value: str | list[str], handlers: set[str], server: PrometheusServer
    ) -> None:
        (only,) = drawn(server, self.SELECTED, variables={"handler": value}).panels
        assert handlers == {name for name in REQUESTS if name in only.text}


class TestFailures:
    @pytest.mark.parametrize(
        ("title", "said"),
        [
            ("Cut off", "parse error: unclosed left parenthesis"),
            ("Of no known type", "no component draws a panel of type pie"),
            ("Throws", "no colour scheme is called Plaid"),
            ("Transformed", "no transformation is called shuffle"),
        ],
    )
    def test_a_panel_that_fails_says_why(
        self, title: str, said: str, wrong: dict[str, Panel]
    ) -> None:
        assert wrong[title].state == "error"
        assert said in str(wrong[title])
        assert said in wrong[title].text

    @pytest.mark.parametrize("title", ["Absent", "Nothing but NaN"])
    def test_a_panel_without_a_value_has_no_data(self, title: str, wrong: dict[str, Panel]) -> None:
        assert wrong[title].state == "no data"
        assert "No data" in wrong[title].text

    def test_an_annotation_that_fails_is_an_error_of_the_board(
        self, server: PrometheusServer
    ) -> None:
        annotation = {"name": "Cut off", "enable": True, "iconColor": "red", "expr": "sum by ("}
        picture = drawn(server, {**board(), "annotations": {"list": [annotation]}})
        (complaint,) = picture.complaints()
        assert "annotations: 1:9: parse error: unclosed left parenthesis" in complaint

    def test_a_panel_beside_them_is_drawn(self, wrong: dict[str, Panel]) -> None:
        assert wrong["Right"].state == "drawn"

    def test_only_those_that_may_be_empty_are_let_be_so(self, wrong: dict[str, Panel]) -> None:
        picture = Picture(b"", (wrong["Absent"], wrong["Cut off"]), ())
        assert len(picture.complaints()) == 2
        (complaint,) = picture.complaints(may_be_empty={"Absent", "Cut off"})
        assert "Cut off" in complaint

    def test_a_prometheus_that_is_away_is_an_error(self) -> None:
        away = f"http://127.0.0.1:{free_port()}"
        (only,) = draw(board(panel("stat", "Share", {"expr": "share"})), prometheus=away).panels
        assert (only.state, only.error) == ("error", "Failed to fetch")


class TestCommand:
    @pytest.mark.parametrize(("title", "code"), [("Right", 0), ("Absent", 1)])
    def test_it_draws_files_and_its_exit_code_tells_whether_all_was_drawn(
        self, title: str, code: int, server: PrometheusServer, tmp_path: Path
    ) -> None:
        (chosen,) = [panel for panel in WRONG["panels"] if panel["title"] == title]
        (tmp_path / "one.json").write_text(json.dumps({**WRONG, "panels": [chosen]}), "utf-8")
        command = [sys.executable, "-m", "tests.panels", "--prometheus", server.url]
        done = subprocess.run(
            [*command, "--out", tmp_path, tmp_path / "one.json"], capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert ("no data" in done.stdout) == bool(code)
        assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


class TestTypes:
    def test_a_board_that_is_right_has_no_findings(self) -> None:
        assert type_findings(ONE_OF_EACH) == []

    def test_what_is_wrong_is_found_by_its_place(self) -> None:
        numbered = board(
            panel("stat", "Unit", fieldConfig=fields(unit=7)),  # type: ignore[arg-type]
            panel("stat", "Option", options={"colourMode": "value"}),
            panel("timeseries", "Custom", fieldConfig=fields(custom={"drawStyle": "dots"})),
            panel("pie", "Type"),
        )
        findings = type_findings({**numbered, "schemaVersion": "39"})
        whole = "board 'Every type of panel'"
        places = {finding.partition(": ")[0].removeprefix(f"{whole}, ") for finding in findings}
        assert places == {
            whole,
            "panel 1 (stat, 'Unit')",
            "panel 2 (stat, 'Option'), options",
            "panel 3 (timeseries, 'Custom'), custom",
            "panel 4 (pie, 'Type'), options",
            "panel 4 (pie, 'Type'), custom",
        }
