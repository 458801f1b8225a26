"""Alerts on budgets."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import new
from agentmetrics.operations.rules.samples import JOB

_TEAM = f'{JOB}, budget="team", period="daily"'
_OF = {"job": "app", "budget": "team", "period": "daily"}
_BY = "job, budget, period"
_SPEND = "Spend as a share of the limit"
_LOOK_AT = {
    _SPEND: "max by (budget, period) (budget_spend_usd / budget_limit_usd)",
    "Hours until the period ends": "(max by (budget, period) "
    "(budget_period_end_timestamp_seconds) - time()) / 3600",
    "Cost per hour by agent and model": "3600 * sum by (agent_name, model) "
    "(rate(llm_cost_usd_total[30m]))",
}
_RAISE = (
    "If the spend is right, raise `limit_usd` of the budget in the file in "
    "`AGENTMETRICS_BUDGETS_FILE`, and restart the service."
)
_CAUSES = (
    "More users or more runs than planned.",
    "An agent in a loop, or prompts that have become longer.",
    "A more expensive model was chosen.",
)


def _budget(spend: str, **more: str) -> dict[str, str]:
    """A daily budget of 100 USD."""
    named = {"spend_usd": spend, "limit_usd": "100x600", **more}
    return {f"budget_{name}{{{_TEAM}}}": values for name, values in named.items()}


ALERTS = (
    Alert(
        name="BudgetNearlySpent",
        severity="warning",
        when="more than 80% of a budget is spent",
        condition=f"max by ({_BY}) (budget_spend_usd / budget_limit_usd) > 0.8\n"
        f"unless max by ({_BY}) (budget_spend_usd / budget_limit_usd) >= 1",
        for_="0s",
        labels=("job", "budget", "period"),
        board="cost",
        summary="The {{ $labels.period }} budget {{ $labels.budget }} is nearly spent",
        description="{{ $value | humanizePercentage }} of the {{ $labels.period }} budget "
        "{{ $labels.budget }} is spent.",
        runbook=Runbook(
            means="Little is left of the budget for the rest of its period.",
            who_is_hurt="Nobody yet. If the budget blocks, its agents stop when it is spent.",
            look_at=_LOOK_AT,
            causes=_CAUSES,
            do_now=(steps.SHOW_THE_COST, _RAISE, steps.SWITCH_THE_MODEL),
        ),
        fires=(Fires(_budget("85x60"), "30m", _OF, "85%"),),
        silent=(
            Silent("three quarters are spent", _budget("75x60"), "30m"),
            Silent("all of it is spent, which has an alert of its own", _budget("101x60"), "30m"),
        ),
    ),
    Alert(
        name="BudgetSpent",
        severity="critical",
        when="a budget is spent",
        condition=f"max by ({_BY}) (budget_spend_usd / budget_limit_usd) >= 1",
        for_="0s",
        labels=("job", "budget", "period"),
        board="cost",
        summary="The {{ $labels.period }} budget {{ $labels.budget }} is spent",
        description="{{ $value | humanizePercentage }} of the {{ $labels.period }} budget "
        "{{ $labels.budget }} is spent.",
        runbook=Runbook(
            means="The calls of the budget's period have cost as much as its limit, or more.",
            who_is_hurt="If the budget blocks: users of its agents, whose calls raise "
            "`BudgetExceeded`. If it warns: your bill.",
            look_at={
                **_LOOK_AT,
                "Calls refused per minute": "60 * sum by (budget, period) "
                "(rate(budget_blocked_calls_total[5m]))",
            },
            causes=_CAUSES,
            do_now=(
                steps.SHOW_THE_COST,
                _RAISE,
                (
                    'If it must not go on, set `action = "block"` on the budget, and restart the '
                    "service."
                ),
            ),
        ),
        fires=(Fires(_budget("0+5x60"), "30m", _OF, "150%"),),
        silent=(
            Silent("a cent is left", _budget("99.99x60"), "30m"),
            Silent("a new period has begun", _budget("120x20 0+0.1x40"), "30m"),
        ),
    ),
    Alert(
        name="BudgetForecast",
        severity="warning",
        when="a budget will be overspent by the end of its period at the rate so far, and more "
        "than 25% of it is spent",
        condition=f"max by ({_BY}) (budget_projected_spend_usd / budget_limit_usd) > 1\n"
        f"and max by ({_BY}) (budget_spend_usd / budget_limit_usd) > 0.25\n"
        f"unless max by ({_BY}) (budget_spend_usd / budget_limit_usd) >= 1",
        for_="15m",
        labels=("job", "budget", "period"),
        board="cost",
        summary="The {{ $labels.period }} budget {{ $labels.budget }} will be overspent",
        description="At the rate so far, {{ $value | humanizePercentage }} of the "
        "{{ $labels.period }} budget {{ $labels.budget }} will be spent when its period ends.",
        runbook=Runbook(
            means="The spend of the period so far, continued to its end, exceeds the limit.",
            who_is_hurt="Nobody yet. If the budget blocks, its agents stop before the period ends.",
            look_at={
                "Projected spend": "max by (budget, period) (budget_projected_spend_usd)",
                **_LOOK_AT,
            },
            causes=(
                *_CAUSES,
                "Most of the day's work is done in the morning: the projection does not know.",
            ),
            do_now=(steps.SHOW_THE_COST, steps.SWITCH_THE_MODEL, _RAISE),
        ),
        fires=(Fires(_budget("40x60", projected_spend_usd="130x60"), "30m", _OF, "130%"),),
        silent=(
            Silent("it will just do", _budget("40x60", projected_spend_usd="99x60"), "30m"),
            Silent(
                "too little is spent to tell", _budget("10x60", projected_spend_usd="130x60"), "30m"
            ),
            Silent(
                "it is spent, which has an alert of its own",
                _budget("110x60", projected_spend_usd="300x60"),
                "30m",
            ),
            Silent("the period has only begun", _budget("40x60"), "30m"),
        ),
    ),
    Alert(
        name="BudgetRunsOutSoon",
        severity="critical",
        when="what is left of a budget lasts for less than an hour at the rate of the last "
        "30 minutes, and its period goes on for longer",
        condition=f"(max by ({_BY}) (budget_remaining_usd) > 0)\n"
        f"/ (max by ({_BY}) (deriv(budget_spend_usd[30m])) > 0) < 3600\n"
        f"and max by ({_BY}) (budget_period_end_timestamp_seconds) - time() > 3600",
        for_="10m",
        labels=("job", "budget", "period"),
        board="cost",
        summary="The {{ $labels.period }} budget {{ $labels.budget }} runs out within an hour",
        description="At the rate of the last 30 minutes, the {{ $labels.period }} budget "
        "{{ $labels.budget }} is spent in {{ $value | humanizeDuration }}.",
        runbook=Runbook(
            means="Money goes out much faster than the budget was made for.",
            who_is_hurt="Soon the users of the budget's agents if it blocks, else your bill.",
            look_at=_LOOK_AT,
            causes=_CAUSES,
            do_now=(
                steps.SHOW_THE_COST,
                steps.CAP_THE_BUDGET,
                steps.SWITCH_THE_MODEL,
                _RAISE,
            ),
        ),
        fires=(
            Fires(
                _budget(
                    "0+1x100",
                    remaining_usd="100.51-1x100",
                    period_end_timestamp_seconds="11400x100",
                ),
                "70m",
                _OF,
                "30m 30s",
            ),
        ),
        silent=(
            Silent(
                "its period ends first",
                _budget(
                    "0+1x100",
                    remaining_usd="100-1x100",
                    period_end_timestamp_seconds="6000x100",
                ),
                "70m",
            ),
            Silent(
                "it is spent already",
                _budget(
                    "0+2x100",
                    remaining_usd="100-2x100",
                    period_end_timestamp_seconds="86400x100",
                ),
                "70m",
            ),
            Silent(
                "a new period has begun",
                _budget(
                    "50x50 0x50",
                    remaining_usd="50x50 100x50",
                    period_end_timestamp_seconds="86400x100",
                ),
                "70m",
            ),
            Silent(
                "it lasts for more than an hour",
                _budget(
                    "0+0.6x100",
                    remaining_usd="100-0.6x100",
                    period_end_timestamp_seconds="86400x100",
                ),
                "70m",
            ),
        ),
    ),
    Alert(
        name="BudgetBlocksCalls",
        severity="critical",
        when="a budget refused a call in the last 15 minutes",
        condition=f"sum by ({_BY}) ({new('budget_blocked_calls_total', '15m')}) > 0",
        for_="0s",
        labels=("job", "budget", "period"),
        board="cost",
        summary="The {{ $labels.period }} budget {{ $labels.budget }} blocks calls",
        description="Calls refused by the {{ $labels.period }} budget {{ $labels.budget }} in 15 "
        'minutes: {{ $value | printf "%.0f" }}.',
        runbook=Runbook(
            means="Calls raise `BudgetExceeded` before anything is sent: the budget is spent, or "
            "could not cover the most that a call can cost.",
            who_is_hurt="Users of the agents in the scope of the budget.",
            look_at={
                "Calls refused": "sum by (budget, period) "
                "(increase(budget_blocked_calls_total[15m]))",
                **_LOOK_AT,
            },
            causes=(
                *_CAUSES,
                (
                    'With `reserve = "max_tokens"`: `max_tokens` is far more than a call needs, is '
                    "missing, or the model has no price."
                ),
            ),
            do_now=(
                _RAISE,
                (
                    "Let calls fall back to a model outside the scope of the budget: "
                    "`first.with_fallbacks([cheaper])`."
                ),
                steps.SHOW_THE_COST,
            ),
        ),
        fires=(Fires({f"budget_blocked_calls_total{{{_TEAM}}}": "_x20 1x100"}, "25m", _OF, "1"),),
        silent=(
            Silent(
                "it was an hour ago",
                {f"budget_blocked_calls_total{{{_TEAM}}}": "_x20 1x100"},
                "90m",
            ),
        ),
    ),
)
