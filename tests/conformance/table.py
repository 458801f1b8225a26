"""The conformance page: every case, what it bills, and who gets it right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.case import Bill, Case
from tests.conformance.judge import expected_of

MADE = "<!-- Made by python -m tests.conformance; change the cases or the code. -->"
PEERS = Path(__file__).parents[2] / "benchmarks" / "peers" / "results.json"
NONE = "\N{EN DASH}"

Mistakes = Mapping[str, Sequence[str]]
"""By ``<case>-<way>``: what was wrong of that run, nothing where it was exact."""


@dataclass(frozen=True)
class Peer:
    """What a handler got wrong of the same cases, as it was measured.

    ``fields`` are those of a bill that it reports at all, ``situations`` what it said of calls
    that no response shows.
    """

    name: str
    package: str
    version: str
    fields: Sequence[str]
    mistakes: Mistakes
    situations: Mapping[str, str]


@dataclass(frozen=True)
class Peers:
    """The results that ``benchmarks/peers`` wrote."""

    peers: tuple[Peer, ...]
    command: str
    versions: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Peers | None:
        """The results in a file, or ``None`` where nobody has measured."""
        if not path.exists():
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        peers = tuple(
            Peer(
                peer["name"],
                peer["package"],
                peer["version"],
                peer["fields"],
                {run: found["wrong"] for run, found in peer["cases"].items()},
                peer["situations"],
            )
            for peer in data["peers"]
        )
        return cls(peers, data["command"], data["versions"])


def page(cases: Sequence[Case], mistakes: Mistakes, peers: Peers | None) -> str:
    """The page in Markdown, the same for the same arguments."""
    runs = _by_case(mistakes)
    lines = [*_head(cases, runs), *_by_wire(cases, runs)]
    lines += [*_peers(peers), *_situations(peers)] if peers else []
    lines += _lost(cases)
    for wire in sorted({case.wire for case in cases}):
        lines += _wire(wire, [case for case in cases if case.wire == wire], runs)
    return "\n".join(lines) + "\n"


def _by_case(mistakes: Mistakes) -> dict[str, dict[str, Sequence[str]]]:
    runs: dict[str, dict[str, Sequence[str]]] = {}
    for run, wrong in mistakes.items():
        case, _, way = run.rpartition("-")
        runs.setdefault(case, {})[way] = wrong
    return runs


def _is_exact(ways: Mapping[str, Sequence[str]]) -> bool:
    return not any(ways.values())


def _head(cases: Sequence[Case], runs: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    exact = sum(map(_is_exact, runs.values()))
    return [
        "# Conformance",
        "",
        MADE,
        "",
        "A case is one response of a provider as it goes over the wire, written for this project",
        "after the provider's documentation. It is replayed over HTTP to the provider's real",
        "LangChain package, in every way that fits it: `invoke` and `ainvoke`, or `stream` and",
        "`astream`; an HTTP error in all four. What it bills is read from the raw response by code",
        "that knows neither LangChain nor agentmetrics. A run is exact when one call is recorded",
        "with exactly that provider, model, tokens, details, status and type of error, with the",
        "provider's own time where it reports one, and no call is left active.",
        "",
        f"**{exact} of {len(cases)} cases are exact, in {sum(map(len, runs.values()))} runs.**",
        "",
        "`python -m tests.conformance` runs them all and writes this page.",
    ]


def _by_wire(cases: Sequence[Case], runs: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    lines = [
        "",
        "## By wire",
        "",
        "| wire | cases | exact | runs | exact |",
        "|---|---|---|---|---|",
    ]
    for wire in sorted({case.wire for case in cases}):
        ways = [runs[case.id] for case in cases if case.wire == wire]
        every = [wrong for way in ways for wrong in way.values()]
        lines.append(
            f"| [{wire}](#{wire}) | {len(ways)} | {sum(map(_is_exact, ways))} "
            f"| {len(every)} | {sum(not wrong for wrong in every)} |"
        )
    return lines


def _peers(peers: Peers) -> Iterator[str]:
    yield from ("", "## The same cases through other handlers", "")
    yield f"Measured by `{peers.command}` with {_listed(peers.versions)}. A handler is judged by"
    yield "what it reports at all, without the provider's own time; mistakes are counted in runs,"
    yield "by what is wrong."
    yield ""
    yield "| handler | package | cases exact | runs exact | does not report | wrong |"
    yield "|---|---|---|---|---|---|"
    fields = sorted({field for peer in peers.peers for field in peer.fields})
    for peer in peers.peers:
        ways = _by_case(peer.mistakes)
        silent = ", ".join(field for field in fields if field not in peer.fields)
        yield (
            f"| {peer.name} | {peer.package} {peer.version} "
            f"| {sum(map(_is_exact, ways.values()))} of {len(ways)} "
            f"| {sum(not wrong for wrong in peer.mistakes.values())} of {len(peer.mistakes)} "
            f"| {silent or NONE} | {_listed(_kinds(peer.mistakes)) or NONE} |"
        )


def _kinds(mistakes: Mistakes) -> dict[str, int]:
    """In how many runs each kind of mistake was made, the most frequent first."""
    kinds = Counter(
        kind for wrong in mistakes.values() for kind in {one.partition(":")[0] for one in wrong}
    )
    return dict(sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0])))


def _situations(peers: Peers) -> Iterator[str]:
    yield from ("", "What no response shows, as each of them reported it:", "")
    yield f"| | {' | '.join(peer.name for peer in peers.peers)} |"
    yield "|---" * (1 + len(peers.peers)) + "|"
    for situation in peers.peers[0].situations:
        told = [peer.situations[situation] for peer in peers.peers]
        yield f"| {situation} | {' | '.join(told)} |"


def _lost(cases: Sequence[Case]) -> list[str]:
    losing = [case for case in cases if case.lost]
    lines = [
        "",
        "## What packages keep to themselves",
        "",
        f"In {len(losing)} of the cases the response says something that the LangChain package",
        "hands on to no callback handler. That part has to be recorded as unknown; of the model,",
        "as the one that was asked for.",
        "",
        "| case | unknown | what it is |",
        "|---|---|---|",
    ]
    return lines + [f"| {case.id} | {', '.join(case.lost)} | {case.about} |" for case in losing]


def _wire(
    wire: str, cases: Sequence[Case], runs: Mapping[str, Mapping[str, Sequence[str]]]
) -> Iterator[str]:
    yield from ("", f"## {wire}", "")
    yield "| case | what it is | provider | model | input | output | details | ends as | exact |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for case in cases:
        bill = expected_of(case)
        yield (
            f"| [{case.name}](../tests/conformance/cases/{case.id}.json) "
            f"| {case.about} ([source]({case.source})) | {bill.provider} | {bill.model} "
            f"| {_count(bill.input_tokens)} | {_count(bill.output_tokens)} "
            f"| {_listed(bill.details) or NONE} | {_end(bill)} | {_exact(runs[case.id])} |"
        )


def _count(tokens: int | None) -> str:
    return NONE if tokens is None else str(tokens)


def _end(bill: Bill) -> str:
    told = bill.error_type or bill.status
    return told if bill.api_seconds is None else f"{told}, {bill.api_seconds:g} s"


def _exact(ways: Mapping[str, Sequence[str]]) -> str:
    """In which ways, or else what is wrong in which."""
    if _is_exact(ways):
        return ", ".join(ways)
    return "; ".join(f"{way}: {', '.join(wrong)}" for way, wrong in ways.items() if wrong)


def _listed(what: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in what.items())
