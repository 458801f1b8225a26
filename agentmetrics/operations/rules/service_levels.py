"""Alerts on error budgets: an agent uses up faster what its objectives leave it.

The pairs of windows and rates are those of the Google SRE workbook, for objectives over 30 days:
2% of the budget in 1 hour, 5% in 6 hours, 10% in 1 day, 10% in 3 days.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Severity, Silent
from agentmetrics.operations.rules.objectives import Objective, Objectives
from agentmetrics.operations.rules.promql import only
from agentmetrics.operations.rules.recording import (
    AVAILABILITY,
    FIRST_TOKEN,
    LATENCY,
    ServiceLevel,
)
from agentmetrics.operations.rules.samples import an_agent_of_each

_FEWEST_BAD = 10  # so that one failed call of a quiet agent wakes nobody
_PER_MINUTE = 1_000_000  # so that a share of bad calls is exact to six digits


@dataclass(frozen=True)
class _Subject:
    """A service level as its alerts speak of it; ``bad`` completes "calls that …"."""

    level: ServiceLevel
    name: str
    noun: str
    bad: str
    means: str
    who_is_hurt: str
    causes: tuple[str, ...]
    do_now: tuple[str, ...]
    look_at: dict[str, str]


_SUBJECTS = (
    _Subject(
        AVAILABILITY,
        "LLMErrorBudget",
        "availability",
        "fail",
        "Calls to models end in errors more often than the availability objective allows.",
        "Users of the agent: their runs fail, or take longer because of retries.",
        (
            "The provider is down, overloaded, or limits the rate of the account.",
            "A key was rotated or has expired.",
            "A deployment changed prompts or tools so that requests are refused.",
        ),
        (
            steps.ROLL_BACK,
            steps.CHECK_THE_PROVIDER,
            steps.SWITCH_THE_MODEL,
            steps.RESTART_THE_WORKER,
        ),
        {
            "Errors by type and model": "sum by (agent_name, provider, model, error_type) "
            "(rate(llm_errors_total[5m]))",
            "Share of failed calls by model": "sum by (provider, model) "
            '(rate(llm_calls_total{status="error"}[5m])) / sum by (provider, model) '
            '(rate(llm_calls_total{status=~"success|error"}[5m]))',
        },
    ),
    _Subject(
        LATENCY,
        "LLMLatencyBudget",
        "latency",
        "take too long",
        "More calls take longer than the latency objective allows.",
        "Users who wait for the agent, and callers whose timeouts expire.",
        (
            "The provider is slow; its own share is in `llm_api_latency_seconds`.",
            "Prompts or answers have become longer.",
            "A slower model or a higher reasoning effort was chosen.",
        ),
        (
            steps.CHECK_THE_PROVIDER,
            steps.SWITCH_THE_MODEL,
            "Lower `max_tokens` or the reasoning effort of the model.",
            steps.ROLL_BACK,
        ),
        {
            "p95 by model": "histogram_quantile(0.95, sum by (agent_name, model, le) "
            "(rate(llm_latency_seconds_bucket[5m])))",
            "Output tokens per call": "sum by (agent_name, model) "
            '(rate(llm_tokens_total{token_type="output"}[5m])) / sum by (agent_name, model) '
            '(rate(llm_calls_total{status="success"}[5m]))',
        },
    ),
    _Subject(
        FIRST_TOKEN,
        "LLMFirstTokenBudget",
        "first-token",
        "begin to answer too late",
        "Streamed answers begin later than the first-token objective allows.",
        "Users who watch an answer appear: nothing happens for seconds.",
        (
            "The provider queues requests.",
            "Prompts have become longer, or are no longer read from the prompt cache.",
            "A model that reasons before it answers was chosen.",
        ),
        (
            steps.CHECK_THE_PROVIDER,
            steps.SWITCH_THE_MODEL,
            "Keep the beginning of prompts unchanged, so that the provider can cache it.",
            steps.ROLL_BACK,
        ),
        {
            "p95 of the first token by model": "histogram_quantile(0.95, sum by "
            "(agent_name, model, le) (rate(llm_time_to_first_token_seconds_bucket[5m])))",
            "Input tokens per call": "sum by (agent_name, model) "
            '(rate(llm_tokens_total{token_type="input"}[5m])) / sum by (agent_name, model) '
            '(rate(llm_calls_total{status="success"}[5m]))',
        },
    ),
)


@dataclass(frozen=True)
class _Pace:
    """How fast a budget burns: over a long window, a short one, and how many times too fast."""

    name: str
    severity: Severity
    for_: str
    pairs: tuple[tuple[str, str, float], ...]
    when: str
    fires_at: float
    silent_at: float


_FAST = _Pace(
    "Fast",
    "critical",
    "2m",
    (("1h", "5m", 14.4), ("6h", "30m", 6)),
    "is 14.4 times what the {noun} objective allows, over 1 hour and 5 minutes; or 6 times, over "
    "6 hours and 30 minutes; or above 90%, over 1 hour and 5 minutes",
    fires_at=16,
    silent_at=5,
)
_SLOW = _Pace(
    "Slow",
    "warning",
    "15m",
    (("1d", "2h", 3), ("3d", "6h", 1)),
    "is 3 times what the {noun} objective allows, over 1 day and 2 hours; or more than it allows, "
    "over 3 days and 6 hours",
    fires_at=4,
    silent_at=0.8,
)


def burn_alerts(objectives: Objectives) -> dict[str, tuple[Alert, ...]]:
    """Two alerts for each service level, by its name: one that pages, and one that can wait."""
    return {
        subject.level.name: tuple(_alert(subject, pace, objectives) for pace in (_FAST, _SLOW))
        for subject in _SUBJECTS
    }


def _alert(subject: _Subject, pace: _Pace, objectives: Objectives) -> Alert:
    level = subject.level
    when = pace.when.format(noun=subject.noun)
    return Alert(
        name=f"{subject.name}Burn{pace.name}",
        severity=pace.severity,
        when=f"the share of calls that {subject.bad} {when}; with at least {_FEWEST_BAD} of them",
        condition=_expr(level, pace),
        for_=pace.for_,
        labels=("job", "agent_name"),
        board="agent",
        summary=f"{{{{ $labels.agent_name }}}} misses its {subject.noun} objective",
        description=f"Calls of {{{{ $labels.agent_name }}}} ({{{{ $labels.job }}}}) {subject.bad} "
        '{{ $value | printf "%.1f" }} times as often as its objective allows.',
        runbook=Runbook(
            means=subject.means,
            who_is_hurt=subject.who_is_hurt,
            look_at={
                "How many times too often, over 1 hour": level.burn("1h"),
                "Share of such calls, over 5 minutes": level.ratio("5m"),
                **subject.look_at,
            },
            causes=subject.causes,
            do_now=subject.do_now,
        ),
        fires=tuple(_fires(level, pace, *each) for each in an_agent_of_each(objectives)),
        silent=(
            _allowed(level, pace, objectives),
            *_quiet(level, pace, *next(an_agent_of_each(objectives))),
        ),
    )


def _expr(level: ServiceLevel, pace: _Pace) -> str:
    clauses = [
        f"{level.burn(long)} > {times} and {level.burn(short)} > {times} and {_enough(level, long)}"
        for long, short, times in pace.pairs
    ]
    if pace is _FAST:  # an objective may be so loose that an outage stays under 6 times
        everything = " and ".join(f"{level.ratio(window)} > 0.9" for window in ("1h", "5m"))
        clauses.append(f"{level.burn('1h')} and {everything} and {_enough(level, '1h')}")
    return "\nor\n".join(clauses)


def _enough(level: ServiceLevel, window: str) -> str:
    seconds = int(window[:-1]) * {"h": 3600, "d": 86400}[window[-1]]
    return f"{level.ratio(window)} * {level.rate(window)} * {seconds} >= {_FEWEST_BAD}"


def _fires(level: ServiceLevel, pace: _Pace, agent: str, objective: Objective) -> Fires:
    budget = level.budget(objective)
    bad = min(1.0, pace.fires_at * budget)
    labels = {"job": "app", "agent_name": agent}
    return Fires(
        _series(level, agent, objective, _steadily(bad)), "2h", labels, f"{bad / budget:.1f}"
    )


def _allowed(level: ServiceLevel, pace: _Pace, objectives: Objectives) -> Silent:
    series: dict[str, str] = {}
    for agent, objective in an_agent_of_each(objectives):
        bad = min(0.85, pace.silent_at * level.budget(objective))
        series |= _series(level, agent, objective, _steadily(bad))
    return Silent("no agent has more than it is allowed", series, "2h")


def _quiet(level: ServiceLevel, pace: _Pace, agent: str, objective: Objective) -> Iterator[Silent]:
    few = _Traffic("0+0.1x120", "0+0.05x120", "0+0.05x120")
    yield Silent("six calls of twelve say little", _series(level, agent, objective, few), "2h")
    if pace is _FAST:
        over = _Traffic("0+1000x160", "0x120 1000+1000x40", "0+1000x120 120000x40")
        yield Silent("it is over", _series(level, agent, objective, over), "160m")


@dataclass(frozen=True)
class _Traffic:
    """The calls of an agent as promtool writes them, a sample a minute."""

    calls: str
    good: str
    bad: str


def _steadily(share_of_bad: float) -> _Traffic:
    bad = round(_PER_MINUTE * share_of_bad)
    calls = (_PER_MINUTE, _PER_MINUTE - bad, bad)
    return _Traffic(*(f"0+{number}x120" for number in calls))


def _series(
    level: ServiceLevel, agent: str, objective: Objective, traffic: _Traffic
) -> dict[str, str]:
    labels = f'job="app", instance="a:9464", {only(agent)}, provider="openai", model="gpt-4o"'
    if level.within is None:
        return {
            f'llm_calls_total{{{labels}, status="success"}}': traffic.good,
            f'llm_calls_total{{{labels}, status="error"}}': traffic.bad,
        }
    histogram = level.counter.removesuffix("_count")
    bound = level.within(objective).seconds
    return {
        f'{histogram}_bucket{{{labels}, le="{bound}"}}': traffic.good,
        f'{histogram}_bucket{{{labels}, le="+Inf"}}': traffic.calls,
        f"{histogram}_count{{{labels}}}": traffic.calls,
    }
