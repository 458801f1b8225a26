"""``python -m tests.panels`` draws dashboards as PNG; without one, it installs what that needs.

The exit code is 1 if a panel failed or has no data.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.services.panels import draw, installed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.panels", description=__doc__)
    parser.add_argument("boards", metavar="BOARD.json", nargs="*", type=Path)
    parser.add_argument("--prometheus", metavar="URL", default="http://127.0.0.1:9090")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path(), help="where PNGs go")
    parser.add_argument("--from", dest="start", metavar="TIME", help="such as now-15m")
    parser.add_argument("--scrape-interval", metavar="SECONDS", type=float, default=15.0)
    parser.add_argument("--theme", choices=["dark", "light"], default="dark")
    parser.add_argument("--width", metavar="PIXELS", type=int, default=1600)
    parser.add_argument(
        "--variable",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a variable's value; .* is All; given twice, it is both",
    )
    return parser.parse_args()


def variables(given: list[str]) -> dict[str, str | list[str]]:
    values: dict[str, list[str]] = {}
    for name, _, value in (pair.partition("=") for pair in given):
        values.setdefault(name, []).append(value)
    return {name: all_ if len(all_) > 1 else all_[0] for name, all_ in values.items()}


def main() -> int:
    asked, failed = arguments(), False
    installed()
    asked.out.mkdir(parents=True, exist_ok=True)
    for path in asked.boards:
        picture = draw(
            json.loads(path.read_text("utf-8")),
            prometheus=asked.prometheus,
            variables=variables(asked.variable),
            start=asked.start,
            scrape_interval=asked.scrape_interval,
            theme=asked.theme,
            width=asked.width,
        )
        (asked.out / f"{path.stem}.png").write_bytes(picture.png)
        print(f"{asked.out / path.stem}.png: {len(picture.panels)} panels")
        for complaint in picture.complaints():
            failed = True
            print(f"  {complaint}")
    return int(failed)


sys.exit(main())
