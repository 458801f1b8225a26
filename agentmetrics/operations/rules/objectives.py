"""Service level objectives, for all agents and for single ones, from a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from agentmetrics._toml import Document, read_document
from agentmetrics.catalog import LLM_LATENCY, LLM_TIME_TO_FIRST_TOKEN
from agentmetrics.config.loading import load_settings
from agentmetrics.errors import ConfigurationError
from agentmetrics.recording.metric import Metric, clean_label


@dataclass(frozen=True)
class Within:
    """This share of calls takes at most so many seconds."""

    share: float
    seconds: float


@dataclass(frozen=True)
class Objective:
    """What an agent's calls are held to; ``availability`` is the share that succeeds."""

    availability: float = 0.99
    latency: Within = Within(0.95, 30.0)
    first_token: Within = Within(0.95, 5.0)


@dataclass(frozen=True)
class Objectives:
    """The objective of every agent, and of those in ``agents`` their own in its place."""

    default: Objective = Objective()
    agents: Mapping[str, Objective] = field(default_factory=dict)

    @classmethod
    def built_in(cls) -> Objectives:
        """The default ones.

        Raises ``ConfigurationError`` when the settings have buckets that these do not fit.
        """
        built_in = cls()
        for key, metric in _MEASURED.items():
            seconds, bounds = getattr(built_in.default, key).seconds, _bounds(metric)
            if seconds not in bounds:
                raise ConfigurationError(
                    f"the built-in objective {key}.seconds={seconds:g} does not fit the buckets of "
                    f"{metric.name}: set seconds to one of {_listed(bounds)} in a file for --slo"
                )
        return built_in

    @classmethod
    def from_toml(cls, path: Path) -> Objectives:
        """The objectives in a file.

        ``[default]`` and ``[agents.NAME]`` have ``availability``, ``latency`` and ``first_token``;
        what an agent does not state is as in ``[default]``, and what that does not state as in
        ``Objective``. Raises ``ConfigurationError`` with one sentence that says what is wrong, and
        in which line.
        """
        try:
            return _Reader(read_document(path)).objectives()
        except ConfigurationError:
            raise
        except ValueError as error:
            raise ConfigurationError(f"{str(path)!r}: {error}") from None


_SMALLEST = 1e-6  # of a share, and of what it leaves
_KEYS = tuple(f.name for f in fields(Objective))
_MEASURED = {"latency": LLM_LATENCY, "first_token": LLM_TIME_TO_FIRST_TOKEN}


class _Reader:
    """Reads one document; its errors begin with the line."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.bounds = {key: _bounds(metric) for key, metric in _MEASURED.items()}

    def objectives(self) -> Objectives:
        values = self.document.values
        unknown = values.keys() - {"default", "agents"}
        if unknown:
            name = min(unknown)
            raise self._mistake((name,), "is not a known table: use [default] or [agents.NAME]")
        default = self._objective(("default",), values.get("default", {}), Objective())
        agents = values.get("agents", {})
        if not isinstance(agents, Mapping):
            raise self._mistake(("agents",), "must be a table: put each agent in [agents.NAME]")
        for name in agents:
            if not name or clean_label(name) != name:
                raise self._mistake(
                    ("agents", name),
                    f"{name!r} cannot be the name of an agent: use 1 to 128 printable characters",
                )
        return Objectives(
            default,
            {name: self._objective(("agents", name), agents[name], default) for name in agents},
        )

    def _objective(self, table: tuple[str, ...], given: Any, base: Objective) -> Objective:
        if not isinstance(given, Mapping):
            raise self._mistake(table, f"must be a table with any of {', '.join(_KEYS)}")
        unknown = given.keys() - set(_KEYS)
        if unknown:
            key = min(unknown)
            raise self._mistake(
                table, f"has an unknown key {key!r}: use one of {', '.join(_KEYS)}", key
            )
        changes: dict[str, Any] = {}
        if "availability" in given:
            changes["availability"] = self._share(table, "availability", given["availability"])
        for key in _MEASURED:
            # one that is not stated is checked too: the program may have other buckets
            changes[key] = self._within(table, key, given.get(key, {}), getattr(base, key))
        return replace(base, **changes)

    def _within(self, table: tuple[str, ...], key: str, given: Any, base: Within) -> Within:
        if not isinstance(given, Mapping) or given.keys() - {"share", "seconds"}:
            raise self._mistake(
                table, f"{key}={given!r}: write {{ share = 0.95, seconds = 30 }}", key
            )
        share = self._share(table, f"{key}.share", given.get("share", base.share))
        seconds, bounds = given.get("seconds", base.seconds), self.bounds[key]
        if isinstance(seconds, bool) or seconds not in bounds:
            raise self._mistake(
                table,
                f"{key}.seconds={seconds!r}: must be an upper bound of a bucket of "
                f"{_MEASURED[key].name}, one of {_listed(bounds)}; "
                f"set AGENTMETRICS_BUCKETS if your service has other buckets",
                key,
            )
        return Within(share, float(seconds))

    def _share(self, table: tuple[str, ...], key: str, given: Any) -> float:
        number = isinstance(given, int | float) and not isinstance(given, bool)
        if not number or not _SMALLEST <= given <= 1 - _SMALLEST:
            raise self._mistake(
                table,
                f"{key}={given!r}: must be above 0 and below 1, to six digits, such as 0.99",
                key.partition(".")[0],
            )
        return float(given)

    def _mistake(self, table: tuple[str, ...], sentence: str, key: str = "") -> ValueError:
        return self.document.mistake((*table, key), f"[{'.'.join(table)}] {sentence}")


def _listed(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds)


def _bounds(metric: Metric) -> tuple[float, ...]:
    """The buckets of a histogram under the settings of the environment."""
    settings = load_settings()
    common = settings.latency_buckets if metric is LLM_LATENCY else None
    return settings.buckets.get(metric.name) or common or metric.buckets
