"""What the page shows: the recorder of this process, or the files of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from agentmetrics.calls.facts import LLMCall
from agentmetrics.exposition.page.access import access, is_page_served
from agentmetrics.exposition.page.answers import Page
from agentmetrics.exposition.page.feed import Feed, Read
from agentmetrics.exposition.page.runs import RunsTold
from agentmetrics.exposition.recorders import prometheus_recorder
from agentmetrics.live.last_runs import LastRuns
from agentmetrics.live.samples import from_families, from_recorder
from agentmetrics.pipeline import Pipeline
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.recorder import Recorder

if TYPE_CHECKING:
    from prometheus_client.registry import Collector


def page_of_recorder(recorder: Recorder, host: str | None, page: bool | None) -> Page | None:
    """The page of a recorder at a server on ``host``; ``None`` where there is to be none.

    Raises ``ConfigurationError`` for settings that make no sense.
    """
    if not is_page_served(host, page):
        return None
    found = prometheus_recorder(recorder)
    outermost = recorder.outermost()  # under whose names and labels the series were recorded
    runs = LastRuns(partial(_pipeline, outermost))
    if found.scraped is not found.registry:
        told = RunsTold(runs, of_one_of_several=True)
        return Page(Feed(_reader_of_files(found.scraped), None, told), access(page))
    read, in_flight = partial(from_recorder, outermost), partial(_in_flight, outermost)
    return Page(Feed(read, in_flight, RunsTold(runs, of_one_of_several=False)), access(page))


def page_of_collector(collector: Collector, host: str | None, page: bool | None) -> Page | None:
    """The page of what a collector gives, such as the files of a multiprocess directory."""
    if not is_page_served(host, page):
        return None
    return Page(Feed(_reader_of_files(collector)), access(page))


def _reader_of_files(collector: Collector) -> Read:
    return lambda time: from_families(collector.collect(), time)


def _in_flight(recorder: Recorder) -> Mapping[str, float]:
    """Calls in flight by model, which no metric has."""
    pipeline = _pipeline(recorder)
    if pipeline is None:
        return {}
    calls = (fact for fact in pipeline.table.open_facts() if isinstance(fact, LLMCall))
    return Counter(f"{clean_label(call.provider)}:{clean_label(call.model)}" for call in calls)


def _pipeline(recorder: Recorder) -> Pipeline | None:
    """That there is: a new one would take over the gauges."""
    found = recorder.anchor.pipeline
    return found if isinstance(found, Pipeline) else None
