"""Plugins for the tests: distributions in a folder, as pip leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path


def backend_names() -> str:
    """The backends that are installed here, as messages list them; those of plugins are, too."""
    names = sorted({point.name for point in entry_points(group="agentmetrics.backends")})
    return ", ".join(names)


def install(
    site: Path,
    name: str,
    entry_points: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str] = {},
    requires: tuple[str, ...] = (),
) -> None:
    """Put a distribution into ``site``: modules by file name, entry points by group and name."""
    for file, text in modules.items():
        (site / file).write_text(text)
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(metadata) + "\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in points.items())])
        for group, points in entry_points.items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
