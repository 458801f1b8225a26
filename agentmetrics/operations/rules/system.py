"""Alerts on the machine or container."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, quantile
from agentmetrics.operations.rules.samples import JOB, histogram

_OF = {"job": "app", "instance": "a:9464"}
_MEMORY_LOOK_AT = {
    "Memory in use": "max by (job, instance) (system_memory_used_bytes)",
    "Limit": "max by (job, instance) (system_memory_limit_bytes)",
    "Resident memory of workers": "max by (job, instance) (llm_memory_rss_bytes)",
    "Open runs": "sum by (job, kind) (agentmetrics_open_runs)",
}
_MEMORY_CAUSES = (
    "Many runs at a time, each with long messages.",
    "A cache without a limit: see `cache_entries`.",
    "A leak: memory grows with the age of the process.",
)
_FREE_THE_DISK = "See what fills it, with `du -xh / | sort -h | tail`, and delete old logs."


def _gauge(name: str, values: str) -> dict[str, str]:
    return {f"{name}{{{JOB}}}": values}


ALERTS = (
    Alert(
        name="CPUHigh",
        severity="warning",
        when="more than 90% of the CPU that a process may use is in use",
        condition="max by (job, instance) (system_cpu_percent) > 90",
        for_="15m",
        labels=("job", "instance"),
        board="platform",
        summary="{{ $labels.instance }} is short of CPU",
        description='{{ $value | printf "%.0f" }}% of the CPU of {{ $labels.instance }} '
        "({{ $labels.job }}) is in use.",
        runbook=Runbook(
            means="The container or machine has no CPU left.",
            who_is_hurt="Users: everything on it is slow, and latency looks as if the provider "
            "were slow.",
            look_at={
                "CPU in use": "max by (job, instance) (system_cpu_percent)",
                "Cores that it may use": "max by (job, instance) (system_cpu_limit_cores)",
                "Lag of the event loop, p99": "histogram_quantile(0.99, sum by (job, le) "
                "(rate(event_loop_lag_seconds_bucket[5m])))",
            },
            causes=(
                "More traffic.",
                "Work that needs CPU in the worker: parsing, embeddings, large JSON.",
                "A loop without a pause.",
            ),
            do_now=(
                "See what runs: `py-spy top --pid PID`.",
                "Start more workers on other machines, or raise the limit.",
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=(Fires(_gauge("system_cpu_percent", "97x60"), "40m", _OF, "97"),),
        silent=(Silent("it was a peak", _gauge("system_cpu_percent", "97x20 60x5 97x10"), "35m"),),
    ),
    Alert(
        name="MemoryHigh",
        severity="critical",
        when="more than 90% of the memory that a process may use is in use",
        condition="max by (job, instance) (system_memory_percent) > 90",
        for_="5m",
        labels=("job", "instance"),
        board="platform",
        summary="{{ $labels.instance }} is short of memory",
        description='{{ $value | printf "%.0f" }}% of the memory of {{ $labels.instance }} '
        "({{ $labels.job }}) is in use.",
        runbook=Runbook(
            means="The container will soon be killed, or the machine will swap.",
            who_is_hurt="Users, whose runs end with the process.",
            look_at=_MEMORY_LOOK_AT,
            causes=_MEMORY_CAUSES,
            do_now=(
                steps.RESTART_THE_WORKER,
                "Raise the limit, or lower the concurrency of the worker.",
                "If it began with a deployment, roll that back.",
            ),
        ),
        fires=(Fires(_gauge("system_memory_percent", "50+1x45 95x20"), "60m", _OF, "95"),),
        silent=(Silent("a tenth is left", _gauge("system_memory_percent", "90x60"), "60m"),),
    ),
    Alert(
        name="MemoryAvailableLow",
        severity="warning",
        when="less than 256 MiB of memory are available on the machine",
        condition="min by (job, instance) (llm_memory_available_bytes) < 268435456",
        for_="10m",
        labels=("job", "instance"),
        board="platform",
        summary="The machine of {{ $labels.instance }} is short of memory",
        description="{{ $value | humanize1024 }}B of memory are available on the machine of "
        "{{ $labels.instance }} ({{ $labels.job }}).",
        runbook=Runbook(
            means="The machine as a whole has little memory left, whatever the process may use.",
            who_is_hurt="Users: processes are killed, or everything is slow.",
            look_at={
                "Memory available": "min by (job, instance) (llm_memory_available_bytes)",
                **_MEMORY_LOOK_AT,
            },
            causes=(*_MEMORY_CAUSES, "Another program on the machine."),
            do_now=(
                "See who uses it: `ps aux --sort=-rss | head`.",
                steps.RESTART_THE_WORKER,
                "Move workers to another machine.",
            ),
        ),
        fires=(Fires(_gauge("llm_memory_available_bytes", "134217728x60"), "30m", _OF, "128Mi"),),
        silent=(
            Silent("512 MiB are left", _gauge("llm_memory_available_bytes", "536870912x60"), "30m"),
        ),
    ),
    Alert(
        name="DiskNearlyFull",
        severity="warning",
        when="more than 85% of the disk is in use",
        condition="max by (job, instance) (system_disk_percent) > 85",
        for_="15m",
        labels=("job", "instance"),
        board="platform",
        summary="The disk of {{ $labels.instance }} is nearly full",
        description='{{ $value | printf "%.0f" }}% of the disk of {{ $labels.instance }} '
        "({{ $labels.job }}) is in use.",
        runbook=Runbook(
            means="The disk has less than 15% left.",
            who_is_hurt="Nobody yet. A full disk stops a ledger in SQLite, and multiprocess files.",
            look_at={
                "Disk in use": "max by (job, instance) (system_disk_percent)",
                "Bytes": "max by (job, instance) (system_disk_used_bytes)",
            },
            causes=(
                "Logs that are not rotated.",
                "Files of old workers in `PROMETHEUS_MULTIPROC_DIR`.",
                "A ledger that keeps rows for ever.",
            ),
            do_now=(
                _FREE_THE_DISK,
                "Set `AGENTMETRICS_LEDGER_RETENTION_DAYS`.",
                "Empty `PROMETHEUS_MULTIPROC_DIR` while the service is stopped.",
            ),
        ),
        fires=(Fires(_gauge("system_disk_percent", "91x60"), "40m", _OF, "91"),),
        silent=(Silent("a fifth is left", _gauge("system_disk_percent", "80x60"), "40m"),),
    ),
    Alert(
        name="DiskFullSoon",
        severity="critical",
        when="the disk will be full within 12 hours at the rate of the last 2 hours, and more than "
        "60% of it is in use",
        condition="max by (job, instance) (predict_linear(system_disk_percent[2h], 43200)) > 100\n"
        "and max by (job, instance) (system_disk_percent) > 60",
        for_="30m",
        labels=("job", "instance"),
        board="platform",
        summary="The disk of {{ $labels.instance }} will be full within 12 hours",
        description='At the rate of the last 2 hours, {{ $value | printf "%.0f" }}% of the disk of '
        "{{ $labels.instance }} ({{ $labels.job }}) would be in use in 12 hours.",
        runbook=Runbook(
            means="Something fills the disk quickly.",
            who_is_hurt="Soon, whoever writes to this disk: the ledger, logs, the database.",
            look_at={
                "Disk in use": "max by (job, instance) (system_disk_percent)",
                "MB written per hour": "max by (job, instance) "
                "(deriv(system_disk_used_bytes[2h])) * 3600 / 1e6",
            },
            causes=(
                "A log level of debug, or an error that is logged in a loop.",
                "A download or an index that grows.",
            ),
            do_now=(
                _FREE_THE_DISK,
                "Stop what writes, or give it a disk of its own.",
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=(Fires(_gauge("system_disk_percent", "60+0.1x180"), "2h", _OF, "144"),),
        silent=(
            Silent("it grows slowly", _gauge("system_disk_percent", "60+0.01x180"), "2h"),
            Silent("it is nearly empty", _gauge("system_disk_percent", "10+0.2x180"), "2h"),
        ),
    ),
    Alert(
        name="EventLoopLags",
        severity="warning",
        when="the event loop runs what is due more than 0.5 seconds late in 1 of 100 cases, over "
        "5 minutes",
        condition=quantile(0.99, "event_loop_lag_seconds", "job", "5m") + " > 0.5",
        floor=at_least(20, "event_loop_lag_seconds_count", "job", "5m"),
        for_="5m",
        labels=("job",),
        board="platform",
        summary="The event loop of {{ $labels.job }} lags",
        description="One in a hundred times, the event loop of {{ $labels.job }} is more than "
        "{{ $value | humanizeDuration }} late.",
        runbook=Runbook(
            means="Code that blocks runs in a coroutine, and everything else waits for it.",
            who_is_hurt="All users of the process: requests, streams and health checks stop.",
            look_at={
                "Lag, p99": "histogram_quantile(0.99, sum by (job, le) "
                "(rate(event_loop_lag_seconds_bucket[5m])))",
                "CPU in use": "max by (job, instance) (system_cpu_percent)",
                "p95 of tools": "histogram_quantile(0.95, sum by (tool_name, le) "
                "(rate(tool_execution_duration_seconds_bucket[5m])))",
            },
            causes=(
                "A synchronous client, tool or database driver is called in a coroutine.",
                "Large JSON or documents are parsed in the event loop.",
                "The CPU is all in use.",
            ),
            do_now=(
                (
                    "Find it: `py-spy dump --pid PID`, several times; or run with "
                    "`PYTHONASYNCIODEBUG=1`."
                ),
                "Call it with `ainvoke`, or in `asyncio.to_thread`.",
                "Start more workers until it is found.",
            ),
        ),
        fires=(
            Fires(
                histogram("event_loop_lag_seconds", JOB, {"0.5": 50, "1.0": 60, "+Inf": 60}),
                "30m",
                {"job": "app"},
                "970ms",
            ),
        ),
        silent=(
            Silent(
                "it is not late by much",
                histogram("event_loop_lag_seconds", JOB, {"0.25": 50, "0.5": 60, "+Inf": 60}),
                "30m",
            ),
        ),
    ),
)
