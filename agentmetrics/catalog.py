"""Every metric that agentmetrics emits, as data; the reference page is generated from it.

One module, however long: a list is easiest to search where it is whole.

Names follow Prometheus conventions: base units, ``_total`` on counters. Cost is in USD, time in
seconds. Rows with ``extended=True`` also have the extra labels that the user configured, last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from agentmetrics.recording import health
from agentmetrics.recording.known import make_known
from agentmetrics.recording.metric import Metric

STATUSES = ("success", "error", "cancelled", "interrupted")
ERROR_TYPES = (
    "timeout",
    "rate_limit",
    "authentication",
    "invalid_request",
    "context_length",
    "content_filter",
    "connection",
    "server_error",
    "budget_exceeded",
    "other",
)
COST_DIRECTIONS = ("above", "below")
TOKEN_TYPES = ("input", "output")
FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "refusal", "other")
TOKEN_DETAILS = (
    *("cache_read", "cache_creation", "reasoning", "audio_input", "audio_output"),
    *("image_input", "image_output", "unknown"),
)

LATENCY_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds. The default of the latency of calls, and the duration of agent runs and HTTP streams."""
FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds to the first token."""
TOOL_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""Seconds of tools and retrievers, which are anything from a look-up to a crawl."""
REQUEST_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Seconds of HTTP requests and database queries."""
TASK_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)
"""Seconds of background tasks, and of their wait in a queue."""
CHUNK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds between two chunks of a stream."""
BYTE_BUCKETS = (100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
"""Bytes of a request or response."""
TOKEN_SPEED_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
"""Seconds per output token."""
COST_BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""USD."""
ROUTING_BUCKETS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""Seconds."""
COUNT_BUCKETS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 100.0)
"""Calls, documents."""
TOKEN_BUCKETS = (100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7)
"""Tokens of one agent run."""
CALL_TOKEN_BUCKETS = tuple(4.0**power for power in range(14))
"""Tokens of one call: 1 to 67 108 864, as OpenTelemetry has them for ``gen_ai.client.token.usage``:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/."""

CALL = ("agent_name", "provider", "model")
_CLOSED = frozenset(
    {"status", "error_type", "token_type", "token_detail", "finish_reason", "kind", "event"}
    | {"reason", "direction"}
)
"""Labels whose values are few and fixed, so that no limit on series touches them."""


def _counter(
    name: str, help: str, labels: tuple[str, ...], unit: str = "", *, extended: bool = False
) -> Metric:
    closed = _CLOSED & set(labels)
    return Metric(name, "counter", help, labels, unit, closed_labels=closed, extended=extended)


def _last(
    name: str, help: str, labels: tuple[str, ...], unit: str = "", *, extended: bool = False
) -> Metric:
    return Metric(name, "gauge", help, labels, unit, extended=extended)


def _held(
    name: str, help: str, labels: tuple[str, ...], unit: str = "", *, extended: bool = False
) -> Metric:
    return Metric(name, "gauge", help, labels, unit, merge="sum", extended=extended)


def _in_flight(name: str, help: str, labels: tuple[str, ...], *, extended: bool = False) -> Metric:
    closed = _CLOSED & set(labels)
    return Metric(name, "gauge", help, labels, closed_labels=closed, merge="sum", extended=extended)


def _oldest(name: str, help: str) -> Metric:
    return Metric(name, "gauge", help, ("agent_name",), "seconds", merge="max")


def _histogram(
    name: str,
    help: str,
    labels: tuple[str, ...],
    unit: str,
    buckets: tuple[float, ...],
    *,
    extended: bool = False,
) -> Metric:
    closed = _CLOSED & set(labels)
    return Metric(name, "histogram", help, labels, unit, buckets, closed, extended=extended)


