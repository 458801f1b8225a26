"""The public names of agentmetrics: the one list, for type checkers and at run time."""

from .backends.memory import MemoryRecorder as MemoryRecorder
from .backends.noop import NoopRecorder as NoopRecorder
from .backends.prometheus import PrometheusRecorder as PrometheusRecorder
from .backends.statsd import StatsDRecorder as StatsDRecorder
from .budget.budgets.budget import Budget as Budget
from .budget.budgets.budget import BudgetStatus as BudgetStatus
from .budget.budgets.budgets import Budgets as Budgets
from .budget.ledger.ledger import Ledger as Ledger
from .calls.context import bound as bound
from .calls.context import labels as labels
from .config.active import configure as configure
from .config.active import get_ledger as get_ledger
from .config.active import get_recorder as get_recorder
from .config.printing import print_summary as print_summary
from .config.settings import Settings as Settings
from .errors import BudgetExceeded as BudgetExceeded
from .errors import ConfigurationError as ConfigurationError
from .errors import LedgerUnavailable as LedgerUnavailable
from .errors import PushFailed as PushFailed
from .errors import UnknownMetricError as UnknownMetricError
from .providers.usage import Usage as Usage
from .pushing import push as push
from .pushing import push_add as push_add
from .pushing import push_delete as push_delete
from .recording.instruments import Counter as Counter
from .recording.instruments import Gauge as Gauge
from .recording.instruments import Histogram as Histogram
from .recording.layers.cardinality import CardinalityLimit as CardinalityLimit
from .recording.layers.common_labels import CommonLabels as CommonLabels
from .recording.layers.fanout import FanoutRecorder as FanoutRecorder
from .recording.layers.namespace import Namespace as Namespace
from .recording.metric import Metric as Metric
from .recording.recorder import Recorder as Recorder
from .sources.agent import InstrumentedAgent as InstrumentedAgent
from .sources.application import record_error as record_error
from .sources.caches import CacheTracker as CacheTracker
from .sources.event_loop import watch_event_loop as watch_event_loop
from .sources.expected import expect as expect
from .sources.finished import record_call as record_call
from .sources.finished import record_tool as record_tool
from .sources.langchain.attach import instrument as instrument
from .sources.langchain.callbacks.handler import MetricsCallbackHandler as MetricsCallbackHandler
from .sources.langchain.wrappers.cache import InstrumentedCache as InstrumentedCache
from .sources.langchain.wrappers.embeddings import InstrumentedEmbeddings as InstrumentedEmbeddings
from .sources.langchain.wrappers.remote import (
    InstrumentedRemoteGraph as InstrumentedRemoteGraph,
)
from .sources.langchain.wrappers.reranker import InstrumentedReranker as InstrumentedReranker
from .sources.routing import record_cost_savings as record_cost_savings
from .sources.routing import record_model_fallback as record_model_fallback
from .sources.routing import record_model_selection as record_model_selection
from .sources.routing import record_routing_duration as record_routing_duration
from .sources.routing import routing as routing
from .sources.spans import track_run as track_run
from .sources.spans import track_tool as track_tool
from .sources.track import track_call as track_call
from .sources.wrap.attach import wrap as wrap
from .summary.summary import RecorderSummary as RecorderSummary

__version__: str
