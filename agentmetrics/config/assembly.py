"""What the settings describe, made: the recorder and its layers, options, the ledger, budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import SecretStr

from agentmetrics import backends
from agentmetrics.budget.ledger.url import without_password
from agentmetrics.config.loading import variable_of
from agentmetrics.config.settings import Settings
from agentmetrics.errors import ConfigurationError
from agentmetrics.pipeline import Options
from agentmetrics.pricing import PriceFile, Prices, Updates
from agentmetrics.recording.layers.common_labels import CommonLabels
from agentmetrics.recording.layers.fanout import FanoutRecorder
from agentmetrics.recording.layers.namespace import Namespace
from agentmetrics.recording.recorder import Recorder
from agentmetrics.summary.at_exit import SummaryAtExit

if TYPE_CHECKING:
    from agentmetrics.backends.pushgateway import PushAtExit, Pushgateway
    from agentmetrics.budget.budgets.budget import Budget
    from agentmetrics.budget.ledger.ledger import Ledger
    from agentmetrics.budget.notify.destination import Destination

OF_A_RECORDER = frozenset(
    {
        "backend",
        "namespace",
        "common_labels",
        "exemplars",
        *(name for name in Settings.model_fields if name.startswith("statsd_")),
    }
)
"""The settings that say what a recorder is, and not what is done with it."""


def make_recorder(settings: Settings) -> Recorder:
    """A recorder as the settings describe it: the backends, and the layers around them.

    Raises ``ConfigurationError``: also for a backend whose package is not installed.
    """
    made = [_make_backend(name, settings) for name in settings.backend]
    recorder = made[0] if len(made) == 1 else FanoutRecorder(made)
    if settings.common_labels:
        recorder = CommonLabels(recorder, settings.common_labels)
    if settings.namespace:
        recorder = Namespace(recorder, settings.namespace)
    return recorder


def _make_backend(name: str, settings: Settings) -> Recorder:
    with naming_backends((name,)):
        backend = backends.load(name)
    try:
        return backend.from_settings(settings)
    except ConfigurationError:  # which names the setting
        raise
    except ValueError as error:
        raise ConfigurationError(f"{variable_of('backend')}={name!r}: {error}") from error


@contextmanager
def naming_backends(names: Sequence[str]) -> Iterator[None]:
    """Let errors of the backends with these names begin with their variable."""
    try:
        yield
    except ConfigurationError as error:
        value = ",".join(names)
        raise ConfigurationError(f"{variable_of('backend')}={value!r}: {error}") from error


def make_options(settings: Settings) -> Options:
    """What the settings ask of every recorder.

    Raises ``ConfigurationError``: also for a price file with a mistake in it.
    """
    return Options(
        extra_labels=settings.extra_labels,
        extra_labels_for=settings.extra_labels_for,
        metrics_off=settings.metrics_off,
        latency_buckets=settings.latency_buckets,
        buckets=settings.buckets,
        mb_aliases=settings.mb_aliases,
        call_tokens=settings.call_tokens,
        max_series=settings.max_series,
        call_ttl_seconds=settings.call_ttl_seconds,
        default_agent_name=settings.default_agent_name,
        prices=make_prices(settings),
    )


def make_prices(settings: Settings) -> Prices | None:
    """The prices that the settings ask for; ``None`` when that is the price list alone.

    Raises ``ConfigurationError``: also for a price file with a mistake in it.
    """
    if settings.prices_file is None and not settings.prices_update:
        return None
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
    return Updates(UpdatePrices())


def make_pushgateway(settings: Settings) -> Pushgateway | None:
    """The Pushgateway that the settings name; ``None`` when they name none.

    Raises ``ConfigurationError``, never with the password in it.
    """
    if not settings.pushgateway_url:
        return None
    url = settings.pushgateway_url.get_secret_value()
    with _naming_pushgateway(url):
        from agentmetrics.backends.pushgateway import Pushgateway

        return Pushgateway(
            url,
            settings.pushgateway_job or settings.service,
            settings.pushgateway_grouping,
            settings.pushgateway_timeout,
        )


def make_push_at_exit(settings: Settings, recorder: Recorder) -> PushAtExit | None:
    """What pushes a recorder's metrics at exit, where the settings name a Pushgateway.

    Raises ``ConfigurationError``: also where nothing is recorded for Prometheus.
    """
    gateway = make_pushgateway(settings)
    if gateway is None:
        return None
    if not settings.flush_at_exit:
        raise ConfigurationError(
            f"{variable_of('flush_at_exit')}=False: with it nothing is pushed at exit, as "
            f"{variable_of('pushgateway_url')} asks for: leave out one of them"
        )
    from agentmetrics.backends.prometheus import prometheus_recorder_in
    from agentmetrics.backends.pushgateway import PushAtExit

    found = prometheus_recorder_in(recorder)
    if found is None:
        raise ConfigurationError(
            f"{variable_of('pushgateway_url')}={gateway.shown!r}: only what is recorded for "
            f"Prometheus can be pushed: add 'prometheus' to {variable_of('backend')}"
        )
    return PushAtExit(gateway, found)


def make_summary_at_exit(settings: Settings, recorder: Recorder) -> SummaryAtExit | None:
    """What prints a summary at exit, where the settings ask for it.

    Raises ``ConfigurationError`` where they ask for nothing to be done then.
    """
    if not settings.summary:
        return None
    if not settings.flush_at_exit:
        raise ConfigurationError(
            f"{variable_of('flush_at_exit')}=False: with it nothing is printed at exit, as "
            f"{variable_of('summary')} asks for: leave out one of them"
        )
    return SummaryAtExit(recorder)


@contextmanager
def _naming_pushgateway(url: str) -> Iterator[None]:
    """Let errors with the Pushgateway begin with its variable; of a missing package, too."""
    variable = f"{variable_of('pushgateway_url')}={without_password(url)!r}"
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{variable}: pushing needs the package {error.name!r}; install it with: "
            "pip install 'llm-agentmetrics[prometheus]'"
        ) from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{variable}: {error}") from None


def make_ledger(settings: Settings) -> Ledger | None:
    """The ledger that the settings ask for; ``None`` when they name none.

    Raises ``ConfigurationError``, never with the password in it.
    """
    if not settings.ledger_url:
        return None
    with naming_ledger(settings.ledger_url):
        from agentmetrics.budget.ledger.ledger import Ledger

        return Ledger(
            settings.ledger_url.get_secret_value(),
            flush_interval_seconds=settings.ledger_flush_interval,
            retention_days=settings.ledger_retention_days,
            timezone=settings.timezone,
            spool_dir=settings.spool_dir,
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


def make_budgets(
    settings: Settings, more: Sequence[Budget] = (), extra_labels: Sequence[str] | None = None
) -> tuple[Budget, ...]:
    """The budgets of the settings' file, and these; their scopes may name ``extra_labels``.

    Raises ``ConfigurationError``.
    """
    from agentmetrics.budget.budgets.checks import check_budgets, check_shared
    from agentmetrics.budget.budgets.file import read_budgets

    with _naming_budgets(settings):
        found = read_budgets(settings.budgets_file) if settings.budgets_file else ()
        labels = settings.extra_labels if extra_labels is None else extra_labels
        check_budgets((*found, *more), labels)
        check_shared((*found, *more), has_ledger=settings.ledger_url is not None)
        _check_retention((*found, *more), settings)
    return (*found, *more)


def make_destinations(settings: Settings, budgets: Sequence[Budget]) -> list[Destination]:
    """Where these budgets' notices go.

    Raises ``ConfigurationError`` when the variable of one does not hold a usable URL.
    """
    from agentmetrics.budget.budgets.notices import destinations_of

    with _naming_budgets(settings):
        return destinations_of(budgets)


@contextmanager
def _naming_budgets(settings: Settings) -> Iterator[None]:
    """Let errors of budgets begin with the variable of their file, where there is one."""
    try:
        yield
    except ValueError as error:
        path = settings.budgets_file
        where = f"{variable_of('budgets_file')}={str(path)!r}: " if path else ""
        raise ConfigurationError(f"{where}{error}") from None


def _check_retention(budgets: Sequence[Budget], settings: Settings) -> None:
    """A ledger that forgets a period before it is over would let a budget begin anew."""
    from agentmetrics.budget.periods import LONGEST_DAYS

    kept = settings.ledger_retention_days if settings.ledger_url else None
    for budget in budgets:
        needed = LONGEST_DAYS[budget.period]
        if kept is not None and kept < needed:
            raise ValueError(
                f"budget {budget.name!r} is {budget.period} and the ledger keeps {kept} days: "
                f"set {variable_of('ledger_retention_days')} to {needed} or more"
            )
