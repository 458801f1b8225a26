"""Alerts on what agents spend, and on what is not known of it."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, new
from agentmetrics.operations.rules.samples import AGENT, CALL, JOB

_OF = {"job": "app", "agent_name": "planner"}
_COST = f"llm_cost_usd_total{{{CALL}}}"
_LOOK_AT = {
    "Cost per hour by agent and model": "3600 * sum by (agent_name, model) "
    "(rate(llm_cost_usd_total[30m]))",
    "Calls per minute": "60 * sum by (agent_name, model) (rate(llm_calls_total[30m]))",
    "Tokens per call": "sum by (agent_name, model) (rate(llm_tokens_total[30m])) "
    '/ sum by (agent_name, model) (rate(llm_calls_total{status="success"}[30m]))',
}
_CAUSES = (
    "An agent in a loop.",
    "More users, or one who sends much.",
    "A more expensive model or service tier was chosen.",
    "Prompts are longer, or no longer read from the provider's cache.",
)
_DO_NOW = (
    steps.SHOW_THE_COST,
    steps.CAP_THE_BUDGET,
    steps.CAP_THE_RUN,
    steps.SWITCH_THE_MODEL,
)


def _run_cost(sum_: str, count: str) -> dict[str, str]:
    return {
        f"agent_run_cost_usd_sum{{{AGENT}}}": sum_,
        f"agent_run_cost_usd_count{{{AGENT}}}": count,
    }


ALERTS = (
    Alert(
        name="CostAnomaly",
        severity="warning",
        when="an agent spends 3 times what it spent in the same hour of the previous days, by the "
        "ledger, and more than 1 USD in the hour",
        condition="max by (job, agent_name) (llm_cost_anomaly_ratio) > 3\n"
        "and sum by (job, agent_name) (increase(llm_cost_usd_total[1h])) > 1",
        for_="5m",
        labels=("job", "agent_name"),
        board="cost",
        summary="{{ $labels.agent_name }} spends more than on other days",
        description='In the last hour, {{ $labels.agent_name }} spent {{ $value | printf "%.1f" }} '
        "times what it spent in the same hour of the previous days.",
        runbook=Runbook(
            means="The hour is unusually expensive for this agent at this time of day.",
            who_is_hurt="Your bill.",
            look_at={
                "Relative to the previous days": "max by (agent_name) (llm_cost_anomaly_ratio)",
                **_LOOK_AT,
            },
            causes=_CAUSES,
            do_now=_DO_NOW,
        ),
        fires=(
            Fires(
                {f"llm_cost_anomaly_ratio{{{AGENT}}}": "4.5x120", _COST: "0+0.03x120"},
                "2h",
                _OF,
                "4.5",
            ),
        ),
        silent=(
            Silent(
                "it is a matter of cents",
                {f"llm_cost_anomaly_ratio{{{AGENT}}}": "4.5x120", _COST: "0+0.01x120"},
                "2h",
            ),
            Silent(
                "it spends twice as much",
                {f"llm_cost_anomaly_ratio{{{AGENT}}}": "2x120", _COST: "0+0.1x120"},
                "2h",
            ),
        ),
    ),
    Alert(
        name="CostSpike",
        severity="warning",
        when="an agent spends 3 times what it spent in the same hour of the day before, and more "
        "than 3 USD in the hour",
        condition="sum by (job, agent_name) (increase(llm_cost_usd_total[1h]))\n"
        "> 3 * clamp_min(sum by (job, agent_name) (increase(llm_cost_usd_total[1h] offset 1d)), 1)",
        for_="5m",
        labels=("job", "agent_name"),
        board="cost",
        summary="{{ $labels.agent_name }} spends more than the day before",
        description='{{ $labels.agent_name }} spent {{ $value | printf "%.2f" }} USD in the last '
        "hour, more than 3 times what it spent in the same hour of the day before.",
        runbook=Runbook(
            means="As `CostAnomaly`, from the counters and the day before alone; for programs "
            "without a ledger.",
            who_is_hurt="Your bill.",
            look_at=_LOOK_AT,
            causes=(*_CAUSES, "The day before was a holiday."),
            do_now=_DO_NOW,
        ),
        fires=(Fires({_COST: "0+0.02x1440 28.8+0.2x120"}, "1530m", _OF, "12.00"),),
        silent=(
            Silent("it spends twice as much", {_COST: "0+0.1x1440 144+0.2x120"}, "1530m"),
            Silent("it is a matter of cents", {_COST: "0x1440 0+0.01x120"}, "1530m"),
            Silent("the agent is new", {_COST: "_x1440 0+0.2x120"}, "1530m"),
        ),
    ),
    Alert(
        name="AgentRunsCostMore",
        severity="warning",
        when="an agent's runs cost 3 times what they cost in the day before, over 1 hour; with at "
        "least 10 runs",
        condition="sum by (job, agent_name) (rate(agent_run_cost_usd_sum[1h]))\n"
        "/\n"
        "sum by (job, agent_name) (rate(agent_run_cost_usd_count[1h]))\n"
        "> 3 *\n"
        "sum by (job, agent_name) (rate(agent_run_cost_usd_sum[1d] offset 1h))\n"
        "/\n"
        "sum by (job, agent_name) (rate(agent_run_cost_usd_count[1d] offset 1h))",
        floor=at_least(10, "agent_run_cost_usd_count", "job, agent_name", "1h"),
        for_="10m",
        labels=("job", "agent_name"),
        board="cost",
        summary="Runs of {{ $labels.agent_name }} cost more",
        description='A run of {{ $labels.agent_name }} costs {{ $value | printf "%.4f" }} USD on '
        "average, more than 3 times what it cost the day before.",
        runbook=Runbook(
            means="Each run has become more expensive, however many there are.",
            who_is_hurt="Your bill.",
            look_at={
                "Cost of a run, on average": "sum by (agent_name) "
                "(rate(agent_run_cost_usd_sum[1h])) / sum by (agent_name) "
                "(rate(agent_run_cost_usd_count[1h]))",
                "Calls in a run, on average": "sum by (agent_name) "
                "(rate(agent_run_llm_calls_sum[1h])) / sum by (agent_name) "
                "(rate(agent_run_llm_calls_count[1h]))",
                "Tokens in a run, on average": "sum by (agent_name) "
                "(rate(agent_run_tokens_sum[1h])) / sum by (agent_name) "
                "(rate(agent_run_tokens_count[1h]))",
            },
            causes=(
                "Runs make more calls, or longer ones.",
                "A more expensive model was chosen.",
                "The provider's prompt cache is no longer hit.",
            ),
            do_now=(steps.ROLL_BACK, steps.CAP_THE_RUN, steps.SWITCH_THE_MODEL),
        ),
        fires=(Fires(_run_cost("0+0.01x180 1.8+0.1x90", "0+1x270"), "270m", _OF, "0.1000"),),
        silent=(
            Silent(
                "there are more runs",
                _run_cost("0+0.01x180 1.8+0.1x90", "0+1x180 180+5x90"),
                "270m",
            ),
        ),
    ),
    Alert(
        name="CallsUnpriced",
        severity="warning",
        when="a call to a model without a known price ended in the last hour",
        condition=f"sum by (job, provider, model) ({new('llm_unpriced_calls_total', '1h')}) > 0",
        for_="0s",
        labels=("job", "provider", "model"),
        board="cost",
        summary="{{ $labels.model }} has no price",
        description="Calls to {{ $labels.model }} ({{ $labels.provider }}) without a known price, "
        'which are missing from cost and budgets: {{ $value | printf "%.0f" }} in the last '
        "hour.",
        runbook=Runbook(
            means="The calls used tokens, and no price list names the model.",
            who_is_hurt="Your bill: cost and budgets leave these calls out.",
            look_at={
                "Unpriced calls": "sum by (provider, model) "
                "(increase(llm_unpriced_calls_total[1h]))",
                "Tokens by model": "sum by (provider, model) (increase(llm_tokens_total[1h]))",
            },
            causes=(
                "The model is new, a fine-tune, or a deployment with a name of its own.",
                "The installed price list is old.",
                "The provider reported only part of the usage.",
            ),
            do_now=(
                "See what is known of it: `agentmetrics prices show MODEL --provider PROVIDER`.",
                (
                    "Set a price in the file in `AGENTMETRICS_PRICES_FILE`, which is read again "
                    "when it changes."
                ),
                "Or fetch newer prices: `AGENTMETRICS_PRICES_UPDATE=true`.",
            ),
        ),
        fires=(
            Fires(
                {
                    f'llm_unpriced_calls_total{{{JOB}, provider="openai", model="ft:x"}}': (
                        "_x89 1x100"
                    )
                },
                "95m",
                {"job": "app", "provider": "openai", "model": "ft:x"},
                "1",
            ),
        ),
        silent=(
            Silent(
                "the call was two hours ago",
                {
                    f'llm_unpriced_calls_total{{{JOB}, provider="openai", model="ft:x"}}': (
                        "_x60 1x200"
                    )
                },
                "190m",
            ),
        ),
    ),
    Alert(
        name="CallsUnmetered",
        severity="warning",
        when="a successful call without token counts ended in the last hour",
        condition="sum by (job, agent_name, provider, model) ("
        + new("llm_unmetered_calls_total", "1h")
        + ") > 0",
        for_="0s",
        labels=("job", "agent_name", "provider", "model"),
        board="cost",
        summary="Calls of {{ $labels.agent_name }} to {{ $labels.model }} report no tokens",
        description="Calls of {{ $labels.agent_name }} to {{ $labels.model }} "
        "({{ $labels.provider }}) without token counts, which are missing from cost and budgets: "
        '{{ $value | printf "%.0f" }} in the last hour.',
        runbook=Runbook(
            means="The calls succeeded, and the response had no usage that could be read.",
            who_is_hurt="Your bill: tokens, cost and budgets leave these calls out.",
            look_at={
                "Unmetered calls": "sum by (agent_name, provider, model) "
                "(increase(llm_unmetered_calls_total[1h]))",
                "Their share": "sum by (agent_name, model) "
                "(rate(llm_unmetered_calls_total[1h])) / sum by (agent_name, model) "
                '(rate(llm_calls_total{status="success"}[1h]))',
            },
            causes=(
                "A stream for which the client did not ask for usage.",
                "A server that does not report usage, or in a form of its own.",
                "Calls recorded with `track_call` without `record_usage`.",
            ),
            do_now=(
                "For streams of OpenAI-compatible servers, set `stream_usage=True` on the model.",
                "With `track_call`, call `record_usage(…)` before the block ends.",
                "Look in the log for the warning that names the class of the response.",
            ),
        ),
        fires=(
            Fires(
                {f"llm_unmetered_calls_total{{{CALL}}}": "0x60 0+2x100"},
                "130m",
                {**_OF, "provider": "openai", "model": "gpt-4o"},
                "120",
            ),
        ),
        silent=(
            Silent(
                "the series exists and stays at 0",
                {f"llm_unmetered_calls_total{{{CALL}}}": "0x200"},
                "130m",
            ),
        ),
    ),
)
