"""Pushes metrics to a Pushgateway, for programs that end before anybody scrapes them."""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.backends.pushgateway import Pushgateway
from agentmetrics.config.active import in_use
from agentmetrics.config.loading import load_settings, variable_of
from agentmetrics.errors import ConfigurationError
from agentmetrics.exposition import prometheus_recorder
from agentmetrics.recording.recorder import Recorder


def push(
    url: str | None = None,
    *,
    job: str | None = None,
    grouping: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
    recorder: Recorder | None = None,
) -> None:
    """Let the group of this job have what a scrape would show now, and nothing else.

    The group is named by ``job`` and the labels in ``grouping``. What is not given is that of the
    settings ``pushgateway_url``, ``_job``, ``_grouping`` and ``_timeout``, and ``recorder`` the
    configured one. It blocks for at most ``timeout_seconds``: under an event loop, call it in a
    thread.

    Raises ``PushFailed`` when the Pushgateway does not take it, and ``ConfigurationError`` when it
    cannot, such as a group without a name.
    """
    gateway = _gateway(url, job, grouping, timeout_seconds)
    gateway.put(prometheus_recorder(recorder))


def push_add(
    url: str | None = None,
    *,
    job: str | None = None,
    grouping: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
    recorder: Recorder | None = None,
) -> None:
    """Like ``push``, but the group keeps its metrics of other names."""
    gateway = _gateway(url, job, grouping, timeout_seconds)
    gateway.add(prometheus_recorder(recorder))


def push_delete(
    url: str | None = None,
    *,
    job: str | None = None,
    grouping: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
) -> None:
    """Delete the group with everything in it; the settings then push it no more at exit.

    Its parameters and errors are those of ``push``.
    """
    gateway = _gateway(url, job, grouping, timeout_seconds)
    gateway.delete()
    at_exit = in_use().at_exit
    if at_exit is not None and at_exit.gateway == gateway:
        at_exit.give_up()


def _gateway(
    url: str | None,
    job: str | None,
    grouping: Mapping[str, str] | None,
    timeout_seconds: float | None,
) -> Pushgateway:
    settings = in_use().settings or load_settings()
    if url is None:
        if settings.pushgateway_url is None:
            raise ConfigurationError(
                "no Pushgateway is named: pass its URL, such as push('http://pushgateway:9091', "
                f"job='nightly'), or set {variable_of('pushgateway_url')}"
            )
        url = settings.pushgateway_url.get_secret_value()
    return Pushgateway(
        url,
        settings.pushgateway_job or settings.service if job is None else job,
        settings.pushgateway_grouping if grouping is None else grouping,
        settings.pushgateway_timeout if timeout_seconds is None else timeout_seconds,
    )