LLM_CALLS = _counter(
    "llm_calls_total",
    "Finished calls to the provider; each retry attempt counts as one.",
    (*CALL, "status"),
    extended=True,
)
LLM_ERRORS = _counter(
    "llm_errors_total", "Calls that ended in an error.", (*CALL, "error_type"), extended=True
)
LLM_TOKENS = _counter(
    "llm_tokens_total",
    "Billed tokens as reported by the provider; input and output add up to the total.",
    (*CALL, "token_type"),
    "tokens",
    extended=True,
)
LLM_CALL_TOKENS = _histogram(
    "llm_call_tokens",
    "Billed tokens of one call.",
    (*CALL, "token_type"),
    "tokens",
    CALL_TOKEN_BUCKETS,
    extended=True,
)
LLM_TOKEN_DETAILS = _counter(
    "llm_token_details_total",
    "Subsets of llm_tokens_total; do not add them to it.",
    (*CALL, "token_detail"),
    "tokens",
    extended=True,
)
LLM_COST = _counter(
    "llm_cost_usd_total", "Cost of calls with a known price.", CALL, "usd", extended=True
)
LLM_CALL_COST = _histogram(
    "llm_call_cost_usd", "Cost of one call.", CALL, "usd", COST_BUCKETS, extended=True
)
LLM_UNPRICED_CALLS = _counter(
    "llm_unpriced_calls_total",
    "Calls that used tokens but have no known price.",
    ("provider", "model"),
)
LLM_COST_DIFFERENCE = _counter(
    "llm_cost_difference_usd_total",
    "How far costs that providers and gateways told are from what the price list says.",
    ("provider", "model", "direction"),
    "usd",
)
LLM_LATENCY = _histogram(
    "llm_latency_seconds",
    "Duration of a call as seen by the caller, on a monotonic clock.",
    CALL,
    "seconds",
    LATENCY_BUCKETS,
    extended=True,
)
LLM_API_LATENCY = _histogram(
    "llm_api_latency_seconds",
    "Provider-side time of a call, or the caller's view where the provider does not report it.",
    ("agent_name", "provider"),
    "seconds",
    LATENCY_BUCKETS,
)
LLM_TIME_TO_FIRST_TOKEN = _histogram(
    "llm_time_to_first_token_seconds",
    "Time from the start of a streamed call to its first chunk with content, reasoning or a "
    "tool call.",
    CALL,
    "seconds",
    FIRST_TOKEN_BUCKETS,
    extended=True,
)
LLM_TIME_PER_OUTPUT_TOKEN = _histogram(
    "llm_time_per_output_token_seconds",
    "Time from the first token to the end of a streamed call, per output token after the first.",
    CALL,
    "seconds",
    TOKEN_SPEED_BUCKETS,
    extended=True,
)
LLM_ACTIVE_CALLS = _in_flight("llm_active_calls", "Calls in flight.", ("agent_name", "provider"))
LLM_OLDEST_ACTIVE_CALL = _oldest(
    "llm_oldest_active_call_seconds", "Age of the oldest call in flight; 0 if there is none."
)
LLM_UNMETERED_CALLS = _counter(
    "llm_unmetered_calls_total",
    "Successful calls without token counts, which are missing from token and cost totals.",
    CALL,
    extended=True,
)
LLM_SERVED_CALLS = _counter(
    "llm_served_calls_total",
    "Calls by the model that was asked for and the one that the response named.",
    ("provider", "model", "served_model"),
)
LLM_FINISH_REASONS = _counter(
    "llm_finish_reasons_total",
    "Successful calls by why the model stopped, as the provider reported it.",
    (*CALL, "finish_reason"),
    extended=True,
)
LLM_TIME_BETWEEN_CHUNKS = _histogram(
    "llm_time_between_chunks_seconds",
    "Longest gap between two chunks of a streamed call.",
    CALL,
    "seconds",
    CHUNK_BUCKETS,
    extended=True,
)
LLM_COST_ANOMALY = _last(
    "llm_cost_anomaly_ratio",
    "Spend of the last hour relative to the same hour of the previous days, from the ledger.",
    ("agent_name",),
    "ratio",
)
LLM_COST_TODAY = _last(
    "llm_cost_today_usd",
    "Cost since midnight in the ledger's time zone, of all processes that share the ledger.",
    ("agent_name",),
    "usd",
)
LLM_INPUT_TOKENS_LAST_CALL = _last(
    "llm_input_tokens_last_call",
    "Input tokens of the last finished call.",
    CALL,
    "tokens",
    extended=True,
)
LLM_OUTPUT_TOKENS_LAST_CALL = _last(
    "llm_output_tokens_last_call",
    "Output tokens of the last finished call.",
    CALL,
    "tokens",
    extended=True,
)
LLM_CACHE_HITS = _counter(
    "llm_cache_hits_total",
    "Answers from LangChain's LLM cache; they count as no call, no tokens and no cost.",
    ("agent_name", "model"),
    extended=True,
)
LLM_CACHE_MISSES = _counter(
    "llm_cache_misses_total",
    "Calls looked up in LangChain's LLM cache and not found there.",
    ("agent_name", "model"),
    extended=True,
)
LLM_MEMORY_RSS = _last(
    "llm_memory_rss_mb",
    "Resident memory of the process when the agent's last call ended, in MiB.",
    ("agent_name",),
    "mb",
)
LLM_MEMORY_AVAILABLE = _last(
    "llm_memory_available_mb", "Memory available on the machine, in MiB.", (), "mb"
)
LLM_MEMORY_RSS_BYTES = _last(
    "llm_memory_rss_bytes",
    "Resident memory of the process when the agent's last call ended.",
    ("agent_name",),
    "bytes",
)
LLM_MEMORY_AVAILABLE_BYTES = _last(
    "llm_memory_available_bytes", "Memory available on the machine.", (), "bytes"
)

