"""What settings may name: labels that are added, metrics, groups of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from agentmetrics.catalog import BUILD_INFO, CATALOG, GROUPS, LLM_CALLS, has_extra_labels, is_off
from agentmetrics.recording.known import known_metrics
from agentmetrics.recording.metric import Metric, check_label_name


def check_common_labels(names: Sequence[str]) -> None:
    """Raise ``ValueError`` unless these can be labels of every series."""
    # A service's own "version" means something else than ours, and each keeps its place.
    _check_new(names, [metric for metric in CATALOG if metric != BUILD_INFO])


def check_extra_labels(names: Sequence[str], only: Sequence[str] = ()) -> None:
    """Raise ``ValueError`` unless these can be added to the metrics that get them: to ``only``
    these groups and metrics, or to all that can have them.

    What names a call in the ledger is taken in any case.
    """
    _check_new(
        names, [LLM_CALLS, *(each for each in known_metrics() if has_extra_labels(each, only))]
    )


def check_extra_labels_for(names: Sequence[str]) -> None:
    """Raise ``ValueError`` unless these are groups of the catalogue, or metrics that can have extra
    labels."""
    labelled = [metric.name for metric in known_metrics() if metric.extended]
    for name in names:
        if name not in GROUPS and name not in labelled:
            close = get_close_matches(name, (*GROUPS, *labelled), n=3)
            said = (
                f"; did you mean {' or '.join(map(repr, close))}?"
                if close
                else f"; use {', '.join(GROUPS)}, or names of metrics that can"
            )
            raise ValueError(f"{name!r} is no group and no metric that can have them{said}")


def _check_new(names: Sequence[str], metrics: Iterable[Metric]) -> None:
    having: dict[str, str] = {}
    for metric in metrics:
        for label in metric.labels:
            having.setdefault(label, metric.name)
    for name in names:
        check_label_name(name)
        if name in having:
            raise ValueError(f"{name!r} is already a label of {having[name]}")
    if len(set(names)) != len(names):
        raise ValueError("a label is listed twice")


def check_metrics_off(patterns: Sequence[str], namespace: str) -> None:
    """Raise ``ValueError`` unless each of these is, or stands for, metrics that can be off."""
    known = [metric.name for metric in known_metrics()]
    for pattern in patterns:
        if any(is_off(name, (pattern,)) for name in known):
            continue
        if any(fnmatchcase(name, pattern) for name in known):
            raise ValueError(f"{pattern!r} is about agentmetrics itself and stays on")
        bare = pattern.removeprefix(f"{namespace}_")
        close = get_close_matches(bare, known, n=3, cutoff=0.5)
        said = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(f"no metric is called {pattern!r}{said}")


def meant(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a sentence about a name that is none: the one that was meant, or all there are."""
    names = list(known)
    close = get_close_matches(name, names, n=1)
    if close:
        return f": did you mean {prefix}{close[0]}?"
    return f"; use one of {', '.join(prefix + each for each in names)}"
