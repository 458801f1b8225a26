"""The kinds of panels of which the boards are made, each the same on every board.

A panel's description ends with the metrics that it is made from. Sizes are in the columns and rows
of Grafana's grid, which is 24 wide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    gauge,
    heatmap,
    piechart,
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import piechart as pie_options
from grafana_foundation_sdk.models import prometheus as query

from agentmetrics.catalog import STATUSES
from agentmetrics.operations.naming import METRICS

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
AGENT_BOARD = "agentmetrics-agent"
COLOURS = {
    "success": "green",
    "error": "red",
    "cancelled": "yellow",
    "interrupted": "blue",
    "hit": "green",
    "miss": "orange",
    "objective": "red",
}
"""Whatever is called this in a legend has the colour, on every board."""
AT_LEAST = {
    "percent": 100,
    "percentunit": 0.01,
    "ops": 0.1,
    "reqps": 0.1,
    "s": 0.01,
    "short": 1,
    "currencyUSD": 0.001,
}
"""How far an axis goes at the least, by its unit: where all is 0, Grafana has it go to 100."""

_NAME = re.compile(r"(?<!\w)[a-z][a-z0-9_]*(?!\w)")
_PROMETHEUS = ("up", "scrape_duration_seconds", "scrape_samples_scraped")
Built = TypeVar("Built", bound=Any)
Steps = Sequence[tuple[float, str]]
COUNT = "locale"
"""The unit of things that were counted, which are whole however ``increase`` extrapolates."""
PLAIN: Steps = ()
"""No thresholds: a number that is neither good nor bad."""


def _shown_as(match: model.SpecialValueMatch, text: str) -> model.SpecialValueMap:
    result = model.ValueMappingResult(text=text, color="text", index=0)
    return model.SpecialValueMap(model.DashboardSpecialValueMapOptions(match, result))


NO_TRAFFIC = _shown_as(model.SpecialValueMatch.NULL_AND_NAN, "No traffic")
EMPTY_CELL = _shown_as(model.SpecialValueMatch.NULL, "\N{EN DASH}")


def metrics_of(*promql: str) -> tuple[str, ...]:
    """The metrics in expressions, in their order, histograms without ``_bucket`` and the like."""
    found = [name for expr in promql for name in _NAME.findall(expr)]
    bare = [re.sub("_(bucket|sum|count)$", "", name) for name in found]
    named = [b if b in METRICS else n for n, b in zip(found, bare, strict=True)]
    return tuple(dict.fromkeys(n for n in named if n in METRICS or n in _PROMETHEUS))


def panel(built: Built, title: str, about: str, unit: str, size: tuple[int, int]) -> Built:
    """What every kind of panel has."""
    width, height = size
    built.title(title).description(about).unit(unit).span(width).height(height)
    built.datasource(DATASOURCE).mappings([NO_TRAFFIC]).no_value("No traffic")
    if unit == COUNT:
        built.decimals(0)
    return built


def described(about: str, *promql: str) -> str:
    """A description that ends with the metrics it is made from."""
    names = metrics_of(*promql)
    assert names, promql
    return f"{about}\n\nFrom {', '.join(f'`{name}`' for name in names)}."


def instant(expr: str, ref: str = "A", legend: str = "") -> prometheus.Dataquery:
    """A query of one moment."""
    return _query(expr, ref, legend).instant().format(query.PromQueryFormat.TIME_SERIES)


def _query(expr: str, ref: str, legend: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(expr).ref_id(ref).legend_format(legend)
    return made.datasource(DATASOURCE).editor_mode(query.QueryEditorMode.CODE)


def refs(number: int) -> Sequence[str]:
    """Names for the queries of a panel, as Grafana gives them."""
    return [chr(ord("A") + place) for place in range(number)]


def _thresholds(steps: Steps, base: str = "green") -> dashboard.ThresholdsConfig:
    made = [model.Threshold(value=None, color=base)]
    made += [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def _colour(mode: model.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def to_agent(agent: str) -> dashboard.DashboardLink:
    """A link to the board of one agent; ``agent`` is Grafana's own expression for its name."""
    kept = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
    url = f"/d/{AGENT_BOARD}?var-agent_name={agent}&{kept}"
    return (
        dashboard.DashboardLink("Look into this agent").type(model.DashboardLinkType.LINK).url(url)
    )