AGENT_RUNS = _counter(
    "agent_runs_total", "Finished agent runs.", ("agent_name", "status"), extended=True
)
AGENT_ACTIVE_RUNS = _in_flight(
    "agent_active_runs", "Agent runs in progress.", ("agent_name",), extended=True
)
AGENT_OLDEST_ACTIVE_RUN = _oldest(
    "agent_oldest_active_run_seconds",
    "Age of the oldest agent run in progress; 0 if there is none.",
)
AGENT_RUN_DURATION = _histogram(
    "agent_run_duration_seconds",
    "Duration of an agent run.",
    ("agent_name",),
    "seconds",
    LATENCY_BUCKETS,
    extended=True,
)
AGENT_RUN_LLM_CALLS = _histogram(
    "agent_run_llm_calls",
    "LLM calls attributed to an agent in one of its runs.",
    ("agent_name",),
    "calls",
    COUNT_BUCKETS,
    extended=True,
)
AGENT_RUN_TOOL_CALLS = _histogram(
    "agent_run_tool_calls",
    "Tool executions in one agent run.",
    ("agent_name",),
    "calls",
    COUNT_BUCKETS,
    extended=True,
)
AGENT_RUN_TOKENS = _histogram(
    "agent_run_tokens",
    "Input and output tokens used in one agent run.",
    ("agent_name",),
    "tokens",
    TOKEN_BUCKETS,
    extended=True,
)
AGENT_RUN_COST = _histogram(
    "agent_run_cost_usd",
    "Cost of one agent run.",
    ("agent_name",),
    "usd",
    COST_BUCKETS,
    extended=True,
)
AGENT_RUN_RSS_DELTA = _last(
    "agent_run_rss_delta_bytes",
    "Change of the process's resident memory over the agent's last run; negative when it fell.",
    ("agent_name",),
    "bytes",
    extended=True,
)

