"""Alerts on agentmetrics itself: what it could not record or send."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import new
from agentmetrics.operations.rules.samples import JOB

_OF = {"job": "app"}


def _dropped(metric: str, labels: str, values: str) -> dict[str, str]:
    return {f"{metric}{{{JOB}{labels}}}": values}


ALERTS = (
    Alert(
        name="HandlerErrors",
        severity="warning",
        when="agentmetrics did not understand an event in the last 15 minutes",
        condition=f"sum by (job, event) ({new('agentmetrics_handler_errors_total', '15m')}) > 0",
        for_="0s",
        labels=("job", "event"),
        board="itself",
        summary="agentmetrics does not understand events of {{ $labels.job }}",
        description="Events {{ $labels.event }} of {{ $labels.job }} that were not fully recorded: "
        '{{ $value | printf "%.0f" }} in 15 minutes.',
        runbook=Runbook(
            means="An event of the framework, or a value that your code passed, was not as "
            "expected. The agent is not affected; its metrics may lack something.",
            who_is_hurt="Nobody but you: counts, tokens or cost of some calls may be missing.",
            look_at={
                "Such events": "sum by (job, event) "
                "(increase(agentmetrics_handler_errors_total[15m]))",
                "Versions in use": "count by (job, version) (agentmetrics_build_info)",
            },
            causes=(
                "A new version of LangChain or of a provider's package.",
                "A negative cost or count passed to agentmetrics.",
            ),
            do_now=(
                "Find the warning in the log of the worker, on the logger `agentmetrics`.",
                "Go back to the previous version of LangChain, or update agentmetrics.",
                "Report the event and the versions of the packages.",
            ),
        ),
        fires=(
            Fires(
                _dropped("agentmetrics_handler_errors_total", ', event="on_llm_end"', "_x20 2x90"),
                "25m",
                {**_OF, "event": "on_llm_end"},
                "2",
            ),
        ),
        silent=(
            Silent(
                "it was an hour ago",
                _dropped("agentmetrics_handler_errors_total", ', event="on_llm_end"', "_x20 2x90"),
                "85m",
            ),
        ),
    ),
    Alert(
        name="SeriesDropped",
        severity="warning",
        when="a metric had more label sets than its limit in the last hour",
        condition=f"sum by (job, metric) ({new('agentmetrics_series_dropped_total', '1h')}) > 0",
        for_="0s",
        labels=("job", "metric"),
        board="itself",
        summary="{{ $labels.metric }} has too many series",
        description="Label sets of {{ $labels.metric }} ({{ $labels.job }}) beyond the limit, "
        'recorded under `other`: {{ $value | printf "%.0f" }} in the last hour.',
        runbook=Runbook(
            means="A label has more values than `AGENTMETRICS_MAX_SERIES` allows; what came later "
            "is counted under `other`.",
            who_is_hurt="Nobody but you: totals are right, and new agents, tools or models cannot "
            "be told apart.",
            look_at={
                "Label sets dropped": "sum by (job, metric) "
                "(increase(agentmetrics_series_dropped_total[1h]))",
                "Agents, by number of series": "topk(20, count by (agent_name) (llm_calls_total))",
                "Tools": "count(count by (tool_name) (tool_executions_total))",
            },
            causes=(
                "An id, a user or a date is part of an agent's or a tool's name.",
                "An extra label, such as a tenant, has many values.",
            ),
            do_now=(
                "Take what varies out of the name or the label.",
                (
                    "If all values are wanted, raise `AGENTMETRICS_MAX_SERIES`, as far as "
                    "Prometheus can take it."
                ),
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=(
            Fires(
                _dropped(
                    "agentmetrics_series_dropped_total", ', metric="llm_calls_total"', "_x20 1+1x90"
                ),
                "30m",
                {**_OF, "metric": "llm_calls_total"},
                "11",
            ),
        ),
        silent=(
            Silent(
                "the last one was long ago",
                _dropped("agentmetrics_series_dropped_total", ', metric="llm_calls_total"', "9x90"),
                "85m",
            ),
        ),
    ),
    Alert(
        name="PacketsDropped",
        severity="warning",
        when="a backend could not send a packet in the last 15 minutes",
        condition=f"sum by (job, backend) ({new('agentmetrics_packets_dropped_total', '15m')}) > 0",
        for_="0s",
        labels=("job", "backend"),
        board="itself",
        summary="{{ $labels.job }} loses packets to {{ $labels.backend }}",
        description="Packets to {{ $labels.backend }} that {{ $labels.job }} could not send: "
        '{{ $value | printf "%.0f" }} in 15 minutes.',
        runbook=Runbook(
            means="A daemon that metrics are pushed to was unreachable for longer than packets are "
            "kept.",
            who_is_hurt="Those who look at that backend: its numbers are too low.",
            look_at={
                "Packets lost": "sum by (job, backend) "
                "(increase(agentmetrics_packets_dropped_total[15m]))",
            },
            causes=(
                "The daemon is down, or was moved to another host.",
                "A firewall or a full buffer on the way.",
            ),
            do_now=(
                (
                    "Where `backend` is `statsd`, see that the daemon listens on "
                    "`AGENTMETRICS_STATSD_HOST` and `AGENTMETRICS_STATSD_PORT`; where it is "
                    "`datadog`, that the Agent listens where `DD_DOGSTATSD_URL` or "
                    "`DD_AGENT_HOST` says."
                ),
                (
                    "Set `AGENTMETRICS_STATSD_PROTOCOL=tcp`, or let `DD_DOGSTATSD_URL` be the "
                    "Agent's `unix://` socket: losses on the way are then noticed."
                ),
            ),
        ),
        fires=(
            Fires(
                _dropped("agentmetrics_packets_dropped_total", ', backend="statsd"', "_x20 5x90"),
                "25m",
                {**_OF, "backend": "statsd"},
                "5",
            ),
        ),
        silent=(
            Silent(
                "the counter stands still",
                _dropped("agentmetrics_packets_dropped_total", ', backend="statsd"', "5x90"),
                "60m",
            ),
        ),
    ),
    Alert(
        name="OpenRunsPileUp",
        severity="warning",
        when="more than 1000 runs of one kind are tracked as open",
        condition="sum by (job, kind) (agentmetrics_open_runs) > 1000",
        for_="30m",
        labels=("job", "kind"),
        board="itself",
        summary="Open runs pile up in {{ $labels.job }}",
        description='{{ $value | printf "%.0f" }} runs of the kind {{ $labels.kind }} are open in '
        "{{ $labels.job }}.",
        runbook=Runbook(
            means="Runs begin, and their end does not reach agentmetrics.",
            who_is_hurt="The worker, whose memory grows; and gauges of what is active.",
            look_at={
                "Open runs": "sum by (job, kind) (agentmetrics_open_runs)",
                "Resident memory": "max by (job, instance) (llm_memory_rss_bytes)",
                "Age of the oldest run": "max by (agent_name) (agent_oldest_active_run_seconds)",
            },
            causes=(
                "There really are so many: then this alert wants a higher limit.",
                "Streams that are neither read to their end nor closed.",
                "Agents that hang; `AgentStuck` fires too.",
            ),
            do_now=(
                steps.RESTART_THE_WORKER,
                "Close streams that are not read to their end.",
                (
                    "Lower `AGENTMETRICS_CALL_TTL_SECONDS`: what is open for longer is counted as "
                    "cancelled."
                ),
            ),
        ),
        fires=(
            Fires(
                _dropped("agentmetrics_open_runs", ', kind="chain"', "1500x90"),
                "60m",
                {**_OF, "kind": "chain"},
                "1500",
            ),
        ),
        silent=(
            Silent(
                "a peak is over",
                _dropped("agentmetrics_open_runs", ', kind="chain"', "1500x20 900x70"),
                "60m",
            ),
        ),
    ),
)
