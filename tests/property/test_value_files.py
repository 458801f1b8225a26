"""Whatever is in a file of the multiprocess directory, a scrape goes on and loses no other file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector as TheirCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from agentmetrics.backends.multiprocess import MultiprocessCollector
from agentmetrics.backends.multiprocess.values import merged, read, write

DEAD = 99_999_999
"""A process id that no system gives."""
SKIPPED = "agentmetrics_multiprocess_files_skipped_total"
BUCKETS = ("0.5", "1.0", "+Inf")
KINDS = ("counter", "histogram", "summary", "gauge_all", "gauge_livesum", "gauge_mostrecent")


def entries(kind: str, value: float = 1.0) -> dict[str, tuple[float, float]]:
    if kind == "histogram":
        samples = [("took_bucket", {"job": "é", "le": bound}) for bound in BUCKETS]
        samples.append(("took_sum", {"job": "é"}))
        return {
            mmap_key("took", name, list(labels), list(labels.values()), "How long."): (value, 0.0)
            for name, labels in samples
        }
    name = {"counter": "jobs", "summary": "sizes"}.get(kind, kind)
    sample = {"counter": "jobs_total", "summary": "sizes_count"}.get(kind, kind)
    keys = [mmap_key(name, sample, ["job"], [job], "What.") for job in ("a", "b\n", "")]
    return dict.fromkeys(keys, (value, value + 1))  # a greater one is also a later one


def make(directory: Path, kind: str, pid: int, value: float = 1.0) -> Path:
    """A file as prometheus-client makes it, its room at the end cut off."""
    file = directory / f"{kind}_{pid}.db"
    made = MmapedDict(str(file))
    for key, (number, moment) in entries(kind, value).items():
        made.write_value(key, number, moment)
    made.close()
    file.write_bytes(file.read_bytes()[:1024])
    return file


def samples(directory: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a scrape says, read as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(MultiprocessCollector(str(directory)))
    generate_openmetrics(registry)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


@given(
    kind=st.sampled_from(KINDS),
    length=st.integers(0, 1024),
    changes=st.dictionaries(st.integers(0, 1023), st.integers(0, 255), max_size=6),
    pid=st.sampled_from([1, DEAD]),
)
@example("counter", 0, {}, DEAD)
@example("counter", 3, {}, DEAD)
@example("histogram", 8, {}, 1)
@example("counter", 1024, {11: 255}, DEAD)  # a negative length
@example("counter", 1024, {3: 127}, DEAD)  # more in use than there is
def test_a_torn_file_breaks_no_scrape_and_takes_nothing_from_other_files(
    kind: str, length: int, changes: dict[int, int], pid: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make(directory, "counter", 2, 5.0)
        alone = samples(directory)
        torn = make(directory, kind, pid)
        damaged = bytearray(torn.read_bytes()[:length])
        for place, byte in changes.items():
            if place < length:
                damaged[place] = byte
        torn.write_bytes(damaged)
        (directory / "counter_2.db").touch()
        first, second = samples(directory), samples(directory)
        assert first == second or any(value != value for value in first.values())  # NaN
        if kind != "counter":
            assert {name: first.get(name) for name in alone} == alone
        if not changes:
            assert first.get((SKIPPED, ()), 0) <= 1


@given(kind=st.sampled_from(KINDS), length=st.integers(0, 1024))
def test_what_a_cut_file_still_holds_is_a_part_of_what_it_held(kind: str, length: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = make(Path(name), kind, DEAD)
        whole = read(file)
        assert whole.is_whole
        assert whole.entries == entries(kind)
        file.write_bytes(file.read_bytes()[:length])
        cut = read(file)
        assert cut.entries.items() <= whole.entries.items()
        assert not cut.is_whole or cut.entries == whole.entries


@given(st.binary(max_size=300))
def test_any_bytes_at_all_break_no_scrape(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for file in (f"counter_{DEAD}.db", "histogram_1.db", "gauge_livesum_1.db", "notes.db"):
            (directory / file).write_bytes(content)
        make(directory, "summary", 2, 5.0)
        assert samples(directory)["sizes_count", (("job", "a"),)] == 5.0
        assert samples(directory)[SKIPPED, ()] >= 1  # notes.db is none of them


@pytest.mark.parametrize(
    "key",
    [
        '["jobs", "jobs_total", {"job": "\\ud800"}, "What."]',  # half a surrogate pair
        '["jobs", "jobs_total", {"job": 7}, "What."]',
        '["jobs", "jobs_total", {"le": "much"}, "What."]',
        '["jobs", "others_total", {}, "What."]',
        '["jobs", "jobs_total", {"job": "é"}, "What."]',  # JSON that prometheus-client escapes
        '["jobs", "jobs_total", ["job"], "What."]',
        '["jobs"]',
        "7",
        "[" * 100_000,
        "jobs",
        " ",
    ],
)
def test_a_key_that_prometheus_client_does_not_write_is_skipped_and_the_next_is_read(
    key: str, tmp_path: Path
) -> None:
    right = entries("counter")
    write(tmp_path / f"counter_{DEAD}.db", {key: (1.0, 0.0), **right})
    found = read(tmp_path / f"counter_{DEAD}.db")
    assert found.entries == right
    assert not found.is_whole
    assert samples(tmp_path)[SKIPPED, ()] == 1


@given(
    kind=st.sampled_from(["counter", "histogram", "summary", "gauge_mostrecent"]),
    values=st.lists(st.integers(0, 1000), min_size=1, max_size=5),
)
def test_a_merged_file_says_to_prometheus_client_what_its_sources_said(
    kind: str, values: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as other:
        for pid, value in enumerate(values, 1):
            make(Path(name), kind, pid, value)
        files = sorted(Path(name).glob("*.db"))
        write(Path(other, f"{kind}_merged-3.db"), merged(kind, [read(f).entries for f in files]))
        said = [
            {(s.name, *s.labels.items()): s.value for f in collector.collect() for s in f.samples}
            for collector in (TheirCollector(None, name), TheirCollector(None, other))
        ]
        assert said[0] == said[1]