OF_SERIES = to_agent("${__field.labels.agent_name}")
OF_CELL = to_agent("${__value.raw}")


def number(
    title: str,
    expr: str,
    unit: str,
    about: str,
    *,
    steps: Steps = PLAIN,
    base: str = "green",
    empty: str = "No traffic",
    width: int = 4,
    height: int = 4,
    last: str = "",
) -> stat.Panel:
    """One number for the whole time range, or for the ``last`` hours, as ``24h``."""
    made = panel(stat.Panel(), title, described(about, expr), unit, (width, height))
    made.with_target(instant(expr)).no_value(empty).reduce_options(_last())
    made.graph_mode(options.BigValueGraphMode.NONE).text_mode(options.BigValueTextMode.VALUE)
    made.thresholds(_thresholds(steps, base if steps else "text"))
    made.color_scheme(_colour(model.FieldColorModeId.THRESHOLDS))
    return made.time_from(last) if last else made


def series(
    title: str,
    exprs: Mapping[str, str],
    unit: str,
    about: str,
    *,
    width: int = 8,
    stacked: bool = False,
    maximum: float | None = None,
    empty: str = "No traffic",
) -> timeseries.Panel:
    """Lines over time, or areas on top of each other; ``exprs`` are by their legends."""
    text = described(about, *exprs.values())
    made = panel(timeseries.Panel(), title, text, unit, (width, 8)).no_value(empty)
    for ref, (legend, expr) in zip(refs(len(exprs)), exprs.items(), strict=True):
        made.with_target(_query(expr, ref, legend).range())
    if "objective" in exprs and unit == "s":  # which may be far above what there is
        made.scale_distribution(_logarithmic())
    else:
        made.min(0)
        if unit in AT_LEAST:
            made.axis_soft_max(AT_LEAST[unit])
    made.line_width(1).fill_opacity(40 if stacked else 8)
    made.show_points(options.VisibilityMode.NEVER).span_nulls(False)
    stacking = options.StackingMode.NORMAL if stacked else options.StackingMode.NONE
    made.stacking(common.StackingConfig().mode(stacking).group("A"))
    made.color_scheme(_colour(model.FieldColorModeId.PALETTE_CLASSIC))
    made.thresholds(_thresholds(()))
    made.legend(_legend())
    made.tooltip(
        common.VizTooltipOptions()
        .mode(options.TooltipDisplayMode.MULTI)
        .sort(options.SortOrder.DESCENDING)
    )
    if maximum is not None:
        made.max(maximum)
    for name in (*exprs, *(STATUSES if "{{status}}" in exprs else ())):
        if name in COLOURS:
            made.override_by_name(name, _drawn(name))
    return made.data_links([OF_SERIES]) if "{{agent_name}}" in exprs else made


def _drawn(name: str) -> list[model.DynamicConfigValue]:
    set_to = [model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": COLOURS[name]})]
    if name == "objective":
        set_to += [
            model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
            model.DynamicConfigValue("custom.fillOpacity", 0),
            model.DynamicConfigValue("custom.stacking", {"mode": "none", "group": "B"}),
        ]
    return set_to


def _logarithmic() -> common.ScaleDistributionConfig:
    return common.ScaleDistributionConfig().type(options.ScaleDistribution.LOG).log(10)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(options.LegendDisplayMode.LIST)
        .placement(options.LegendPlacement.BOTTOM)
        .calcs([])
    )


