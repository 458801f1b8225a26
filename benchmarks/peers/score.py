"""What a peer got wrong of one case."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.peer import Peer, Seen
from tests.conformance.case import Bill

DETAILS = ("cache_read", "cache_creation", "reasoning", "audio_input", "audio_output")


def mistakes(peer: Peer, bill: Bill, seen: Sequence[Seen]) -> list[str]:
    """Each mistake as ``field: what was reported, not what is true``; empty where all is exact.

    A peer that reports usage alone is right to report nothing where nothing is known.
    """
    knows_usage = bill.input_tokens is not None or bill.output_tokens is not None
    if not seen and "calls" not in peer.fields:
        return ["usage: none reported"] if knows_usage else []
    if len(seen) != 1:
        return [f"calls: {len(seen)}, not 1"]
    return [
        f"{field}: {found}, not {expected}"
        for field, found, expected in _compared(peer, bill, seen[0])
        if found != expected
    ]


def _compared(peer: Peer, bill: Bill, seen: Seen) -> list[tuple[str, object, object]]:
    pairs: list[tuple[str, object, object]] = []
    if "status" in peer.fields:
        pairs.append(("status", seen.status, bill.status))
    pairs += [
        ("model", seen.model, bill.model),
        ("input_tokens", seen.input_tokens, bill.input_tokens),
        ("output_tokens", seen.output_tokens, bill.output_tokens),
    ]
    pairs += [(name, seen.details.get(name, 0), bill.details.get(name, 0)) for name in DETAILS]
    return pairs
