"""What the boards have in common: variables, annotations, links, and where panels stand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from agentmetrics import catalog
from boards.panels import DATASOURCE
from boards.selectors import CHAIN, TARGET, aggregate, sel

TAG = "agentmetrics"
COLUMNS = 24
OBJECTIVES = {
    "slo_availability": ("Availability objective", "0.99", "Share of calls that should succeed"),
    "slo_latency": ("Latency objective (s)", "30", "Seconds that 95% of calls should stay below"),
    "slo_first_token": (
        "First token objective (s)",
        "5",
        "Seconds that 95% of first tokens should stay below",
    ),
}
"""Variables by name: label, value to start with, and what it is for."""

Row = tuple[str, Sequence[Any]]
"""A heading and the panels below it, from left to right."""


def board(
    name: str,
    title: str,
    about: str,
    content: Sequence[Row],
    *,
    chain: Sequence[str] = (),
    more: Sequence[Any] = (),
    since: str = "now-1h",
) -> dict[str, Any]:
    """A board as Grafana imports it.

    ``chain`` are the labels of the catalogue that it has variables for, ``more`` its own variables.
    """
    made = dashboard.Dashboard(title).uid(f"agentmetrics-{name}").description(about).tags([TAG])
    made.readonly().tooltip(model.DashboardCursorSync.CROSSHAIR).timezone("browser")
    made.time(since, "now").refresh("30s")
    made.variables([*_variables(chain), *more, _filters()])
    made.annotations(_annotations())
    made.link(
        dashboard.DashboardLink("Boards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .icon("external link")
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )
    _arrange(made, content)
    plain: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    return plain


def _arrange(made: dashboard.Dashboard, content: Sequence[Row]) -> None:
    """Put headings and panels where they stand, and number them."""
    number = y = 0
    for heading, panels in content:
        number += 1
        place = model.GridPos(h=1, w=COLUMNS, x=0, y=y)
        made.with_row(dashboard.Row(heading).id(number).grid_pos(place))
        y, x, line = y + 1, 0, 0
        for panel in panels:
            size = panel.build().grid_pos
            if x + size.w > COLUMNS:
                x, y, line = 0, y + line, 0
            number += 1
            place = model.GridPos(h=size.h, w=size.w, x=x, y=y)
            made.with_panel(panel.id(number).grid_pos(place))
            x, line = x + size.w, max(line, size.h)
        y += line


def _variables(chain: Sequence[str]) -> list[Any]:
    """Each narrows the next."""
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    known = catalog.BUILD_INFO.name
    made: list[Any] = [
        source,
        _query("job", f"label_values({known}, job)"),
        _query("instance", f'label_values({known}{{job=~"$job"}}, instance)'),
    ]
    for place, label in enumerate(chain):
        assert label == CHAIN[place], chain
        matchers = [f'{before}=~"${before}"' for before in (*TARGET, *CHAIN[:place])]
        values = f"label_values({catalog.LLM_CALLS.name}{{{', '.join(matchers)}}}, {label})"
        made.append(_query(label, values))
    return made


def _query(name: str, values: str) -> dashboard.QueryVariable:
    label = name.removesuffix("_name").capitalize()
    made = dashboard.QueryVariable(name).label(label).query(values).datasource(DATASOURCE)
    made.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.sort(model.VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".*")
    return made.current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))


def _filters() -> dashboard.AdHocVariable:
    return dashboard.AdHocVariable("filters").label("Filters").datasource(DATASOURCE)


def objectives(*names: str) -> list[dashboard.TextBoxVariable]:
    """The service level that panels compare with, for the reader to change."""
    made = []
    for name in names:
        label, value, about = OBJECTIVES[name]
        option = model.VariableOption(selected=True, text=value, value=value)
        variable = dashboard.TextBoxVariable(name).label(label).description(about)
        made.append(variable.default_value(value).current(option).options([option]))
    return made


def grouping(*labels: str) -> dashboard.CustomVariable:
    """By which label a panel groups; boards with extra labels offer these, too."""
    found = [
        model.VariableOption(selected=place == 0, text=label, value=label)
        for place, label in enumerate(labels)
    ]
    made = dashboard.CustomVariable("group_by").label("Group by").values(",".join(labels))
    return made.current(found[0]).options(found)


def _annotations() -> list[dashboard.AnnotationQuery]:
    alerts = 'ALERTS{alertstate="firing", budget!=""}'
    return [
        _annotation("Deployments", _new(sel(catalog.SERVICE_INFO), "version"), "blue"),
        _annotation("agentmetrics versions", _new(sel(catalog.BUILD_INFO), "version"), "purple"),
        _annotation("Budget alerts", _new(alerts, "alertname", "budget"), "red"),
    ]


def _new(series: str, *by: str) -> str:
    """Where there are series, and a minute and two before, there were none.

    Grafana asks once a minute, at the most often, and makes an area of samples that follow each
    other; this gives one, which is a line. The second minute is for what was away for a moment.
    """
    times = (series, f"{series} offset 1m", f"{series} offset 2m")
    return " unless ".join(aggregate("count", each, *by) for each in times)


def _annotation(name: str, expr: str, colour: str) -> dashboard.AnnotationQuery:
    made = dashboard.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True)
    return made.expr(expr).icon_color(colour)
