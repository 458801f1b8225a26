"""The operations kit: every file of it, as text, from its options."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from agentmetrics.config.checks import check_extra_labels, check_extra_labels_for
from agentmetrics.operations import kubernetes, stack
from agentmetrics.operations.alertmanager import alertmanager_files
from agentmetrics.operations.boards import boards
from agentmetrics.operations.receivers import NO_RECEIVER, Receiver
from agentmetrics.operations.rules.files import (
    GRAFANA_URL,
    RUNBOOKS_URL,
    rule_files,
    runbooks,
)
from agentmetrics.operations.rules.objectives import Objectives
from agentmetrics.recording.metric import check_prefix

PARTS = ("grafana", "prometheus", "alertmanager", "runbooks", "compose", "kubernetes")
"""What the kit consists of, and can be limited to."""
_MOUNTED = ("grafana", "prometheus", "alertmanager")
"""The parts that compose.yaml mounts."""


@dataclass(frozen=True)
class KitOptions:
    """What the kit is made for.

    ``namespace``, ``extra_labels`` and ``extra_labels_for`` are the settings of the measured
    programs, ``objectives`` what the alerts hold them to, ``receiver`` whom Alertmanager notifies,
    and ``parts`` those of ``PARTS`` that are wanted. Alerts link to dashboards in the Grafana at
    ``grafana_url``, and to runbooks below ``runbooks_url``.

    Raises ``ValueError``, with one sentence, for a name that Prometheus would reject, a label that
    a metric has already that it would be added to, a part that does not exist or needs another, and
    a receiver without the part that it belongs to.
    """

    namespace: str = ""
    extra_labels: Sequence[str] = ()
    extra_labels_for: Sequence[str] = ()
    objectives: Objectives = field(default_factory=Objectives)
    receiver: Receiver = NO_RECEIVER
    parts: Sequence[str] = PARTS
    grafana_url: str = GRAFANA_URL
    runbooks_url: str = RUNBOOKS_URL

    def __post_init__(self) -> None:
        if self.namespace:
            with _about("namespace"):
                check_prefix(self.namespace)
        with _about("extra labels for"):
            check_extra_labels_for(self.extra_labels_for)
        with _about("extra labels"):
            check_extra_labels(self.extra_labels, self.extra_labels_for)
        for name in ("grafana_url", "runbooks_url"):
            _check_url(name, getattr(self, name))
        _check_parts(self.parts)
        if self.receiver is not NO_RECEIVER and "alertmanager" not in self.parts:
            raise ValueError("a receiver belongs to the part 'alertmanager': add it to the parts")


@contextmanager
def _about(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _check_url(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name}={url!r} is not a URL: write https:// and the host")


def _check_parts(parts: Sequence[str]) -> None:
    for part in parts:
        if part not in PARTS:
            close = get_close_matches(part, PARTS, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown part {part!r}; use {', '.join(PARTS)}{meant}")
    if not parts:
        raise ValueError(f"list at least one part of the kit: {', '.join(PARTS)}")
    missing = [part for part in _MOUNTED if part not in parts]
    if "compose" in parts and missing:
        raise ValueError(
            f"the part 'compose' mounts the files of others: also list {', '.join(missing)}"
        )


@dataclass(frozen=True)
class Kit:
    """Files by their path, relative to the directory of the kit.

    Those in ``private`` contain a secret: only their owner may read them, and they are not to be
    committed. Those in ``edited`` are for the user to edit: they are not replaced once they exist.
    """

    files: Mapping[str, str]
    private: frozenset[str] = frozenset()
    edited: frozenset[str] = frozenset()


def make_kit(options: KitOptions) -> Kit:
    """The kit for these options. Nothing is written, and nothing read but the boards' own files."""
    making = _Making(options)
    files: dict[str, str] = {}
    for part, make in _MAKERS.items():
        if part in options.parts:
            files |= make(making)
    return Kit(
        dict(sorted(files.items())),
        private=options.receiver.private & files.keys(),
        edited=frozenset({stack.TARGETS}) & files.keys(),
    )


class _Making:
    """A kit while it is made: several of its parts have the same boards and rules in them."""

    def __init__(self, options: KitOptions) -> None:
        self.options = options

    @cached_property
    def boards(self) -> dict[str, dict[str, Any]]:
        options = self.options
        return boards(options.namespace, options.extra_labels, options.extra_labels_for)

    @cached_property
    def rules(self) -> dict[str, str]:
        options = self.options
        return rule_files(
            options.objectives,
            options.namespace,
            grafana_url=options.grafana_url,
            runbooks_url=options.runbooks_url,
        )

    def grafana(self) -> dict[str, str]:
        files = {f"grafana/{name}.json": board_text(board) for name, board in self.boards.items()}
        return files | stack.grafana_provisioning()

    def prometheus(self) -> dict[str, str]:
        demo_namespace = self.options.namespace if "compose" in self.options.parts else None
        return stack.prometheus_files(demo_namespace) | self.rules

    def alertmanager(self) -> dict[str, str]:
        return alertmanager_files(self.options.receiver)

    def runbooks(self) -> dict[str, str]:
        return runbooks(self.options.namespace)

    def compose(self) -> dict[str, str]:
        return {"compose.yaml": stack.compose()}

    def kubernetes(self) -> dict[str, str]:
        return kubernetes.manifests(self.rules, self.boards)


_MAKERS: dict[str, Callable[[_Making], dict[str, str]]] = {
    "grafana": _Making.grafana,
    "prometheus": _Making.prometheus,
    "alertmanager": _Making.alertmanager,
    "runbooks": _Making.runbooks,
    "compose": _Making.compose,
    "kubernetes": _Making.kubernetes,
}


def board_text(board: Mapping[str, Any]) -> str:
    """A dashboard as a file that can be read and compared."""
    return json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
