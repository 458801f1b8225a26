"""The context of a run and of labels, in threads that do not have it of themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from agentmetrics import MemoryRecorder, bound, labels, record_call, track_run
from agentmetrics.pipeline import Options, pipeline_of


def test_a_thread_of_a_pool_has_the_run_and_the_labels_around():
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))

    def work(model: str) -> None:
        record_call("openai", model, duration_seconds=1, recorder=recorder)

    run = track_run("reviewer", recorder=recorder)
    with ThreadPoolExecutor(2) as pool, labels(tenant="acme"), run:
        list(pool.map(bound(work), ["a", "b", "c"]))
        pool.submit(work, "d").result()
    of_run = {"agent_name": "reviewer", "tenant": "acme", "status": "success"}
    assert recorder.value("llm_calls_total", **of_run) == 3
    assert recorder.value("llm_calls_total", agent_name="unknown", tenant="") == 1
    assert recorder.histogram("agent_run_llm_calls").sum == 3


def test_what_a_bound_function_sets_is_its_own():
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))

    def work() -> int:
        labels(tenant="acme").__enter__()  # and never left
        return 3

    in_context = bound(work)
    assert [in_context(), in_context()] == [3, 3]
    assert in_context.__name__ == "work"
    record_call("openai", "gpt-4o", recorder=recorder)
    assert recorder.value("llm_calls_total", tenant="") == 1
