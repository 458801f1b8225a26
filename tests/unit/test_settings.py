"""AGENTMETRICS_*: what a user writes in the environment or gives to configure()."""

from __future__ import annotations

import sys

import pytest

import agentmetrics
from agentmetrics import (
    CommonLabels,
    ConfigurationError,
    FanoutRecorder,
    MemoryRecorder,
    Metric,
    MetricsCallbackHandler,
    Namespace,
    NoopRecorder,
    PrometheusRecorder,
    Recorder,
    catalog,
    configure,
    get_recorder,
    track_call,
)
from agentmetrics.config import active
from agentmetrics.config.assembly import make_recorder
from agentmetrics.config.loading import load_settings
from agentmetrics.pipeline import pipeline_of
from agentmetrics.recording import exits
from agentmetrics.recording.known import make_known
from tests.services.plugins import backend_names

pytestmark = pytest.mark.usefixtures("no_settings", "agent_metrics")


class Closable(MemoryRecorder):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def configured_closable() -> Closable:
    """What ``configure`` makes where ``make_recorder`` makes these."""
    made = configure()
    assert isinstance(made, Closable)
    return made


BAD = [
    ("BACKEND", "promtheus", f"unknown backend 'promtheus'; use one of {backend_names()}"),
    ("BACKEND", "memory,memory", "list at least one backend, each only once"),
    ("BACKEND", ",", "list at least one backend, each only once"),
    (
        "NAMESPACE",
        "my shop",
        "'my shop' is not a valid prefix for metric names: use letters, digits",
    ),
    ("COMMON_LABELS", "env", "use comma-separated name=value pairs"),
    ("COMMON_LABELS", "my env=prod", "'my env' is not a valid label name"),
    ("COMMON_LABELS", "model=x", "'model' is already a label of llm_calls_total"),
    ("EXTRA_LABELS", "my-tenant", "'my-tenant' is not a valid label name"),
    ("EXTRA_LABELS", "__tenant", "not starting with a digit or '__'"),
    ("EXTRA_LABELS", "le", "not 'le' or 'quantile'"),
    ("EXTRA_LABELS", "agent_name", "'agent_name' is already a label of llm_calls_total"),
    ("EXTRA_LABELS", "error_type", "'error_type' is already a label of llm_errors_total"),
    ("EXTRA_LABELS", "cache_type", "'cache_type' is already a label of cache_"),
    ("EXTRA_LABELS_FOR", "costs", "'costs' is no group and no metric that can have them; did you"),
    (
        "EXTRA_LABELS_FOR",
        "xyz",
        "use calls, tokens, cost, latency, agents, tools, retrievers, ",
    ),
    ("EXTRA_LABELS_FOR", "model_selections_total", "is no group and no metric that can have them"),
    ("METRICS_OFF", "llm_cals_total", "no metric is called 'llm_cals_total'; did you mean 'llm_c"),
    ("METRICS_OFF", "nothing_*", "no metric is called 'nothing_*'"),
    ("METRICS_OFF", "agentmetrics_open_runs", "is about agentmetrics itself and stays on"),
    ("METRICS_OFF", "agentmetrics_*", "is about agentmetrics itself and stays on"),
    ("CALL_TOKENS", "sometimes", "valid boolean"),
    ("EXTRA_LABELS", "tenant,tenant", "a label is listed twice"),
    ("LATENCY_BUCKETS", "5,1", "must be finite numbers in increasing order"),
    ("LATENCY_BUCKETS", "1,1", "must be finite numbers in increasing order"),
    ("LATENCY_BUCKETS", "1,inf", "must be finite numbers in increasing order"),
    ("LATENCY_BUCKETS", ",", "at least one"),
    ("LATENCY_BUCKETS", "fast,slow", "valid number"),
    ("BUCKETS", "tool_execution_duration_seconds", "use name=bound,bound,… and a semicolon"),
    ("BUCKETS", "tool_duration_seconds=1", "did you mean tool_execution_duration_seconds?"),
    ("BUCKETS", "llm_calls_total=1", "no histogram is called 'llm_calls_total'"),
    ("BUCKETS", "agent_run_tokens=1;agent_run_tokens=2", "a histogram is listed twice"),
    ("BUCKETS", "agent_run_tokens=", "agent_run_tokens: buckets [] must be finite numbers"),
    ("BUCKETS", "agent_run_tokens=1;agent_run_cost_usd=5,1", "agent_run_cost_usd: buckets [5.0, 1"),
    ("BUCKETS", "agent_run_tokens=1,inf", "must be finite numbers in increasing order"),
    ("BUCKETS", "agent_run_tokens=1,nan", "must be finite numbers in increasing order"),
    ("MB_ALIASES", "sometimes", "valid boolean"),
    ("MAX_SERIES", "0", "greater than or equal to 1"),
    ("MAX_SERIES", "many", "valid integer"),
    ("CALL_TTL_SECONDS", "0", "greater than 0"),
    ("CALL_TTL_SECONDS", "nan", "greater than 0"),
    ("DEFAULT_AGENT_NAME", " ", "use a name of at most 128 printable characters, such as 'assis"),
    ("DEFAULT_AGENT_NAME", "x" * 129, "use a name of at most 128 printable characters"),
    ("TIMEZONE", "Mars/Base", "unknown time zone 'Mars/Base'; use a name such as 'Europe/"),
    ("LEDGER_FLUSH_INTERVAL", "0", "greater than 0"),
    ("LEDGER_FLUSH_INTERVAL", "3601", "less than or equal to 3600"),
    ("LEDGER_RETENTION_DAYS", "0", "greater than or equal to 1"),
    ("LEDGER_RETENTION_DAYS", "week", "valid integer"),
    ("SYSTEM_METRICS", "sometimes", "valid boolean"),
    ("SYSTEM_DISK_PATH", "/no/such/path", "there is no such path; name one on the file system"),
    ("PUSHGATEWAY_GROUPING", "instance", "use comma-separated name=value pairs"),
    ("PUSHGATEWAY_TIMEOUT", "0", "greater than 0"),
    ("PUSHGATEWAY_TIMEOUT", "301", "less than or equal to 300"),
    ("STATSD_PORT", "abc", "valid integer"),
    ("STATSD_PORT", "0", "greater than or equal to 1"),
    ("STATSD_PORT", "65536", "less than or equal to 65535"),
    ("STATSD_PROTOCOL", "http", "'udp' or 'tcp'"),
    ("STATSD_FLUSH_INTERVAL", "-1", "greater than 0"),
]


