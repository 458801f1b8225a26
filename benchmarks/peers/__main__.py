"""All peers over all cases, each in its own process: ``python -m benchmarks.peers``."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.handlers import PEERS

RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    """Write ``results.json`` beside this module."""
    measured = []
    for name in PEERS:
        print(f"{name} …", file=sys.stderr)
        command = [sys.executable, "-m", "benchmarks.peers.measure", name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        measured.append(json.loads(output))
    results = {
        "command": "make peers",
        "versions": {
            "python": platform.python_version(),
            "langchain-core": version("langchain-core"),
        },
        "peers": measured,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
