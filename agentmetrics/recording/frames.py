"""Data frames, where pandas is installed: it is imported when a frame is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agentmetrics.recording.values import Family, HistogramValue, Value

if TYPE_CHECKING:
    from pandas import DataFrame

_OWN = ("metric", "value", "count", "sum", "p50", "p95")


def frame(records: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> DataFrame:
    """A frame with a row for each record.

    Raises ``ModuleNotFoundError``, which says what to install, where pandas is not.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise ModuleNotFoundError(
            "to_pandas() needs the package 'pandas': pip install pandas", name="pandas"
        ) from None
    return pandas.DataFrame(list(records), columns=list(columns))


def series_frame(families: Iterable[Family]) -> DataFrame:
    """A frame with a row for each series; see ``Recorder.to_pandas``."""
    records = list(_records(families))
    labels = dict.fromkeys(name for record in records for name in record if name not in _OWN)
    return frame(records, ("metric", *labels, *_OWN[1:]))


def _records(families: Iterable[Family]) -> Iterator[dict[str, Any]]:
    for metric, series in families:
        names = [f"{name}_" if name in _OWN else name for name in metric.labels]
        for values, value in series:
            labels = dict(zip(names, values, strict=True))
            yield {"metric": metric.name, **labels, **_numbers(value)}


def _numbers(value: Value) -> dict[str, float]:
    if not isinstance(value, HistogramValue):
        return {"value": value}
    count = value.count
    quantiles = {"p50": value.quantile(0.5), "p95": value.quantile(0.95)} if count else {}
    return {"value": math.nan, "count": count, "sum": value.sum, **quantiles}
