"""Whom Alertmanager can notify, with addresses and secrets from the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

CONFIG = "alertmanager/alertmanager.yml"

_TITLE = "{{ .CommonLabels.severity | toUpper }}: {{ .CommonLabels.alertname }}"
_TEXT = """\
{{ range .Alerts }}*{{ .Annotations.summary }}* ({{ .Status }})
{{ .Annotations.description }}
{{ with .Annotations.runbook_url }}Runbook: {{ . }}{{ end }}
{{ with .Annotations.dashboard_url }}Dashboard: {{ . }}{{ end }}
{{ end }}"""


@dataclass(frozen=True)
class Receiver:
    """Whom Alertmanager tells: ``integrations`` as its configuration has them.

    ``secrets`` are the contents of files by their path in the kit. With ``secret_config``, the
    configuration itself contains a secret.
    """

    integrations: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    secret_config: bool = False

    @property
    def private(self) -> frozenset[str]:
        """The files that contain a secret."""
        return frozenset(self.secrets) | ({CONFIG} if self.secret_config else frozenset())


NO_RECEIVER = Receiver()
"""Alerts are shown in Alertmanager and sent to nobody."""


def receiver(name: str, environment: Mapping[str, str]) -> Receiver:
    """The receiver of this name, with its addresses and secrets from the environment.

    Raises ``ValueError``, with one sentence, for a name that does not exist, and for a variable
    that is missing or wrong.
    """
    if name not in _RECEIVERS:
        close = get_close_matches(name, _RECEIVERS, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown receiver {name!r}; use {', '.join(_RECEIVERS)}{meant}")
    return _RECEIVERS[name](_Variables(name, environment))


class _Variables:
    """Environment variables as one receiver asks for them."""

    def __init__(self, receiver: str, environment: Mapping[str, str]) -> None:
        self._receiver, self._environment = receiver, environment

    def optional(self, name: str) -> str:
        return self._environment.get(name, "").strip()

    def required(self, name: str, what: str) -> str:
        text = self.optional(name)
        if not text:
            raise ValueError(f"the receiver {self._receiver!r} needs {name} to be set to {what}")
        return text

    def url(self, name: str, what: str) -> str:
        """What it is set to is not repeated in the sentence: it is a secret."""
        text = self.required(name, what)
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{name} is not a URL: set it to {what}, starting with https://")
        return text


def _slack(variables: _Variables) -> Receiver:
    secret = "secrets/slack_url"
    url = variables.url("SLACK_WEBHOOK_URL", "the URL of a Slack incoming webhook")
    config = {
        "api_url_file": secret,
        "send_resolved": True,
        "title": _TITLE,
        "title_link": "{{ .CommonAnnotations.dashboard_url }}",
        "text": _TEXT,
    }
    channel = variables.optional("SLACK_CHANNEL")
    if channel:
        config["channel"] = channel
    return Receiver({"slack_configs": [config]}, {f"alertmanager/{secret}": url})


def _webhook(variables: _Variables) -> Receiver:
    url = variables.url("WEBHOOK_URL", "the URL that Alertmanager is to post alerts to")
    config = {"url": url, "send_resolved": True}
    return Receiver({"webhook_configs": [config]}, secret_config=True)


def _pagerduty(variables: _Variables) -> Receiver:
    secret = "secrets/pagerduty_routing_key"
    key = variables.required(
        "PAGERDUTY_ROUTING_KEY", "the integration key of a service (Events API v2)"
    )
    config = {
        "routing_key_file": secret,
        "send_resolved": True,
        "description": _TITLE + ": {{ .CommonAnnotations.summary }}",
        "severity": "{{ with .CommonLabels.severity }}{{ . }}{{ else }}error{{ end }}",
        "links": [
            {"text": "Runbook", "href": "{{ .CommonAnnotations.runbook_url }}"},
            {"text": "Dashboard", "href": "{{ .CommonAnnotations.dashboard_url }}"},
        ],
    }
    return Receiver({"pagerduty_configs": [config]}, {f"alertmanager/{secret}": key})


def _email(variables: _Variables) -> Receiver:
    config: dict[str, Any] = {
        "to": variables.required("EMAIL_TO", "the address that alerts are sent to"),
        "from": variables.required("EMAIL_FROM", "the address that alerts are sent from"),
        "smarthost": _smarthost(variables),
        "send_resolved": True,
        "headers": {"Subject": _TITLE},
    }
    user = variables.optional("SMTP_USERNAME")
    if not user:
        return Receiver({"email_configs": [config]})
    secret = "secrets/smtp_password"
    password = variables.required("SMTP_PASSWORD", "the password of SMTP_USERNAME")
    config |= {"auth_username": user, "auth_password_file": secret}
    return Receiver({"email_configs": [config]}, {f"alertmanager/{secret}": password})


def _smarthost(variables: _Variables) -> str:
    what = "the mail server, such as smtp.example.com:587"
    text = variables.required("SMTP_SMARTHOST", what)
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"SMTP_SMARTHOST={text!r} has no port: set it to {what}")
    return text


_RECEIVERS: dict[str, Callable[[_Variables], Receiver]] = {
    "slack": _slack,
    "webhook": _webhook,
    "pagerduty": _pagerduty,
    "email": _email,
}
RECEIVERS = tuple(_RECEIVERS)
"""The names of the receivers."""
