"""The control groups (cgroups) of this process: what limits it, and what is in use of that.

Which files there are, and what is in them: the kernel's admin-guide/cgroup-v2 and cgroup-v1, and
proc_pid_mountinfo(5). Whatever is missing or cannot be read limits nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

N = TypeVar("N", bound=float)

MICROSECONDS, NANOSECONDS = 1e-6, 1e-9
_WHOLE = re.compile(r"[0-9]{1,20}")
_READ_BYTES = 65_536
_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory")


class Group(Protocol):
    """One control group; each method returns ``None`` for what it does not limit or count."""

    def can_limit(self) -> bool:
        """Whether it has a file for a limit, which the group of a whole host may not have."""

    def memory_limit(self) -> int | None:
        """Bytes that the processes of the group may use together."""

    def memory_used(self) -> int | None:
        """Bytes in use, without the file cache that the kernel can drop at once."""

    def cpu_limit(self) -> float | None:
        """Cores that the processes of the group may use together."""

    def cpu_seconds(self) -> float | None:
        """Seconds of CPU time that the processes of the group have used, ever."""


class UnifiedGroup:
    """A group of cgroup v2, which has one directory for everything."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)

    def __str__(self) -> str:
        return self._directory

    def can_limit(self) -> bool:
        files = ("memory.max", "cpu.max", "cpuset.cpus.effective")
        return any(map(self._read, files))

    def memory_limit(self) -> int | None:
        return _whole(self._read("memory.max"))

    def memory_used(self) -> int | None:
        current = _whole(self._read("memory.current"))
        return _without(current, _field(self._read("memory.stat"), "inactive_file"))

    def cpu_limit(self) -> float | None:
        quota, _, period = self._read("cpu.max").partition(" ")
        return _least(_cores(quota, period), _listed(self._read("cpuset.cpus.effective")))

    def cpu_seconds(self) -> float | None:
        return _seconds(_field(self._read("cpu.stat"), "usage_usec"), MICROSECONDS)

    def _read(self, file: str) -> str:
        return _text(f"{self._directory}/{file}")


class SplitGroup:
    """A group of cgroup v1, which has a directory for each controller, by its name."""

    def __init__(self, directories: Mapping[str, Path], *, is_outermost: bool) -> None:
        self._directories = {name: str(directory) for name, directory in directories.items()}
        self._limit_around = self._memory_limit_around() if is_outermost else None

    def __str__(self) -> str:
        return " and ".join(sorted(set(self._directories.values())))

    def can_limit(self) -> bool:
        return True

    def _memory_limit_around(self) -> int | None:
        """The limit of a group around this one, where it is lower: a container sees no such group.

        It is asked for once, since it is in a long file that the kernel takes its time for.
        """
        least = _field(self._read("memory", "memory.stat"), "hierarchical_memory_limit")
        own = self._own_memory_limit()
        return least if least is not None and own is not None and least < own else None

    def _own_memory_limit(self) -> int | None:
        return _whole(self._read("memory", "memory.limit_in_bytes"))

    def memory_limit(self) -> int | None:
        return _least(self._own_memory_limit(), self._limit_around)

    def memory_used(self) -> int | None:
        used = _whole(self._read("memory", "memory.usage_in_bytes"))
        return _without(used, _field(self._read("memory", "memory.stat"), "total_inactive_file"))

    def cpu_limit(self) -> float | None:
        quota = self._read("cpu", "cpu.cfs_quota_us")  # -1 for none
        period = self._read("cpu", "cpu.cfs_period_us")
        return _least(_cores(quota, period), _listed(self._read("cpuset", "cpuset.effective_cpus")))

    def cpu_seconds(self) -> float | None:
        return _seconds(_whole(self._read("cpuacct", "cpuacct.usage")), NANOSECONDS)

    def _read(self, controller: str, file: str) -> str:
        directory = self._directories.get(controller)
        return "" if directory is None else _text(f"{directory}/{file}")


def groups_of_process(root: Path = Path("/")) -> list[Group]:
    """The groups that this process is in, those around it first.

    Where both versions are mounted, each has its own: a controller is in one of them. ``root`` is
    where ``/proc`` and the mounts are found.
    """
    unified: list[Group] = []
    split: dict[str, dict[str, Path]] = {}
    mounts = list(_mounts(root))
    for line in _text(f"{root}/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            unified += [UnifiedGroup(each) for _, each in _levels(mounts, "", path)]
        for controller in set(controllers.split(",")).intersection(_CONTROLLERS):
            for name, directory in _levels(mounts, controller, path):
                split.setdefault(name, {})[controller] = directory
    by_depth = sorted(split, key=len)  # of two that lie in one another, the outer is shorter
    separate = [SplitGroup(split[name], is_outermost=name == "") for name in by_depth]
    return [group for group in (*unified, *separate) if group.can_limit()]


class _Mount(NamedTuple):
    controllers: frozenset[str]
    root: str
    """What of the hierarchy is mounted: in a container, often its own group alone."""
    point: Path


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in _text(f"{root}/proc/self/mountinfo").splitlines():
        place, _, kind = line.partition(" - ")
        fields, (name, *rest) = place.split(), (kind.split() or [""])
        if len(fields) > 4 and name in ("cgroup", "cgroup2"):
            has = frozenset(rest[-1].split(",") if name == "cgroup" and rest else ("",))
            yield _Mount(has, _unescaped(fields[3]), root / _unescaped(fields[4]).lstrip("/"))


def _levels(mounts: list[_Mount], controller: str, path: str) -> list[tuple[str, Path]]:
    """The names and directories of the groups on the way to ``path``, the outermost first."""
    for mount in mounts:
        if controller in mount.controllers:
            found = [("", mount.point)]
            for part in _inside(mount.root, path):
                name, directory = found[-1]
                if not (directory / part).is_dir():
                    break
                found.append((f"{name}/{part}", directory / part))
            return found
    return []


def _inside(mounted: str, path: str) -> list[str]:
    """The parts of the path of a group below what is mounted.

    In a namespace of its own, a process sees a path from there, which begins with ``/..`` for what
    is outside; without one, a container sees the host's path, and of the mount its own group.
    """
    base, parts = mounted.strip("/").split("/"), path.strip("/").split("/")
    if base != [""]:
        if parts[: len(base)] != base:
            return []
        parts = parts[len(base) :]
    return [] if ".." in parts or parts == [""] else parts


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _text(file: str) -> str:
    """What is in a file; nothing where it cannot be read. Opened by hand, which takes a third."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except (OSError, ValueError):  # ValueError for a path with a null character
        return ""
    try:
        read = b"".join(iter(partial(os.read, descriptor, _READ_BYTES), b""))
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return read.decode("utf-8", "replace")


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if _WHOLE.fullmatch(text) else None


def _field(text: str, name: str) -> int | None:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return _whole(value)
    return None


def _cores(quota: str, period: str) -> float | None:
    allowed, every = _whole(quota), _whole(period)
    return allowed / every if allowed and every else None


def _listed(cpus: str) -> int | None:
    """How many there are in a list such as ``0-3,7``."""
    count = 0
    for part in cpus.strip().split(","):
        low, dash, high = part.partition("-")
        first, last = _whole(low), _whole(high if dash else low)
        if first is None or last is None or last < first:
            return None
        count += last - first + 1
    return count


def _least(*limits: N | None) -> N | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _without(used: int | None, inactive: int | None) -> int | None:
    return None if used is None else max(0, used - (inactive or 0))


def _seconds(count: int | None, unit: float) -> float | None:
    return None if count is None else count * unit
