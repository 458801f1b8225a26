"""The picture of the package's rooms and what imports what, as SVG, from the code's own imports."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = "agentmetrics"
PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

WIDTH, ROW, BOX_HEIGHT, CHARACTER, MIN_TEXT, PADDING, MARGIN = 760, 74, 34, 8.2, 66, 14, 20
_STYLE = """
  text { font: 600 14px ui-monospace, monospace; text-anchor: middle; fill: #1f2933 }
  .count { font: 400 10px ui-monospace, monospace; fill: #52606d }
  rect { fill: #f5f7fa; stroke: #7b8794 } path { stroke: #9aa5b1; fill: none }
  marker path { fill: #9aa5b1; stroke: none } .page { fill: #ffffff; stroke: none }
"""

_ARROWHEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
)

Arrows = Mapping[str, set[str]]


def layers() -> list[list[str]]:
    """The rooms by layer, from the top, as the contract in pyproject.toml has them."""
    settings = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["name"] == "Layers":
            return [[room.strip() for room in row.split("|")] for row in contract["layers"]]
    raise LookupError("pyproject.toml has no import contract called Layers")


def arrows(rooms: Iterable[str]) -> dict[str, set[str]]:
    """For each room those that it imports, without what follows from the other arrows."""
    graph = grimp.build_graph(PACKAGE)
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            here, there = _room(importer), _room(imported)
            if here != there and here in found and there in found:
                found[here].add(there)
    return {room: {to for to in direct if not _other_way(found, room, to)}
            for room, direct in found.items()}  # fmt: skip


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _other_way(found: Arrows, start: str, goal: str) -> bool:
    waiting = [room for room in found[start] if room != goal]
    seen = set(waiting)
    while waiting:
        for room in found[waiting.pop()]:
            if room == goal:
                return True
            if room not in seen:
                seen.add(room)
                waiting.append(room)
    return False


def _lines_of(room: str) -> int:
    path = Path(__file__).parent.parent / PACKAGE / room
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def picture() -> str:
    """The SVG."""
    rows = layers()
    places: dict[str, tuple[float, float, float]] = {}  # middle, top, width
    for number, row in enumerate(rows):
        widths = [max(len(room) * CHARACTER, MIN_TEXT) + 2 * PADDING for room in row]
        gap = (WIDTH - sum(widths)) / (len(row) + 1)
        left = gap
        for room, width in zip(row, widths, strict=True):
            places[room] = (left + width / 2, MARGIN + number * ROW, width)
            left += width + gap
    height = MARGIN * 2 + (len(rows) - 1) * ROW + BOX_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" role="img">',
        "<title>What imports what: every arrow runs down</title>",
        f"<style>{_STYLE}</style>",
        _ARROWHEAD,
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
    ]
    for room, targets in sorted(arrows(places).items()):
        parts += [_arrow(places[room], places[target]) for target in sorted(targets)]
    for room, (middle, top, width) in places.items():
        parts.append(
            f'<rect x="{middle - width / 2:.1f}" y="{top}" width="{width:.1f}" '
            f'height="{BOX_HEIGHT}" rx="5"/>'
            f'<text x="{middle:.1f}" y="{top + 16}">{room}</text>'
            f'<text class="count" x="{middle:.1f}" y="{top + 29}">{_about(_lines_of(room))}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _about(lines: int) -> str:
    """Rounded, so that the picture is not another at every change."""
    return f"{max(round(lines / 100), 1) * 100:,} lines" if lines >= 50 else "few lines"


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    (x1, top, _), (x2, y2, _) = start, end
    y1 = top + BOX_HEIGHT
    bend = (y2 - y1) / 2
    # Arrows past other rows swing out to the side, where no box stands.
    out = 0.0 if y2 - y1 < ROW else (1 if x1 + x2 >= WIDTH else -1) * min(260, (y2 - y1) * 1.1)
    return (
        f'<path d="M{x1:.1f} {y1} C{x1 + out:.1f} {y1 + bend:.1f} {x2 + out:.1f} '
        f'{y2 - bend:.1f} {x2:.1f} {y2}" marker-end="url(#head)"/>'
    )
