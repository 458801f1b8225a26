"""``python -m benchmarks``: measure everything, write it down, say which targets are met."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path

import pyperf

from benchmarks import chart, report, rows, same
from benchmarks.contenders import CALC_PRICE, HAND
from benchmarks.looking import NOBODY
from benchmarks.recycled import TEN_WORKERS

RESULTS = Path(__file__).with_name("RESULTS.md")
CHART = Path(__file__).parents[1] / "docs" / "images" / "overhead.svg"

PLAN = {
    "call": ("One call, by backend", HAND, 400),
    "multiprocess": ("One call, Prometheus multiprocess mode", HAND, 150),
    "ledger": ("One call, with a ledger", "memory", 100),
    "token": ("One streamed token", HAND, 150),
    "stream": ("One streamed call of 100 tokens", HAND, 150),
    "label_sets": ("One call, by label sets held", "memory, 1", 240),
    "new_label_sets": ("The first call of an agent, and of a model", "memory", 40),
    "threads": ("One call, by threads (wall time)", f"{HAND}, 1", 40),
    "scrape": ("One scrape of 10 000 series", "prometheus-client", 25),
    "recycled": ("One scrape of ten workers in multiprocess mode", TEN_WORKERS, 15),
    "looking": ("One agent run, by who looks", NOBODY, 40),
    "pricing": ("The price of one call", CALC_PRICE, 60),
    "dispatch": ("One `invoke` through LangChain's dispatch", HAND, 150),
}
"""By function in ``rows``: the title, what stands as 1, and how many rounds."""


def main() -> int:
    arguments = _arguments()
    began = time.monotonic()
    same.check()
    measured = {}
    for name, (title, _, rounds) in PLAN.items():
        print(f"{title} …", file=sys.stderr, flush=True)
        gc.collect()  # what the row before left behind is not this one's
        measured[name] = getattr(rows, name)(max(4, rounds // 10) if arguments.quick else rounds)
    sections = [report.Section(PLAN[n][0], PLAN[n][1], row) for n, row in measured.items()]
    found = report.targets(measured)
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    text = report.page(sections, found, command)
    print(text)
    print(f"took {time.monotonic() - began:.0f} s", file=sys.stderr)
    if not arguments.quick:
        RESULTS.write_text(text, encoding="utf-8")
        CHART.write_bytes(chart.made(measured["call"], measured["ledger"]))
    if arguments.json:
        every = [m.as_benchmark(name) for name, row in measured.items() for m in row.values()]
        pyperf.BenchmarkSuite(every).dump(arguments.json, replace=True)
    return 1 if arguments.check and not all(target.met for target in found) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the rounds, nothing written"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--json", metavar="FILE", help="also every value, for `pyperf stats FILE`")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
