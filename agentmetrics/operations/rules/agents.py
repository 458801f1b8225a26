"""Alerts on agents that loop, fail or send too much."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, le, share
from agentmetrics.operations.rules.samples import AGENT, CALL, calls, histogram

_BY = "job, agent_name"
_OF = {"job": "app", "agent_name": "planner"}
MOST_RUN_CALLS = 34.0
"""More calls in a run are taken for a loop; an upper bound of ``agent_run_llm_calls``."""
_RUNS = "sum by (agent_name, status) (rate(agent_runs_total[5m]))"


def _runs(success: int, error: int) -> dict[str, str]:
    return {
        f'agent_runs_total{{{AGENT}, status="success"}}': f"0+{success}x600",
        f'agent_runs_total{{{AGENT}, status="error"}}': f"0+{error}x600",
    }


def _input(calls: str, tokens: str) -> dict[str, str]:
    return {
        f'llm_calls_total{{{CALL}, status="success"}}': calls,
        f'llm_tokens_total{{{CALL}, token_type="input"}}': tokens,
    }


ALERTS = (
    Alert(
        name="AgentLoops",
        severity="warning",
        when="more than 5% of an agent's runs made more than 34 calls, over 1 hour; with at least "
        "10 runs",
        condition="1 - "
        + share(
            f"agent_run_llm_calls_bucket{{{le(MOST_RUN_CALLS)}}}",
            "agent_run_llm_calls_count",
            _BY,
            "1h",
        )
        + " > 0.05",
        floor=at_least(10, "agent_run_llm_calls_count", _BY, "1h"),
        for_="5m",
        labels=("job", "agent_name"),
        board="agent",
        summary="Runs of {{ $labels.agent_name }} make too many calls",
        description="{{ $value | humanizePercentage }} of the runs of {{ $labels.agent_name }} "
        "({{ $labels.job }}) made more than 34 calls to models.",
        runbook=Runbook(
            means="Runs end, after many more calls than a task should take.",
            who_is_hurt="Your bill, and users who wait.",
            look_at={
                "Calls in a run, p95": "histogram_quantile(0.95, sum by (agent_name, le) "
                "(rate(agent_run_llm_calls_bucket[15m])))",
                "Cost of a run, p95": "histogram_quantile(0.95, sum by (agent_name, le) "
                "(rate(agent_run_cost_usd_bucket[15m])))",
                "Failed tool executions": "sum by (agent_name, tool_name) "
                '(rate(tool_executions_total{status="error"}[15m]))',
            },
            causes=(
                "A tool fails or returns nothing, and the agent tries it again and again.",
                "The prompt does not say when the task is done.",
                "Two agents hand a task to each other.",
            ),
            do_now=(steps.CAP_THE_RUN, steps.ROLL_BACK, steps.CAP_THE_BUDGET),
        ),
        fires=(
            Fires(
                histogram("agent_run_llm_calls", AGENT, {"34": 9, "55": 9, "+Inf": 10}),
                "2h",
                _OF,
                "10%",
            ),
        ),
        silent=(
            Silent(
                "most runs make 21 to 34 calls",
                histogram("agent_run_llm_calls", AGENT, {"21.0": 1, "34.0": 97, "+Inf": 100}),
                "2h",
            ),
        ),
    ),
    Alert(
        name="AgentLoopsNow",
        severity="critical",
        when="an agent makes more than 60 calls for each run in progress in 10 minutes, and no run "
        "ends",
        condition="sum by (job, agent_name) (increase(llm_calls_total[10m]))\n"
        "/ clamp_min(sum by (job, agent_name) (avg_over_time(agent_active_runs[10m])), 1) > 60\n"
        "unless on (job, agent_name)\n"
        "sum by (job, agent_name) (increase(agent_runs_total[10m])) > 0",
        for_="0s",
        labels=("job", "agent_name"),
        board="agent",
        summary="{{ $labels.agent_name }} is in a loop",
        description="{{ $labels.agent_name }} ({{ $labels.job }}) made "
        '{{ $value | printf "%.0f" }} calls for each open run in 10 minutes, and no run ended.',
        runbook=Runbook(
            means="A run that is open makes call after call and comes to no end.",
            who_is_hurt="Your bill, at once; the rate limit of the account; the user who waits.",
            look_at={
                "Calls per minute": "60 * sum by (agent_name, model) (rate(llm_calls_total[5m]))",
                "Age of the oldest run": "max by (agent_name) (agent_oldest_active_run_seconds)",
                "Cost per hour": "3600 * sum by (agent_name) (rate(llm_cost_usd_total[5m]))",
                "Tools that it calls": "sum by (agent_name, tool_name, status) "
                "(rate(tool_executions_total[5m]))",
            },
            causes=(
                "A tool fails or returns nothing, and the agent tries it again and again.",
                "Two agents hand a task to each other.",
                "The graph has no end for this state.",
            ),
            do_now=(steps.RESTART_THE_WORKER, steps.CAP_THE_BUDGET, steps.CAP_THE_RUN),
        ),
        fires=(
            Fires(
                {
                    f"agent_active_runs{{{AGENT}}}": "1x60",
                    f'agent_runs_total{{{AGENT}, status="success"}}': "5x60",
                    **calls(success=12),
                },
                "30m",
                _OF,
                "120",
            ),
        ),
        silent=(
            Silent(
                "runs end",
                {f"agent_active_runs{{{AGENT}}}": "1x60", **calls(success=12), **_runs(1, 0)},
                "30m",
            ),
            Silent(
                "many runs are open",
                {f"agent_active_runs{{{AGENT}}}": "5x60", **calls(success=12)},
                "30m",
            ),
        ),
    ),
    Alert(
        name="AgentRunsFailing",
        severity="critical",
        when="more than 20% of an agent's runs fail over 15 minutes; with at least 10 runs",
        condition=share(
            'agent_runs_total{status="error"}',
            'agent_runs_total{status=~"success|error"}',
            _BY,
            "15m",
        )
        + " > 0.2",
        floor=at_least(10, 'agent_runs_total{status=~"success|error"}', _BY, "15m"),
        for_="5m",
        labels=("job", "agent_name"),
        board="agent",
        summary="Runs of {{ $labels.agent_name }} fail",
        description="{{ $value | humanizePercentage }} of the runs of {{ $labels.agent_name }} "
        "({{ $labels.job }}) ended in an error.",
        runbook=Runbook(
            means="Runs end with an exception: from a call, a tool, a budget or the agent's code.",
            who_is_hurt="Users, who get no answer.",
            look_at={
                "Runs by status": _RUNS,
                "Errors of calls": "sum by (agent_name, error_type) (rate(llm_errors_total[5m]))",
                "Failed tools": "sum by (agent_name, tool_name) "
                '(rate(tool_executions_total{status="error"}[5m]))',
                "Calls refused by budgets": "sum by (budget) "
                "(rate(budget_blocked_calls_total[5m]))",
            },
            causes=(
                "The provider or a tool fails; their alerts fire too.",
                "A budget blocks calls: `BudgetExceeded` ends the run.",
                "LangGraph's recursion limit was reached.",
                "A deployment broke the agent's own code.",
            ),
            do_now=(steps.ROLL_BACK, steps.SWITCH_THE_MODEL, steps.RESTART_THE_WORKER),
        ),
        fires=(Fires(_runs(5, 5), "30m", _OF, "50%"),),
        silent=(
            Silent("one run in ten fails", _runs(9, 1), "30m"),
            Silent(
                "runs were cancelled",
                {
                    **_runs(5, 0),
                    f'agent_runs_total{{{AGENT}, status="cancelled"}}': "0+5x600",
                },
                "30m",
            ),
        ),
    ),
    Alert(
        name="TokenSpike",
        severity="warning",
        when="an agent sends a model 3 times as many input tokens per call as in the day before, "
        "over 30 minutes; with at least 10 calls",
        condition=share(
            'llm_tokens_total{token_type="input"}',
            'llm_calls_total{status="success"}',
            "job, agent_name, model",
            "30m",
        )
        + "\n> 3 *\n"
        "sum by (job, agent_name, model) "
        '(rate(llm_tokens_total{token_type="input"}[1d] offset 30m))\n/\n'
        "sum by (job, agent_name, model) "
        '(rate(llm_calls_total{status="success"}[1d] offset 30m))',
        floor=at_least(10, 'llm_calls_total{status="success"}', "job, agent_name, model", "30m"),
        for_="5m",
        labels=("job", "agent_name", "model"),
        board="agent",
        summary="Prompts of {{ $labels.agent_name }} have become much longer",
        description='{{ $labels.agent_name }} sends {{ $value | printf "%.0f" }} input tokens per '
        "call to {{ $labels.model }}, more than 3 times what it sent the day before.",
        runbook=Runbook(
            means="Prompts have grown: something puts more into them.",
            who_is_hurt="Your bill; users, since long prompts take longer; and soon the context "
            "length.",
            look_at={
                "Input tokens per call": "sum by (agent_name, model) "
                '(rate(llm_tokens_total{token_type="input"}[15m])) / sum by (agent_name, model) '
                '(rate(llm_calls_total{status="success"}[15m]))',
                "Documents per retriever query": "sum by (agent_name, retriever) "
                "(rate(retriever_documents_sum[15m])) / sum by (agent_name, retriever) "
                "(rate(retriever_documents_count[15m]))",
            },
            causes=(
                "A conversation or a scratchpad grows without bound.",
                "A tool or a retriever returns more than before.",
                "A deployment put a long text into the prompt.",
            ),
            do_now=(
                steps.ROLL_BACK,
                "Trim messages, and limit what tools and retrievers return.",
                steps.CAP_THE_BUDGET,
            ),
        ),
        fires=(
            Fires(
                _input("0+1x240", "0+1000x180 180000+8000x60"),
                "4h",
                {"job": "app", "agent_name": "planner", "model": "gpt-4o"},
                "8000",
            ),
        ),
        silent=(
            Silent(
                "prompts are twice as long", _input("0+1x240", "0+1000x180 180000+2000x60"), "4h"
            ),
            Silent("there are more calls", _input("0+9x240", "0+9000x240"), "4h"),
        ),
    ),
)
