"""Alerts on the service that the agents run in."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least
from agentmetrics.operations.rules.samples import CALL, JOB

_OF = {"job": "app"}
_INFO = f'agentmetrics_build_info{{{JOB}, version="1.0"}}'
_UP = f"up{{{JOB}}}"
_SEEN = "count by (job) (last_over_time(agentmetrics_build_info[6h]))"
_TARGETS = {
    "Targets that answer, by job": "sum by (job) (up)",
    "Targets with metrics of agentmetrics": "count by (job) (agentmetrics_build_info)",
}


ALERTS = (
    Alert(
        name="ServiceDown",
        severity="critical",
        when="Prometheus cannot scrape a target of a job that had metrics of agentmetrics in the "
        "last 6 hours",
        condition=f"count by (job) (up == 0)\nand on (job)\n{_SEEN}",
        for_="2m",
        labels=("job",),
        board="overview",
        summary="{{ $labels.job }} is down",
        description="Targets of {{ $labels.job }} that Prometheus cannot scrape: "
        '{{ $value | printf "%.0f" }}.',
        runbook=Runbook(
            means="A process does not answer at its metrics endpoint.",
            who_is_hurt="Users, if the process is gone; else only you, who cannot see it.",
            look_at={"Targets that do not answer": "up == 0", **_TARGETS},
            causes=(
                "The process crashed, was killed for its memory, or hangs.",
                "It listens on another address or port: servers bind to 127.0.0.1 by default.",
                "The scrape takes longer than `scrape_timeout`.",
            ),
            do_now=(
                "Ask it by hand, from the machine of Prometheus: `curl http://HOST:PORT/metrics`.",
                "Read the error of the target under Status, Targets in Prometheus.",
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=(Fires({_UP: "1x30 0x30", _INFO: "1x30 stale"}, "40m", _OF, "1"),),
        silent=(
            Silent("one scrape failed", {_UP: "1x30 0 1x30", _INFO: "1x30 _ 1x30"}, "40m"),
            Silent("it is a job without agents", {_UP: "1x30 0x30"}, "40m"),
        ),
    ),
    Alert(
        name="MetricsMissing",
        severity="critical",
        when="a job that had metrics of agentmetrics in the last 6 hours has none, and its targets "
        "are not "
        "known to be down",
        condition=f"{_SEEN}\nunless on (job) agentmetrics_build_info\nunless on (job) up == 0",
        for_="10m",
        labels=("job",),
        board="overview",
        summary="{{ $labels.job }} has no metrics",
        description="{{ $labels.job }} exposes no metrics of agentmetrics; targets that did in the "
        'last 6 hours: {{ $value | printf "%.0f" }}.',
        runbook=Runbook(
            means="Prometheus no longer finds the job, or its targets answer without them.",
            who_is_hurt="Nobody yet: but no other alert can fire for this job.",
            look_at=_TARGETS,
            causes=(
                "Service discovery no longer finds the targets: a label, a name or a port changed.",
                (
                    "`AGENTMETRICS_BACKEND` is no longer `prometheus`, or `AGENTMETRICS_NAMESPACE` "
                    "changed."
                ),
                "Another registry is exposed than the one that the series are on.",
                "The service was taken down on purpose: the alert ends after 6 hours.",
            ),
            do_now=(
                "See what the program is set to: `agentmetrics check`.",
                "Look for `agentmetrics_build_info` in `curl http://HOST:PORT/metrics`.",
                steps.ROLL_BACK,
            ),
        ),
        fires=(Fires({_INFO: "1x30 stale", _UP: "1x90"}, "60m", _OF, "1"),),
        silent=(
            Silent("it restarts", {_INFO: "1x30 _ _ _ 1x60", _UP: "1x90"}, "60m"),
            Silent(
                "it is down, which has an alert of its own",
                {_INFO: "1x30 stale", _UP: "1x30 0x60"},
                "60m",
            ),
        ),
    ),
    Alert(
        name="ProcessRestarts",
        severity="warning",
        when="the counters of a process began anew 3 times or more in 1 hour",
        condition="max by (job) (resets(llm_calls_total[1h])) >= 3",
        for_="0s",
        labels=("job",),
        board="overview",
        summary="{{ $labels.job }} restarts again and again",
        description='A process of {{ $labels.job }} restarted {{ $value | printf "%.0f" }} times '
        "in an hour.",
        runbook=Runbook(
            means="A process ends and is started again, each time with counters from 0.",
            who_is_hurt="Users, whose runs end with it.",
            look_at={
                "Restarts by process": "max by (job, instance) (resets(llm_calls_total[1h]))",
                "Resident memory": "max by (job, instance) (llm_memory_rss_bytes)",
                "Memory in use": "max by (job, instance) (system_memory_percent)",
            },
            causes=(
                "It is killed for its memory.",
                "A liveness probe is not answered in time, since the event loop is blocked.",
                "It crashes on some input.",
            ),
            do_now=(
                "Read why it ended: `kubectl describe pod NAME`, or `journalctl -u NAME`.",
                steps.ROLL_BACK,
                "Raise its memory limit, or lower its concurrency.",
            ),
        ),
        fires=(
            Fires(
                {f'llm_calls_total{{{CALL}, status="success"}}': ("1+1x12 1+1x12 1+1x12 1+1x40")},
                "55m",
                _OF,
                "3",
            ),
        ),
        silent=(
            Silent(
                "it was deployed",
                {f'llm_calls_total{{{CALL}, status="success"}}': "1+1x30 1+1x40"},
                "55m",
            ),
        ),
    ),
    Alert(
        name="VersionsDiffer",
        severity="info",
        when="processes of a job have different versions of agentmetrics",
        condition="count by (job) (count by (job, version) (agentmetrics_build_info)) > 1",
        for_="1h",
        labels=("job",),
        board="itself",
        summary="{{ $labels.job }} runs several versions of agentmetrics",
        description="{{ $value }} versions of agentmetrics are in use in {{ $labels.job }}.",
        runbook=Runbook(
            means="A deployment stopped half-way, or an old process is still there.",
            who_is_hurt="Nobody; but numbers of the two may differ in meaning.",
            look_at={
                "Processes by version": "count by (job, version) (agentmetrics_build_info)",
                "The service's own version": "count by (job, service, version) (service_info)",
            },
            causes=("A rolling deployment is stuck.", "A worker was forgotten."),
            do_now=("Finish or roll back the deployment.", steps.RESTART_THE_WORKER),
        ),
        fires=(
            Fires(
                {
                    _INFO: "1x120",
                    'agentmetrics_build_info{job="app", instance="b:9464", version="1.1"}': "1x120",
                },
                "90m",
                _OF,
                "2",
            ),
        ),
        silent=(
            Silent(
                "a deployment goes through",
                {
                    _INFO: "1x30 stale",
                    'agentmetrics_build_info{job="app", instance="b:9464", version="1.1"}': (
                        "_x20 1x100"
                    ),
                },
                "90m",
            ),
        ),
    ),
    Alert(
        name="ApplicationErrors",
        severity="warning",
        when="a component recorded 3 times as many errors in 15 minutes as is usual in 15 minutes "
        "of the last day, and at least 10",
        condition="sum by (job, component, error_type) (increase(errors_total[15m]))\n"
        "> 3 * sum by (job, component, error_type) (rate(errors_total[1d] offset 15m)) * 900",
        floor=at_least(10, "errors_total", "job, component, error_type", "15m"),
        for_="5m",
        labels=("job", "component", "error_type"),
        board="platform",
        summary="{{ $labels.component }} has more errors than usual",
        description="{{ $labels.component }} of {{ $labels.job }} recorded "
        '{{ $value | printf "%.0f" }} errors of the type {{ $labels.error_type }} in 15 minutes.',
        runbook=Runbook(
            means="The application calls `agentmetrics.record_error` more often than it used to.",
            who_is_hurt="It depends on the component; ask those who wrote it.",
            look_at={
                "Errors by component and type": "sum by (job, component, error_type) "
                "(rate(errors_total[5m]))",
            },
            causes=("A deployment.", "Something that the component depends on fails."),
            do_now=(
                "Look at the application's own log at the time.",
                steps.ROLL_BACK,
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=(
            Fires(
                {
                    f'errors_total{{{JOB}, component="parser", error_type="ValueError"}}': (
                        "0x180 0+2x60"
                    )
                },
                "200m",
                {**_OF, "component": "parser", "error_type": "ValueError"},
                "30",
            ),
        ),
        silent=(
            Silent(
                "there are always so many",
                {f'errors_total{{{JOB}, component="parser", error_type="ValueError"}}': "0+2x1500"},
                "1450m",
            ),
            Silent(
                "five are not many",
                {
                    f'errors_total{{{JOB}, component="parser", error_type="ValueError"}}': (
                        "0x180 0+0.5x60"
                    )
                },
                "200m",
            ),
        ),
    ),
)
