"""One peer over all cases: ``python -m benchmarks.peers.measure NAME`` prints JSON."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from importlib.metadata import version
from typing import Any

from benchmarks.peers.handlers import PEERS
from benchmarks.peers.score import mistakes
from benchmarks.peers.situations import situations
from tests.conformance.ask import ask, ways
from tests.conformance.case import all_cases
from tests.conformance.replay import replaying
from tests.conformance.wires import WIRES


def measure(name: str) -> dict[str, Any]:
    """The peer's name and version, and for each case and way what it got wrong."""
    peer = PEERS[name]()
    found: dict[str, Any] = {}
    with replaying() as url:
        for case in all_cases():
            bill = WIRES[case.wire].bill(case).without(case.lost, case.model)
            for way in ways(case):
                ask(case, way, url, peer.watch())
                wrong = mistakes(peer, bill, peer.seen())
                found[f"{case.id}-{way}"] = {"exact": not wrong, "wrong": wrong}
    return {
        "name": peer.name,
        "package": peer.package,
        "version": version(peer.package),
        "fields": sorted(peer.fields),
        "cases": found,
        "situations": situations(peer),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable()  # peers log what they cannot read; what counts is what they report
    json.dump(measure(sys.argv[1]), sys.stdout)
