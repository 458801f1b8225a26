"""Boards for the tests of how they are drawn: one of every type of panel, and panels that fail."""

from __future__ import annotations

from typing import Any

BUCKETS = "sum by (le) (increase(duration_seconds_bucket[$__rate_interval]))"
RATE = "sum by (handler) (rate(requests_total[$__rate_interval]))"
NAMED = {"legendFormat": "{{handler}}"}
NOW = {"instant": True, "range": False}
TABLE = {**NOW, "format": "table"}


def panel(kind: str, title: str, *targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A panel of a board; what is given beside its queries is as in the JSON."""
    return {
        "type": kind,
        "title": title,
        "targets": [
            {"refId": letter, **target} for letter, target in zip("ABC", targets, strict=False)
        ],
        **more,
    }


def board(*panels: dict[str, Any], variables: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """A board of these panels, four to a row, each of which asks for a value every half second."""
    placed = [
        {
            "id": number + 1,
            "gridPos": {"x": number % 4 * 6, "y": number // 4 * 6, "w": 6, "h": 6},
            "interval": "500ms",
            **panel,
        }
        for number, panel in enumerate(panels)
    ]
    return {
        "title": "Every type of panel",
        "schemaVersion": 39,
        "time": {"from": "now-1m", "to": "now"},
        "templating": {"list": list(variables)},
        "panels": placed,
    }


def fields(unit: str = "short", *overrides: Any, **defaults: Any) -> dict[str, Any]:
    return {"defaults": {"unit": unit, **defaults}, "overrides": list(overrides)}


def override(name: str, **properties: Any) -> dict[str, Any]:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [
            {"id": key.replace("__", "."), "value": value} for key, value in properties.items()
        ],
    }


THRESHOLDS = {
    "mode": "absolute",
    "steps": [{"color": "green", "value": None}, {"color": "red", "value": 0.8}],
}
ONE_OF_EACH = board(
    panel(
        "stat",
        "Share",
        {"expr": "share"},
        fieldConfig=fields("percentunit", thresholds=THRESHOLDS, decimals=1),
    ),
    panel(
        "timeseries",
        "Rate by handler",
        {"expr": RATE, **NAMED},
        fieldConfig=fields(
            "reqps",
            override("/chat", displayName="Chat"),
            custom={"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 20},
        ),
        options={
            "legend": {
                "showLegend": True,
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["max"],
            }
        },
    ),
    panel(
        "table",
        "Handlers",
        {"expr": "sum by (handler) (requests_total)", **TABLE},
        {"expr": "sum by (handler) (requests_total) * 2", **TABLE},
        fieldConfig=fields("short", override("Twice", unit="currencyUSD")),
        options={"sortBy": [{"displayName": "Requests", "desc": True}]},
        transformations=[
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "renameByName": {
                        "handler": "Handler",
                        "Value #A": "Requests",
                        "Value #B": "Twice",
                    },
                },
            },
        ],
    ),
    panel(
        "bargauge",
        "Most requests",
        {"expr": "topk(2, sum by (handler) (requests_total))", **NAMED, **NOW},
        options={"orientation": "horizontal", "displayMode": "gradient"},
    ),
    panel(
        "piechart",
        "Shares",
        {"expr": 'sum by (handler) (requests_total{handler=~"$handler"})', **NAMED, **NOW},
        options={
            "pieType": "donut",
            "legend": {
                "showLegend": True,
                "displayMode": "table",
                "placement": "right",
                "values": ["percent"],
            },
        },
    ),
    panel(
        "gauge",
        "Used",
        {"expr": "share", **NOW},
        fieldConfig=fields("percentunit", min=0, max=1, thresholds=THRESHOLDS),
    ),
    panel(
        "heatmap",
        "Duration",
        {"expr": BUCKETS, "format": "heatmap"},
        options={"yAxis": {"unit": "s"}},
    ),
    panel("text", "Words", options={"mode": "markdown", "content": "Of **$handler** alone"}),
    variables=(
        {
            "name": "handler",
            "type": "query",
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ),
)
WRONG = board(
    panel("timeseries", "Cut off", {"expr": "sum by ("}),
    panel("stat", "Absent", {"expr": "no_such_metric"}),
    panel("timeseries", "Nothing but NaN", {"expr": "share * NaN"}),
    panel("pie", "Of no known type", {"expr": "share"}),
    panel(
        "heatmap",
        "Throws",
        {"expr": BUCKETS, "format": "heatmap"},
        options={"color": {"mode": "scheme", "scheme": "Plaid"}},
    ),
    panel("stat", "Transformed", {"expr": "share"}, transformations=[{"id": "shuffle"}]),
    panel("timeseries", "Right", {"expr": "share"}),
)
