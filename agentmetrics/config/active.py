"""What the process records with: chosen by ``configure``, or made from the environment."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from agentmetrics.config.assembly import make_budgets, make_ledger, make_recorder
from agentmetrics.config.settings import ConfigurationError, Settings, load_settings, variable_of
from agentmetrics.recording.recorder import Recorder

if TYPE_CHECKING:
    from agentmetrics.budget.budgets.budget import Budget
    from agentmetrics.budget.budgets.budgets import Budgets
    from agentmetrics.budget.ledger.ledger import Ledger

R = TypeVar("R", bound=Recorder)

_changing = threading.RLock()
_recorder: Recorder | None = None
_made_here: Recorder | None = None
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
    force beside those of the settings' file, instead of those before. An LLM call that is open
    meanwhile ends where it began, as cancelled: configure before the first.

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
            if old_ledger is not None and limits:
                _write(old_ledger)  # the new budgets ask what was spent until now
        _budgets = _in_force(limits, new, ledger, settings) if limits else None
        _recorder, _ledger, _made_here = new, ledger, None if recorder else new
    _close(old_ledger, None if old is new else old)
    return new


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
    from agentmetrics.budget.ledger.database import LedgerUnavailable

    with suppress(LedgerUnavailable):  # it is tried again when the ledger is closed
        ledger.flush()


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
            made_inside, ledger_inside, budgets_inside = _made_here, _ledger, _budgets
            _recorder, _made_here, _ledger, _budgets = before
        if budgets_inside is not None:
            budgets_inside.close()
        _close(ledger_inside, made_inside)


def _close_at_exit() -> None:
    _close(_ledger, _made_here)


atexit.register(_close_at_exit)
