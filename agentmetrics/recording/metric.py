"""The definition of a metric, and label values that every wire format can carry."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from agentmetrics.recording.collector import is_collecting
from agentmetrics.recording.unseen import without_unseen

Kind = Literal["counter", "gauge", "histogram"]

_METRIC_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MAX_LABEL_LENGTH = 128


def clean_label(value: object) -> str:
    """A label value that every wire format can carry, and that is read as what it is.

    Control characters, line separators and lone surrogates become ``_``, text is truncated to 128
    characters, characters that nobody sees are left out (``recording/unseen.py`` says which), and
    ``None`` is the empty string. Anything other than text and numbers becomes ``invalid``: the
    ``repr`` of an object may contain data that must not leave the process. So does what cannot be
    read, such as a proxy of nothing; this is the guard of all label values.
    """
    if (
        type(value) is str
        and len(value) <= MAX_LABEL_LENGTH
        and value.isascii()
        and value.isprintable()
    ):
        return value
    if issubclass(type(value), str):
        text = str.__str__(value)[:MAX_LABEL_LENGTH]  # of an enum's member the value
    elif value is None:
        return ""
    else:
        text = _foreign_text(value)[:MAX_LABEL_LENGTH]
    if text.isascii() and text.isprintable():
        return text
    whole = text if text.isprintable() else _UNSAFE.sub("_", text)
    return without_unseen(whole) or "_"  # what shows nothing is not what says nothing


def _foreign_text(value: object) -> str:
    """The text of a number, or of a proxy that has the class of text or of a number.

    Somebody's own code runs here. If it records something itself, that has the same value among its
    labels, whose code would run again, and so on: it is not asked twice.
    """
    if _is_reading.get() or is_collecting():
        return "invalid"
    token = _is_reading.set(True)
    try:
        if isinstance(value, str | int | float):
            return str.__str__(str(value))
    except Exception:  # or more digits than Python writes
        pass
    finally:
        _is_reading.reset(token)
    return "invalid"


_is_reading: ContextVar[bool] = ContextVar("agentmetrics_is_reading", default=False)


# What is asked of classes here is answered by Python itself, whatever their metaclass says instead.


def class_name(value: object) -> str:
    """The name of an object's class."""
    return name_of(type(value))


def name_of(cls: type) -> str:
    """The name of a class."""
    return str.__str__(_OF_CLASSES["__name__"](cls))


def module_of(cls: type) -> str:
    """The module that a class is in, and ``""`` where it has none."""
    module = _OF_CLASSES["__module__"](cls)
    return module if type(module) is str else ""


def classes_of(value: object) -> tuple[type, ...]:
    """An object's class, and all that it inherits from."""
    classes: tuple[type, ...] = _OF_CLASSES["__mro__"](type(value))
    return classes


def class_has(value: object, name: str) -> bool:
    """Whether an object's class has this attribute."""
    return any(name in _OF_CLASSES["__dict__"](cls) for cls in classes_of(value))


_OF_CLASSES: dict[str, Callable[[type], Any]] = {
    name: vars(type)[name].__get__ for name in ("__name__", "__module__", "__mro__", "__dict__")
}


def check_label_name(name: str) -> None:
    """Raise ``ValueError`` unless ``name`` is a valid Prometheus label name.

    The rule is that of the Prometheus data model: letters, digits and underscores, not starting
    with a digit or ``__``; ``le`` and ``quantile`` are reserved for histograms and summaries.
    """
    if not _LABEL_NAME.fullmatch(name) or name in ("le", "quantile"):
        raise ValueError(
            f"{name!r} is not a valid label name: use letters, digits and underscores, not "
            f"starting with a digit or '__', and not 'le' or 'quantile'{_instead(name)}"
        )


def check_prefix(prefix: str) -> None:
    """Raise ``ValueError`` unless ``prefix`` is a valid prefix for metric names."""
    if not _LABEL_NAME.fullmatch(prefix):  # the alphabet of metric names without the colon
        raise ValueError(
            f"{prefix!r} is not a valid prefix for metric names: use letters, digits and "
            f"underscores, not starting with a digit or '__'{_instead(prefix)}"
        )


def _instead(name: str) -> str:
    legal = re.sub(r"[^a-zA-Z0-9_]+", "_", name).strip("_")
    return f"; write {legal!r}" if _LABEL_NAME.fullmatch(legal) and legal != name else ""


def check_buckets(buckets: tuple[float, ...]) -> None:
    """Raise ``ValueError`` unless ``buckets`` are finite upper bounds in increasing order."""
    rising = all(low < high for low, high in pairwise(buckets))
    if not buckets or not rising or not all(map(math.isfinite, buckets)):
        raise ValueError(
            f"buckets {list(buckets)} must be finite numbers in increasing order, at least one"
        )


@dataclass(frozen=True)
class Metric:
    """The definition of a metric: its name, kind, help text, unit and label names.

    ``buckets`` are the upper bounds of a histogram, without ``+Inf``. ``closed_labels`` lists the
    labels with a fixed set of values (``status``), which the cardinality limit keeps. ``merge``
    defines how a gauge of several processes is combined: the ``sum`` over live processes (things in
    flight), their ``max`` (ages), or the ``last`` value set. ``extended`` metrics get the extra
    labels that the user configured, after their own.

    Raises ``ValueError`` on a name, label or bucket that Prometheus would reject.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    closed_labels: frozenset[str] = frozenset()
    merge: Literal["sum", "max", "last"] = "last"
    extended: bool = False

    def __post_init__(self) -> None:
        if not _METRIC_NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is not a valid metric name: use letters, digits and "
                "underscores, not starting with a digit"
            )
        if self.kind not in ("counter", "gauge", "histogram"):
            raise ValueError(f"{self.kind!r} is not a kind: use counter, gauge or histogram")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"metric {self.name!r} lists a label twice: {self.labels}")
        for label in self.labels:
            check_label_name(label)
        if self.kind == "histogram":
            check_buckets(self.buckets)

    @property
    def is_live(self) -> bool:
        """Whether a gauge is about what goes on now, which a process that ends takes with it."""
        return self.merge != "last"

    def joined(self, one: float, other: float) -> float:
        """The value of a gauge where two readings turn out to have the same labels."""
        return max(one, other) if self.merge == "max" else one + other

    def with_labels(self, names: tuple[str, ...]) -> Metric:
        """The same metric with more labels, last."""
        return replace(self, labels=self.labels + names) if names else self


def check_same(known: Metric, asked: Metric) -> None:
    """Raise ``ValueError`` when one name is used for two different metrics."""
    if (known.kind, known.labels, known.buckets) != (asked.kind, asked.labels, asked.buckets):
        raise ValueError(
            f"{asked.name} is already a {_described(known)}; requested as a {_described(asked)}"
        )


def _described(metric: Metric) -> str:
    buckets = f" and buckets {list(metric.buckets)}" if metric.buckets else ""
    return f"{metric.kind} with labels {list(metric.labels)}{buckets}"