TOOL_EXECUTIONS = _counter(
    "tool_executions_total",
    "Finished tool executions.",
    ("agent_name", "tool_name", "status"),
    extended=True,
)
TOOL_EXECUTION_DURATION = _histogram(
    "tool_execution_duration_seconds",
    "Duration of a tool execution.",
    ("agent_name", "tool_name"),
    "seconds",
    TOOL_BUCKETS,
    extended=True,
)
TOOL_EXECUTIONS_ACTIVE = _in_flight(
    "tool_executions_active",
    "Tool executions in progress.",
    ("agent_name", "tool_name"),
    extended=True,
)
RETRIEVER_QUERIES = _counter(
    "retriever_queries_total",
    "Finished retriever queries.",
    ("agent_name", "retriever", "status"),
    extended=True,
)
RETRIEVER_QUERY_DURATION = _histogram(
    "retriever_query_duration_seconds",
    "Duration of a retriever query.",
    ("agent_name", "retriever"),
    "seconds",
    TOOL_BUCKETS,
    extended=True,
)
RETRIEVER_DOCUMENTS = _histogram(
    "retriever_documents",
    "Documents returned by one query.",
    ("agent_name", "retriever"),
    "documents",
    COUNT_BUCKETS,
    extended=True,
)

MODEL_SELECTIONS = _counter(
    "model_selections_total", "Models chosen by a router.", ("intent", "model", "tier")
)
MODEL_FALLBACKS = _counter(
    "model_fallbacks_total",
    "Calls handed to another model after one failed, by reason for the failure.",
    ("intent", "reason"),
)
MODEL_ROUTING_DURATION = _histogram(
    "model_routing_duration_seconds",
    "Time taken by a router to choose a model.",
    ("intent",),
    "seconds",
    ROUTING_BUCKETS,
)
MODEL_COST_SAVINGS = _counter(
    "model_cost_savings_usd_total",
    "Cost avoided; savings from the provider's prompt cache have the intent prompt_cache.",
    ("intent",),
    "usd",
)

_CACHE = ("cache_type",)
CACHE_HITS = _counter("cache_hits_total", "Lookups answered by a cache.", _CACHE, extended=True)
CACHE_MISSES = _counter(
    "cache_misses_total", "Lookups not answered by a cache.", _CACHE, extended=True
)
CACHE_EVICTIONS = _counter(
    "cache_evictions_total", "Entries evicted from a cache to make room.", _CACHE, extended=True
)
CACHE_PUTS = _counter("cache_puts_total", "Entries put into a cache.", _CACHE, extended=True)
CACHE_ENTRIES = _held("cache_entries", "Entries in a cache.", _CACHE, extended=True)
CACHE_SIZE_BYTES = _held("cache_size_bytes", "Size of a cache.", _CACHE, "bytes", extended=True)
CACHE_HIT_RATIO = _last(
    "cache_hit_ratio", "Hits per lookup since the start, from 0 to 1.", _CACHE, "ratio"
)

_BUDGET = ("budget", "period")
BUDGET_LIMIT = _last("budget_limit_usd", "Limit of a budget per period.", _BUDGET, "usd")
BUDGET_SPEND = _last(
    "budget_spend_usd", "Cost of a budget's calls in the current period.", _BUDGET, "usd"
)
BUDGET_REMAINING = _last(
    "budget_remaining_usd",
    "Limit minus spend in the current period; negative when overspent.",
    _BUDGET,
    "usd",
)
BUDGET_PERIOD_END = _last(
    "budget_period_end_timestamp_seconds",
    "End of the current period of a budget, in Unix time.",
    _BUDGET,
    "seconds",
)
BUDGET_PROJECTED_SPEND = _last(
    "budget_projected_spend_usd",
    "Projected spend at the end of the current period, at the rate so far; absent until 1/24 of "
    "the period has passed.",
    _BUDGET,
    "usd",
)
BUDGET_UNPRICED_CALLS = _last(
    "budget_unpriced_calls",
    "Calls in the current period of a budget that used tokens and are not in its spend, since they "
    "have no known price.",
    _BUDGET,
    "calls",
)
BUDGET_BLOCKED_CALLS = _counter("budget_blocked_calls_total", "Calls refused by a budget.", _BUDGET)

