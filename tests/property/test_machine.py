"""Control groups with anything at all in their files."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agentmetrics.machine.groups import groups_of_process
from agentmetrics.machine.reading import Machine

FILES = (
    *("memory.max", "memory.current", "memory.stat", "cpu.max", "cpu.stat"),
    *("memory.limit_in_bytes", "memory.usage_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us"),
    *("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuacct.usage"),
)
MOUNTS = (
    "31 23 0:28 / /cg rw - cgroup2 cgroup rw",
    "32 23 0:29 / /cg rw - cgroup cgroup rw,cpu,cpuacct,cpuset,memory",
    "32 23 0:29 /a /cg rw - cgroup cgroup rw,cpu,cpuacct,cpuset,memory",
)
GROUPS = ("0::/", "0::/a/b", "0::/../..", "4:memory,cpu,cpuacct,cpuset:/a", "9:memory:/")
WORDS = st.sampled_from(
    [
        *(b"max", b"0", b"-1", b"100000", b"9223372036854771712", b"0-3,7", b"\xff\xfe", b"\n"),
        *(b"inactive_file 5", b"total_inactive_file 5", b"hierarchical_memory_limit 5"),
        *(b"usage_usec 5", b"usage_usec", b"inactive_file x"),
    ]
)
CONTENT = st.binary(max_size=30) | st.lists(WORDS, max_size=4).map(b" ".join)


def lines(of: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    known = st.lists(st.sampled_from(of).map(str.encode), max_size=4)
    return st.binary(max_size=60) | known.map(b"\n".join)


@given(
    cgroup=lines(GROUPS),
    mountinfo=lines(MOUNTS),
    files=st.dictionaries(st.sampled_from(FILES), CONTENT),
    inner=st.dictionaries(st.sampled_from(FILES), CONTENT),
)
def test_whatever_is_in_the_files_a_reading_is_numbers_or_nothing(
    cgroup: bytes, mountinfo: bytes, files: dict[str, bytes], inner: dict[str, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "proc/self").mkdir(parents=True)
        (root / "cg/a/b").mkdir(parents=True)
        (root / "proc/self/cgroup").write_bytes(cgroup)
        (root / "proc/self/mountinfo").write_bytes(mountinfo)
        for where, what in (("cg", files), ("cg/a", inner)):
            for name, content in what.items():
                (root / where / name).write_bytes(content)
        host = Machine(root=root / "nowhere").read()
        found = Machine(root=root).read()
        groups = groups_of_process(root)
        assert all(str(group) for group in groups)
    for field in ("cpu_limit_cores", "memory_limit_bytes"):
        limit, of_host = getattr(found, field), getattr(host, field)
        assert 0 <= limit <= of_host
    for field in ("memory_percent", "memory_used_bytes", "cpu_percent"):
        value = getattr(found, field)
        assert value is None or (math.isfinite(value) and value >= 0)
