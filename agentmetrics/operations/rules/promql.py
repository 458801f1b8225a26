"""The expressions that the rules share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable


def le(bound: float) -> str:
    """The matcher of a histogram's bucket, in both exposition formats.

    One writes ``le="30"`` where the other writes ``le="30.0"``.
    """
    if bound.is_integer():
        return rf'le=~"{bound:.0f}(\\.0)?"'
    return f'le="{bound!r}"'


def only(agent: str) -> str:
    """The matcher of one agent."""
    return f"agent_name={_quoted(agent)}"


def all_but(agents: Iterable[str]) -> str:
    """The matcher of every agent but these."""
    return f"agent_name!~{_quoted('|'.join(map(re.escape, agents)))}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def new(counter: str, window: str) -> str:
    """What a counter grew by, including the value that a series was born with.

    ``increase`` needs two samples, so it misses the first error of a series that begins with it.
    """
    born = f"{counter} unless last_over_time({counter}[{window}] offset {window})"
    return f"({born} or increase({counter}[{window}]))"


def share(part: str, whole: str, by: str, window: str) -> str:
    """How much of the whole the part is, from 0 to 1."""
    return f"sum by ({by}) (rate({part}[{window}]))\n/\nsum by ({by}) (rate({whole}[{window}]))"


def at_least(number: int, counter: str, by: str, window: str) -> str:
    """A floor of traffic, below which a share means little."""
    return f"sum by ({by}) (increase({counter}[{window}])) >= {number}"


def quantile(q: float, histogram: str, by: str, window: str) -> str:
    return f"histogram_quantile({q}, sum by ({by}, le) (rate({histogram}_bucket[{window}])))"
