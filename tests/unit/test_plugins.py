"""Plugins: what one may use, and what is said of one that is broken."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import pytest

import agentmetrics
from agentmetrics import ConfigurationError, MemoryRecorder, Metric, catalog, configure, plugin
from agentmetrics.config.loading import load_settings, unknown_variables
from agentmetrics.pipeline import Options
from agentmetrics.plugin import LATENCY_BUCKETS, Instruments, Store, add_rows, row
from agentmetrics.recording import known
from tests.services.plugins import install

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
GROUP = "agentmetrics.backends"
THEIRS = "the backend plugin 'theirs' (from the distribution 'their-metrics')"
WORKS = "from agentmetrics import MemoryRecorder\nclass TheirRecorder(MemoryRecorder): ...\n"


@pytest.fixture
def site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agent_metrics: MemoryRecorder
) -> Iterator[Path]:
    """A folder on the path of modules and distributions; what is imported from it is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    forget_theirs()  # what any other test has imported
    yield tmp_path
    forget_theirs()


def forget_theirs() -> None:
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]


def install_theirs(
    site: Path, source: str = WORKS, value: str = "their_metrics:TheirRecorder", **more: Any
) -> None:
    modules = {"their_metrics.py": source}
    install(site, "their-metrics", {GROUP: {"theirs": value}}, modules, **more)


def said(backend: str = "theirs") -> str:
    """What ``configure`` says of a backend that is broken."""
    with pytest.raises(ConfigurationError) as raised:
        configure(backend=backend)
    sentence = str(raised.value)
    assert "\n" not in sentence
    start, _, rest = sentence.partition(": ")
    assert start == f"AGENTMETRICS_BACKEND={backend!r}"
    return rest


