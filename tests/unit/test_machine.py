"""What is read of the machine: a container's limits in trees of files, and the host's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from agentmetrics.machine.reading import Machine
from tests.unit.test_store import in_a_child

MIB = 1024 * 1024
UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
SPLIT = "".join(
    f"{number} 23 0:{number} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
    for number, name in enumerate(("cpu,cpuacct", "cpuset", "memory"), 32)
)
NO_LIMIT_V1 = str(2**63 - 4096)
"""What a group of version 1 has for no limit: the largest number of pages."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _a_host_of_64_cores_and_64_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits below that are a container's, on whatever the test runs on."""
    real = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: real._replace(total=65_536 * MIB))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One without any control group."""
    write(tmp_path, "proc/self", {"cgroup": "", "mountinfo": ""})
    return tmp_path


def write(root: Path, directory: str, files: Mapping[str, object]) -> None:
    for name, text in files.items():
        file = root / directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")


def in_unified(root: Path, path: str, mountinfo: str = UNIFIED) -> None:
    write(root, "proc/self", {"cgroup": f"0::{path}", "mountinfo": mountinfo})


def in_split(root: Path, path: str, mountinfo: str = SPLIT) -> None:
    lines = f"4:memory:{path}\n3:cpuset:{path}\n2:cpu,cpuacct:{path}\n1:name=systemd:{path}\n"
    write(root, "proc/self", {"cgroup": lines, "mountinfo": mountinfo})


def limits(root: Path) -> tuple[float | None, float | None]:
    """Cores, and MiB of memory."""
    found = Machine(root=root).read()
    memory = found.memory_limit_bytes
    return found.cpu_limit_cores, None if memory is None else memory / MIB


class TestAContainerOfVersion2:
    def test_a_container_of_version_2_has_its_own_limits_and_use(
        self, root: Path, clock: Clock
    ) -> None:
        in_unified(root, "/")
        write(
            root,
            "sys/fs/cgroup",
            {
                "memory.max": 512 * MIB,
                "memory.current": 300 * MIB,
                "memory.stat": f"anon 1\nfile 9\nactive_file 7\ninactive_file {100 * MIB}\nslab 2",
                "cpu.max": "150000 100000",
                "cpu.stat": "usage_usec 7000000\nuser_usec 1",
            },
        )
        machine = Machine(root=root, clock=clock)
        clock.now += 10
        write(root, "sys/fs/cgroup", {"cpu.stat": "usage_usec 10000000\nuser_usec 2"})
        found = machine.read()
        assert (found.cpu_limit_cores, found.memory_limit_bytes) == (1.5, 512 * MIB)
        assert found.memory_used_bytes == 200 * MIB
        assert found.memory_percent == pytest.approx(100 * 200 / 512)
        assert found.cpu_percent == pytest.approx(100 * 3 / 10 / 1.5)

    def test_a_container_of_version_2_without_limits_has_the_hosts(self, root: Path) -> None:
        in_unified(root, "/")
        files = {"memory.max": "max", "memory.current": 5, "cpu.max": "max 100000"}
        write(root, "sys/fs/cgroup", files)
        assert limits(root) == (64, 65_536)
        assert Machine(root=root).read().memory_used_bytes != 5

    def test_a_container_of_version_2_may_have_fewer_cpus_than_its_quota(self, root: Path) -> None:
        in_unified(root, "/")
        write(root, "sys/fs/cgroup", {"cpu.max": "800000 100000"})
        write(root, "sys/fs/cgroup", {"cpuset.cpus.effective": "0-2,5"})
        assert limits(root)[0] == 4

    def test_a_container_of_version_2_in_the_hosts_namespace_is_found_by_its_path(
        self, root: Path
    ) -> None:
        in_unified(root, "/system.slice/docker-ab.scope")
        write(root, "sys/fs/cgroup/system.slice/docker-ab.scope", {"memory.max": 64 * MIB})
        assert limits(root)[1] == 64

    def test_a_container_of_version_2_that_sees_its_group_alone_finds_it_where_it_is_mounted(
        self, root: Path
    ) -> None:
        in_unified(root, "/docker/ab", UNIFIED.replace(" / ", " /docker/ab ", 1))
        write(root, "sys/fs/cgroup", {"memory.max": 64 * MIB})
        assert limits(root)[1] == 64

    @pytest.mark.parametrize("path", ["/../..", "/../other", "/nowhere/else", "", "/a/../../b"])
    def test_a_container_of_version_2_with_a_path_that_is_not_there_has_the_mounts_limit(
        self, root: Path, path: str
    ) -> None:
        in_unified(root, path)
        write(root, "sys/fs/cgroup", {"memory.max": 64 * MIB})
        write(root, "sys/fs/other", {"memory.max": MIB})
        assert limits(root)[1] == 64

    def test_a_container_of_version_2_may_be_mounted_at_a_path_with_a_space(
        self, root: Path
    ) -> None:
        in_unified(root, "/", UNIFIED.replace("/sys/fs/cgroup", r"/sys/c\040g"))
        write(root, "sys/c g", {"memory.max": 64 * MIB})
        assert limits(root)[1] == 64


class TestGroupsInGroups:
    def test_groups_in_groups_have_the_lowest_limit_and_the_use_of_the_group_that_has_it(
        self, root: Path, clock: Clock
    ) -> None:
        in_unified(root, "/pod/container")
        pod, container = "sys/fs/cgroup/pod", "sys/fs/cgroup/pod/container"
        write(root, pod, {"memory.max": 100 * MIB, "memory.current": 90 * MIB})
        write(root, container, {"memory.max": 200 * MIB, "memory.current": 10 * MIB})
        write(root, pod, {"cpu.max": "400000 100000", "cpu.stat": "usage_usec 0"})
        write(root, container, {"cpu.max": "200000 100000", "cpu.stat": "usage_usec 0"})
        machine = Machine(root=root, clock=clock)
        clock.now += 1
        write(root, pod, {"cpu.stat": "usage_usec 3000000"})
        write(root, container, {"cpu.stat": "usage_usec 1000000"})
        found = machine.read()
        assert found.memory_percent == pytest.approx(90)
        assert found.cpu_limit_cores == 2
        assert found.cpu_percent == pytest.approx(50)

    def test_groups_in_groups_with_the_same_limit_share_it(self, root: Path) -> None:
        in_unified(root, "/pod/container")
        files = {"memory.max": 100 * MIB, "memory.current": 90 * MIB}
        write(root, "sys/fs/cgroup/pod", files)
        write(root, "sys/fs/cgroup/pod/container", {**files, "memory.current": 10 * MIB})
        assert Machine(root=root).read().memory_used_bytes == 90 * MIB


class TestAContainerOfVersion1:
    def test_a_container_of_version_1_has_its_own_limits_and_use(
        self, root: Path, clock: Clock
    ) -> None:
        in_split(root, "/docker/ab")
        write(
            root,
            "sys/fs/cgroup/memory/docker/ab",
            {
                "memory.limit_in_bytes": 512 * MIB,
                "memory.usage_in_bytes": 300 * MIB,
                "memory.stat": f"inactive_file 5\ntotal_inactive_file {100 * MIB}",
            },
        )
        cpu = "sys/fs/cgroup/cpu,cpuacct/docker/ab"
        write(root, cpu, {"cpu.cfs_quota_us": 50_000, "cpu.cfs_period_us": 100_000})
        write(root, cpu, {"cpuacct.usage": 10**9})
        machine = Machine(root=root, clock=clock)
        clock.now += 4
        write(root, cpu, {"cpuacct.usage": 2 * 10**9})
        found = machine.read()
        assert (found.memory_limit_bytes, found.memory_used_bytes) == (512 * MIB, 200 * MIB)
        assert found.cpu_limit_cores == 0.5
        assert found.cpu_percent == pytest.approx(50)

    def test_a_container_of_version_1_without_limits_has_the_hosts(self, root: Path) -> None:
        in_split(root, "/")
        stat = f"hierarchical_memory_limit {NO_LIMIT_V1}"
        memory = {"memory.limit_in_bytes": NO_LIMIT_V1, "memory.stat": stat}
        write(root, "sys/fs/cgroup/memory", memory)
        cpu = {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100_000}
        write(root, "sys/fs/cgroup/cpu,cpuacct", cpu)
        write(root, "sys/fs/cgroup/cpuset", {"cpuset.effective_cpus": "0-63"})
        assert limits(root) == (64, 65_536)

    def test_a_container_of_version_1_has_the_limit_of_a_group_that_it_cannot_see(
        self, root: Path
    ) -> None:
        in_split(root, "/docker/ab", SPLIT.replace(" / ", " /docker/ab "))
        stat = f"hierarchical_memory_limit {64 * MIB}"
        memory = {"memory.limit_in_bytes": NO_LIMIT_V1, "memory.stat": stat}
        write(root, "sys/fs/cgroup/memory", memory)
        assert limits(root)[1] == 64

    def test_a_container_of_version_1_whose_cpu_time_is_not_counted_has_no_percentage(
        self, root: Path, clock: Clock
    ) -> None:
        in_split(root, "/docker/ab")
        cpu = {"cpu.cfs_quota_us": 50_000, "cpu.cfs_period_us": 100_000}
        write(root, "sys/fs/cgroup/cpu,cpuacct/docker/ab", cpu)
        machine = Machine(root=root, clock=clock)
        clock.now += 1
        found = machine.read()
        assert (found.cpu_limit_cores, found.cpu_percent) == (0.5, None)

    def test_a_container_of_version_1_beside_an_empty_version_2_is_found(self, root: Path) -> None:
        in_split(root, "/ab", SPLIT + UNIFIED.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"))
        with (root / "proc/self/cgroup").open("a") as lines:
            lines.write("0::/\n")
        (root / "sys/fs/cgroup/unified").mkdir(parents=True)
        memory = {"memory.limit_in_bytes": 64 * MIB}
        write(root, "sys/fs/cgroup/memory/ab", memory)
        assert limits(root)[1] == 64


class TestFilesThatSayNothing:
    @pytest.mark.parametrize(
        "text", ["", "garbage", "-1", "1e9", "٣٣", "0x10", "9" * 400, "\0", "max max", "5 5 5"]
    )
    def test_files_that_say_nothing_limit_nothing(self, root: Path, text: str) -> None:
        in_unified(root, "/")
        names = ("memory.max", "memory.current", "memory.stat", "cpu.max", "cpu.stat")
        write(root, "sys/fs/cgroup", dict.fromkeys((*names, "cpuset.cpus.effective"), text))
        assert limits(root) == (64, 65_536)

    def test_files_that_are_directories_or_gone_limit_nothing(self, root: Path) -> None:
        in_unified(root, "/")
        (root / "sys/fs/cgroup/memory.max").mkdir(parents=True)
        assert limits(root) == (64, 65_536)

    def test_files_that_are_not_there_at_all_leave_the_hosts(self, tmp_path: Path) -> None:
        assert limits(tmp_path / "nowhere") == (64, 65_536)

    def test_a_limit_of_no_memory_at_all_has_no_percentage(self, root: Path) -> None:
        in_unified(root, "/")
        write(root, "sys/fs/cgroup", {"memory.max": 0, "memory.current": 5})
        found = Machine(root=root).read()
        assert (found.memory_limit_bytes, found.memory_percent) == (0, None)


class TestHowOftenItReads:
    @pytest.fixture
    def machine(self, root: Path, clock: Clock) -> Machine:
        in_unified(root, "/")
        write(root, "sys/fs/cgroup", {"cpu.max": "100000 100000", "cpu.stat": "usage_usec 0"})
        return Machine(root=root, clock=clock)

    def test_it_reads_no_more_than_ten_times_a_second(self, machine: Machine, clock: Clock) -> None:
        readings = []
        for _ in range(1000):  # one second
            clock.now += 0.001
            readings.append(machine.read())
        assert 9 <= len(set(map(id, readings))) <= 10

    def test_a_percentage_of_cpu_is_about_a_second_at_least(
        self, machine: Machine, clock: Clock, root: Path
    ) -> None:
        percents = []
        for used in (0.1, 0.1, 0.1, 0.1, 0.2, 0.7):
            clock.now += 0.2
            write(root, "sys/fs/cgroup", {"cpu.stat": f"usage_usec {used * 1e6:.0f}"})
            percents.append(machine.read().cpu_percent)
        # At first a short time is better than nothing.
        assert percents == [*[pytest.approx(50)] * 5, pytest.approx(60)]

    def test_a_percentage_of_cpu_begins_anew_where_the_limit_changes(
        self, machine: Machine, clock: Clock, root: Path
    ) -> None:
        clock.now += 1
        write(root, "sys/fs/cgroup", {"cpu.stat": "usage_usec 500000"})
        assert machine.read().cpu_percent == pytest.approx(50)
        clock.now += 1
        write(root, "sys/fs/cgroup", {"cpu.max": "200000 100000"})
        assert machine.read().cpu_percent is None
        clock.now += 1
        write(root, "sys/fs/cgroup", {"cpu.stat": "usage_usec 1500000"})
        assert machine.read().cpu_percent == pytest.approx(50)

    def test_a_count_of_cpu_that_begins_anew_is_no_negative_percentage(
        self, machine: Machine, clock: Clock, root: Path
    ) -> None:
        write(root, "sys/fs/cgroup", {"cpu.stat": "usage_usec 900000"})
        machine = Machine(root=root, clock=clock)
        clock.now += 1
        write(root, "sys/fs/cgroup", {"cpu.stat": "usage_usec 100"})
        assert machine.read().cpu_percent == 0


class TestTheProcess:
    def test_the_process_is_what_psutil_says_it_is(self) -> None:
        stop = threading.Event()
        more = [threading.Thread(target=stop.wait) for _ in range(3)]
        for thread in more:
            thread.start()
        found, process = Machine().read(), psutil.Process()
        assert found.process_threads == process.num_threads()
        assert found.process_open_fds == process.num_fds()
        assert found.process_resident_memory_bytes == pytest.approx(
            process.memory_info().rss, rel=0.05
        )
        times = process.cpu_times()
        assert found.process_cpu_seconds == pytest.approx(times.user + times.system, abs=0.2)
        stop.set()
        for thread in more:
            thread.join()

    def test_a_forked_child_is_read_as_itself(self) -> None:
        machine = Machine()
        parent = machine.read()
        pid = in_a_child(lambda: machine.read().pid)
        assert int(pid) != parent.pid == os.getpid()
        seconds = in_a_child(lambda: machine.read().process_cpu_seconds)
        assert float(seconds) < parent.process_cpu_seconds

    def test_a_platform_that_does_not_say_leaves_out_what_it_does_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise psutil.AccessDenied

        machine = Machine(disk_path="/nowhere/at/all")
        monkeypatch.setattr(psutil.Process, "num_fds", refuse)
        monkeypatch.setattr(psutil.Process, "memory_info", refuse)
        found = machine.read()
        assert (found.process_open_fds, found.process_resident_memory_bytes) == (None, None)
        assert (found.disk_percent, found.disk_used_bytes) == (None, None)
        assert found.process_threads


class TestTheHost:
    @pytest.fixture(autouse=True)
    def _as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()

    def test_the_host_is_what_psutil_says_it_is(self, tmp_path: Path) -> None:
        found, memory = Machine(tmp_path, root=tmp_path).read(), psutil.virtual_memory()
        disk = psutil.disk_usage(str(tmp_path))
        assert found.cpu_limit_cores == psutil.cpu_count()
        assert found.memory_limit_bytes == memory.total
        assert found.memory_percent == pytest.approx(memory.percent, abs=5)
        assert found.disk_percent == pytest.approx(disk.percent, abs=1)
        assert found.disk_used_bytes == pytest.approx(disk.used, rel=0.05)

    def test_a_busy_process_is_seen_as_cpu(self, tmp_path: Path) -> None:
        machine = Machine(root=tmp_path)
        psutil.cpu_percent()
        began = time.monotonic()
        before = machine.read().process_cpu_seconds
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        theirs, ours = psutil.cpu_percent(), machine.read()
        assert ours.process_cpu_seconds - before >= 0.3
        assert ours.cpu_percent is not None
        assert ours.cpu_percent == pytest.approx(theirs, abs=20)
        cores = psutil.cpu_count() or 1
        assert ours.cpu_percent >= 100 * 0.25 / (time.monotonic() - began) / cores
