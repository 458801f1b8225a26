"""The agents that a Prometheus has seen, so that no objective is for a name that nobody has."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

from agentmetrics.catalog import LLM_CALLS
from agentmetrics.errors import ConfigurationError
from agentmetrics.operations.naming import in_namespace

TIMEOUT_SECONDS = 10.0


def check_agents(names: Iterable[str], prometheus_url: str, namespace: str = "") -> None:
    """Raise ``ConfigurationError`` unless the Prometheus has calls of every one of these agents.

    Also when it cannot be asked. The address is shown without its password.
    """
    known = _agents(prometheus_url, namespace)
    for name in sorted(set(names) - known):
        close = get_close_matches(name, known, n=1)
        has = f"did you mean {close[0]!r}?" if close else f"it has {_listed(known)}"
        raise ConfigurationError(
            f"the Prometheus at {_shown(prometheus_url)} has no calls of an agent {name!r}: {has}"
        )


def _agents(prometheus_url: str, namespace: str) -> set[str]:
    if urlsplit(prometheus_url).scheme not in ("http", "https"):
        raise ConfigurationError(
            f"{prometheus_url!r} is not the address of a Prometheus: write http:// or https:// and "
            "the host, such as http://localhost:9090"
        )
    series = quote(in_namespace(LLM_CALLS.name, namespace))
    url = f"{prometheus_url.rstrip('/')}/api/v1/label/agent_name/values?match[]={series}"
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            return set(json.load(response)["data"])
    except HTTPError as error:
        error.close()
        raise _unanswered(prometheus_url, f"HTTP {error.code}") from None
    except URLError as error:
        raise _unanswered(prometheus_url, str(error.reason)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unanswered(prometheus_url, type(error).__name__) from None


def _unanswered(url: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"the Prometheus at {_shown(url)} does not say which agents it has ({reason}): check the "
        "address"
    )


def _shown(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"
