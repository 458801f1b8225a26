"""Alerts on tools and retrievers."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, le, quantile, share
from agentmetrics.operations.rules.samples import AGENT, histogram

_TOOL = f'{AGENT}, tool_name="search"'
_RETRIEVER = f'{AGENT}, retriever="docs"'
_BY_TOOL = "job, agent_name, tool_name"
_BY_RETRIEVER = "job, agent_name, retriever"
_OF_TOOL = {"job": "app", "agent_name": "planner", "tool_name": "search"}
_OF_RETRIEVER = {"job": "app", "agent_name": "planner", "retriever": "docs"}


def _executions(metric: str, labels: str, success: str, error: str) -> dict[str, str]:
    return {
        f'{metric}{{{labels}, status="success"}}': success,
        f'{metric}{{{labels}, status="error"}}': error,
    }


ALERTS = (
    Alert(
        name="ToolFailing",
        severity="warning",
        when="more than 20% of a tool's executions fail over 15 minutes; with at least 10",
        condition=share(
            'tool_executions_total{status="error"}',
            'tool_executions_total{status=~"success|error"}',
            _BY_TOOL,
            "15m",
        )
        + " > 0.2",
        floor=at_least(10, 'tool_executions_total{status=~"success|error"}', _BY_TOOL, "15m"),
        for_="5m",
        labels=("job", "agent_name", "tool_name"),
        board="platform",
        summary="The tool {{ $labels.tool_name }} of {{ $labels.agent_name }} fails",
        description="{{ $value | humanizePercentage }} of the executions of "
        "{{ $labels.tool_name }} by {{ $labels.agent_name }} ended in an error.",
        runbook=Runbook(
            means="A tool raises errors instead of giving the agent a result.",
            who_is_hurt="Users of the agent: it answers without what the tool would have found, or "
            "tries again and again, which costs tokens.",
            look_at={
                "Failed executions per second, by tool": "sum by (agent_name, tool_name) "
                '(rate(tool_executions_total{status="error"}[5m]))',
                "Tool calls in a run, p95; repeated attempts raise it": "histogram_quantile(0.95, "
                "sum by (agent_name, le) (rate(agent_run_tool_calls_bucket[15m])))",
            },
            causes=(
                "The service behind the tool is down, or its key has expired.",
                "The model calls the tool with arguments that it rejects.",
                "A deployment changed the tool's signature.",
            ),
            do_now=(
                "Call the tool by hand with the arguments from the application's log.",
                (
                    "Take the tool out of the agent's list until it works: what an agent does not "
                    "know of, it does not retry."
                ),
                steps.ROLL_BACK,
                steps.CAP_THE_RUN,
            ),
        ),
        fires=(
            Fires(
                _executions("tool_executions_total", _TOOL, "0+6x60", "0+4x60"),
                "30m",
                _OF_TOOL,
                "40%",
            ),
        ),
        silent=(
            Silent(
                "one execution in ten fails",
                _executions("tool_executions_total", _TOOL, "0+9x60", "0+1x60"),
                "30m",
            ),
            Silent(
                "two executions say little",
                _executions("tool_executions_total", _TOOL, "0x20 1x40", "0x22 1x40"),
                "30m",
            ),
        ),
    ),
    Alert(
        name="ToolSlow",
        severity="warning",
        when="the 95th percentile of a tool's duration is above 30 seconds over 15 minutes; with "
        "at least 10 executions",
        condition=quantile(0.95, "tool_execution_duration_seconds", _BY_TOOL, "15m") + " > 30",
        floor=at_least(10, "tool_execution_duration_seconds_count", _BY_TOOL, "15m"),
        for_="10m",
        labels=("job", "agent_name", "tool_name"),
        board="platform",
        summary="The tool {{ $labels.tool_name }} of {{ $labels.agent_name }} is slow",
        description="One in twenty executions of {{ $labels.tool_name }} by "
        "{{ $labels.agent_name }} takes longer than {{ $value | humanizeDuration }}.",
        runbook=Runbook(
            means="A tool takes so long that the agent mostly waits for it.",
            who_is_hurt="Users, who wait; and other runs, where the tool holds a thread or a "
            "connection.",
            look_at={
                "p95 by tool": "histogram_quantile(0.95, sum by (agent_name, tool_name, le) "
                "(rate(tool_execution_duration_seconds_bucket[5m])))",
                "Executions in progress": "sum by (agent_name, tool_name) (tool_executions_active)",
            },
            causes=(
                "The service behind the tool is slow or limits the rate.",
                "The tool has no timeout.",
                "The model asks for too much at once, such as a crawl of a whole site.",
            ),
            do_now=(
                "Give the tool a timeout: an error lets the agent go on.",
                "Lower what it may fetch at once.",
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=(
            Fires(
                histogram(
                    "tool_execution_duration_seconds",
                    _TOOL,
                    {"30.0": 0, "60.0": 10, "+Inf": 10},
                ),
                "40m",
                _OF_TOOL,
                "58.5s",
            ),
        ),
        silent=(
            Silent(
                "it is slow, but not that slow",
                histogram(
                    "tool_execution_duration_seconds",
                    _TOOL,
                    {"10.0": 0, "30.0": 10, "60.0": 10, "+Inf": 10},
                ),
                "40m",
            ),
        ),
    ),
    Alert(
        name="RetrieverFailing",
        severity="warning",
        when="more than 20% of a retriever's queries fail over 15 minutes; with at least 10",
        condition=share(
            'retriever_queries_total{status="error"}',
            'retriever_queries_total{status=~"success|error"}',
            _BY_RETRIEVER,
            "15m",
        )
        + " > 0.2",
        floor=at_least(
            10, 'retriever_queries_total{status=~"success|error"}', _BY_RETRIEVER, "15m"
        ),
        for_="5m",
        labels=("job", "agent_name", "retriever"),
        board="platform",
        summary="The retriever {{ $labels.retriever }} of {{ $labels.agent_name }} fails",
        description="{{ $value | humanizePercentage }} of the queries of {{ $labels.retriever }} "
        "by {{ $labels.agent_name }} ended in an error.",
        runbook=Runbook(
            means="Queries to a vector store or search index end in errors.",
            who_is_hurt="Users: the agent answers without the documents it was built on, or not "
            "at all.",
            look_at={
                "Failed queries per second": "sum by (agent_name, retriever) "
                '(rate(retriever_queries_total{status="error"}[5m]))',
                "p95 of queries": "histogram_quantile(0.95, sum by (agent_name, retriever, le) "
                "(rate(retriever_query_duration_seconds_bucket[5m])))",
                "Failed embedding calls": "sum by (provider, model) "
                '(rate(llm_calls_total{status="error"}[5m]))',
            },
            causes=(
                "The store is down or out of connections.",
                "The model that embeds the query fails.",
                "The index was rebuilt under another name or with other dimensions.",
            ),
            do_now=(
                "Query the store by hand from the machine of the worker.",
                "Switch to the last index that worked.",
                steps.ROLL_BACK,
            ),
        ),
        fires=(
            Fires(
                _executions("retriever_queries_total", _RETRIEVER, "0+5x60", "0+5x60"),
                "30m",
                _OF_RETRIEVER,
                "50%",
            ),
        ),
        silent=(
            Silent(
                "one query in ten fails",
                _executions("retriever_queries_total", _RETRIEVER, "0+9x60", "0+1x60"),
                "30m",
            ),
        ),
    ),
    Alert(
        name="RetrieverFindsNothing",
        severity="warning",
        when="more than half of a retriever's queries return no document over 1 hour; with at "
        "least 20",
        condition=share(
            f"retriever_documents_bucket{{{le(0.0)}}}",
            "retriever_documents_count",
            _BY_RETRIEVER,
            "1h",
        )
        + " > 0.5",
        floor=at_least(20, "retriever_documents_count", _BY_RETRIEVER, "1h"),
        for_="15m",
        labels=("job", "agent_name", "retriever"),
        board="platform",
        summary="The retriever {{ $labels.retriever }} of {{ $labels.agent_name }} finds nothing",
        description="{{ $value | humanizePercentage }} of the queries of {{ $labels.retriever }} "
        "by {{ $labels.agent_name }} returned no document.",
        runbook=Runbook(
            means="Queries succeed, and most of them return no document.",
            who_is_hurt="Users, who get what the model remembers in place of your documents.",
            look_at={
                "Documents per query": "sum by (agent_name, retriever) "
                "(rate(retriever_documents_sum[15m])) / sum by (agent_name, retriever) "
                "(rate(retriever_documents_count[15m]))",
                "Queries per second": "sum by (agent_name, retriever) "
                "(rate(retriever_queries_total[15m]))",
            },
            causes=(
                "The index is empty, or a job that fills it has failed.",
                "Queries are embedded with another model than the documents were.",
                "A filter or a score threshold excludes everything.",
            ),
            do_now=(
                "Count the documents in the index.",
                "Run the job that fills it, or switch to the last index that worked.",
                steps.ROLL_BACK,
            ),
        ),
        fires=(
            Fires(
                histogram("retriever_documents", _RETRIEVER, {"0": 8, "1": 9, "+Inf": 10}),
                "2h",
                _OF_RETRIEVER,
                "80%",
            ),
        ),
        silent=(
            Silent(
                "most queries find something",
                histogram("retriever_documents", _RETRIEVER, {"0": 3, "1": 9, "+Inf": 10}),
                "2h",
            ),
        ),
    ),
)
