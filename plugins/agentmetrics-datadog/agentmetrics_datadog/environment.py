"""Datadog's own ``DD_…`` variables, and ``AGENTMETRICS_DATADOG_…``, which stand before them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from agentmetrics import ConfigurationError
from agentmetrics.plugin import without_password
from agentmetrics_datadog.address import DEFAULT_PORT, routes_to
from agentmetrics_datadog.container import container_id
from agentmetrics_datadog.lines import DEFAULT_PROTOCOL, PROTOCOLS

if TYPE_CHECKING:
    from agentmetrics import Settings

PREFIX: Final = "AGENTMETRICS_DATADOG_"
VARIABLES: Final = ("URL", "PREFIX", "TAGS", "PROCESS_TAG", "PROTOCOL", "FLUSH_INTERVAL")
_OFF: Final = {"false", "0", "no", "n", "off"}


@dataclass(frozen=True)
class Environment:
    """What the variables say, in the terms of ``DogStatsDRecorder``."""

    url: str
    prefix: str
    tags: Mapping[str, str]
    process_tag: str
    protocol: str
    container_id: str
    flush_interval_seconds: float


def read(settings: Settings) -> Environment:
    """What the variables say; the service and its version may also be those of ``settings``.

    Raises ``ConfigurationError`` with a sentence for each variable that cannot be used.
    """
    problems = list(_unknown())
    url = _url(problems)
    tags = _tags(settings, problems)
    own = {name: os.environ.get(PREFIX + name, "") for name in VARIABLES}
    protocol = own["PROTOCOL"] or DEFAULT_PROTOCOL
    if protocol not in PROTOCOLS:
        problems.append(f"{PREFIX}PROTOCOL={protocol!r}: use one of {', '.join(PROTOCOLS)}")
    interval = _interval(own["FLUSH_INTERVAL"], problems)
    if problems:
        raise ConfigurationError(*problems)
    is_wanted = os.environ.get("DD_ORIGIN_DETECTION_ENABLED", "").lower() not in _OFF
    container = container_id() if is_wanted else ""
    process_tag = own["PROCESS_TAG"] or "pid"
    return Environment(
        url=url,
        prefix=own["PREFIX"],
        tags=tags,
        process_tag="" if process_tag.lower() in _OFF else process_tag,
        protocol=protocol,
        container_id=container,
        flush_interval_seconds=interval,
    )


def _unknown() -> Iterator[str]:
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and (rest := name.removeprefix(PREFIX)) not in VARIABLES:
            close = get_close_matches(rest, VARIABLES, n=1)
            known = [PREFIX + each for each in VARIABLES]
            meant = f"did you mean {PREFIX}{close[0]}?" if close else f"use {', '.join(known)}"
            yield f"{name} is set but is no setting of the backend 'datadog': {meant}"


def _url(problems: list[str]) -> str:
    """The address, from the first of the variables that is set."""
    for name in (f"{PREFIX}URL", "DD_DOGSTATSD_URL", "DD_DOGSTATSD_SOCKET"):
        value = os.environ.get(name, "")
        if value:
            is_path = name == "DD_DOGSTATSD_SOCKET" and "://" not in value
            url = f"unix://{value}" if is_path else value
            return _checked(url, f"{name}={without_password(value)!r}", problems)
    host = os.environ.get("DD_AGENT_HOST", "") or "localhost"
    port = os.environ.get("DD_DOGSTATSD_PORT", "") or str(DEFAULT_PORT)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        problems.append(f"DD_DOGSTATSD_PORT={port!r}: use a number from 1 to 65535")
        return ""
    bracketed = f"[{host}]" if ":" in host else host
    said = "DD_AGENT_HOST" if "@" in host else f"DD_AGENT_HOST={host!r}"
    return _checked(f"udp://{bracketed}:{port}", said, problems)


def _checked(url: str, said: str, problems: list[str]) -> str:
    try:
        routes_to(url)
    except ValueError as error:
        problems.append(f"{said}: {error}")
    return url


def _interval(text: str, problems: list[str]) -> float:
    try:
        seconds = float(text or 1.0)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        problems.append(
            f"{PREFIX}FLUSH_INTERVAL={text!r}: use a number of seconds above 0, such as 1.0"
        )
    return seconds


def _tags(settings: Settings, problems: list[str]) -> dict[str, str]:
    """The tags of every series; the later of two with one key counts."""
    tags: dict[str, str] = {}
    for name in ("DD_TAGS", "DATADOG_TAGS"):
        pairs = (each.partition(":") for each in re.split(r"[,\s]+", os.environ.get(name, "")))
        tags |= {key: value for key, _, value in pairs if key and value}
    standard = {
        "env": os.environ.get("DD_ENV", ""),
        "service": os.environ.get("DD_SERVICE", "") or settings.service,
        "version": os.environ.get("DD_VERSION", "") or settings.service_version,
        "dd.internal.entity_id": os.environ.get("DD_ENTITY_ID", ""),
    }
    tags |= {key: value for key, value in standard.items() if value}
    own = os.environ.get(f"{PREFIX}TAGS", "")
    for each in filter(None, re.split(r"[,\s]+", own)):
        key, _, value = each.partition(":")
        if not (key and value):
            problems.append(f"{PREFIX}TAGS={own!r}: use comma-separated key:value pairs")
            break
        tags[key] = value
    return tags
