"""The alert on a missing bucket, without which alerts on the share below a bound stay silent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.agents import MOST_RUN_CALLS
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.objectives import Objectives
from agentmetrics.operations.rules.promql import all_but, le, only
from agentmetrics.operations.rules.samples import an_agent_of_each


@dataclass(frozen=True)
class _Needed:
    """A bucket that a rule reads, for the agents of a matcher; ``agent`` is one of them."""

    histogram: str
    bound: float
    matcher: str
    agent: str

    @property
    def expr(self) -> str:
        """The processes without it, counted by job."""
        counts = f"{{{self.matcher}}}" if self.matcher else ""
        bucket = ", ".join(filter(None, (self.matcher, le(self.bound))))
        return (
            "label_replace(label_replace(count by (job) (\n"
            f"count by (job, instance) ({self.histogram}_count{counts})\n"
            "unless on (job, instance)\n"
            f"{self.histogram}_bucket{{{bucket}}}\n"
            f'), "metric", "{self.histogram}", "", ""), "le", "{self.bound:g}", "", "")'
        )

    def series(self, instance: str, *bounds: float | str) -> dict[str, str]:
        labels = f'job="app", instance="{instance}", {only(self.agent)}'
        buckets = {
            f'{self.histogram}_bucket{{{labels}, le="{bound}"}}': "0+1x60"
            for bound in (*bounds, "+Inf")
        }
        return {**buckets, f"{self.histogram}_count{{{labels}}}": "0+1x60"}


def bucket_alert(objectives: Objectives) -> Alert:
    """It fires for each bucket that the rules for these objectives read and a service lacks."""
    needed = tuple(_needed(objectives))
    complete: dict[str, str] = {}
    for each in needed:
        complete |= each.series("a:9464", each.bound)
    return Alert(
        name="BucketMissing",
        severity="warning",
        when="a process has a histogram without the bucket that another alert reads, which "
        "therefore stays silent",
        condition="\nor\n".join(each.expr for each in needed),
        for_="15m",
        labels=("job", "metric", "le"),
        board="itself",
        summary="{{ $labels.metric }} of {{ $labels.job }} has no bucket up to {{ $labels.le }}",
        description="Processes of {{ $labels.job }} whose {{ $labels.metric }} has no bucket with "
        'the upper bound {{ $labels.le }}, which other alerts read: {{ $value | printf "%.0f" }}.',
        runbook=Runbook(
            means="Some alerts read a share, such as that of calls within 30 seconds, from the "
            "bucket with that upper bound. A process has other buckets, so they say nothing of it.",
            who_is_hurt="Nobody yet. Depending on the histogram, what stays silent are the alerts "
            "on the latency or first-token objective, `AgentLoops` or `RetrieverFindsNothing`.",
            look_at={
                "Upper bounds of latencies": "count by (job, le) (llm_latency_seconds_bucket)",
                "Upper bounds of first tokens": "count by (job, le) "
                "(llm_time_to_first_token_seconds_bucket)",
            },
            causes=(
                (
                    "The service has buckets of its own, by `AGENTMETRICS_LATENCY_BUCKETS` or "
                    "`AGENTMETRICS_BUCKETS`, and the rules were exported without these variables."
                ),
                "The buckets were changed after the export.",
            ),
            do_now=(
                (
                    "For a latency or a first token, state an objective whose `seconds` are an "
                    "upper bound that the service has, and export the rules with it and with the "
                    "variables of the service: `agentmetrics ops export DIR --slo FILE.toml`."
                ),
                "Or add the upper bound to the buckets of the service.",
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=tuple(_fires(each) for each in needed),
        silent=(Silent("each agent has the buckets of its objective", complete, "30m"),),
    )


def _needed(objectives: Objectives) -> Iterator[_Needed]:
    agents = objectives.agents
    for name, objective in an_agent_of_each(objectives):
        own = only(name) if name in agents else all_but(agents) if agents else ""
        yield _Needed("llm_latency_seconds", objective.latency.seconds, own, name)
        yield _Needed("llm_time_to_first_token_seconds", objective.first_token.seconds, own, name)
    yield _Needed("agent_run_llm_calls", MOST_RUN_CALLS, "", "planner")
    yield _Needed("retriever_documents", 0.0, "", "planner")


def _fires(needed: _Needed) -> Fires:
    """One process of two has the bucket."""
    return Fires(
        {**needed.series("a:9464", needed.bound), **needed.series("b:9464", 0.7)},
        "30m",
        {"job": "app", "metric": needed.histogram, "le": f"{needed.bound:g}"},
        "1",
    )