OPEN_RUNS = _in_flight("agentmetrics_open_runs", "Runs currently tracked.", ("kind",))
HANDLER_ERRORS = _counter(
    "agentmetrics_handler_errors_total",
    "Events that could not be fully understood; the agent is not affected.",
    ("event",),
)
SERIES_DROPPED = health.SERIES_DROPPED
PACKETS_DROPPED = health.PACKETS_DROPPED
FILES_SKIPPED = health.FILES_SKIPPED
FILES_REMADE = health.FILES_REMADE
SERIES_UNWRITTEN = health.SERIES_UNWRITTEN
LEDGER_WRITES = _counter(
    "agentmetrics_ledger_writes_total",
    "Attempts to write a batch to the ledger, by success or error.",
    ("status",),
)
LEDGER_PENDING_ROWS = _held(
    "agentmetrics_ledger_pending_rows", "Rows waiting to be written to the ledger.", ()
)
LEDGER_LOSSES = (
    "closed", "database_away", "not_spooled", "torn", "too_old", "unanswered", "unreadable",
    "unwritable",
)  # fmt: skip
LEDGER_CALLS_LOST = _counter(
    "agentmetrics_ledger_calls_lost_total",
    "Calls that never reached the ledger, by reason: the database was away until the program ended "
    "and there was no spool, or it did not answer, and may have them; the ledger was closed while "
    "the call ended; a process that died had no room in its spool; a record or a file of "
    "its was damaged, or left for longer than writers are remembered; the database cannot hold the "
    "call's numbers.",
    ("reason",),
)
LEDGER_LAST_SUCCESS = Metric(
    "agentmetrics_ledger_last_success_timestamp_seconds",
    "gauge",
    "When the ledger was last written to, in Unix time; absent until then.",
    (),
    "seconds",
    merge="max",
)
SPOOL_BYTES = _held(
    "agentmetrics_spool_bytes",
    "Room on disk of what the ledger is owed; 0 where calls are in memory alone.",
    (),
    "bytes",
)

BUILD_INFO = _last("agentmetrics_build_info", "Always 1; the version in use.", ("version",))

CATALOG: tuple[Metric, ...] = tuple(m for m in list(globals().values()) if isinstance(m, Metric))
"""What every recorder has from the start."""

APPLICATION_ERRORS = Metric(  # whose types are the application's own
    "errors_total",
    "counter",
    "Errors of the application, as it records them.",
    ("error_type", "component"),
)
SERVICE_INFO = _last(
    "service_info",
    "Always 1; the service that the metrics are of.",
    ("version", "service", "backend"),
)
APPLICATION: tuple[Metric, ...] = (APPLICATION_ERRORS, SERVICE_INFO)
"""What is there once the application uses it: names that programs often have themselves."""

_ROUTE = ("method", "endpoint")
HTTP_REQUESTS = _counter("http_requests_total", "Finished HTTP requests.", (*_ROUTE, "status"))
HTTP_ERRORS = _counter(
    "http_errors_total", "HTTP requests answered with a 5xx status.", (*_ROUTE, "status")
)
HTTP_REQUEST_DURATION = _histogram(
    "http_request_duration_seconds",
    "Duration of an HTTP request, up to the last byte of its response; streams excepted.",
    _ROUTE,
    "seconds",
    REQUEST_BUCKETS,
)
HTTP_TIME_TO_FIRST_BYTE = _histogram(
    "http_time_to_first_byte_seconds",
    "Time from an HTTP request to the first byte of its response.",
    _ROUTE,
    "seconds",
    REQUEST_BUCKETS,
)
HTTP_STREAM_DURATION = _histogram(
    "http_stream_duration_seconds",
    "Lifetime of a streamed HTTP response.",
    _ROUTE,
    "seconds",
    LATENCY_BUCKETS,
)
HTTP_REQUEST_SIZE = _histogram(
    "http_request_size_bytes", "Size of an HTTP request's body.", _ROUTE, "bytes", BYTE_BUCKETS
)
HTTP_RESPONSE_SIZE = _histogram(
    "http_response_size_bytes", "Size of an HTTP response's body.", _ROUTE, "bytes", BYTE_BUCKETS
)
HTTP_REQUESTS_ACTIVE = _in_flight("http_requests_active", "HTTP requests in progress.", ("method",))