class TestABadSetting:
    @pytest.mark.parametrize(("name", "value", "allowed"), BAD)
    def test_a_bad_setting_is_one_sentence_with_variable_value_and_what_is_allowed(
        self, monkeypatch, name, value, allowed
    ):
        variable = f"AGENTMETRICS_{name}"
        monkeypatch.setenv(variable, value)
        with pytest.raises(ConfigurationError) as raised:
            configure()
        sentence = str(raised.value)
        assert sentence.startswith(f"{variable}=")
        assert value.split(",")[0] in sentence
        assert allowed in sentence
        assert "\n" not in sentence

    @pytest.mark.parametrize(("name", "value", "allowed"), BAD)
    def test_a_bad_setting_given_in_code_is_the_same_sentence(self, name, value, allowed):
        with pytest.raises(ConfigurationError, match=f"^AGENTMETRICS_{name}=") as raised:
            configure(**{name.lower(): value})
        assert allowed in str(raised.value)

    def test_a_bad_setting_of_the_statsd_package_is_named_as_the_user_wrote_it(self, monkeypatch):
        monkeypatch.setenv("STATSD_PORT", "abc")
        with pytest.raises(ConfigurationError, match=r"STATSD_PORT='abc': .*valid integer"):
            configure()

    def test_a_bad_setting_leaves_the_recorder_in_use_as_it_was(self, agent_metrics):
        with pytest.raises(ConfigurationError):
            configure(backend="promtheus")
        assert get_recorder() is agent_metrics

    def test_a_bad_setting_that_nobody_knows_is_named_with_those_there_are(self):
        with pytest.raises(
            ConfigurationError, match="'port' is not a setting; use one of backend, "
        ):
            configure(port=1)

    def test_a_label_that_is_common_and_extra_stops_at_configuration(self):
        with pytest.raises(ConfigurationError, match=r"AGENTMETRICS_EXTRA_LABELS=.*'tenant'"):
            configure(common_labels="tenant=acme", extra_labels="tenant")

    @pytest.mark.parametrize("name", ["intent", "endpoint", "stream", "tier", "operation", "kind"])
    def test_a_label_of_a_metric_that_gets_no_extra_ones_is_a_fine_extra_label(self, name):
        assert configure(extra_labels=name).outermost()
        assert load_settings(extra_labels=name).extra_labels == (name,)

    def test_a_label_may_be_called_as_one_of_a_metric_that_the_extra_ones_are_not_for(self):
        only = load_settings(extra_labels="tool_name", extra_labels_for="cost,calls")
        assert only.extra_labels == ("tool_name",)
        for named in ("tools", "cost,tool_executions_total"):
            with pytest.raises(ConfigurationError, match="'tool_name' is already a label of tool_"):
                load_settings(extra_labels="tool_name", extra_labels_for=named)

    @pytest.mark.parametrize("name", ["agent_name", "provider", "model", "status"])
    def test_what_names_a_call_in_the_ledger_is_no_extra_label_of_others(self, name):
        with pytest.raises(ConfigurationError, match=rf"'{name}' is already a label of llm_calls"):
            load_settings(extra_labels=name, extra_labels_for="retriever_documents")

    def test_a_bad_setting_stops_the_program_where_it_first_needs_a_recorder(self, monkeypatch):
        monkeypatch.setattr(active.active, "in_use", None)
        monkeypatch.setattr(active.active, "pipeline", None)
        monkeypatch.setenv("AGENTMETRICS_BACKEND", "promtheus")
        for source in (get_recorder, MetricsCallbackHandler, lambda: track_call("p", "m")):
            with pytest.raises(ConfigurationError, match="promtheus"):
                source()

    def test_a_bad_bucket_is_named(self):
        with pytest.raises(ConfigurationError, match=r"AGENTMETRICS_BUCKETS='few': .*valid number"):
            configure(buckets="agent_run_tokens=few,many")

    def test_a_histogram_in_the_namespace_is_told_its_own_name(self):
        name = "a_very_long_name_of_a_service_agent_run_tokens"
        with pytest.raises(ConfigurationError, match="did you mean agent_run_tokens"):
            load_settings(buckets=f"{name}=1", namespace="a_very_long_name_of_a_service")


