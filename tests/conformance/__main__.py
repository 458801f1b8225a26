"""``python -m tests.conformance``: run every case in every way and write docs/conformance.md."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from tests.conformance.ask import ways
from tests.conformance.case import all_cases
from tests.conformance.judge import judge
from tests.conformance.replay import replaying
from tests.conformance.table import PEERS, Peers, page

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def main() -> None:
    warnings.simplefilter("ignore")  # the packages' own, of models that will be retired
    logging.disable()  # theirs as well, of every error that a case is
    cases = list(all_cases())
    with replaying() as url:
        mistakes = {
            f"{case.id}-{way}": judge(case, way, url).wrong for case in cases for way in ways(case)
        }
    PAGE.write_text(page(cases, mistakes, Peers.read(PEERS)), encoding="utf-8")


if __name__ == "__main__":
    main()
