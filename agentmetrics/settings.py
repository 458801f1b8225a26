"""AGENTMETRICS_* as Settings, and the recorder of the process that is made from them."""

from __future__ import annotations

import atexit
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agentmetrics import backends
from agentmetrics.catalog import CATALOG, for_recorder
from agentmetrics.recorder import Recorder, check_buckets, check_label_name

if TYPE_CHECKING:
    from agentmetrics.budget.budget import Budget
    from agentmetrics.budget.budgets import Budgets
    from agentmetrics.budget.ledger import Ledger
    from agentmetrics.pricing import Prices, Updates

PREFIX = "AGENTMETRICS_"

R = TypeVar("R", bound=Recorder)


class ConfigurationError(ValueError):
    """A setting that cannot be used: the variable, the value, and what is allowed."""


class Settings(BaseSettings):
    """What ``AGENTMETRICS_*`` say; each field is the variable of its name in capitals.

    Lists are written with commas. The StatsD host, port and prefix fall back on the ``STATSD_*``
    variables of the statsd package.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    backend: Annotated[tuple[str, ...], NoDecode] = Field(
        ("memory",),
        description="where metrics go: `memory`, `prometheus`, `statsd`, `noop`, or an installed "
        "plugin; several with commas",
    )
    namespace: str = Field(
        "", description="prefix of every metric name, as `shop` in `shop_llm_calls_total`"
    )
    common_labels: Annotated[dict[str, str], NoDecode] = Field(
        {}, description="labels that every series gets, as `env=prod,region=eu`"
    )
    extra_labels: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="names of further dimensions of call, agent, tool and retriever metrics; their "
        "values come from the run's metadata, the graph's config or `agentmetrics.labels(…)`",
    )
    latency_buckets: Annotated[tuple[float, ...] | None, NoDecode] = Field(
        None, description="upper bounds in seconds of every latency histogram, rising"
    )
    max_series: int = Field(
        2000, ge=1, description="label sets of one metric; past it label values become `other`"
    )
    call_ttl_seconds: float = Field(
        21_600.0,
        gt=0,
        description="a call or run open for longer is taken to be cancelled; the second line "
        "behind the tracking that notices at once",
    )
    prices_file: Path | None = Field(
        None,
        description="TOML file of your own prices, which come before the price list's; read again "
        "when it changes",
    )
    prices_update: bool = Field(
        False,
        description="fetch newer prices over the network, with genai-prices' own updater: now and "
        "every hour",
    )
    timezone: str = Field("UTC", description="where days begin, as `Europe/Berlin`")
    ledger_url: SecretStr | None = Field(
        None,
        description="where spend is kept: `sqlite:///spend.db`, or "
        "`postgresql://user:password@host/database`",
    )
    ledger_flush_interval: float = Field(
        5.0, gt=0, le=3600, description="seconds between two writes to the ledger"
    )
    ledger_retention_days: int | None = Field(
        None, ge=1, description="what is older is deleted from the ledger"
    )
    budgets_file: Path | None = Field(
        None, description="TOML file of budgets, which warn of spend or block calls"
    )
    on_ledger_error: Literal["allow", "block"] = Field(
        "allow",
        description="`block`: calls of blocking budgets are refused while the ledger cannot be "
        "written",
    )
    statsd_host: str = Field(
        "localhost",
        validation_alias=AliasChoices("AGENTMETRICS_STATSD_HOST", "STATSD_HOST"),
        description="StatsD daemon",
    )
    statsd_port: int = Field(
        8125,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("AGENTMETRICS_STATSD_PORT", "STATSD_PORT"),
        description="its port",
    )
    statsd_prefix: str = Field(
        "",
        validation_alias=AliasChoices("AGENTMETRICS_STATSD_PREFIX", "STATSD_PREFIX"),
        description="first part of every StatsD name",
    )
    statsd_protocol: Literal["udp", "tcp"] = Field("udp", description="`udp` or `tcp`")
    statsd_flush_interval: float = Field(1.0, gt=0, description="seconds between two flushes")

    @field_validator("backend", "extra_labels", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _names(value) if isinstance(value, str) else value

    @field_validator("backend")
    @classmethod
    def _known_backends(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = backends.available()
        for name in names:
            if name not in known:
                raise ValueError(
                    f"no backend is called {name!r}; there are {', '.join(sorted(known))}"
                )
        if not names or len(set(names)) != len(names):
            raise ValueError("name at least one backend, each once")
        return names

    @field_validator("extra_labels")
    @classmethod
    def _legal_labels(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        _check_new_labels(names)
        for name in info.data.get("common_labels", ()):
            if name in names:
                raise ValueError(f"{name!r} is one of AGENTMETRICS_COMMON_LABELS already")
        return names

    @field_validator("common_labels", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in _names(value)]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("write name=value, several with commas")
        return {name.strip(): text.strip() for name, _, text in pairs}

    @field_validator("common_labels")
    @classmethod
    def _legal_common_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        _check_new_labels(tuple(labels))
        return labels

    @field_validator("namespace")
    @classmethod
    def _legal_namespace(cls, prefix: str) -> str:
        if prefix:
            check_label_name(prefix)  # the alphabet of metric names without the colon
        return prefix

    @field_validator("prices_file", "budgets_file", mode="before")
    @classmethod
    def _no_file(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        from agentmetrics.budget.periods import zone_of

        zone_of(name)
        return name

    @field_validator("latency_buckets", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        return _names(value) if isinstance(value, str) else value

    @field_validator("latency_buckets")
    @classmethod
    def _rising(cls, buckets: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if buckets is not None:
            check_buckets(buckets)
        return buckets


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _check_new_labels(names: Sequence[str]) -> None:
    taken = {label for metric in CATALOG for label in metric.labels}
    for name in names:
        check_label_name(name)
        if name in taken:
            raise ValueError(f"{name!r} is a label that agentmetrics has already")
    if len(set(names)) != len(names):
        raise ValueError("a label is named twice")


def without_password(url: str) -> str:
    """A database URL that may be shown: with ``***`` where it has a password."""
    hidden = re.sub(r"(://[^:/]*):.*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden, flags=re.IGNORECASE)


def variable_of(field: str) -> str:
    """The environment variable of a field of ``Settings``."""
    return PREFIX + field.upper()


def load_settings(**overrides: Any) -> Settings:
    """The settings of the environment, with these instead where given.

    Raises ``ConfigurationError``.
    """
    unknown = overrides.keys() - Settings.model_fields.keys()
    if unknown:
        raise ConfigurationError(
            f"{min(unknown)!r} is no setting; there are {', '.join(Settings.model_fields)}"
        )
    given = {_alias(name): value for name, value in overrides.items()}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None


def _alias(field: str) -> str:
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else field


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    variable = name if name.isupper() else variable_of(name)
    said = first["msg"].removeprefix("Value error, ")
    return f"{variable}={first['input']!r}: {said[0].lower() + said[1:]}"


def make_recorder(settings: Settings) -> Recorder:
    """A recorder as the settings describe it: the backends, and the layers around them.

    Raises ``ConfigurationError``: also for a backend whose package is not installed.
    """
    made = [_make_backend(name, settings) for name in settings.backend]
    recorder = made[0]
    if len(made) > 1:
        from agentmetrics.layers import FanoutRecorder

        recorder = FanoutRecorder(made)
    if settings.common_labels:
        from agentmetrics.layers import CommonLabels

        recorder = CommonLabels(recorder, settings.common_labels)
    if settings.namespace:
        from agentmetrics.layers import Namespace

        recorder = Namespace(recorder, settings.namespace)
    recorder.extra_labels = settings.extra_labels
    recorder.latency_buckets = settings.latency_buckets
    recorder.max_series = settings.max_series
    recorder.call_ttl_seconds = settings.call_ttl_seconds
    recorder.prices = make_prices(settings)
    _declare_catalog(recorder, settings)
    return recorder


def _declare_catalog(recorder: Recorder, settings: Settings) -> None:
    # Now, so that a name that is taken stops the program here and not at the first call.
    try:
        for metric in CATALOG:
            getattr(recorder, metric.kind)(for_recorder(metric, recorder))
    except ValueError as error:
        raise ConfigurationError(
            f"{variable_of('backend')}={','.join(settings.backend)!r}: {error}"
        ) from error


def make_prices(settings: Settings) -> Prices | None:
    """The prices that the settings ask for; ``None`` when that is the price list alone.

    Raises ``ConfigurationError``: also for a price file with a mistake in it.
    """
    if settings.prices_file is None and not settings.prices_update:
        return None
    from agentmetrics.pricing import PriceFile, Prices

    updates = _make_updates() if settings.prices_update else None
    if settings.prices_file is None:
        return Prices(updates=updates)
    try:
        return Prices(PriceFile(settings.prices_file), updates)
    except ValueError as mistake:
        variable, path = variable_of("prices_file"), str(settings.prices_file)
        raise ConfigurationError(f"{variable}={path!r}: {mistake}") from None


def _make_updates() -> Updates:
    try:
        from genai_prices import UpdatePrices
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"{variable_of('prices_update')}=True: it needs the package 'genai_prices'; "
            "install it with: pip install 'llm-agentmetrics[prices]'"
        ) from None
    from agentmetrics.pricing import Updates

    return Updates(UpdatePrices())


def _make_backend(name: str, settings: Settings) -> Recorder:
    try:
        return backends.load(name).from_settings(settings)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{variable_of('backend')}={name!r}: the backend needs the package {error.name!r}; "
            f"install it with: pip install 'llm-agentmetrics[{name}]'"
        ) from None
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"{variable_of('backend')}={name!r}: {error}") from error


def make_ledger(settings: Settings) -> Ledger | None:
    """The ledger that the settings ask for; ``None`` when they name none.

    Raises ``ConfigurationError``, never with the password in it.
    """
    if not settings.ledger_url:
        return None
    with naming_ledger(settings.ledger_url):
        from agentmetrics.budget.ledger import Ledger

        return Ledger(
            settings.ledger_url.get_secret_value(),
            flush_interval_seconds=settings.ledger_flush_interval,
            retention_days=settings.ledger_retention_days,
            timezone=settings.timezone,
        )


@contextmanager
def naming_ledger(url: SecretStr) -> Iterator[None]:
    """Let errors with the ledger at ``url`` begin with its variable; of a missing package, too."""
    variable = variable_of("ledger_url")
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{variable}={without_password(url.get_secret_value())!r}: the ledger needs the "
            f"package {error.name!r}; install it with: pip install 'llm-agentmetrics[ledger]'"
        ) from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{variable}={error}") from None


_changing = threading.RLock()
_recorder: Recorder | None = None
_made_here: Recorder | None = None


def make_budgets(
    settings: Settings, more: Sequence[Budget] = (), recorder: Recorder | None = None
) -> tuple[Budget, ...]:
    """The budgets of the settings' file, and these.

    Raises ``ConfigurationError``.
    """
    from agentmetrics.budget.budgets import check_budgets
    from agentmetrics.budget.file import read_budgets

    try:
        found = read_budgets(settings.budgets_file) if settings.budgets_file else ()
        labels = settings.extra_labels if recorder is None else recorder.extra_labels
        check_budgets((*found, *more), labels)
    except ValueError as error:
        raise ConfigurationError(
            f"{variable_of('budgets_file')}={str(settings.budgets_file or '')!r}: {error}"
        ) from None
    return (*found, *more)


_ledger: Ledger | None = None
_budgets: Budgets | None = None


def configure(
    recorder: Recorder | None = None, *, budgets: Sequence[Budget] = (), **overrides: Any
) -> Recorder:
    """Choose the recorder of the process: one that is given, or one made from the settings.

    ``overrides`` are fields of ``Settings`` and stand before the environment:
    ``configure(backend="statsd", statsd_host="metrics")``. The recorder in use before is
    closed if it was made here. Sources that were given no recorder follow at once. The ledger
    is that of the settings in both cases; the one in use before is closed. ``budgets`` come into
    force beside those of the settings' file, instead of those before.

    Raises ``ConfigurationError``, and leaves everything as it was.
    """
    global _recorder, _made_here, _ledger, _budgets
    if recorder is not None and overrides:
        raise ConfigurationError("give configure() a recorder or settings, not both")
    settings = load_settings(**overrides)
    limits = make_budgets(settings, budgets, recorder)
    ledger = make_ledger(settings)
    new = recorder or make_recorder(settings)
    with _changing:
        old_ledger, old = _ledger, _made_here
        if _budgets is not None:
            _budgets.close()
        if old_ledger is not None:
            old_ledger.detach()  # first: no call is to be in both
        if ledger is not None:
            ledger.attach(new)
        _budgets = _in_force(limits, new, ledger, settings) if limits else None
        _recorder, _ledger, _made_here = new, ledger, None if recorder else new
    _close(old_ledger, None if old is new else old)
    return new


def _in_force(
    limits: Sequence[Budget], recorder: Recorder, ledger: Ledger | None, settings: Settings
) -> Budgets:
    from agentmetrics.budget.budgets import Budgets
    from agentmetrics.budget.periods import zone_of

    zone = zone_of(settings.timezone)
    on_error = settings.on_ledger_error
    budgets = Budgets(limits, recorder, ledger=ledger, zone=zone, on_ledger_error=on_error)
    budgets.load()
    return budgets


def _close(ledger: Ledger | None, recorder: Recorder | None) -> None:
    if ledger is not None:
        ledger.close()
    if recorder is not None:
        recorder.close()


def get_recorder() -> Recorder:
    """The recorder in use; made from the environment when nothing was configured yet.

    Raises ``ConfigurationError``.
    """
    if _recorder is None:
        with _changing:
            if _recorder is None:
                configure()
    return _recorder  # type: ignore[return-value]


def get_ledger() -> Ledger:
    """The ledger in use, which ``AGENTMETRICS_LEDGER_URL`` names.

    Raises ``ConfigurationError``: also when there is none.
    """
    get_recorder()
    if _ledger is None:
        raise ConfigurationError(
            f"there is no ledger: set {variable_of('ledger_url')} to a database, as "
            "'sqlite:///spend.db'"
        )
    return _ledger


@contextmanager
def replaced(recorder: R) -> Iterator[R]:
    """Use ``recorder`` and no ledger instead of what is configured, which comes back afterwards.

    For tests: the block may call ``configure`` itself; what that made is closed at the end.
    """
    global _recorder, _made_here, _ledger, _budgets
    with _changing:
        before = _recorder, _made_here, _ledger, _budgets
        _recorder, _made_here, _ledger, _budgets = recorder, None, None, None
    try:
        yield recorder
    finally:
        with _changing:
            made_inside, ledger_inside = _made_here, _ledger
            _recorder, _made_here, _ledger, _budgets = before
        _close(ledger_inside, made_inside)


def _close_at_exit() -> None:
    _close(_ledger, _made_here)


atexit.register(_close_at_exit)