class TestBuckets:
    def test_buckets_are_of_one_histogram_by_its_name(self):
        recorder = configure(
            buckets="tool_execution_duration_seconds=0.5, 1;agent_run_cost_usd=0.1",
            namespace="shop",
        )
        with track_call("openai", "gpt-4o") as call:
            call.record_usage(10, 5)
        make = pipeline_of(recorder).make
        bounds = {m.name: make.shaped(m).buckets for m in catalog.CATALOG}
        assert bounds["tool_execution_duration_seconds"] == (0.5, 1.0)
        assert bounds["agent_run_cost_usd"] == (0.1,)
        assert bounds["llm_call_cost_usd"] == catalog.COST_BUCKETS
        assert bounds["retriever_query_duration_seconds"] == catalog.TOOL_BUCKETS

    def test_buckets_of_one_histogram_stand_before_those_of_latencies(self):
        recorder = configure(buckets={"llm_latency_seconds": [1, 2]}, latency_buckets="5,6")
        with track_call("openai", "gpt-4o"):
            pass
        assert recorder.histogram("llm_latency_seconds").bounds == (1.0, 2.0)
        assert recorder.histogram("llm_api_latency_seconds").bounds == (5.0, 6.0)

    def test_buckets_of_latencies_are_of_calls_and_runs_alone(self):
        make = pipeline_of(configure(latency_buckets="5,6")).make
        changed = {m.name for m in catalog.CATALOG if make.shaped(m).buckets == (5.0, 6.0)}
        assert changed == {
            "llm_latency_seconds",
            "llm_api_latency_seconds",
            "agent_run_duration_seconds",
        }

    @pytest.mark.parametrize(
        "metric", [m for m in catalog.PLATFORM if m.kind == "histogram"], ids=lambda m: m.name
    )
    def test_buckets_are_also_of_what_plugins_measure(self, metric):
        recorder = configure(buckets={metric.name: (7.0,)})
        assert pipeline_of(recorder).make.shaped(metric).buckets == (7.0,)

    def test_buckets_are_of_a_plugins_own_histogram_once_it_is_known(self):
        plugins = Metric("test_of_a_plugin_seconds", "histogram", "Own.", (), "seconds", (1.0,))
        make_known([plugins])
        assert load_settings(buckets={plugins.name: (2, 3)}).buckets == {plugins.name: (2.0, 3.0)}


