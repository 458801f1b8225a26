"""Alerts on caches, of your own and of providers."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least
from agentmetrics.operations.rules.samples import CALL, JOB

_CACHE = f'{JOB}, cache_type="prompt"'
_OF_CACHE = {"job": "app", "cache_type": "prompt"}


def _cache(hits: str, misses: str, evictions: str = "0x300") -> dict[str, str]:
    named = {"hits": hits, "misses": misses, "evictions": evictions}
    return {f"cache_{name}_total{{{_CACHE}}}": values for name, values in named.items()}


def _hit_share(window: str, offset: str = "") -> str:
    hits, misses = (
        f"sum by (job, cache_type) (rate(cache_{name}_total[{window}]{offset}))"
        for name in ("hits", "misses")
    )
    return f"{hits}\n/ ({hits} + {misses})"


def _read(tokens: str) -> dict[str, str]:
    """Tokens read from the provider's cache, of 1000 sent in one call a minute."""
    return {
        f'llm_token_details_total{{{CALL}, token_detail="cache_read"}}': tokens,
        f'llm_tokens_total{{{CALL}, token_type="input"}}': "0+1000x300",
        f'llm_calls_total{{{CALL}, status="success"}}': "0+1x300",
    }


def _read_share(window: str, offset: str = "") -> str:
    read = f'llm_token_details_total{{token_detail="cache_read"}}[{window}]{offset}'
    sent = f'llm_tokens_total{{token_type="input"}}[{window}]{offset}'
    by = "sum by (job, agent_name, model)"
    return f"{by} (rate({read}))\n/ {by} (rate({sent}))"


