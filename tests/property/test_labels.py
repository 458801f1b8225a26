"""Whatever is given as a label value, what comes out can travel on every wire."""

from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from agentmetrics import MemoryRecorder, Metric, PrometheusRecorder
from agentmetrics.meters.bundle import Bundles
from agentmetrics.recording.metric import MAX_LABEL_LENGTH, clean_label
from agentmetrics.recording.unseen import without_unseen

JOBS = Metric("jobs_total", "counter", "Jobs.", ("queue", "status"))

surrogates = st.characters(categories=["Cs"])
controls = st.characters(categories=["Cc", "Zl", "Zp"])
unseen = st.sampled_from(
    "\u00ad\u034f\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufe0e\ufe0f"
    "\ufeff\ufff9\u180b\u180e\U000e0041\U000e0100"
)
needing = st.sampled_from("م می क्ष ශ් ᠠ 葛 ❤👩💻#1a")
text = st.text(
    st.characters(categories=["L", "N", "P", "S", "Z", "C"]) | surrogates | controls
    | unseen | needing
)  # fmt: skip
long_text = st.builds(lambda part, times: part * times, text, st.integers(1, 50))
values = (
    st.none() | text | long_text | st.integers() | st.floats() | st.booleans() | st.binary()
    | st.lists(text) | st.dictionaries(text, text) | st.builds(object) | st.complex_numbers()
)  # fmt: skip


@given(values)
def test_a_clean_value_is_short_printable_text(value):
    cleaned = clean_label(value)
    assert type(cleaned) is str
    assert len(cleaned) <= MAX_LABEL_LENGTH
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in cleaned)
    cleaned.encode()


@given(values)
def test_cleaning_twice_changes_nothing(value):
    assert clean_label(clean_label(value)) == clean_label(value)


@given(text)
def test_a_value_that_is_clean_already_stays_as_it_is(value):
    unsafe = {"Cc", "Cs", "Zl", "Zp"}
    is_seen = without_unseen(value) == value
    if (
        len(value) <= MAX_LABEL_LENGTH
        and is_seen
        and not any(unicodedata.category(c) in unsafe for c in value)
    ):
        assert clean_label(value) == value


@given(text)
def test_nothing_in_a_clean_value_turns_text_around_or_is_of_no_width_by_itself(value):
    cleaned = clean_label(value)
    assert not any(unicodedata.bidirectional(c) in BIDI_CONTROLS for c in cleaned)
    assert not set(cleaned) & set("\u200b\u200e\u200f\u2060\u061c\u00ad\ufeff\ufff9\U000e0041")
    assert not set(cleaned[:1]) & set("\u200c\u200d\ufe0f\U000e0100\u180e")


BIDI_CONTROLS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize("code", sorted(
    {*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF, 0x61C, 0xAD}
))  # fmt: skip
def test_a_name_of_latin_letters_is_the_same_with_and_without_an_unseen_character(code):
    assert clean_label(f"sup{chr(code)}port") == "support"


@pytest.mark.parametrize(
    "name",
    [
        "می\u200cخواهم",  # noqa: RUF001 - Persian: "I want"
        "क्\u200dष",  # Hindi: a half form
        "ශ්\u200dරී ලංකා",  # Sinhala: Sri Lanka
        "ന\u0d4d\u200d",  # Malayalam: a chillu as it was once written, at the end of a word
        "👩\u200d💻",
        "❤\ufe0f\u200d🔥",
        "1\ufe0f\u20e3",
        "葛\U000e0100城",  # a variant of a character in Japanese names
        "ᠨᠠ\u180b",
    ],
)
def test_a_name_that_needs_an_unseen_character_keeps_it(name):
    assert clean_label(name) == name


def test_a_name_with_nothing_to_be_seen_is_not_taken_for_none():
    assert clean_label("\u200b\u2066") == "_"
    assert clean_label("") == ""


@given(values, values)
def test_every_exposition_parses_and_has_the_cleaned_values(queue, status):
    memory, prometheus = MemoryRecorder(), PrometheusRecorder(CollectorRegistry())
    for recorder in (memory, prometheus):
        recorder.counter(JOBS).labels(queue, status).inc(3)
    expected = {"queue": clean_label(queue), "status": clean_label(status)}
    assert [(s.labels, s.value) for s in memory.samples()] == [(expected, 3)]
    for parse, accept in (
        (text_format, "text/plain"),
        (openmetrics, "application/openmetrics-text; version=1.0.0"),
    ):
        families = parse(prometheus.exposition(accept).body.decode())
        samples = [sample for family in families for sample in family.samples]
        assert {s.name for s in samples} == {"jobs_total", "jobs_created"}
        assert [s.value for s in samples if s.name == "jobs_total"] == [3]
        assert all(s.labels == expected for s in samples)


hashable = st.none() | text | long_text | st.integers() | st.floats() | st.binary()


@given(st.lists(hashable, max_size=10))
def test_bound_bundles_are_found_again_by_clean_and_unclean_values(given_values):
    bundles: Bundles[tuple[str, ...]] = Bundles(lambda *key: key)
    for value in given_values:
        found = bundles[value, value]
        assert found == (clean_label(value),) * 2
        assert bundles[value, value] is found
        assert bundles[found] is found


def test_bundles_past_their_number_are_let_go_and_bound_anew():
    made = itertools.count(1)
    bundles: Bundles[int] = Bundles(lambda *key: next(made), limit=3)
    for number in range(10):
        bundles[(str(number),)]
        assert len(bundles) <= 3
    assert bundles["0",] == 11