class TestMegabytes:
    @pytest.fixture
    def names(self):
        """Gives the names of what a recorder shows of memory after a call of either kind."""

        def names(recorder: Recorder) -> set[str]:
            for tokens in (10, None):
                with track_call("openai", "gpt-4o", agent_name="planner") as call:
                    call.record_usage(tokens, tokens)
            return {s.name for s in recorder.samples() if "memory" in s.name}

        return names

    def test_megabytes_are_shown_beside_bytes(self, names):
        recorder = configure()
        assert names(recorder) == {
            "llm_memory_rss_bytes",
            "llm_memory_available_bytes",
            "llm_memory_rss_mb",
            "llm_memory_available_mb",
        }
        rss = recorder.value("llm_memory_rss_bytes", agent_name="planner")
        assert rss == recorder.value("llm_memory_rss_mb", agent_name="planner") * 2**20 > 2**20
        available = recorder.value("llm_memory_available_mb") * 2**20
        assert recorder.value("llm_memory_available_bytes") == pytest.approx(available, rel=0.2)

    def test_megabytes_can_be_turned_off(self, names, monkeypatch):
        monkeypatch.setenv("AGENTMETRICS_MB_ALIASES", "off")
        recorder = configure()
        assert names(recorder) == {"llm_memory_rss_bytes", "llm_memory_available_bytes"}
        assert recorder.value("llm_memory_rss_bytes", agent_name="planner") > 2**20
        assert recorder.value("llm_input_tokens_last_call") == 10


class TestAMissingExtra:
    @pytest.mark.parametrize(
        ("backend", "package"), [("prometheus", "prometheus_client"), ("statsd", "statsd")]
    )
    def test_a_missing_extra_stops_at_configuration_and_says_what_to_install(
        self, monkeypatch, backend, package
    ):
        for name in list(sys.modules):
            if name.split(".")[0] == package or name.startswith(f"agentmetrics.backends.{backend}"):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
        if backend == "prometheus":
            monkeypatch.delitem(sys.modules, "agentmetrics.backends.multiprocess", raising=False)
        with pytest.raises(ConfigurationError) as raised:
            configure(backend=f"memory,{backend}")
        assert str(raised.value) == (
            f"AGENTMETRICS_BACKEND={backend!r}: the backend {backend!r} needs the package "
            f"{package!r}; install it with: pip install 'llm-agentmetrics[{backend}]'"
        )


