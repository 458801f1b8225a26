"""The AGENTMETRICS_* variables as Settings, read and checked: one field each, so it is long."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agentmetrics import backends
from agentmetrics.budget.periods import zone_of
from agentmetrics.calls.facts import UNKNOWN
from agentmetrics.catalog import (
    GROUPS,
)
from agentmetrics.config.checks import (
    check_common_labels,
    check_extra_labels,
    check_extra_labels_for,
    check_metrics_off,
    meant,
)
from agentmetrics.recording.known import known_metrics
from agentmetrics.recording.metric import (
    MAX_LABEL_LENGTH,
    check_buckets,
    check_prefix,
    clean_label,
)

PREFIX = "AGENTMETRICS_"


class Settings(BaseSettings):
    """The ``AGENTMETRICS_*`` settings; each field is the variable of the same name in upper case.

    Lists are comma-separated. The StatsD host, port and prefix fall back on the ``STATSD_*``
    variables of the statsd package.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    backend: Annotated[tuple[str, ...], NoDecode] = Field(
        ("memory",),
        description="where metrics go: `memory`, `prometheus`, `statsd`, `noop`, or an installed "
        "plugin; comma-separated",
    )
    namespace: str = Field(
        "", description="prefix of every metric name, such as `shop` in `shop_llm_calls_total`"
    )
    common_labels: Annotated[dict[str, str], NoDecode] = Field(
        {}, description="labels added to every series, such as `env=prod,region=eu`"
    )
    service: str = Field(
        "", description="name of the service, shown as `service_info` at the configured recorder"
    )
    service_version: str = Field("", description="version of the service, shown there as well")
    extra_labels_for: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="the only metrics that get the extra labels, one by one or as groups: "
        f"{', '.join(f'`{group}`' for group in GROUPS)}; by default all that can have them",
    )
    extra_labels: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="names of additional labels on call, agent, tool, retriever and cache metrics; "
        "their values come from the run's metadata, the graph's config or `agentmetrics.labels(…)`",
    )
    metrics_off: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="metrics that are not recorded, by name; `*` stands for anything, as in "
        "`llm_*_last_call`",
    )
    default_agent_name: str = Field(
        UNKNOWN,
        description="the agent that calls belong to where nothing names one, and the name of a "
        "`create_agent` without a name that runs by itself",
    )
    latency_buckets: Annotated[tuple[float, ...] | None, NoDecode] = Field(
        None,
        description="upper bounds for call latency, agent run duration and HTTP streams, in "
        "seconds and increasing order",
    )
    buckets: Annotated[dict[str, tuple[float, ...]], NoDecode] = Field(
        {},
        description="upper bounds of individual histograms, by name: "
        "`tool_execution_duration_seconds=0.01,0.1,1;agent_run_cost_usd=0.1,1`",
    )
    mb_aliases: bool = Field(
        True,
        description="record memory also as `llm_memory_rss_mb` and `llm_memory_available_mb`; "
        "`off` for the names in `_bytes` alone",
    )
    call_tokens: bool = Field(
        False,
        description="`on` to record the tokens of a call as a distribution, `llm_call_tokens`, "
        "which is 34 samples more of each label set",
    )
    exemplars: bool | None = Field(
        None,
        description="whether Prometheus histograms have exemplars, which name the trace of an "
        "observation that was made in a sampled OpenTelemetry span; by default where they can be "
        "kept, which is everywhere except with `PROMETHEUS_MULTIPROC_DIR`",
    )
    max_series: int = Field(
        2000,
        ge=1,
        description="maximum label sets per metric; beyond it, label values become `other`",
    )
    call_ttl_seconds: float = Field(
        21_600.0,
        gt=0,
        description="a call or run open for longer is counted as cancelled; a fallback for the "
        "tracking that notices at once",
    )
    prices_file: Path | None = Field(
        None,
        description="TOML file with your own prices, which take precedence over the price list; "
        "reloaded when it changes",
    )
    prices_update: bool = Field(
        False,
        description="fetch newer prices over the network with the genai-prices updater, from the "
        "first call on and then every hour",
    )
    timezone: str = Field(
        "UTC", description="time zone in which days begin, such as `Europe/Berlin`"
    )
    ledger_url: SecretStr | None = Field(
        None,
        description="where spend is kept: `sqlite:///spend.db`, or "
        "`postgresql://user:password@host/database`",
    )
    ledger_flush_interval: float = Field(
        5.0, gt=0, le=3600, description="seconds between writes to the ledger"
    )
    spool_dir: Path | None = Field(
        None,
        description="directory for what the ledger is owed, which survives a killed process; by "
        "default beside the SQLite file, else in a directory of the user's among the temporary "
        "ones",
    )
    ledger_retention_days: int | None = Field(
        None, ge=1, description="days after which rows are deleted from the ledger"
    )
    budgets_file: Path | None = Field(
        None, description="TOML file of budgets, which warn about spend or block calls"
    )
    on_ledger_error: Literal["allow", "block"] = Field(
        "allow",
        description="`allow`, or `block` to refuse the calls of blocking budgets while the ledger "
        "cannot be written to",
    )
    flush_at_exit: bool = Field(
        True,
        description="flush metrics and the ledger at the end of every process: exit, SIGTERM, "
        "workers of servers and pools; `off` leaves that to the program",
    )
    summary: bool = Field(
        False,
        description="`on` to print what was recorded, by agent, model and tool, to standard error "
        "when the program ends; not in its children",
    )
    system_metrics: bool = Field(
        False,
        description="record CPU, memory and disk of the container or machine, this process, and "
        "the lag of the event loop that serves `/metrics`",
    )
    system_disk_path: Path = Field(
        Path("/"), description="where the file system is whose use `system_disk_*` are"
    )
    page: bool | None = Field(
        None,
        description="whether the live page is beside `/metrics`, at `/agentmetrics`; by default "
        "where the server listens on this machine's own address, and nowhere else",
    )
    page_token: SecretStr | None = Field(
        None,
        min_length=8,
        description="a token that the live page asks for, as the password of any user name or as "
        "`Authorization: Bearer`; `/metrics` does not ask for it",
    )
    pushgateway_url: SecretStr | None = Field(
        None,
        description="a Pushgateway that all metrics are pushed to when the program ends: "
        "`http://host:9091`, with `user:password@` where it asks for them",
    )
    pushgateway_job: str = Field(
        "", description="the job that is pushed as; falls back on `AGENTMETRICS_SERVICE`"
    )
    pushgateway_grouping: Annotated[dict[str, str], NoDecode] = Field(
        {},
        description="further labels that name what is pushed, such as `instance=eu-1,shard=3`",
    )
    pushgateway_timeout: float = Field(
        5.0, gt=0, le=300, description="seconds after which a push is given up"
    )
    statsd_host: str = Field(
        "localhost",
        validation_alias=AliasChoices("AGENTMETRICS_STATSD_HOST", "STATSD_HOST"),
        description="host of the StatsD daemon",
    )
    statsd_port: int = Field(
        8125,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("AGENTMETRICS_STATSD_PORT", "STATSD_PORT"),
        description="port of the StatsD daemon",
    )
    statsd_prefix: str = Field(
        "",
        validation_alias=AliasChoices("AGENTMETRICS_STATSD_PREFIX", "STATSD_PREFIX"),
        description="first part of every StatsD metric name",
    )
    statsd_protocol: Literal["udp", "tcp"] = Field("udp", description="`udp` or `tcp`")
    statsd_flush_interval: float = Field(1.0, gt=0, description="seconds between flushes")
    statsd_dialect: Literal["etsy", "statsd_exporter", "telegraf", "datadog"] = Field(
        "etsy",
        description="the server, which decides the type of histograms: `etsy` (the original "
        "daemon), `statsd_exporter`, `telegraf` or `datadog`",
    )

    @field_validator("backend", "extra_labels", "extra_labels_for", "metrics_off", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _names(value) if isinstance(value, str) else value

    @field_validator("backend")
    @classmethod
    def _known_backends(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        built_in = backends.built_in()
        for name in names:
            if name not in built_in and name not in (known := backends.available()):
                close = get_close_matches(name.lower(), known, n=1)
                meant = f"; did you mean {close[0]!r}?" if close else ""
                raise ValueError(
                    f"unknown backend {name!r}; use one of {', '.join(sorted(known))}{meant}"
                )
        if not names or len(set(names)) != len(names):
            raise ValueError("list at least one backend, each only once")
        return names

    @field_validator("extra_labels")
    @classmethod
    def _legal_labels(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        check_extra_labels(names, info.data.get("extra_labels_for", ()))
        for name in info.data.get("common_labels", ()):
            if name in names:
                raise ValueError(f"{name!r} is already one of AGENTMETRICS_COMMON_LABELS")
        return names

    @field_validator("extra_labels_for")
    @classmethod
    def _labelled(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_extra_labels_for(names)
        return names

    @field_validator("metrics_off")
    @classmethod
    def _turned_off(cls, patterns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        check_metrics_off(patterns, info.data.get("namespace", ""))
        return patterns

    @field_validator("common_labels", "pushgateway_grouping", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in _names(value)]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("use comma-separated name=value pairs")
        return {name.strip(): text.strip() for name, _, text in pairs}

    @field_validator("common_labels")
    @classmethod
    def _legal_common_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        check_common_labels(tuple(labels))
        return labels

    @field_validator("namespace")
    @classmethod
    def _legal_namespace(cls, prefix: str) -> str:
        if prefix:
            check_prefix(prefix)
        return prefix

    @field_validator("default_agent_name")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if not name.strip() or clean_label(name) != name:
            raise ValueError(
                f"use a name of at most {MAX_LABEL_LENGTH} printable characters, such as "
                "'assistant', or leave it out"
            )
        return name

    @field_validator("prices_file", "budgets_file", "pushgateway_url", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("system_disk_path")
    @classmethod
    def _exists(cls, path: Path) -> Path:
        if not path.exists():
            raise ValueError("there is no such path; name one on the file system to measure")
        return path

    @field_validator("statsd_host")
    @classmethod
    def _no_url(cls, host: str) -> str:
        if not set("@/= ").isdisjoint(host):
            raise ValueError("use a name or an address alone, such as 'localhost'")
        return host

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        zone_of(name)
        return name

    @field_validator("latency_buckets", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        return _names(value) if isinstance(value, str) else value

    @field_validator("buckets", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in value.split(";") if pair.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("use name=bound,bound,… and a semicolon between histograms")
        named = {name.strip(): _names(bounds) for name, _, bounds in pairs}
        if len(named) < len(pairs):
            raise ValueError("a histogram is listed twice")
        return named

    @field_validator("buckets")
    @classmethod
    def _of_histograms(
        cls, buckets: dict[str, tuple[float, ...]], info: ValidationInfo
    ) -> dict[str, tuple[float, ...]]:
        histograms = [metric.name for metric in known_metrics() if metric.kind == "histogram"]
        for name, bounds in buckets.items():
            if name not in histograms:
                bare = name.removeprefix(f"{info.data.get('namespace', '')}_")
                raise ValueError(f"no histogram is called {name!r}{meant(bare, histograms)}")
            try:
                check_buckets(bounds)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return buckets

    @field_validator("latency_buckets")
    @classmethod
    def _rising(cls, buckets: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if buckets is not None:
            check_buckets(buckets)
        return buckets


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
