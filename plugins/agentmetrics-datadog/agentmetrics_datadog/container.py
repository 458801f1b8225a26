"""Which container this process is in, as the Agent is told so that it adds the container's tags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc/self")
CGROUPS: Final = Path("/sys/fs/cgroup")
_HOST_NAMESPACE: Final = 0xEFFFFFFB
"""The inode of the host's cgroup namespace, PROC_CGROUP_INIT_INO in Linux' proc_ns.h."""
_FIRST_OF_A_CGROUP: Final = 3
"""0 to 2 are no inode, bad blocks and the root of a file system."""

_ID = re.compile(
    r"([0-9a-f]{64}"  # Docker, containerd, CRI-O, Podman
    r"|[0-9a-f]{8}(?:[-_][0-9a-f]{4}){4}(?:[0-9a-f]{8})?"  # a UUID; Garden's are shorter
    r"|[0-9a-f]{32}-\d+)"  # ECS on Fargate
    r"(?:\.scope)?$"
)


def container_id(proc: Path = PROC, cgroups: Path = CGROUPS) -> str:
    """``ci-`` and the container's id, or ``in-`` and the inode of its cgroup; empty outside of one.

    In the host's cgroup namespace the path of a cgroup has the id. In a namespace of its own a
    container sees no such path, so that the Agent is told the inode, which it can look up.
    """
    try:
        groups = _groups((proc / "cgroup").read_text())
        if _is_host_namespace(proc):
            return next((f"ci-{found}" for path in groups.values() if (found := _id_in(path))), "")
        return _inode(groups, cgroups)
    except OSError:  # no such file system: not Linux, or not mounted
        return ""


def _groups(text: str) -> dict[str, str]:
    """The path of the process' cgroup by controller; the one of cgroup v2 is called ``""``."""
    lines = (line.split(":", 2) for line in text.splitlines())
    return {fields[1]: fields[2] for fields in lines if len(fields) == 3}


def _is_host_namespace(proc: Path) -> bool:
    try:
        return (proc / "ns" / "cgroup").stat().st_ino == _HOST_NAMESPACE
    except OSError:
        return False


def _id_in(path: str) -> str:
    found = _ID.search(path.rpartition("/")[2])
    return found[1] if found else ""


def _inode(groups: dict[str, str], cgroups: Path) -> str:
    for controller in ("memory", ""):  # of cgroup v1, then v2
        if controller not in groups:
            continue
        try:
            inode = (cgroups / controller / groups[controller].lstrip("/")).stat().st_ino
        except OSError:  # the path is one of the host, which is not mounted here
            continue
        if inode >= _FIRST_OF_A_CGROUP:
            return f"in-{inode}"
    return ""
