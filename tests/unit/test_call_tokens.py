"""The tokens of calls as a distribution, which is recorded where it is asked for."""

from __future__ import annotations

from agentmetrics import MemoryRecorder, catalog, record_call, track_call
from agentmetrics.pipeline import Options, pipeline_of


def recorder_with(*, call_tokens: bool = Options.call_tokens) -> MemoryRecorder:
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(call_tokens=call_tokens))
    return recorder


def test_it_has_the_tokens_of_each_call_by_type():
    recorder = recorder_with(call_tokens=True)
    for input_tokens, output_tokens in ((1, 4), (5, 4), (70_000_000, 16)):
        record_call(
            "openai", "gpt-4o", duration_seconds=1, input_tokens=input_tokens,
            output_tokens=output_tokens, recorder=recorder,
        )  # fmt: skip
    asked = recorder.histogram("llm_call_tokens", token_type="input")
    assert asked.counts == (1, 0, 1, *[0] * 11, 1)
    assert asked.sum == 70_000_006
    assert recorder.histogram("llm_call_tokens", token_type="output").counts[1:3] == (2, 1)
    assert min(asked.buckets) == 1
    assert sorted(asked.buckets)[-2] == 67_108_864


def test_a_call_that_failed_or_told_half_of_it_counts_as_far_as_it_is_known():
    recorder = recorder_with(call_tokens=True)
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        call.record_usage(input_tokens=12)
    record_call("openai", "no-such-model", duration_seconds=1, input_tokens=3, output_tokens=2,
                recorder=recorder)  # fmt: skip
    record_call("openai", "gpt-4o", duration_seconds=1, status="error", recorder=recorder)
    assert recorder.histogram("llm_call_tokens", token_type="input").sum == 15
    assert recorder.histogram("llm_call_tokens", token_type="output").count == 1


def test_it_adds_up_to_the_billed_tokens():
    recorder = recorder_with(call_tokens=True)
    for tokens in (0, 7, 900):
        record_call(
            "openai", "gpt-4o", duration_seconds=1, input_tokens=tokens, output_tokens=tokens,
            recorder=recorder,
        )  # fmt: skip
    for token_type in catalog.TOKEN_TYPES:
        spread = recorder.histogram("llm_call_tokens", token_type=token_type)
        assert spread.sum == recorder.value("llm_tokens_total", token_type=token_type) == 907
        assert spread.count == 3


def test_it_is_not_recorded_unless_it_is_asked_for():
    recorder = recorder_with()
    record_call("openai", "gpt-4o", duration_seconds=1, input_tokens=3, output_tokens=2,
                recorder=recorder)  # fmt: skip
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        call.record_usage(input_tokens=12)
    assert not [sample for sample in recorder.samples() if sample.name.startswith("llm_call_tok")]