class TestABackend:
    def test_the_backend_is_memory_when_nothing_is_set(self):
        assert type(configure()) is MemoryRecorder

    @pytest.mark.parametrize(
        ("value", "cls"),
        [
            ("memory", MemoryRecorder),
            ("noop", NoopRecorder),
            ("prometheus", PrometheusRecorder),
            (" noop ", NoopRecorder),
        ],
    )
    def test_the_backend_is_the_one_that_the_environment_names(self, monkeypatch, value, cls):
        monkeypatch.setenv("AGENTMETRICS_BACKEND", value)
        assert type(configure()) is cls

    def test_the_backend_may_be_several(self, monkeypatch):
        monkeypatch.setenv("AGENTMETRICS_BACKEND", "memory, noop")
        recorder = configure()
        assert type(recorder) is FanoutRecorder
        assert [type(inner) for inner in recorder.inner] == [MemoryRecorder, NoopRecorder]

    def test_a_backend_of_somebody_else_is_found_by_its_entry_point(self, monkeypatch, tmp_path):
        (tmp_path / "their_metrics.py").write_text(
            "from agentmetrics import ConfigurationError, MemoryRecorder\n"
            "class TheirRecorder(MemoryRecorder):\n"
            "    @classmethod\n"
            "    def from_settings(cls, settings):\n"
            "        if settings.namespace == 'bad':\n"
            "            raise ConfigurationError('THEIR_URL=None: set it')\n"
            "        if settings.namespace == 'worse':\n"
            "            raise ValueError('no such region')\n"
            "        recorder = cls()\n"
            "        recorder.made_from = settings\n"
            "        return recorder\n"
        )
        info = tmp_path / "their_metrics-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-metrics\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[agentmetrics.backends]\ntheirs = their_metrics:TheirRecorder\n"
            "memory = their_metrics:TheirRecorder\n"
        )
        monkeypatch.setitem(sys.modules, "their_metrics", None)  # afterwards it is forgotten
        del sys.modules["their_metrics"]
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("AGENTMETRICS_BACKEND", "theirs")
        recorder = configure()
        assert type(recorder).__name__ == "TheirRecorder"
        assert vars(recorder)["made_from"].backend == ("theirs",)
        # a name of ours stays ours
        assert type(configure(backend="memory")) is MemoryRecorder
        # and what their class refuses is said as it says it
        with pytest.raises(ConfigurationError, match=r"^THEIR_URL=None: set it$"):
            configure(namespace="bad")
        with pytest.raises(
            ConfigurationError, match=r"^AGENTMETRICS_BACKEND='theirs': no such region$"
        ):
            configure(namespace="worse")
        with pytest.raises(ConfigurationError, match=r"use one of .*memory, noop, .*theirs"):
            configure(backend="their")


