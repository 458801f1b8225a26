"""``python -m tests.conformance``: run every case in every way and write docs/conformance.md."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path

from tests.conformance.ask import ways
from tests.conformance.case import all_cases
from tests.conformance.judge import judge
from tests.conformance.replay import replaying
from tests.conformance.table import PEERS, Peers, page

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    warnings.simplefilter("ignore")  # the packages' own, of models that will be retired
    logging.disable()  # theirs as well, of every error that a case is
    cases = list(all_cases())
    with replaying() as url:
        mistakes = {
            f"{case.id}-{way}": judge(case, way, url).wrong for case in cases for way in ways(case)
        }
    text = page(cases, mistakes, Peers.read(PEERS))
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print("not current: conformance.md; run: make docs", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    print("wrote docs/conformance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