def bars(
    title: str,
    expr: str,
    legend: str,
    unit: str,
    about: str,
    *,
    steps: Steps = PLAIN,
    maximum: float | None = None,
    empty: str = "No traffic",
    width: int = 8,
    height: int = 8,
) -> bargauge.Panel:
    """A bar for each series, over the whole time range."""
    made = panel(bargauge.Panel(), title, described(about, expr), unit, (width, height))
    made.with_target(instant(expr, legend=legend)).no_value(empty).reduce_options(_last())
    made.orientation(options.VizOrientation.HORIZONTAL).min(0).show_unfilled(True)
    made.display_mode(options.BarGaugeDisplayMode.BASIC)
    made.value_mode(options.BarGaugeValueMode.COLOR)
    made.sizing(options.BarGaugeSizing.MANUAL).min_viz_height(22).max_viz_height(32)
    made.name_placement(options.BarGaugeNamePlacement.LEFT)
    # Grafana makes room, at 12 pixels, for the name with the most letters, not for the widest.
    made.text(common.VizTextDisplayOptions().title_size(11).value_size(16))
    made.thresholds(_thresholds(steps, "green" if steps else "blue"))
    made.color_scheme(_colour(model.FieldColorModeId.THRESHOLDS))
    if maximum is not None:
        made.max(maximum)
    return made.data_links([OF_SERIES]) if legend == "{{agent_name}}" else made


def dial(
    title: str,
    expr: str,
    legend: str,
    unit: str,
    about: str,
    *,
    steps: Steps,
    empty: str = "No traffic",
    width: int = 6,
) -> gauge.Panel:
    """A gauge for each series, from 0 to 1."""
    made = panel(gauge.Panel(), title, described(about, expr), unit, (width, 8))
    made.with_target(instant(expr, legend=legend)).no_value(empty)
    made.reduce_options(_last()).min(0).max(1)
    made.thresholds(_thresholds(steps)).show_threshold_markers(True).show_threshold_labels(False)
    return made.color_scheme(_colour(model.FieldColorModeId.THRESHOLDS))


def shares(
    title: str, expr: str, legend: str, unit: str, about: str, *, width: int = 8
) -> piechart.Panel:
    """A pie of the whole time range, the largest first."""
    made = panel(piechart.Panel(), title, described(about, expr), unit, (width, 8))
    made.with_target(instant(f"sort_desc({expr})", legend=legend)).reduce_options(_last())
    made.pie_type(pie_options.PieChartType.DONUT)
    made.tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.SINGLE))
    made.legend(
        piechart.PieChartLegendOptions()
        .show_legend(True)
        .display_mode(options.LegendDisplayMode.TABLE)
        .placement(options.LegendPlacement.RIGHT)
        .values([pie_options.PieChartLegendValues.VALUE, pie_options.PieChartLegendValues.PERCENT])
        .calcs([])
    )
    return made.color_scheme(_colour(model.FieldColorModeId.PALETTE_CLASSIC))


def heat_map(title: str, expr: str, unit: str, about: str, *, width: int = 8) -> heatmap.Panel:
    """How the observations of a histogram spread, over time."""
    made = panel(heatmap.Panel(), title, described(about, expr), unit, (width, 8))
    made.with_target(_query(expr, "A", "{{le}}").range().format(query.PromQueryFormat.HEATMAP))
    made.calculate(False).cell_gap(1).show_value(options.VisibilityMode.NEVER)
    made.y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(options.AxisPlacement.LEFT))
    made.rows_frame(heatmap.RowsHeatmapOptions().layout(options.HeatmapCellLayout.AUTO))
    made.filter_values(heatmap.FilterValueRange().le(1e-9))
    made.mode(options.TooltipDisplayMode.SINGLE).show_legend()
    return made.color(
        heatmap.HeatmapColorOptions()
        .mode(heat.HeatmapColorMode.SCHEME)
        .scheme("Oranges")
        .scale(heat.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
        .reverse(False)
        .fill("dark-orange")
    )