class TestConfigure:
    def test_configure_makes_the_layers_that_the_settings_ask_for(self, monkeypatch):
        monkeypatch.setenv("AGENTMETRICS_NAMESPACE", "shop")
        monkeypatch.setenv("AGENTMETRICS_COMMON_LABELS", "env = prod, region=eu")
        monkeypatch.setenv("AGENTMETRICS_EXTRA_LABELS", "tenant, task_type")
        monkeypatch.setenv("AGENTMETRICS_LATENCY_BUCKETS", "0.5, 1, 30")
        monkeypatch.setenv("AGENTMETRICS_MAX_SERIES", "7")
        monkeypatch.setenv("AGENTMETRICS_CALL_TTL_SECONDS", "60")
        recorder = configure()
        assert type(recorder) is Namespace
        assert type(recorder.inner[0]) is CommonLabels
        with agentmetrics.labels(tenant="acme"), track_call("ollama", "llama3"):
            pass
        memory = recorder.inner[0].inner[0]
        found = memory.histogram("shop_llm_latency_seconds", env="prod", region="eu", tenant="acme")
        assert found.count == 1
        assert found.bounds == (0.5, 1.0, 30.0)
        options = pipeline_of(recorder).options
        assert (options.max_series, options.call_ttl_seconds) == (7, 60.0)

    def test_what_configure_is_given_in_code_stands_before_the_environment(self, monkeypatch):
        monkeypatch.setenv("AGENTMETRICS_BACKEND", "noop")
        monkeypatch.setenv("AGENTMETRICS_STATSD_PORT", "9999")
        assert type(configure(backend="memory")) is MemoryRecorder
        assert load_settings(statsd_port=7777).statsd_port == 7777
        assert load_settings(backend=("memory",), extra_labels=["a"]).extra_labels == ("a",)
        assert load_settings(common_labels={"env": "x"}).common_labels == {"env": "x"}
        assert load_settings(latency_buckets=(1, 2)).latency_buckets == (1.0, 2.0)

    def test_configure_takes_statsds_own_variables_where_ours_are_not_set(self, monkeypatch):
        monkeypatch.setenv("STATSD_HOST", "metrics")
        monkeypatch.setenv("STATSD_PORT", "9125")
        monkeypatch.setenv("STATSD_PREFIX", "shop")
        monkeypatch.setenv("AGENTMETRICS_STATSD_PORT", "8126")
        found = load_settings()
        assert (found.statsd_host, found.statsd_port, found.statsd_prefix) == (
            "metrics",
            8126,
            "shop",
        )

    def test_configure_takes_a_recorder_or_settings_and_not_both(self):
        with pytest.raises(ConfigurationError, match="a recorder or backend, not both"):
            configure(MemoryRecorder(), backend="noop")

    def test_configure_gives_the_recorder_that_get_recorder_gives(self):
        recorder = MemoryRecorder()
        assert configure(recorder) is recorder
        assert get_recorder() is recorder
        made = configure(backend="memory")
        assert get_recorder() is made

    def test_configure_is_followed_at_once_by_sources_that_were_given_no_recorder(self):
        handler = MetricsCallbackHandler()
        first, second = configure(MemoryRecorder()), MemoryRecorder()
        handler.on_tool_end("", run_id=None)  # type: ignore[arg-type]
        configure(second)
        handler.on_tool_end("", run_id=None)  # type: ignore[arg-type]
        for recorder in (first, second):
            assert recorder.value("agentmetrics_handler_errors_total", event="on_tool_end") == 1

    def test_configure_closes_the_recorder_before_if_it_made_that_itself(self, monkeypatch):
        monkeypatch.setattr(active, "make_recorder", lambda _: Closable())
        own, made = Closable(), configured_closable()
        configure(own)
        assert made.closed == 1
        configure(MemoryRecorder())
        assert own.closed == 0

    def test_configure_happens_by_itself_when_a_recorder_is_first_needed(self, monkeypatch):
        monkeypatch.setattr(active.active, "in_use", None)
        monkeypatch.setattr(active.active, "pipeline", None)
        monkeypatch.setenv("AGENTMETRICS_BACKEND", "noop")
        recorder = get_recorder()
        assert type(recorder) is NoopRecorder
        assert get_recorder() is recorder

    def test_configure_leaves_what_it_made_to_be_closed_at_exit(self, monkeypatch):
        monkeypatch.setattr(active, "make_recorder", lambda _: Closable())
        made = configured_closable()
        exits.close_all()
        assert made.closed == 1
        configure(own := Closable())
        exits.close_all()
        assert own.closed == 0

    def test_configure_can_be_done_without_touching_the_process(self, agent_metrics):
        recorder = make_recorder(load_settings(backend="noop"))
        assert isinstance(recorder, Recorder)
        assert get_recorder() is agent_metrics


class TestTheFixture:
    def test_the_fixture_gives_a_memory_recorder_that_is_the_configured_one(self, agent_metrics):
        assert type(agent_metrics) is MemoryRecorder
        assert get_recorder() is agent_metrics
        with track_call("ollama", "llama3"):
            pass
        assert agent_metrics.value("llm_calls_total") == 1

    def test_the_fixture_gives_a_fresh_one_to_every_test(self, agent_metrics):
        recorded = agent_metrics.snapshot().values()
        assert {metric["kind"] for metric in recorded} == {"gauge"}  # those that are read
        assert agent_metrics.value("agentmetrics_open_runs") == 0

    def test_the_fixture_puts_back_the_recorder_from_before_untouched(self):
        configure(before := Closable())
        with active.replaced(MemoryRecorder()) as inside:
            assert get_recorder() is inside
        assert get_recorder() is before
        assert before.closed == 0

    def test_the_fixture_puts_back_what_was_made_from_settings_so_that_it_is_still_closed_at_exit(
        self, monkeypatch
    ):
        monkeypatch.setattr(active, "make_recorder", lambda _: Closable())
        before = configured_closable()
        with active.replaced(MemoryRecorder()):
            pass
        assert before.closed == 0
        exits.close_all()
        assert before.closed == 1

    def test_the_fixture_closes_what_the_test_itself_configured(self, monkeypatch):
        monkeypatch.setattr(active, "make_recorder", lambda _: Closable())
        with active.replaced(MemoryRecorder()):
            made = configured_closable()
            assert made.closed == 0
        assert made.closed == 1
