"""Dashboards drawn as PNG: Grafana's own components in headless Chromium, on a live Prometheus.

npm installs what that needs into ``build/panels/``, in a directory named by a hash of
``tests/panels/package.json``; the bundle of the page is inside it, named by a hash of the sources.
"""

from __future__ import annotations

import fcntl
import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from tests.services.process import required

SOURCES = Path(__file__).parents[1] / "panels"
BUILD = Path(__file__).parents[2] / "build" / "panels"

_PAGE = (".html", ".js", ".jsx", ".mjs", ".ts")
_FONTS = [f"--loader:.{kind}=dataurl" for kind in ("ttf", "woff", "woff2")]
_BUNDLE = ["--bundle", "--minify", "--jsx=automatic", "--log-level=error", *_FONTS]


@dataclass(frozen=True)
class Panel:
    """How the drawing of a panel went, and what stands in it outside of its graph.

    ``no data`` is also where every value is NaN; ``waiting`` where it did not end in a minute. Rows
    are no panels.
    """

    id: int
    title: str
    type: str
    state: Literal["drawn", "no data", "error", "waiting"]
    error: str | None
    text: str

    def __str__(self) -> str:
        said = f": {self.error}" if self.error else ""
        return f"panel {self.id} ({self.type}, {self.title!r}): {self.state}{said}"


@dataclass(frozen=True)
class Picture:
    """A board that was drawn, as PNG, and what its page said went wrong outside of any panel."""

    png: bytes
    panels: tuple[Panel, ...]
    errors: tuple[str, ...]

    def complaints(self, may_be_empty: Collection[str] = ()) -> list[str]:
        """What did not draw, a sentence each; panels with these titles may be without data."""
        wrong = [
            str(panel)
            for panel in self.panels
            if panel.state != "drawn"
            and not (panel.state == "no data" and panel.title in may_be_empty)
        ]
        return [*wrong, *self.errors]


def draw(
    board: Mapping[str, Any],
    *,
    prometheus: str,
    variables: Mapping[str, str | Sequence[str]] | None = None,
    start: str | None = None,
    now: float | None = None,
    scrape_interval: float = 15.0,
    theme: Literal["dark", "light"] = "dark",
    width: int = 1600,
) -> Picture:
    """Draw a dashboard, in the classic schema, from the Prometheus at this URL.

    A variable's value is put in queries as it is (``".*"`` is All), a list as a regular expression
    of its values; without one, it is what the board was saved with. ``start`` is as in Grafana,
    ``"now-15m"``, and the board's own by default; ``now`` is a Unix time, such as of the last
    scrape. ``scrape_interval`` is in seconds, ``width`` in pixels. Raises ``AssertionError`` if the
    browser fails; a panel that does is in the answer.
    """
    drawing = {
        "board": board,
        "prometheus": prometheus,
        "given": variables or {},
        "from": start,
        "now": None if now is None else now * 1000,
        "scrapeInterval": scrape_interval * 1000,
        "mode": theme,
        "width": width,
    }
    page, chromium = bundled(), required("chromium", "chromium")
    with tempfile.TemporaryDirectory() as directory:
        png = Path(directory) / "board.png"
        command: list[str | Path] = [
            required("node", "nodejs"),
            page / "draw.mjs",
            page,
            chromium,
            png,
        ]
        said = json.loads(_ran(command, given=json.dumps(drawing)))
        panels = tuple(Panel(**panel) for panel in said["panels"])
        return Picture(png.read_bytes(), panels, tuple(said["errors"]))


@functools.cache
def installed() -> Path:
    """The directory of ``node_modules``; npm fills it once."""
    manifest = SOURCES / "package.json"
    directory = BUILD / _hash([manifest])

    def install(into: Path) -> None:
        print(
            "Installing what draws dashboards into build/panels; once, a minute or so", flush=True
        )
        shutil.copy(manifest, into)
        npm = required("npm", "nodejs npm")
        # The peers of one package that nothing here uses stop at an older React.
        options = ["--no-audit", "--no-fund", "--no-package-lock", "--legacy-peer-deps"]
        _ran([npm, "install", *options, "--prefix", into])

    return _made(directory, install)


@functools.cache
def bundled() -> Path:
    """The directory of the page, ``index.html``, and of what opens it, ``draw.mjs``."""
    sources = [path for path in sorted(SOURCES.iterdir()) if path.suffix in _PAGE]
    modules = installed()

    def bundle(into: Path) -> None:
        for source in sources:
            shutil.copy(source, into)
        esbuild = modules / "node_modules" / ".bin" / "esbuild"
        production = '--define:process.env.NODE_ENV="production"'
        _ran([esbuild, into / "page.jsx", f"--outfile={into / 'page.js'}", production, *_BUNDLE])

    return _made(modules / f"page-{_hash(sources)}", bundle)


def _hash(files: Iterable[Path]) -> str:
    return sha256(b"\0".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()[
        :12
    ]


def _made(directory: Path, make: Callable[[Path], None]) -> Path:
    """The directory, made if it is not there: whole or not at all, by one process at a time."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            unfinished = Path(tempfile.mkdtemp(dir=directory.parent))
            try:
                make(unfinished)
                unfinished.rename(directory)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return directory


def _ran(command: Sequence[str | Path], *, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout}{done.stderr}"
    return done.stdout
