"""The conformance page says what the runs were, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance.__main__ import PAGE
from tests.conformance.ask import ways
from tests.conformance.case import all_cases
from tests.conformance.table import PEERS, Peers, page

CASES = [
    case
    for case in all_cases()
    if case.id in ("openai-chat/cached", "openai-chat/error-401", "mistral/cached-streamed")
]
EXACT = {f"{case.id}-{way}": () for case in CASES for way in ways(case)}
RESULTS = {
    "command": "make peers",
    "versions": {"langchain-core": "1.7.2", "python": "3.11"},
    "peers": [
        {
            "name": "somebody",
            "package": "some-package",
            "version": "0.1",
            "fields": ["calls", "model"],
            "cases": {
                "openai-chat/cached-invoke": {
                    "exact": False,
                    "wrong": ["model: None, not gpt-4o", "cache_read: 0, not 1920"],
                },
                "openai-chat/cached-ainvoke": {
                    "exact": False,
                    "wrong": ["cache_read: 0, not 1920"],
                },
                "openai-chat/error-401-invoke": {"exact": True, "wrong": []},
            },
            "situations": {"20 cancelled `ainvoke`": "20 never ended"},
        },
        {
            "name": "ours",
            "package": "agentmetrics",
            "version": "1",
            "fields": ["calls", "model", "status"],
            "cases": {"openai-chat/cached-invoke": {"exact": True, "wrong": []}},
            "situations": {"20 cancelled `ainvoke`": "20 cancelled"},
        },
    ],
}


@pytest.fixture
def peers(tmp_path: Path) -> Peers:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS), encoding="utf-8")
    found = Peers.read(path)
    assert found is not None
    return found


def _row(text: str, start: str) -> list[str]:
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_an_exact_case_is_listed_with_what_it_bills_and_in_which_ways() -> None:
    text = page(CASES, EXACT, None)
    assert "**3 of 3 cases are exact, in 8 runs.**" in text
    row = _row(text, "[cached](../tests/conformance/cases/openai-chat/cached.json)")
    assert row[2:] == [
        "openai",
        "gpt-4o-2024-08-06",
        "2006",
        "300",
        "cache_read 1920",
        "success",
        "invoke, ainvoke",
    ]
    assert _row(text, "[error-401]")[4:] == [
        *["\N{EN DASH}"] * 3,
        "authentication",
        "invoke, ainvoke, stream, astream",
    ]


def test_what_is_wrong_is_said_where_it_is() -> None:
    text = page(CASES, {**EXACT, "openai-chat/cached-ainvoke": ("details", "model")}, None)
    assert "**2 of 3 cases are exact, in 8 runs.**" in text
    assert _row(text, "[openai-chat](#openai-chat)")[1:] == ["2", "1", "6", "5"]
    assert _row(text, "[cached](../tests/conformance/cases/openai-chat")[-1] == (
        "ainvoke: details, model"
    )


def test_what_a_package_keeps_to_itself_is_listed() -> None:
    assert _row(page(CASES, EXACT, None), "mistral/cached-streamed")[1:] == [
        "cache_read",
        "part of the prompt from the prompt cache, streamed; langchain-mistralai drops that count",
    ]


def test_other_handlers_stand_with_what_they_got_wrong_and_do_not_report(peers: Peers) -> None:
    text = page(CASES, EXACT, peers)
    assert "`make peers` with langchain-core 1.7.2, python 3.11" in text
    assert _row(text, "somebody")[1:] == [
        "some-package 0.1",
        "1 of 2",
        "1 of 3",
        "status",
        "cache_read 2, model 1",
    ]
    assert _row(text, "ours")[2:] == ["1 of 1", "1 of 1", "\N{EN DASH}", "\N{EN DASH}"]


def test_what_they_said_of_calls_that_no_response_shows_stands_beside(peers: Peers) -> None:
    text = page(CASES, EXACT, peers)
    assert _row(text, "20 cancelled `ainvoke`")[1:] == ["20 never ended", "20 cancelled"]


def test_without_results_nothing_is_said_of_peers(tmp_path: Path) -> None:
    assert Peers.read(tmp_path / "results.json") is None
    assert "other handlers" not in page(CASES, EXACT, None)


def test_the_page_in_the_docs_is_of_these_cases_which_are_all_exact() -> None:
    """That they are is what test_conformance says, which runs every case in every way."""
    cases = list(all_cases())
    exact = {f"{case.id}-{way}": () for case in cases for way in ways(case)}
    current = page(cases, exact, Peers.read(PEERS))
    assert PAGE.read_text(encoding="utf-8") == current, "not current; run: make docs"
