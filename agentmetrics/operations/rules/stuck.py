"""Alerts on runs and calls that do not end."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.samples import AGENT, calls

_OF = {"job": "app", "agent_name": "planner"}
_OLDEST = f"agent_oldest_active_run_seconds{{{AGENT}}}"


ALERTS = (
    Alert(
        name="AgentStuck",
        severity="critical",
        when="a run is open for more than 15 minutes, in which the agent finished no call and no "
        "tool",
        # each unless by itself: for an agent that has no tools, a sum of the two would be empty
        condition="max by (job, agent_name) (agent_oldest_active_run_seconds) > 900\n"
        "unless on (job, agent_name)\n"
        "sum by (job, agent_name) (increase(llm_calls_total[15m])) > 0\n"
        "unless on (job, agent_name)\n"
        "sum by (job, agent_name) (increase(tool_executions_total[15m])) > 0",
        for_="0s",
        labels=("job", "agent_name"),
        board="agent",
        summary="{{ $labels.agent_name }} is stuck",
        description="A run of {{ $labels.agent_name }} ({{ $labels.job }}) has been open for "
        "{{ $value | humanizeDuration }}, and the agent finished nothing in 15 minutes.",
        runbook=Runbook(
            means="A run is open, and nothing happens in it.",
            who_is_hurt="The user of the run, and all who wait for the worker that it holds.",
            look_at={
                "Age of the oldest run": "max by (job, instance, agent_name) "
                "(agent_oldest_active_run_seconds)",
                "Age of the oldest call": "max by (job, instance, agent_name) "
                "(llm_oldest_active_call_seconds)",
                "Tools in progress": "sum by (agent_name, tool_name) (tool_executions_active)",
            },
            causes=(
                "A call or a tool has no timeout; if a call hangs, `CallStuck` fires too.",
                "The run waits for a person, without LangGraph's `interrupt`, which would end it.",
                "A deadlock, or a full queue between agents.",
            ),
            do_now=(
                "See where it hangs: `py-spy dump --pid PID`.",
                steps.RESTART_THE_WORKER,
                "Set timeouts on clients and tools.",
            ),
        ),
        fires=(
            Fires(
                {
                    _OLDEST: "0+60x60",
                    **calls(success=0),
                    f'tool_executions_total{{{AGENT}, tool_name="crawl"}}': "3x60",
                },
                "30m",
                _OF,
                "30m 0s",
            ),
        ),
        silent=(
            Silent("the run is young", {_OLDEST: "0+60x60"}, "10m"),
            Silent("it makes calls", {_OLDEST: "0+60x60", **calls(success=1)}, "30m"),
            Silent(
                "it runs tools",
                {
                    _OLDEST: "0+60x60",
                    f'tool_executions_total{{{AGENT}, tool_name="crawl"}}': "0+1x60",
                },
                "30m",
            ),
        ),
    ),
    Alert(
        name="AgentRunTooLong",
        severity="warning",
        when="a run is open for more than 30 minutes and 10 times as long as the agent's runs of "
        "the last day took on average",
        condition="max by (job, agent_name) (agent_oldest_active_run_seconds) > 1800\n"
        "and\n"
        "max by (job, agent_name) (agent_oldest_active_run_seconds)\n"
        "> 10 * sum by (job, agent_name) (rate(agent_run_duration_seconds_sum[1d]))\n"
        "/ sum by (job, agent_name) (rate(agent_run_duration_seconds_count[1d]))",
        for_="0s",
        labels=("job", "agent_name"),
        board="agent",
        summary="A run of {{ $labels.agent_name }} takes unusually long",
        description="The oldest run of {{ $labels.agent_name }} ({{ $labels.job }}) has been open "
        "for {{ $value | humanizeDuration }}, more than 10 times the average of a day.",
        runbook=Runbook(
            means="One run lasts far longer than this agent's runs do.",
            who_is_hurt="The user of the run; and your bill, if it still makes calls.",
            look_at={
                "Age of the oldest run": "max by (job, instance, agent_name) "
                "(agent_oldest_active_run_seconds)",
                "Average duration of runs": "sum by (agent_name) "
                "(rate(agent_run_duration_seconds_sum[1d])) / sum by (agent_name) "
                "(rate(agent_run_duration_seconds_count[1d]))",
                "Cost per hour": "3600 * sum by (agent_name) (rate(llm_cost_usd_total[15m]))",
            },
            causes=(
                "The agent is in a loop.",
                "Somebody gave it a task that is too big.",
                "A tool waits without a timeout.",
            ),
            do_now=(steps.CAP_THE_RUN, steps.RESTART_THE_WORKER, steps.SHOW_THE_COST),
        ),
        fires=(
            Fires(
                {
                    _OLDEST: "0+60x60",
                    f"agent_run_duration_seconds_sum{{{AGENT}}}": "0+100x60",
                    f"agent_run_duration_seconds_count{{{AGENT}}}": "0+10x60",
                },
                "40m",
                _OF,
                "40m 0s",
            ),
        ),
        silent=(
            Silent(
                "it is open for 20 minutes",
                {
                    _OLDEST: "0+60x60",
                    f"agent_run_duration_seconds_sum{{{AGENT}}}": "0+100x60",
                    f"agent_run_duration_seconds_count{{{AGENT}}}": "0+10x60",
                },
                "20m",
            ),
            Silent(
                "its runs take that long",
                {
                    _OLDEST: "0+60x60",
                    f"agent_run_duration_seconds_sum{{{AGENT}}}": "0+600x60",
                    f"agent_run_duration_seconds_count{{{AGENT}}}": "0+1x60",
                },
                "40m",
            ),
        ),
    ),
    Alert(
        name="CallStuck",
        severity="warning",
        when="a call is in flight for more than 15 minutes",
        condition="max by (job, agent_name) (llm_oldest_active_call_seconds) > 900",
        for_="0s",
        labels=("job", "agent_name"),
        board="agent",
        summary="A call of {{ $labels.agent_name }} does not end",
        description="The oldest call of {{ $labels.agent_name }} ({{ $labels.job }}) has been in "
        "flight for {{ $value | humanizeDuration }}.",
        runbook=Runbook(
            means="A call was sent and has neither been answered nor failed.",
            who_is_hurt="The user who waits for it, and everybody else if it holds a worker.",
            look_at={
                "Age of the oldest call": "max by (job, instance, agent_name) "
                "(llm_oldest_active_call_seconds)",
                "Calls in flight": "sum by (agent_name, provider) (llm_active_calls)",
            },
            causes=(
                "The client has no timeout, and the connection is dead.",
                "A stream is open that nobody reads any more.",
                "The worker hangs in a fork or a lock.",
            ),
            do_now=(
                steps.RESTART_THE_WORKER,
                "Set a timeout on the client: `ChatOpenAI(timeout=60)`.",
                "Close streams that are not read to their end.",
            ),
        ),
        fires=(
            Fires(
                {f"llm_oldest_active_call_seconds{{{AGENT}}}": "0+60x60"},
                "30m",
                {"job": "app", "agent_name": "planner"},
                "30m 0s",
            ),
        ),
        silent=(
            Silent(
                "calls come and go",
                {f"llm_oldest_active_call_seconds{{{AGENT}}}": "0 300 600 840 0 300 0+60x10"},
                "15m",
            ),
        ),
    ),
)