DB_QUERIES = _counter("db_queries_total", "Finished database queries.", ("operation",))
DB_ERRORS = _counter("db_errors_total", "Database queries that failed.", ("operation",))
DB_SLOW_QUERIES = _counter(
    "db_slow_queries_total", "Database queries slower than the threshold.", ("operation",)
)
DB_QUERY_DURATION = _histogram(
    "db_query_duration_seconds",
    "Duration of a database query.",
    ("operation",),
    "seconds",
    REQUEST_BUCKETS,
)
DB_CONNECTIONS_ACTIVE = _held(
    "db_connections_active", "Connections checked out of a pool.", ("pool",)
)
DB_CONNECTIONS_IDLE = _held("db_connections_idle", "Connections idle in a pool.", ("pool",))
DB_CONNECTIONS_MAX = _held(
    "db_connections_max", "Most connections that a pool opens, overflow included.", ("pool",)
)
DB_CHECKOUT_WAIT = _histogram(
    "db_checkout_wait_seconds",
    "Time waited for a connection from a pool.",
    ("pool",),
    "seconds",
    REQUEST_BUCKETS,
)

CELERY_TASKS = _counter("celery_tasks_total", "Finished Celery tasks.", ("task_name", "status"))
CELERY_TASK_RETRIES = _counter(
    "celery_task_retries_total", "Celery tasks sent to be retried.", ("task_name",)
)
CELERY_TASK_DURATION = _histogram(
    "celery_task_duration_seconds",
    "Duration of a Celery task.",
    ("task_name",),
    "seconds",
    TASK_BUCKETS,
)
CELERY_TASK_WAIT = _histogram(
    "celery_task_wait_seconds",
    "Time from when a Celery task was due to its start.",
    ("task_name",),
    "seconds",
    TASK_BUCKETS,
)
CELERY_TASKS_ACTIVE = _in_flight("celery_tasks_active", "Celery tasks in progress.", ("task_name",))
CELERY_QUEUE_LENGTH = _last("celery_queue_length", "Tasks waiting in a queue.", ("queue",), "tasks")

SYSTEM_CPU_PERCENT = _last(
    "system_cpu_percent", "CPU in use, relative to the limit of the container.", (), "percent"
)
SYSTEM_CPU_LIMIT = _last(
    "system_cpu_limit_cores", "CPU that the container or machine may use.", (), "cores"
)
SYSTEM_MEMORY_PERCENT = _last(
    "system_memory_percent", "Memory in use, relative to the limit.", (), "percent"
)
SYSTEM_MEMORY_USED = _last("system_memory_used_bytes", "Memory in use.", (), "bytes")
SYSTEM_MEMORY_LIMIT = _last(
    "system_memory_limit_bytes", "Memory that the container or machine may use.", (), "bytes"
)
SYSTEM_DISK_PERCENT = _last(
    "system_disk_percent", "File system in use, of what the process may fill.", (), "percent"
)
SYSTEM_DISK_USED = _last("system_disk_used_bytes", "File system in use.", (), "bytes")
SYSTEM_PROCESS_CPU = _counter(
    "system_process_cpu_seconds_total", "CPU time of the processes.", (), "seconds"
)
SYSTEM_PROCESS_MEMORY = _held(
    "system_process_resident_memory_bytes",
    "Resident memory of the processes; what several share counts in each.",
    (),
    "bytes",
)
SYSTEM_PROCESS_THREADS = _held("system_process_threads", "Threads of the processes.", ())
SYSTEM_PROCESS_OPEN_FDS = _held(
    "system_process_open_fds", "Files and sockets that the processes have open.", ()
)
EVENT_LOOP_LAG = _histogram(
    "event_loop_lag_seconds",
    "How late event loops run what is due.",
    (),
    "seconds",
    REQUEST_BUCKETS,
)
PLATFORM: tuple[Metric, ...] = tuple(
    metric
    for metric in list(globals().values())
    if isinstance(metric, Metric) and metric not in (*CATALOG, *APPLICATION)
)
"""What plugins measure around the agents: requests, queries, tasks, the machine."""

