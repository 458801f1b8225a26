"""What a call costs, as a picture for the README; drawn by matplotlib."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.contenders import HAND, LABELS
from benchmarks.measure import Row
from benchmarks.rows import LEDGER

OURS, THEIRS, TEXT, SOFT = "#1f5fbf", "#9aa3b2", "#16181d", "#596070"
NAMED = {
    LABELS: "hand-written, labels() at every update",
    HAND: "hand-written, labels bound once",
    "memory": "agentmetrics, memory",
    "prometheus": "agentmetrics, Prometheus",
    "statsd": "agentmetrics, StatsD",
}
WITH_LEDGER = "agentmetrics, memory and a ledger"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": TEXT,
    "svg.fonttype": "none",  # letters as text, which every browser has a font for
    "svg.hashsalt": "agentmetrics",  # the same picture for the same numbers
}


def made(calls: Row, with_ledger: Row) -> bytes:
    """Bars, as SVG, of the rows "One call, by backend" and "One call, with a ledger"."""
    medians = {said: calls[name].median for name, said in NAMED.items()}
    medians[WITH_LEDGER] = with_ledger[LEDGER].median
    names = list(reversed(medians))
    micros = [medians[name] * 1e6 for name in names]
    stored = BytesIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 2.6), layout="constrained")
        axes = figure.add_subplot()
        colours = [OURS if name.startswith("agentmetrics") else THEIRS for name in names]
        bars = axes.barh(names, micros, color=colours, height=0.62)
        axes.bar_label(bars, [f"{each:.1f} µs" for each in micros], padding=5)
        axes.set_title("CPU time that metrics add to an LLM call", loc="left", fontsize=11)
        axes.set_xlim(0, max(micros) * 1.12)
        axes.xaxis.set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=TEXT)
        axes.spines[:].set_visible(False)
        axes.axvline(0, color=SOFT, linewidth=0.8)
        figure.savefig(stored, format="svg", metadata={"Date": None, "Creator": None})
    return stored.getvalue()
