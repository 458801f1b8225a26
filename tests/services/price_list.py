"""A second public price list, to compare ours with: the JSON that the package litellm ships.

It is fetched when tests are run, through the package index that pip is configured with, and kept in
``build/prices``. The library never reads it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

VERSION = "1.110.2"
KEPT = Path(__file__).parents[2] / "build" / "prices" / f"litellm-{VERSION}.json"
_MEMBER = "litellm/model_prices_and_context_window_backup.json"
_DOWNLOAD_SECONDS = 300.0


def second_list() -> dict[str, dict[str, Any]]:
    """The list, by the names that it has for models; a ``litellm_provider`` is in each entry."""
    if not KEPT.exists():
        _fetch()
    prices: dict[str, dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8"))
    return prices


def _fetch() -> None:
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT.parent) as directory:
        subprocess.run(
            (
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download"),
                *("--quiet", "--no-deps", "--only-binary=:all:", "--dest", directory),
                f"litellm=={VERSION}",
            ),
            check=True,
            timeout=_DOWNLOAD_SECONDS,
        )
        (wheel,) = Path(directory).glob("*.whl")
        whole = Path(directory) / KEPT.name
        with zipfile.ZipFile(wheel) as archive:
            whole.write_bytes(archive.read(_MEMBER))
        whole.replace(KEPT)  # several may fetch it at once
