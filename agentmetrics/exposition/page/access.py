"""Who may see the page: where it is served without being asked for, which hosts, which token."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping

from agentmetrics.config.active import active
from agentmetrics.config.loading import load_settings
from agentmetrics.config.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether an address or a name is that of the machine itself, for nobody else."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_page_served(host: str | None, page: bool | None = None) -> bool:
    """Whether a server on this address has the page; ``None`` is an address that nobody knows.

    ``page`` is what the program says; without it the settings do, and if they say nothing, the page
    is where only this machine can reach it. Raises ``ConfigurationError``.
    """
    if page is None:
        page = _settings().page
    return page if page is not None else host is not None and is_loopback(host)


class Access:
    """Decides about one request by its headers.

    ``is_asked_for`` is whether somebody wanted the page where it is. Where it is because nobody but
    this machine can reach it, a name of another machine is refused: a site in the browser could
    have its name mean this machine, and read along.
    """

    def __init__(self, token: str, *, is_asked_for: bool) -> None:
        self._token = token.encode()
        self._takes_any_host = is_asked_for or bool(token)

    def is_right_host(self, headers: Mapping[str, str]) -> bool:
        if self._takes_any_host:
            return True
        host = headers.get("host", "")
        end = "]" if host.startswith("[") else ":"  # of an address of IPv6, or of a name
        return not host or is_loopback(host.partition(end)[0])

    def is_let_in(self, headers: Mapping[str, str]) -> bool:
        """Whether the request has the token, if there is one; in a time that tells nothing."""
        if not self._token:
            return True
        scheme, _, said = headers.get("authorization", "").partition(" ")
        given = said.strip().encode("latin-1", "replace")
        if scheme.lower() == "basic":
            given = _password(given)
        return hmac.compare_digest(given, self._token)


def access(page: bool | None) -> Access:
    """The access that the settings and ``page`` say. Raises ``ConfigurationError``."""
    settings = _settings()
    token = settings.page_token
    return Access(
        token.get_secret_value() if token else "",
        is_asked_for=bool(settings.page if page is None else page),
    )


def _settings() -> Settings:
    """Those of ``configure``, or of the environment."""
    in_use = active.in_use
    return in_use.settings if in_use and in_use.settings else load_settings()


def _password(given: bytes) -> bytes:
    try:
        return base64.b64decode(given, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
