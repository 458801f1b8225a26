"""What the process records with: set by ``configure``, or made from the environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from agentmetrics.catalog import SERVICE_INFO
from agentmetrics.config.assembly import (
    OF_A_RECORDER,
    make_budgets,
    make_destinations,
    make_ledger,
    make_options,
    make_push_at_exit,
    make_recorder,
    make_summary_at_exit,
    naming_backends,
)
from agentmetrics.config.loading import load_settings, variable_of
from agentmetrics.config.settings import Settings
from agentmetrics.errors import ConfigurationError, LedgerUnavailable
from agentmetrics.machine.reading import Machine
from agentmetrics.meters.machine import SystemMeter
from agentmetrics.pipeline import Options, Pipeline, default_options, pipeline_of
from agentmetrics.recording.exits import close_at_exit, flush_at_exits, skip_at_exit
from agentmetrics.recording.fork import ForkSafeLock
from agentmetrics.recording.recorder import Recorder
from agentmetrics.recording.said import later
from agentmetrics.summary.at_exit import SummaryAtExit

if TYPE_CHECKING:
    from agentmetrics.backends.pushgateway import PushAtExit
    from agentmetrics.budget.budgets.budget import Budget
    from agentmetrics.budget.budgets.budgets import Budgets
    from agentmetrics.budget.ledger.ledger import Ledger

R = TypeVar("R", bound=Recorder)


@dataclass(frozen=True)
class InUse:
    """What is configured, all of it from one ``configure``; ``made_here`` is closed with it.

    ``settings`` are those that it was made from, where it was, and ``is_chosen`` is whether the
    program has called that, or the environment alone has said.
    """

    recorder: Recorder
    pipeline: Pipeline
    ledger: Ledger | None = None
    budgets: Budgets | None = None
    made_here: Recorder | None = None
    settings: Settings | None = None
    at_exit: PushAtExit | None = None
    summary: SummaryAtExit | None = None
    is_chosen: bool = True

    def give_up(self) -> None:
        """Do at exit none of what it was to do then, but for what is open or owed."""
        for each in (self.at_exit, self.summary):
            if each is not None:
                each.give_up()


class Active:
    """The one object that holds what is in use; ``None`` while nothing was configured."""

    __slots__ = ("in_use", "pipeline")

    def __init__(self) -> None:
        self.in_use: InUse | None = None
        self.pipeline: Pipeline | None = None
        """That of ``in_use``, for those who ask at every event."""

    def put(self, in_use: InUse | None) -> InUse | None:
        """Put something else in use; returns what was before."""
        before, self.in_use = self.in_use, in_use
        self.pipeline = None if in_use is None else in_use.pipeline
        return before


active = Active()
_changing = ForkSafeLock()


def configure(
    recorder: Recorder | None = None, *, budgets: Sequence[Budget] = (), **overrides: Any
) -> Recorder:
    """Set the recorder of the process: the given one, or one made from the settings.

    ``overrides`` are fields of ``Settings`` and take precedence over the environment:
    ``configure(backend="statsd", statsd_host="metrics")``. For a given recorder, all settings apply
    except those that define a recorder: ``backend``, ``namespace``, ``common_labels`` and those of
    StatsD. The previous recorder is closed if it was made here. Sources that were given no recorder
    switch at once. In both cases the ledger is the one from the settings; the previous one is
    closed. ``budgets`` come into force together with those of the settings' file, and replace the
    previous ones. An LLM call that is open at that moment ends at the previous recorder, as
    cancelled: configure before the first call.

    Raises ``ConfigurationError``, and then leaves everything unchanged.
    """
    if recorder is not None and not OF_A_RECORDER.isdisjoint(overrides):
        named = ", ".join(sorted(OF_A_RECORDER & overrides.keys()))
        raise ConfigurationError(
            f"pass configure() either a recorder or {named}, not both: these settings define "
            "the recorder"
        )
    settings = load_settings(**overrides)
    limits = make_budgets(settings, budgets)
    make_destinations(settings, limits)  # a variable that is not set is a mistake to be told first
    options = make_options(settings)
    made = None if recorder else make_recorder(settings)
    new = recorder or made
    assert new is not None
    at_exit = None
    try:
        pipeline = _pipeline(new, options, settings if made else None)
        _describe_service(pipeline, new, settings, made)
        _show_system(pipeline, settings)
        summary = make_summary_at_exit(settings, new)
        at_exit = make_push_at_exit(settings, new)
        ledger = make_ledger(settings)
    except BaseException:
        if at_exit is not None:
            at_exit.give_up()
        _close(None, made)
        raise
    flush_at_exits(settings.flush_at_exit)
    with later(), _changing:
        before = active.in_use
        if before is not None and before.budgets is not None:
            before.budgets.close()
        old_ledger = before.ledger if before else None
        if old_ledger is not None and ledger is not None:
            ledger.take_over(old_ledger)  # first: no call is to be in both, or in neither
        elif old_ledger is not None:
            old_ledger.detach()
        if ledger is not None:
            ledger.attach(new)
            if old_ledger is not None and limits:
                _write(old_ledger)  # the new budgets ask what was spent until now
        in_force = _in_force(limits, new, ledger, settings) if limits else None
        active.put(InUse(new, pipeline, ledger, in_force, made, settings, at_exit, summary))
    if made is not None:
        close_at_exit(made)
    if at_exit is not None:
        at_exit.begin()
    if summary is not None:
        summary.begin()
    if before is not None:
        before.give_up()
        _close(before.ledger, None if before.made_here is new else before.made_here)
    return new


def _pipeline(recorder: Recorder, options: Options, made_from: Settings | None) -> Pipeline:
    if made_from is None:
        return pipeline_of(recorder, options)
    with naming_backends(made_from.backend):
        return pipeline_of(recorder, options)


def _describe_service(
    pipeline: Pipeline, recorder: Recorder, settings: Settings, made: Recorder | None
) -> None:
    """Show ``service_info`` where the settings name the service or its version."""
    if not settings.service and not settings.service_version:
        return
    backend = ",".join(settings.backend) if made else type(recorder).__name__
    labels = (settings.service_version, settings.service, backend)
    try:
        pipeline.make.observe(SERVICE_INFO, lambda: {labels: 1.0})
    except ValueError as error:
        raise ConfigurationError(
            f"{variable_of('service')}={settings.service!r}: {error}"
        ) from error


def _show_system(pipeline: Pipeline, settings: Settings) -> None:
    """Show the machine and the process where the settings ask for it."""
    if not settings.system_metrics:
        return
    try:
        pipeline.meter(SystemMeter).show(Machine(settings.system_disk_path))
    except ValueError as error:
        raise ConfigurationError(f"{variable_of('system_metrics')}=True: {error}") from error


def _in_force(
    limits: Sequence[Budget], recorder: Recorder, ledger: Ledger | None, settings: Settings
) -> Budgets:
    from agentmetrics.budget.budgets.budgets import Budgets
    from agentmetrics.budget.periods import zone_of

    zone = zone_of(settings.timezone)
    on_error = settings.on_ledger_error
    budgets = Budgets(limits, recorder, ledger=ledger, zone=zone, on_ledger_error=on_error)
    budgets.load()
    return budgets


def _write(ledger: Ledger) -> None:
    with suppress(LedgerUnavailable):  # it is tried again when the ledger is closed
        ledger.flush()


def _close(ledger: Ledger | None, recorder: Recorder | None) -> None:
    if ledger is not None:
        ledger.close()
    if recorder is not None:
        skip_at_exit(recorder)
        recorder.close()


def in_use() -> InUse:
    """What is in use; made from the environment if nothing has been configured yet.

    Raises ``ConfigurationError``.
    """
    if active.in_use is None:
        with later(), _changing:
            if active.in_use is None:
                configure()
                assert active.in_use is not None
                active.put(replace(active.in_use, is_chosen=False))
    assert active.in_use is not None
    return active.in_use


def get_recorder() -> Recorder:
    """The current recorder; made from the environment if nothing has been configured yet.

    Raises ``ConfigurationError``.
    """
    return in_use().recorder


def get_ledger() -> Ledger:
    """The current ledger, set by ``AGENTMETRICS_LEDGER_URL``.

    Raises ``ConfigurationError``, also when there is none.
    """
    ledger = in_use().ledger
    if ledger is None:
        raise ConfigurationError(
            f"no ledger is configured: set {variable_of('ledger_url')} to a database URL such as "
            "'sqlite:///spend.db'"
        )
    return ledger


def pipeline_for(recorder: Recorder | None) -> Pipeline:
    """The pipeline of the recorder given to a source, or of the one in use.

    Raises ``ConfigurationError``.
    """
    if recorder is not None:
        return pipeline_of(recorder)
    return active.pipeline or in_use().pipeline


@contextmanager
def replaced(recorder: R) -> Iterator[R]:
    """Use ``recorder`` and no ledger instead of what is configured, which comes back afterwards.

    It has the options that are configured now. For tests: the block may call ``configure`` itself;
    what that made is closed at the end.
    """
    pipeline = pipeline_of(recorder)
    with later(), _changing:
        is_chosen = active.in_use is not None and active.in_use.is_chosen
        before = active.put(InUse(recorder, pipeline, is_chosen=is_chosen))
    try:
        yield recorder
    finally:
        with later(), _changing:
            inside = active.put(before)
        if inside is not None and inside.budgets is not None:
            inside.budgets.close()
        if inside is not None:
            inside.give_up()
            _close(inside.ledger, inside.made_here)


def _configured_options() -> Options:
    in_use = active.in_use
    if in_use is not None and in_use.is_chosen:
        return in_use.pipeline.options
    settings = load_settings()
    flush_at_exits(settings.flush_at_exit)
    return make_options(settings)


default_options(_configured_options)
