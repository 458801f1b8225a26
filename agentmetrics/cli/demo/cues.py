"""What the demo's model server answers to the questions that are to end in a special way.

A program asks one of these questions to have the ending; what else it asks is answered plainly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

STALL_SECONDS = 20.0
"""How long the server keeps a caller waiting who is expected to give up before."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one answer, as the wire's usage block has them."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model: text or tool calls, why it ends, and how long it takes.

    A stream pauses once, before the chunk ``pause_at``, where ``pause`` is more than 0 seconds. A
    caller that goes away has ``left`` either by a cancellation or by a timeout, which is an error.
    """

    text: str = ""
    tool_calls: tuple[tuple[str, dict[str, str]], ...] = ()
    usage: Usage = Usage()
    finish: str = "stop"
    seconds: float = 0.05
    seconds_per_chunk: float = 0.008
    pause_at: int = 8
    pause: float = 0.0
    left: Literal["cancelled", "errors"] = "cancelled"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error, as OpenAI words it."""

    status: int
    code: str
    message: str


RATE_LIMIT = Refusal(429, "rate_limit_exceeded", "Rate limit reached for requests")
SERVER_ERROR = Refusal(500, "server_error", "The server had an error")
WRONG_KEY = Refusal(401, "invalid_api_key", "Incorrect API key provided")

IN_A_RUSH = "What was spent in the last minute?"
AT_A_BAD_TIME = "What was spent while the server was down?"
EVERYTHING_AT_ONCE = "What do the logs of ten years say?"
FORBIDDEN = "What do the unsafe logs say?"
NO_SUCH_OPTION = "What was spent, at a temperature of 9?"
NEVER_ANSWERED = "What will be spent next year?"

BUSY_TRANSLATOR = "Translate the contract"

THINKS_MIDWAY = "Explain histograms, and think before the example."
FALLS_SILENT = "Explain summaries, and fall silent."
GOES_ON_AND_ON = "Explain everything."
CUT_SHORT = "Explain counters in ten words."
FILTERED = "Explain how to fake a metric."
DICTATED = "Write down what was said."

_LONG = (
    "A histogram counts observations in buckets, so that quantiles can be worked out over every "
    "process. For example: of a thousand calls nine hundred took less than a second, and the "
    "last ten more than a minute, which no mean would have shown."
)

ANSWERS: Mapping[str, Reply | Refusal] = {
    IN_A_RUSH: RATE_LIMIT,
    AT_A_BAD_TIME: SERVER_ERROR,
    EVERYTHING_AT_ONCE: Refusal(
        400, "context_length_exceeded", "This model's maximum context length is 128000 tokens"
    ),
    FORBIDDEN: Refusal(400, "content_filter", "The prompt triggered the content filter"),
    NO_SUCH_OPTION: Refusal(400, "invalid_value", "Invalid 'temperature': at most 2"),
    NEVER_ANSWERED: Reply(seconds=STALL_SECONDS, left="errors"),
    THINKS_MIDWAY: Reply(_LONG, pause=1.2),
    FALLS_SILENT: Reply(_LONG, pause=STALL_SECONDS, left="errors"),
    GOES_ON_AND_ON: Reply(_LONG, pause=STALL_SECONDS),
    CUT_SHORT: Reply("A counter is a number that only ever goes up, and", finish="length"),
    FILTERED: Reply("I am afraid", finish="content_filter"),
    DICTATED: Reply("It was said that the cache is cold.", usage=Usage(audio_in=120, audio_out=40)),
}