ALERTS = (
    Alert(
        name="CacheHitsDropped",
        severity="warning",
        when="a cache answers less than half as many of its lookups as in the day before, over "
        "1 hour; with at least 20 lookups, and 10% hits before",
        # not by cache_hit_ratio, which counts since the start
        condition=f"{_hit_share('1h')}\n< 0.5 * (\n{_hit_share('1d', ' offset 1h')} > 0.1)",
        floor="sum by (job, cache_type) (increase(cache_hits_total[1h])) + "
        "sum by (job, cache_type) (increase(cache_misses_total[1h])) >= 20",
        for_="15m",
        labels=("job", "cache_type"),
        board="models",
        summary="The {{ $labels.cache_type }} cache is hit less",
        description="The {{ $labels.cache_type }} cache of {{ $labels.job }} answers "
        "{{ $value | humanizePercentage }} of its lookups, less than half of the day "
        "before's.",
        runbook=Runbook(
            means="Lookups that the cache used to answer go to the model.",
            who_is_hurt="Users wait longer, and your bill grows.",
            look_at={
                "Share of hits": "sum by (cache_type) (rate(cache_hits_total[15m])) / "
                "(sum by (cache_type) (rate(cache_hits_total[15m])) + "
                "sum by (cache_type) (rate(cache_misses_total[15m])))",
                "Entries": "sum by (cache_type) (cache_entries)",
                "Evictions per second": "sum by (cache_type) (rate(cache_evictions_total[15m]))",
            },
            causes=(
                "A restart or a deployment emptied the cache.",
                "Something that changes, such as the time, got into the prompt, and so the key.",
                "The cache is too small for the traffic: evictions show it.",
            ),
            do_now=(
                "After a restart, wait an hour and look again.",
                steps.ROLL_BACK,
                "Raise `maxsize` of the cache.",
            ),
        ),
        fires=(
            Fires(_cache("0+2x180 360+0.5x120", "0+8x180 1440+9.5x120"), "5h", _OF_CACHE, "5%"),
        ),
        silent=(
            Silent("it is hit nearly as often", _cache("0+8x180 1440+6x120", "0+2x300"), "5h"),
            Silent("it hardly ever was hit", _cache("0+1x180 180x120", "0+19x300"), "5h"),
        ),
    ),
    Alert(
        name="CacheEvictsMuch",
        severity="info",
        when="a cache evicts an entry for more than half of its misses over 1 hour; with at least "
        "20 evictions",
        condition="sum by (job, cache_type) (rate(cache_evictions_total[1h]))\n/\n"
        "sum by (job, cache_type) (rate(cache_misses_total[1h])) > 0.5",
        floor=at_least(20, "cache_evictions_total", "job, cache_type", "1h"),
        for_="30m",
        labels=("job", "cache_type"),
        board="models",
        summary="The {{ $labels.cache_type }} cache is too small",
        description="The {{ $labels.cache_type }} cache of {{ $labels.job }} evicts "
        '{{ $value | printf "%.2f" }} entries for each lookup that it cannot answer.',
        runbook=Runbook(
            means="The cache is full: each new entry drives out one that may still be of use.",
            who_is_hurt="Your bill, by the hits that are lost.",
            look_at={
                "Entries": "sum by (cache_type) (cache_entries)",
                "Size in bytes": "sum by (cache_type) (cache_size_bytes)",
                "Evictions per second": "sum by (cache_type) (rate(cache_evictions_total[15m]))",
            },
            causes=("The cache is too small.", "Most entries are never asked for again."),
            do_now=(
                "If hits are many, raise `maxsize` of the cache, as memory allows.",
                "If hits are few, cache only what is asked for again.",
            ),
        ),
        fires=(Fires(_cache("0+1x300", "0+10x300", "0+9x300"), "3h", _OF_CACHE, "0.90"),),
        silent=(Silent("it evicts little", _cache("0+1x300", "0+10x300", "0+2x300"), "3h"),),
    ),
    Alert(
        name="PromptCacheHitsDropped",
        severity="warning",
        when="an agent reads less than half as many of its input tokens from the provider's cache "
        "as in the day before, over 1 hour; with at least 20 calls, and 10% before",
        condition=f"{_read_share('1h')}\n< 0.5 * (\n{_read_share('1d', ' offset 1h')} > 0.1)",
        floor=at_least(20, 'llm_calls_total{status="success"}', "job, agent_name, model", "1h"),
        for_="15m",
        labels=("job", "agent_name", "model"),
        board="cost",
        summary="{{ $labels.agent_name }} hits the prompt cache of {{ $labels.model }} less",
        description="{{ $value | humanizePercentage }} of the input tokens of "
        "{{ $labels.agent_name }} were read from the cache of {{ $labels.model }}, less than half "
        "of the day before.",
        runbook=Runbook(
            means="The provider bills in full what it used to bill as cached.",
            who_is_hurt="Your bill; and users, since the first token comes later.",
            look_at={
                "Share of input tokens that were cached": "sum by (agent_name, model) "
                '(rate(llm_token_details_total{token_detail="cache_read"}[15m])) / '
                'sum by (agent_name, model) (rate(llm_tokens_total{token_type="input"}[15m]))',
                "USD per hour saved by it": "3600 * sum "
                '(rate(model_cost_savings_usd_total{intent="prompt_cache"}[1h]))',
            },
            causes=(
                (
                    "The beginning of the prompt changes from call to call: a date, an id, the "
                    "order of tools."
                ),
                "Calls are further apart than the cache keeps entries.",
                "Another model or region was chosen.",
            ),
            do_now=(
                steps.ROLL_BACK,
                "Put what changes at the end of the prompt.",
                "For Anthropic, see that `cache_control` is still set.",
            ),
        ),
        fires=(
            Fires(
                _read("0+200x180 36000+50x120"),
                "5h",
                {"job": "app", "agent_name": "planner", "model": "gpt-4o"},
                "5%",
            ),
        ),
        silent=(
            Silent("it is hit nearly as often", _read("0+800x180 144000+600x120"), "5h"),
            Silent("it hardly ever was hit", _read("0+50x180 9000x120"), "5h"),
        ),
    ),
)