class TestABrokenPluginIsNamedWith:
    def test_a_broken_plugin_is_named_with_the_module_that_its_distribution_lacks(
        self, site: Path
    ) -> None:
        install_theirs(site, value="their_metrics_of_old:TheirRecorder")
        assert said() == (
            f"{THEIRS} is broken: it has no module 'their_metrics_of_old'; "
            "reinstall it: pip install --force-reinstall their-metrics"
        )

    @pytest.mark.parametrize("module", ["no_such_package", "no_such_package.client"])
    def test_a_broken_plugin_is_named_with_the_package_that_it_needs_and_what_to_type(
        self, site: Path, module: str
    ) -> None:
        install_theirs(site, f"import {module}\n", requires=("PyNoSuch>=2",))
        assert said() == (
            f"{THEIRS} needs the package 'no_such_package', which is not installed; "
            "pip install their-metrics installs what it requires"
        )

    def test_a_broken_plugin_is_named_with_the_extra_that_has_the_package(self, site: Path) -> None:
        requires = ("anyio>=4", 'No.Such_Package[fast]>=2 ; extra == "wire"')
        install_theirs(site, "import no_such_package\n", requires=requires)
        assert said() == (
            f"{THEIRS} needs the package 'no_such_package', of its extra; "
            "install it with: pip install 'their-metrics[wire]'"
        )

    def test_a_broken_plugin_is_named_with_the_version_of_ours_that_it_does_not_go_with(
        self, site: Path
    ) -> None:
        install_theirs(site, "from agentmetrics.recorder_of_old import Recorder\n")
        assert said() == (
            f"{THEIRS} does not go with llm-agentmetrics {version('llm-agentmetrics')}, "
            "which has no module 'agentmetrics.recorder_of_old'"
        )

    def test_a_broken_plugin_is_named_with_the_extra_of_ours_that_it_builds_on(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(name: str) -> NoReturn:
            raise ModuleNotFoundError(
                f"{name} needs the package 'statsd': pip install 'llm-agentmetrics[statsd]'",
                name="statsd",
            )

        monkeypatch.setattr(agentmetrics, "_public", missing)
        monkeypatch.delitem(vars(agentmetrics), "StatsDRecorder", raising=False)
        install_theirs(site, "from agentmetrics import StatsDRecorder\n")
        assert said() == (
            f"{THEIRS} cannot be imported: StatsDRecorder needs the package 'statsd': "
            "pip install 'llm-agentmetrics[statsd]'"
        )

    def test_a_broken_plugin_is_named_with_the_class_that_does_not_exist(self, site: Path) -> None:
        install_theirs(site, value="their_metrics:TheirRecorderOfOld")
        assert said() == (
            f"{THEIRS} is broken: module 'their_metrics' has no attribute 'TheirRecorderOfOld'"
        )

    @pytest.mark.parametrize("value", ["their-metrics:TheirRecorder", "their_metrics:", ":x"])
    def test_a_broken_plugin_is_named_with_an_entry_point_that_is_none(
        self, site: Path, value: str
    ) -> None:
        install_theirs(site, value=value)
        assert said() == (
            f"{THEIRS} is broken: its entry point is {value!r}; an entry point is 'module:Class'"
        )

    @pytest.mark.parametrize(
        ("source", "value"),
        [
            (WORKS, "their_metrics"),
            ("class TheirRecorder: ...\n", "their_metrics:TheirRecorder"),
            (f"{WORKS}made = TheirRecorder()\n", "their_metrics:made"),
            ("def TheirRecorder(): ...\n", "their_metrics:TheirRecorder"),
        ],
        ids=["a module", "another class", "a recorder and no class", "a function"],
    )
    def test_a_broken_plugin_is_named_with_the_object_that_is_no_recorder(
        self, site: Path, source: str, value: str
    ) -> None:
        install_theirs(site, source, value)
        assert said() == (f"{THEIRS} is broken: {value} is not a subclass of agentmetrics.Recorder")

    def test_a_broken_plugin_is_named_with_the_abstract_methods_that_it_lacks(
        self, site: Path
    ) -> None:
        source = (
            "from contextlib import nullcontext\n"
            "from agentmetrics import Recorder\n"
            "class TheirRecorder(Recorder):\n"
            "    def bind_counter(self, metric, values): ...\n"
            "    def bind_gauge(self, metric, values): ...\n"
            "    def update(self): return nullcontext()\n"
        )
        install_theirs(site, source)
        assert said() == (
            f"{THEIRS} is broken: their_metrics:TheirRecorder does not implement "
            "bind_histogram, observe_gauge"
        )

    @pytest.mark.parametrize(
        ("source", "why"),
        [
            ("1 / 0\n", "ZeroDivisionError: division by zero"),
            ("raise OSError('no\\n   licence')\n", "OSError: no licence"),
            (
                "from agentmetrics.plugin import of_old\n",
                "ImportError: cannot import name 'of_old'",
            ),
            ("def broken(:\n", "SyntaxError: invalid syntax"),
        ],
        ids=["an error", "an error of two lines", "a name that is not there", "no Python"],
    )
    def test_a_broken_plugin_is_named_with_the_error_that_its_module_raises(
        self, site: Path, source: str, why: str
    ) -> None:
        install_theirs(site, source)
        assert said().startswith(f"{THEIRS} cannot be imported: {why}")

    def test_a_broken_plugin_is_named_with_the_other_distribution_that_has_its_name(
        self, site: Path
    ) -> None:
        install_theirs(site)
        install(site, "other-metrics", {GROUP: {"theirs": "their_metrics:TheirRecorder"}})
        assert said() == (
            "'other-metrics' and 'their-metrics' both register a backend 'theirs': "
            "uninstall all but one of these distributions"
        )


class TestAPlugin:
    def test_a_plugin_that_is_whole_is_used(self, site: Path) -> None:
        install_theirs(site)
        assert type(configure(backend="theirs")).__name__ == "TheirRecorder"

    def test_a_broken_plugin_is_no_concern_of_who_does_not_use_it(self, site: Path) -> None:
        install_theirs(site, "1 / 0\n")
        assert type(configure(backend="memory")) is MemoryRecorder

    def test_a_plugin_named_like_a_built_in_backend_does_not_replace_it(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(site, "their-metrics", {GROUP: {"noop": "their_metrics:TheirRecorder"}})
        assert type(configure(backend="noop")).__name__ == "NoopRecorder"
        monkeypatch.setenv("AGENTMETRICS_NOOP_SPEED", "1")
        assert len(unknown_variables()) == 1


class TestVariables:
    @pytest.fixture(autouse=True)
    def installed(self, site: Path) -> None:
        points = {
            GROUP: {"json-lines": "their_metrics:TheirRecorder"},
            "agentmetrics.plugins": {"tinyflow": "their_tinyflow"},
        }
        install(site, "their-metrics", points)

    @pytest.mark.parametrize("variable", ["JSON_LINES_PATH", "TINYFLOW_ON", "tinyflow_level"])
    def test_variables_of_installed_plugins_are_theirs(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.setenv(f"AGENTMETRICS_{variable}", "1")
        assert unknown_variables() == []
        load_settings()

    @pytest.mark.parametrize(
        "variable", ["TINYFLOW", "TINYFLOWS_ON", "JSON_PATH", "BACKENDS", "OTHER_PATH"]
    )
    def test_variables_that_are_nobodys_are_reported(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.setenv("AGENTMETRICS_TINYFLOW_ON", "1")
        monkeypatch.setenv(f"AGENTMETRICS_{variable}", "1")
        with pytest.raises(
            ConfigurationError, match=rf"^AGENTMETRICS_{variable} is set but is not a setting"
        ):
            load_settings()


class TestRowsOfAPlugin:
    ROW = Metric("jobs_total", "counter", "Jobs.", ("status",), closed_labels=frozenset({"status"}))

    @pytest.fixture(autouse=True)
    def forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(known, "_metrics", dict(known._metrics))
        monkeypatch.setattr(known, "_values", dict(known._values))

    def test_rows_of_a_plugin_are_known_to_readings(self) -> None:
        recorder = MemoryRecorder()
        with pytest.raises(KeyError, match="there is no metric 'jobs_total'"):
            recorder.value("jobs_total")
        add_rows(self.ROW, label_values={"status": ("done", "lost")})
        assert recorder.value("jobs_total", status="done") == 0
        with pytest.raises(KeyError, match=r"jobs_total never has status='success'.* done, lost"):
            recorder.value("jobs_total", status="success")

    def test_rows_of_a_plugin_cannot_replace_the_catalogues(self) -> None:
        taken = Metric("llm_calls_total", "counter", "Calls.", ("agent",))
        with pytest.raises(ValueError, match="llm_calls_total is already a counter with labels"):
            add_rows(taken)
        add_rows(self.ROW)
        add_rows(self.ROW)  # as when its module is imported twice
        assert MemoryRecorder().value("llm_calls_total", status="success") == 0

    def test_rows_of_a_plugin_leave_the_values_of_the_catalogues_labels_alone(self) -> None:
        add_rows(self.ROW, label_values={"status": ("done", "lost")})
        assert MemoryRecorder().value("llm_calls_total", status="success") == 0
        with pytest.raises(KeyError, match="llm_calls_total never has status='done'"):
            MemoryRecorder().value("llm_calls_total", status="done")

    def test_rows_of_a_plugin_have_the_latency_buckets_in_use(self) -> None:
        row = Metric("jobs_seconds", "histogram", "Jobs.", (), "seconds", LATENCY_BUCKETS)
        recorder = MemoryRecorder()
        Options(latency_buckets=(1.0, 2.0)).instruments(recorder).histogram(row)
        Instruments(recorder).histogram(Metric("waits", "histogram", "W.", (), "", LATENCY_BUCKETS))
        assert recorder.histogram("jobs_seconds").bounds == (1.0, 2.0)
        assert recorder.histogram("waits").bounds == LATENCY_BUCKETS


class TestRowsOfTheCatalogue:
    def test_a_plugin_has_them_by_name(self) -> None:
        assert row("http_requests_total") is catalog.HTTP_REQUESTS
        with pytest.raises(KeyError, match=r"no metric 'http_request_total'; did you mean"):
            row("http_request_total")

    def test_a_status_of_a_request_is_none_of_a_call(self) -> None:
        assert MemoryRecorder().value("http_requests_total", status="404") == 0


def test_what_a_store_keeps_is_read_without_anybodys_callback() -> None:
    depth = Metric("depth", "gauge", "Depth.")
    seen = Metric("seen_total", "counter", "Seen.")
    store = Store()
    asked: list[float] = []

    def ask() -> float:
        asked.append(3.0)
        return 3.0

    store.observe(depth, ask)
    store.declare(seen)
    store.bind(seen, ()).inc(2)
    assert [(metric.name, series) for metric, series in store.kept()] == [
        ("depth", []),
        ("seen_total", [((), 2.0)]),
    ]
    assert asked == []
    assert [(metric.name, series) for metric, series in store.collect()] == [
        ("depth", [((), 3.0)]),
        ("seen_total", [((), 2.0)]),
    ]


def test_the_names_for_plugins_are_sorted() -> None:
    assert plugin.__all__ == sorted(plugin.__all__, key=lambda name: (not name.isupper(), name))


@pytest.mark.parametrize("name", plugin.__all__)
def test_every_name_for_plugins_is_documented(name: str) -> None:
    text = re.sub(r"^```.*?^```", "", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert re.search(rf"`[^`]*\b{name}\b[^`]*`", text), (
        f"docs/plugins.md does not say what {name} is"
    )
    value = getattr(plugin, name)
    if callable(value) and getattr(value, "__module__", "").startswith("agentmetrics."):
        assert value.__doc__


def test_the_page_for_plugins_names_nothing_that_is_not_there() -> None:
    imported = re.findall(
        r"from agentmetrics\.plugin import (?:\(([^)]*)\)|(.*))", PAGE.read_text()
    )
    names = {name for group in imported for name in re.findall(r"\w+", "".join(group))}
    assert len(names) > 20
    assert names <= set(plugin.__all__)