GROUPS: dict[str, tuple[Metric, ...]] = {
    "calls": (LLM_CALLS, LLM_ERRORS, LLM_UNMETERED_CALLS, LLM_FINISH_REASONS),
    "tokens": (
        *(LLM_TOKENS, LLM_TOKEN_DETAILS, LLM_CALL_TOKENS),
        *(LLM_INPUT_TOKENS_LAST_CALL, LLM_OUTPUT_TOKENS_LAST_CALL),
    ),
    "cost": (LLM_COST, LLM_CALL_COST),
    "latency": (
        *(LLM_LATENCY, LLM_TIME_TO_FIRST_TOKEN, LLM_TIME_PER_OUTPUT_TOKEN),
        LLM_TIME_BETWEEN_CHUNKS,
    ),
    "agents": (
        *(AGENT_RUNS, AGENT_ACTIVE_RUNS, AGENT_RUN_DURATION, AGENT_RUN_LLM_CALLS),
        *(AGENT_RUN_TOOL_CALLS, AGENT_RUN_TOKENS, AGENT_RUN_COST, AGENT_RUN_RSS_DELTA),
    ),
    "tools": (TOOL_EXECUTIONS, TOOL_EXECUTION_DURATION, TOOL_EXECUTIONS_ACTIVE),
    "retrievers": (RETRIEVER_QUERIES, RETRIEVER_QUERY_DURATION, RETRIEVER_DOCUMENTS),
    "caches": (
        *(LLM_CACHE_HITS, LLM_CACHE_MISSES, CACHE_HITS, CACHE_MISSES, CACHE_EVICTIONS),
        *(CACHE_PUTS, CACHE_ENTRIES, CACHE_SIZE_BYTES),
    ),
}
"""The ``extended`` rows by subject: what ``AGENTMETRICS_EXTRA_LABELS_FOR`` can name at once."""
_GROUP_OF = {metric.name: group for group, metrics in GROUPS.items() for metric in metrics}
_OWN = "agentmetrics_"
"""How the names of metrics begin that are about agentmetrics itself."""


def has_extra_labels(metric: Metric, only: Collection[str] = ()) -> bool:
    """Whether a row has the user's extra labels, where ``only`` these groups and metrics get them;
    without ``only``, all ``extended`` rows do."""
    if not only:
        return metric.extended
    return metric.extended and (metric.name in only or _GROUP_OF.get(metric.name) in only)


def is_off(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of these names, in which ``*`` stands for anything, turns a metric off.

    Those about agentmetrics itself are never off: they tell when the others cannot be trusted.
    """
    return not name.startswith(_OWN) and any(fnmatchcase(name, each) for each in patterns)


LABEL_VALUES = {
    "status": STATUSES,
    "error_type": ERROR_TYPES,
    "token_type": TOKEN_TYPES,
    "token_detail": TOKEN_DETAILS,
    "direction": COST_DIRECTIONS,
    "finish_reason": FINISH_REASONS,
}
"""The labels with a fixed set of values, and those values; the platform has a status of its own."""

make_known((*CATALOG, *APPLICATION), LABEL_VALUES)
make_known(PLATFORM)
