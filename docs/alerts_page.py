"""The page on alerts: its text, and what it takes from the alerts themselves."""

from __future__ import annotations

from collections.abc import Iterator

from agentmetrics.operations.rules import pages, recording
from agentmetrics.operations.rules.files import RUNBOOKS_URL, Objectives
from agentmetrics.operations.rules.subjects import subjects

NONE = "\N{EN DASH}"
HEAD = """\
# Alerts

{made}

`agentmetrics ops export DIR` writes {number} alerts for Prometheus, with recording rules, a
runbook for each and tests for `promtool`. Each alert has a severity, a summary, a description
with its value, and links to its runbook and to the board that shows it, with the agent or model
already chosen.

| severity | meaning |
|---|---|
| `critical` | somebody is hurt, or money goes out: look at once |
| `warning` | look within the day |
| `info` | good to know |

## Loading them

```console
$ agentmetrics ops export monitoring
$ promtool test rules monitoring/prometheus/tests/*.yml
```

The exported `prometheus.yml` loads them already. In your own, add

```yaml
rule_files:
  - monitoring/prometheus/rules/*.yml
```

With `AGENTMETRICS_NAMESPACE`, export with `--namespace`: the alerts then read the prefixed
metrics, and the recorded series have the prefix too. Alerts on metrics that your service does not
have, such as those of Celery, stay silent, so there is nothing to remove.

Alerts are by `job`, and an agent, model, tool or queue where that applies; `instance` is left
only where the machine is what matters. Whatever is counted by `increase() > 0` also counts the
value that a new series begins with. For the same reason, in the first hour of a new Prometheus,
counters of programs that have run for longer look new.

## Objectives

Alerts on availability, latency and the first token follow from service level objectives, which
`--slo FILE.toml` sets for all agents and for single ones. Without a file, they are:

```toml
[default]
availability = 0.99                           # share of calls that succeed
latency = {{ share = 0.95, seconds = 30 }}      # share of calls that take at most so long
first_token = {{ share = 0.95, seconds = 5 }}   # share of streams that begin within so long
```

An agent with an objective of its own is judged by that and not by the default:

```toml
[agents.reviewer]
availability = 0.999
latency = {{ seconds = 10 }}    # the share is as in [default]
```

Names of agents are as in the label `agent_name`. A name that no agent has is not an error: the
file may be there before the agent is. `seconds` must be an upper bound of a bucket of the
histogram; if the service has other buckets (`AGENTMETRICS_LATENCY_BUCKETS`,
`AGENTMETRICS_BUCKETS`), set the same variable for the export. `BucketMissing` fires for a service
that lacks a bucket which an alert reads. Calls that were cancelled or interrupted are neither good
nor bad for the availability.

An alert compares the share of bad calls with what the objective leaves: with an availability of
99%, 1% of calls may fail. It looks at a long window, since a short peak does not matter, and at a
short one, since what is over needs nobody. The thresholds use up 2% of the budget of 30 days in 1
hour, 5% in 6 hours, or 10% in 1 or 3 days. With fewer than 10 bad calls in the long window, an
alert stays silent: one failed call of a quiet agent is no outage.

| recorded series, by `job` and `agent_name` | meaning |
|---|---|
{recorded}

Each is recorded over {windows}.

## Silencing them

While somebody works on it, in Alertmanager or with its command:

```sh
amtool silence add alertname=AgentLoops agent_name=researcher \\
  --duration=2h --comment='the new prompt is being rolled back' \\
  --alertmanager.url=http://localhost:9093
```

To be rid of an alert for good, route it to a receiver without any configuration, in
`alertmanager.yml`:

```yaml
route:
  routes:
    - matchers: [alertname="VersionsDiffer"]
      receiver: nobody
receivers:
  - name: nobody
```

"""


def page(made: str) -> str:
    """The page, with a remark on how it was made."""
    by_subject = subjects(Objectives())
    recorded = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in _recorded())
    lines = [
        HEAD.format(
            made=made,
            number=sum(map(len, by_subject.values())),
            recorded=recorded,
            windows=", ".join(recording.WINDOWS),
        )
        + "## All alerts",
    ]
    for subject, alerts in by_subject.items():
        lines += ["", f"### {pages.title(subject)}", ""]
        lines += ["| alert | severity | fires when | for |", "|---|---|---|---|"]
        lines += [
            f"| [{alert.name}]({RUNBOOKS_URL}/{alert.name}.md) | {alert.severity} | {alert.when} | "
            f"{NONE if alert.for_ == pages.AT_ONCE else alert.for_} |"
            for alert in alerts
        ]
    return "\n".join(lines) + "\n"


def _recorded() -> Iterator[tuple[str, str]]:
    for level in (recording.AVAILABILITY, recording.LATENCY, recording.FIRST_TOKEN):
        yield level.rate("5m"), f"calls per second that the {level.name} objective is about"
        yield level.ratio("5m"), "share of them that is bad"
        yield level.burn("5m"), "that share, relative to what the objective allows"
