"""``python -m tests.hostile``: run every hostile test whole and write docs/reliability.md.

With modules, only those, whose sections of the page are made anew: ``test_signals test_bounds``.
What begins with a hyphen is pytest's: ``--numprocesses=2 --dist=worksteal``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.hostile.table import HERE, PAGE, page, proven, rows_of_page


def main(arguments: list[str]) -> int:
    modules = [argument for argument in arguments if not argument.startswith("-")]
    options = [argument for argument in arguments if argument.startswith("-")]
    tests = [str(HERE / f"{module}.py") for module in modules] or [str(HERE)]
    compares = str(HERE / "test_page.py")
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "--ignore", compares),
                *("--timeout=1200", "-o", "faulthandler_timeout=1300"),
                *(*options, *tests),
            ],
            env={**os.environ, "HOSTILE_ROWS": directory},
        )
        kept = [row for row in rows_of_page() if modules and row.module not in modules]
        if not done.returncode:
            PAGE.write_text(page([*kept, *proven(Path(directory))]), encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
