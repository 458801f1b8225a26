"""The view of a watch: sums over label values, divided by the time they took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from agentmetrics import catalog
from agentmetrics.live.marks import (
    LOOP_SECONDS,
    SOON_WATCHED_SECONDS,
    STUCK_SECONDS,
    agent_marks,
    budget_marks,
)
from agentmetrics.live.samples import Labels
from agentmetrics.live.sides import Sides, Sums
from agentmetrics.live.view import (
    COURSE_PARTS,
    COURSE_SECONDS,
    AgentDetails,
    AgentRow,
    BudgetRow,
    CacheRow,
    ErrorRow,
    Flow,
    ModelRow,
    ProviderRow,
    ToolRow,
    View,
)
from agentmetrics.live.watch import WINDOW_SECONDS, Watch
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.values import HistogramValue

_AGENT = ("agent_name",)
_MODEL = ("provider", "model")
LLM_CACHE = "LangChain's LLM cache"
_TRIED = ("success", "error")


def view(watch: Watch, window: float = WINDOW_SECONDS) -> View:
    """What a watch has seen, with rates over the last ``window`` seconds."""
    sides = Sides(watch, window)
    (overall,) = _flows(sides, (), [()]).values()
    active_runs = sides.now(catalog.AGENT_ACTIVE_RUNS, ())
    active_calls = sides.now(catalog.LLM_ACTIVE_CALLS, ())
    in_flight = sides.now(catalog.LLM_ACTIVE_CALLS, ("provider",))
    per_minute = overall.usd_per_minute
    today = sides.now(catalog.LLM_COST_TODAY, _AGENT)
    return View(
        time=watch.now,
        window_seconds=sides.seconds,
        usd_per_day=None if per_minute is None else per_minute * 24 * 60,
        usd_today=sum(today.values()) if today else None,
        active_runs=active_runs.get(()),
        active_calls=active_calls.get(()),
        unpriced_calls_total=sides.ever(catalog.LLM_UNPRICED_CALLS, ()).get((), 0.0),
        flow=overall,
        agents=tuple(_agents(sides)),
        models=tuple(_models(sides)),
        providers=tuple(ProviderRow(name, n) for (name,), n in sorted(in_flight.items()) if n),
        errors=tuple(_errors(sides)),
        budgets=tuple(_budgets(sides, watch)),
        caches=tuple(_caches(sides)),
    )


def details(watch: Watch, agent: str, window: float = WINDOW_SECONDS) -> AgentDetails | None:
    """What one agent uses; ``None`` for one that nobody has heard of."""
    sides = Sides(watch, window, agent)
    rows = list(_agents(sides))
    if not rows:
        return None
    return AgentDetails(
        row=rows[0],
        models=tuple(_models(sides)),
        tools=tuple(
            _tools(
                sides,
                "tool_name",
                catalog.TOOL_EXECUTIONS,
                catalog.TOOL_EXECUTION_DURATION,
                catalog.TOOL_EXECUTIONS_ACTIVE,
            )
        ),
        retrievers=tuple(
            _tools(sides, "retriever", catalog.RETRIEVER_QUERIES, catalog.RETRIEVER_QUERY_DURATION)
        ),
        errors=tuple(_errors(sides)),
    )


def _flows(sides: Sides, by: Labels, keys: Iterable[Labels]) -> dict[Labels, Flow]:
    """The calls of each of these values of the labels ``by``."""
    calls, calls_ever = sides.recent(catalog.LLM_CALLS, by), sides.ever(catalog.LLM_CALLS, by)
    tried = sides.recent(catalog.LLM_CALLS, by, status=_TRIED)
    failed = sides.recent(catalog.LLM_CALLS, by, status=("error",))
    cost, cost_ever = sides.recent(catalog.LLM_COST, by), sides.ever(catalog.LLM_COST, by)
    read = sides.recent(catalog.LLM_TOKENS, by, token_type=("input",))
    written = sides.recent(catalog.LLM_TOKENS, by, token_type=("output",))
    cached = sides.recent(catalog.LLM_TOKEN_DETAILS, by, token_detail=("cache_read",))
    latency = sides.durations(catalog.LLM_LATENCY, by)
    first_token = sides.durations(catalog.LLM_TIME_TO_FIRST_TOKEN, by)
    return {
        key: Flow(
            calls_total=calls_ever.get(key, 0.0),
            usd_total=cost_ever.get(key, 0.0),
            calls_per_minute=sides.rate(calls, key, 60),
            usd_per_minute=sides.rate(cost, key, 60),
            input_tokens_per_second=sides.rate(read, key),
            output_tokens_per_second=sides.rate(written, key),
            first_token_seconds=_quantile(0.5, first_token.get(key)),
            p50_seconds=_quantile(0.5, latency.get(key)),
            p95_seconds=_quantile(0.95, latency.get(key)),
            errors=failed.get(key, 0.0) if sides.seconds else None,
            error_share=_share(failed, tried, key),
            cache_share=_share(cached, read, key),
        )
        for key in keys
    }


def _agents(sides: Sides) -> Iterator[AgentRow]:
    active_runs = sides.now(catalog.AGENT_ACTIVE_RUNS, _AGENT)
    active_calls = sides.now(catalog.LLM_ACTIVE_CALLS, _AGENT)
    oldest_run = sides.now(catalog.AGENT_OLDEST_ACTIVE_RUN, _AGENT)
    oldest_call = sides.now(catalog.LLM_OLDEST_ACTIVE_CALL, _AGENT)
    runs, runs_ever = (
        sides.recent(catalog.AGENT_RUNS, _AGENT),
        sides.ever(catalog.AGENT_RUNS, _AGENT),
    )
    calls_of_runs = sides.ever_sum(catalog.AGENT_RUN_LLM_CALLS, _AGENT)
    runs_of_calls = sides.ever_count(catalog.AGENT_RUN_LLM_CALLS, _AGENT)
    ended = sides.since(STUCK_SECONDS, _AGENT, catalog.LLM_CALLS, catalog.TOOL_EXECUTIONS)
    called = sides.since(LOOP_SECONDS, _AGENT, catalog.LLM_CALLS)
    finished = sides.since(LOOP_SECONDS, _AGENT, catalog.AGENT_RUNS)
    today = sides.now(catalog.LLM_COST_TODAY, _AGENT)
    course = sides.course(catalog.LLM_TOKENS, _AGENT, COURSE_SECONDS, COURSE_PARTS)
    calls_ever = sides.ever(catalog.LLM_CALLS, _AGENT)
    tools_ever = sides.ever(catalog.TOOL_EXECUTIONS, _AGENT)
    known = (active_runs, active_calls, runs_ever, calls_ever, tools_ever)
    keys = sorted(set(chain(*known)))
    flows = _flows(sides, _AGENT, keys)
    for key in keys:
        yield AgentRow(
            agent=key[0],
            active_runs=active_runs.get(key),
            active_calls=active_calls.get(key),
            oldest_run_seconds=oldest_run.get(key),
            oldest_call_seconds=oldest_call.get(key),
            runs_total=runs_ever.get(key, 0.0),
            runs_per_minute=sides.rate(runs, key, 60),
            calls_per_run=_share(calls_of_runs, runs_of_calls, key),
            flow=flows[key],
            usd_today=today.get(key),
            course=course.get(key, (0.0,) * COURSE_PARTS),
            marks=tuple(
                agent_marks(
                    active_runs=active_runs.get(key, 0.0),
                    oldest_run_seconds=oldest_run.get(key, 0.0),
                    oldest_call_seconds=oldest_call.get(key, 0.0),
                    ended_recently=ended.get(key, 0.0),
                    calls_recently=called.get(key, 0.0),
                    runs_recently=finished.get(key, 0.0),
                    has_watched=sides.has_watched,
                )
            ),
        )


def _models(sides: Sides) -> Iterator[ModelRow]:
    keys = sorted(sides.ever(catalog.LLM_CALLS, _MODEL))
    for (provider, model), flow in _flows(sides, _MODEL, keys).items():
        yield ModelRow(provider, model, flow)


def _tools(
    sides: Sides, label: str, counter: Metric, duration: Metric, active: Metric | None = None
) -> Iterator[ToolRow]:
    by = (label,)
    ever, recent = sides.ever(counter, by), sides.recent(counter, by)
    tried = sides.recent(counter, by, status=_TRIED)
    failed = sides.recent(counter, by, status=("error",))
    durations = sides.durations(duration, by)
    in_progress = sides.now(active, by) if active else {}
    for key in sorted({*ever, *in_progress}):
        yield ToolRow(
            name=key[0],
            active=in_progress.get(key),
            total=ever.get(key, 0.0),
            per_minute=sides.rate(recent, key, 60),
            errors=failed.get(key, 0.0) if sides.seconds else None,
            error_share=_share(failed, tried, key),
            p50_seconds=_quantile(0.5, durations.get(key)),
            p95_seconds=_quantile(0.95, durations.get(key)),
        )


def _errors(sides: Sides) -> Iterator[ErrorRow]:
    """Those that there have been, the most frequent first."""
    ever = sides.ever(catalog.LLM_ERRORS, ("error_type",))
    recent = sides.recent(catalog.LLM_ERRORS, ("error_type",))
    for key, total in sorted(ever.items(), key=lambda item: (-item[1], item[0])):
        if total:
            yield ErrorRow(key[0], total, recent.get(key, 0.0) if sides.seconds else None)


def _budgets(sides: Sides, watch: Watch) -> Iterator[BudgetRow]:
    by = ("budget", "period")
    spent = sides.now(catalog.BUDGET_SPEND, by)
    projected = sides.now(catalog.BUDGET_PROJECTED_SPEND, by)
    ends = sides.now(catalog.BUDGET_PERIOD_END, by)
    blocked = sides.ever(catalog.BUDGET_BLOCKED_CALLS, by)
    rates, has_watched = watch.spend_rates(), watch.has_watched(SOON_WATCHED_SECONDS)
    for key, limit in sorted(sides.now(catalog.BUDGET_LIMIT, by).items()):
        spent_usd, rate, end = spent.get(key, 0.0), rates.get(key), ends.get(key)
        lasts_seconds = max(limit - spent_usd, 0.0) / rate if rate else None
        yield BudgetRow(
            budget=key[0],
            period=key[1],
            limit_usd=limit,
            spent_usd=spent_usd,
            projected_usd=projected.get(key),
            ends=end,
            lasts_seconds=lasts_seconds,
            blocked_total=blocked.get(key, 0.0),
            marks=tuple(
                budget_marks(
                    limit,
                    spent_usd,
                    projected_usd=projected.get(key),
                    lasts_seconds=lasts_seconds,
                    goes_on_seconds=0.0 if end is None else end - watch.now,
                    has_watched=has_watched,
                )
            ),
        )


def _caches(sides: Sides) -> Iterator[CacheRow]:
    yield from _cache_rows(sides, ("cache_type",), catalog.CACHE_HITS, catalog.CACHE_MISSES)
    yield from _cache_rows(sides, (), catalog.LLM_CACHE_HITS, catalog.LLM_CACHE_MISSES)


def _cache_rows(sides: Sides, by: Labels, hits: Metric, misses: Metric) -> Iterator[CacheRow]:
    found, missed = sides.recent(hits, by), sides.recent(misses, by)
    found_ever, missed_ever = sides.ever(hits, by), sides.ever(misses, by)
    for key in sorted({*found_ever, *missed_ever}):
        total = found.get(key, 0.0) + missed.get(key, 0.0)
        yield CacheRow(
            cache=key[0] if key else LLM_CACHE,
            hits_total=found_ever.get(key, 0.0),
            misses_total=missed_ever.get(key, 0.0),
            hit_share=found.get(key, 0.0) / total if total else None,
        )


def _share(parts: Sums, wholes: Sums, key: Labels) -> float | None:
    whole = wholes.get(key, 0.0)
    return parts.get(key, 0.0) / whole if whole else None


def _quantile(q: float, observed: HistogramValue | None) -> float | None:
    return observed.quantile(q) if observed is not None and observed.count else None
