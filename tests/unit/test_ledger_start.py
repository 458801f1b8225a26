"""What a ledger says when it cannot be kept where it should be, and how its tables come to be."""

from __future__ import annotations

import builtins
import os
import pwd
import subprocess
import sys
import tempfile
import textwrap
import traceback
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import MetaData, inspect, text

import agentmetrics
from agentmetrics import (
    ConfigurationError,
    Ledger,
    LedgerUnavailable,
    MemoryRecorder,
    Recorder,
    configure,
    get_ledger,
    get_recorder,
    track_call,
)
from agentmetrics.budget.ledger import engine, schema
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.tally import Amounts, Key, Row
from agentmetrics.budget.ledger.url import without_password
from agentmetrics.config import active
from tests.services.postgres import PASSWORD
from tests.services.process import free_port
from tests.unit.test_store import in_a_child

pytestmark = pytest.mark.usefixtures("no_settings", "agent_metrics")

ROOT = Path(__file__).parents[2]


def sentence_of(url: str) -> str:
    """What is said of a URL at the start: one sentence, the same for ``Ledger`` and the setting."""
    with pytest.raises(ConfigurationError) as raised:
        Ledger(url)
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
    with pytest.raises(ConfigurationError) as configured:
        configure(ledger_url=url)
    assert str(configured.value) == f"AGENTMETRICS_LEDGER_URL={sentence}"
    return sentence


class TestAURL:
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("spend.db", "this is not a database URL; use 'sqlite:///spend.db' or 'postgresql://"),
            ("sqlite:spend.db", "this is not a database URL"),
            ("sqlite://", "the ledger needs a file: use 'sqlite:///spend.db'"),
            ("sqlite:///", "the ledger needs a file"),
            ("sqlite:///:memory:", "the ledger needs a file"),
            ("sqlite:///file:spend.db?uri=true", "the ledger needs a file"),
            ("mysql://joe:s3cret@host/spend", "must be SQLite or PostgreSQL; use"),
            ("postgresql+asyncpg://joe:s3cret@host/spend", "must be SQLite or PostgreSQL"),
            ("postgresql://joe:s3cret@host:port/spend", "this is not a database URL"),
            ("postgresql://joe:s3cret@2@host/spend", "write '@' as '%40' in the user name and"),
            ("postgresql://host.invalid/spend", "failed to resolve host 'host.invalid'"),
        ],
    )
    def test_a_url_that_can_never_work_is_one_sentence(self, url, reason):
        sentence = sentence_of(url)
        assert sentence.startswith(repr(without_password(url)))
        assert reason in sentence

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://joe:s3cret@host/db", "postgresql://joe:***@host/db"),
            ("postgresql://joe:s3:cret@host:1/db", "postgresql://joe:***@host:1/db"),
            ("postgresql://joe:s3:c/r@et@host:1/db", "postgresql://***"),
            ("postgresql://joe:s3cret@host/db\n", "postgresql://***"),
            ("joe:s3cret@host/db", "***"),
            ("spend.db", "spend.db"),
            ("pushgateway:9091", "pushgateway:9091"),
            ("postgresql://joe@host/db?password=s3cret&x=1", None),
            ("postgresql://joe@host/db", "postgresql://joe@host/db"),
            ("sqlite:////tmp/a:b@c/spend.db", "sqlite:////tmp/a:b@c/spend.db"),
        ],
    )
    def test_a_url_is_shown_without_its_password(self, url, shown):
        shown = shown or "postgresql://joe@host/db?password=***&x=***"
        assert without_password(url) == shown

    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
    def test_a_url_of_postgresql_needs_no_driver(self, scheme, postgres):
        url = postgres().replace("postgresql", scheme)
        with Ledger(url) as ledger:
            assert ledger.summary().total == Amounts()

    def test_a_url_is_that_of_nobody_when_it_is_empty(self, monkeypatch):
        monkeypatch.setenv("AGENTMETRICS_LEDGER_URL", "")
        configure()
        with pytest.raises(ConfigurationError, match="set AGENTMETRICS_LEDGER_URL to a database"):
            get_ledger()


class TestAMissingPackage:
    def test_a_missing_package_is_named_with_what_to_install(self, monkeypatch):
        real = builtins.__import__

        def without_sqlalchemy(name, *args, **kwargs):
            if name.partition(".")[0] == "sqlalchemy":
                raise ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")
            return real(name, *args, **kwargs)

        for name in list(sys.modules):
            if name.startswith(("agentmetrics.budget.ledger.", "sqlalchemy")):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(builtins, "__import__", without_sqlalchemy)
        with pytest.raises(ConfigurationError) as raised:
            configure(ledger_url="postgresql://joe:s3cret@host/spend")
        assert str(raised.value) == (
            "AGENTMETRICS_LEDGER_URL='postgresql://joe:***@host/spend': the ledger needs the "
            "package 'sqlalchemy'; install it with: pip install 'llm-agentmetrics[ledger]'"
        )

    def test_a_missing_package_may_be_the_driver(self, monkeypatch):
        monkeypatch.setattr(engine, "find_spec", lambda name: None)
        assert sentence_of("postgresql://host/spend") == (
            "'postgresql://host/spend': PostgreSQL needs the package 'psycopg'; "
            "install it with: pip install 'llm-agentmetrics[postgres]'"
        )
        assert sentence_of("postgresql+psycopg2://host/spend").endswith(
            "needs the package 'psycopg2'; install it with: pip install psycopg2-binary"
        )

    def test_a_driver_may_be_there_and_lack_its_own_library(self, monkeypatch):
        monkeypatch.setenv("PSYCOPG_IMPL", "c")  # which nobody has built here
        for name in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
            monkeypatch.delitem(sys.modules, name)
        said = sentence_of("postgresql://host/spend")
        assert "the package 'psycopg' cannot be imported" in said
        assert said.endswith("pip install 'llm-agentmetrics[postgres]'")


class TestAFile:
    def test_a_ledger_file_that_is_a_directory_is_refused(self, tmp_path):
        url = f"sqlite:///{tmp_path}"
        assert sentence_of(url) == f"'{url}': this is a directory; use a file in it"

    def test_a_ledger_file_in_a_directory_that_is_none_is_refused(self, tmp_path):
        url = f"sqlite:///{tmp_path}/missing/spend.db"
        assert sentence_of(url) == f"'{url}': the directory '{tmp_path}/missing' does not exist"

    def test_a_ledger_file_that_is_no_database_is_refused(self, tmp_path):
        path = tmp_path / "spend.db"
        path.write_bytes(b"not a database " * 100)
        url = f"sqlite:///{path}"
        assert sentence_of(url) == f"'{url}': this file is not a SQLite database"
        assert path.read_bytes() == b"not a database " * 100

    @pytest.mark.parametrize(
        ("mode", "reason"), [(0o000, "cannot be opened"), (0o444, "cannot be written")]
    )
    def test_a_ledger_file_that_this_user_may_not_read_or_write_is_refused(self, mode, reason):
        # Not below pytest's own directory, which nobody but its owner can enter.
        with tempfile.TemporaryDirectory(prefix="agentmetrics-") as directory:
            path = Path(directory, "spend.db")
            url = f"sqlite:///{path}"
            Ledger(url).close()
            path.chmod(mode)
            Path(directory).chmod(0o755)
            assert reason in in_a_child(lambda: said_to_somebody_else(url))


def said_to_somebody_else(url: str) -> str:
    """What is said of a ledger to a user that is not root, whom no file keeps out."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    return sentence_of(url)


class TestAServer:
    def test_a_server_that_refuses_the_password_is_said_to_without_it(self, postgres):
        url = postgres().replace(PASSWORD, "wr0ng-w0rd")
        sentence = sentence_of(url)
        assert 'password authentication failed for user "postgres"' in sentence
        assert "wr0ng-w0rd" not in sentence

    def test_a_server_that_has_no_such_database_says_so(self, postgres):
        assert 'database "nowhere" does not exist' in sentence_of(
            postgres().rpartition("/")[0] + "/nowhere"
        )

    def test_a_server_where_this_user_may_make_no_tables_says_so(self, postgres):
        url = postgres()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP ROLE IF EXISTS reader")
            connection.execute(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
        reader = url.replace("postgres:", "reader:", 1)
        assert "permission denied for schema public" in sentence_of(reader)

    def test_a_server_that_is_not_there_now_is_a_warning(self, caplog):
        with Ledger(f"postgresql://joe:{PASSWORD}@127.0.0.1:{free_port()}/spend"):
            (warning,) = (record.getMessage() for record in caplog.records)
        assert warning.startswith(
            "the ledger cannot be opened yet; calls are kept until it can: 'postgresql:"
        )
        assert PASSWORD not in warning


NEWEST = len(schema.MIGRATIONS)
NEXT = ("ALTER TABLE agentmetrics_ledger ADD COLUMN region TEXT",)
AFTER_NEXT = (
    "CREATE TABLE agentmetrics_ledger_more (number BIGINT)",
    "INSERT INTO agentmetrics_ledger_more (number) SELECT cost_nano_usd FROM agentmetrics_ledger",
)
TWO_MORE = (*schema.MIGRATIONS, NEXT, AFTER_NEXT)
A_KEY = Key(900, "planner", "openai", "gpt-4o", "gpt-4o-2024-11-20", "success", "{}")
A_ROW = {A_KEY: Row(A_KEY, ())}
A_ROW[A_KEY].cost_nano_usd = 5


def version(database: Database) -> int:
    with database._engine.connect() as connection:
        return schema.version_of(connection)


class TestTheTables:
    def test_the_tables_are_what_the_code_takes_them_to_be(self, ledger_url):
        database = Database(ledger_url)
        database.prepare()
        found = MetaData()
        with database._engine.connect() as connection:
            found.reflect(connection)
            keys = {
                name: inspect(connection).get_pk_constraint(name)["constrained_columns"]
                for name in found.tables
            }
        assert found.tables.keys() == schema.METADATA.tables.keys()
        for name, table in schema.METADATA.tables.items():
            described = {
                column.name: (column.type.python_type, column.nullable)
                for column in found.tables[name].columns
            }
            assert described == {
                column.name: (column.type.python_type, column.nullable) for column in table.columns
            }
            assert keys[name] == [column.name for column in table.primary_key]

    def test_the_tables_come_from_version_to_version_in_order(self, ledger_url):
        first = Database(ledger_url)
        first.prepare()
        first.add("writer", 0, 1, A_ROW)
        second = Database(ledger_url, (*schema.MIGRATIONS, NEXT))
        second.prepare()
        assert version(second) == NEWEST + 1
        third = Database(ledger_url, TWO_MORE)
        third.prepare()
        third.prepare()
        assert version(third) == NEWEST + 2
        with third._engine.connect() as connection:
            assert connection.execute(text("SELECT * FROM agentmetrics_ledger_more")).all() == [
                (5,)
            ]

    def test_the_tables_come_from_nothing_to_the_newest_version(self, ledger_url):
        database = Database(ledger_url, TWO_MORE)
        database.prepare()
        assert version(database) == NEWEST + 2

    def test_the_tables_go_on_being_written_by_who_started_before(self, ledger_url):
        before = Database(ledger_url)
        before.prepare()
        Database(ledger_url, TWO_MORE).prepare()
        before.add("writer", 0, 1, A_ROW)
        with before.snapshot() as snapshot:
            assert snapshot.amounts(0, 1000, []) == [(Amounts(cost_nano_usd=5),)]

    def test_the_tables_go_on_being_written_by_who_started_before_also_after_an_error(
        self, ledger_url
    ):
        before = Database(ledger_url)
        before.prepare()
        newer = Database(ledger_url, TWO_MORE)
        newer.prepare()
        for rename in (
            "agentmetrics_ledger RENAME TO aside",
            "aside RENAME TO agentmetrics_ledger",
        ):
            with newer._engine.begin() as connection:
                connection.execute(text(f"ALTER TABLE {rename}"))
            if rename.endswith("aside"):
                with pytest.raises(LedgerUnavailable):
                    before.add("writer", 0, 1, A_ROW)
        before.prepare()
        before.add("writer", 0, 1, A_ROW)
        with before.snapshot() as snapshot:
            assert snapshot.amounts(0, 1000, []) == [(Amounts(cost_nano_usd=5),)]

    def test_the_tables_stay_as_they_were_when_a_migration_fails(self, ledger_url):
        first = Database(ledger_url)
        first.prepare()
        broken = Database(ledger_url, (*TWO_MORE, ("ALTER TABLE nowhere ADD COLUMN x TEXT",)))
        with pytest.raises(LedgerUnavailable, match="nowhere"):
            broken.prepare()
        assert version(first) == NEWEST
        with first._engine.connect() as connection:
            assert not inspect(connection).has_table("agentmetrics_ledger_more")

    def test_the_tables_of_a_newer_version_are_left_alone(self, ledger_url):
        Database(ledger_url, TWO_MORE).prepare()
        assert sentence_of(ledger_url).endswith(
            f"its schema version is {NEWEST + 2}, and this agentmetrics supports versions up to "
            f"{NEWEST}: "
            "install a newer llm-agentmetrics"
        )

    def test_the_tables_are_made_once_by_many_that_start_at_once(self, ledger_url):
        """All wait before the door until the last has come."""
        program = """
            import sys
            from agentmetrics import MemoryRecorder, Ledger, track_call
            print("ready", flush=True)
            sys.stdin.readline()
            recorder = MemoryRecorder()
            with Ledger(sys.argv[1]) as ledger:
                ledger.attach(recorder)
                with track_call("openai", "gpt-4o", recorder=recorder) as call:
                    call.record_usage(10, 5)
        """
        started = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(program), ledger_url],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [(p.communicate(timeout=60)[1], p.returncode) for p in started] == [("", 0)] * 4
        with Database(ledger_url).snapshot() as snapshot:
            ((amounts,),) = snapshot.amounts(0, 2**40, [])
            assert (amounts.calls, amounts.input_tokens) == (4, 40)

    def test_the_tables_are_made_once_however_close_the_starts_are(self, tmp_path):
        """Two that turn on SQLite's write-ahead log at once can lock each other out for a moment.

        It happens in a few of a hundred rounds.
        """
        program = """
            import multiprocessing, sys
            from agentmetrics.budget.ledger.database import Database
            ROUNDS, STARTERS = 60, 4
            processes = multiprocessing.get_context("fork")
            together = processes.Barrier(STARTERS)
            def start():
                for number in range(ROUNDS):
                    database = Database(f"sqlite:///{sys.argv[1]}/{number}.db")
                    together.wait(10)
                    database.prepare()
            started = [processes.Process(target=start) for _ in range(STARTERS)]
            for process in started:
                process.start()
            for process in started:
                process.join()
            assert [process.exitcode for process in started] == [0] * STARTERS
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), tmp_path],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""


class TestTheConfiguredLedger:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'spend.db'}"

    def test_the_configured_ledger_takes_the_calls_of_the_configured_recorder(self, url):
        configure(ledger_url=url, timezone="Asia/Kolkata")
        with track_call("openai", "gpt-4o") as call:
            call.record_usage(input_tokens=100, output_tokens=10)
        summary = agentmetrics.get_ledger().summary("daily")
        assert (summary.total.calls, summary.timezone) == (1, "Asia/Kolkata")
        assert get_recorder().value("agentmetrics_ledger_writes_total", status="success") == 1

    def test_the_configured_ledger_is_that_of_the_environment_for_a_recorder_that_was_given(
        self, url, monkeypatch
    ):
        monkeypatch.setenv("AGENTMETRICS_LEDGER_URL", url)
        recorder = configure(MemoryRecorder())
        with track_call("openai", "gpt-4o"):
            pass
        assert get_recorder() is recorder
        assert get_ledger().summary("daily").total.calls == 1

    def test_the_configured_ledger_is_written_and_left_when_another_is_configured(
        self, url, tmp_path
    ):
        other = f"sqlite:///{tmp_path / 'other.db'}"
        for each in (url, other):
            configure(ledger_url=each)
            with track_call("openai", "gpt-4o"):
                pass
        configure()
        for each in (url, other):
            with Ledger(each) as ledger:
                assert ledger.summary("daily").total.calls == 1
        with pytest.raises(ConfigurationError, match="no ledger is configured"):
            get_ledger()

    def test_the_configured_ledger_hears_each_call_once_when_a_recorder_is_configured_again(
        self, url, monkeypatch
    ):
        monkeypatch.setenv("AGENTMETRICS_LEDGER_URL", url)
        recorder = MemoryRecorder()
        for _ in range(3):
            configure(recorder)
            with track_call("openai", "gpt-4o"):
                pass
        assert get_ledger().summary("daily").total.calls == 3

    def test_the_configured_ledger_hears_no_call_together_with_the_one_before(
        self, url, tmp_path, monkeypatch
    ):
        """A call that ends in the middle of ``configure`` is in one of the two."""
        attach = Ledger.attach

        def attach_and_call(ledger: Ledger, recorder: Recorder) -> None:
            attach(ledger, recorder)
            with track_call("openai", "gpt-4o", recorder=recorder):
                pass

        monkeypatch.setattr(Ledger, "attach", attach_and_call)
        recorder, total = MemoryRecorder(), 0
        for name in ("a", "b"):
            monkeypatch.setenv("AGENTMETRICS_LEDGER_URL", f"sqlite:///{tmp_path}/{name}.db")
            configure(recorder)
        configure(ledger_url=url)
        for name in ("a", "b"):
            with Ledger(f"sqlite:///{tmp_path}/{name}.db") as ledger:
                total += ledger.summary("daily").total.calls
        assert total == 2

    def test_the_configured_ledger_comes_back_after_a_block_that_replaced_it(self, url):
        configure(ledger_url=url)
        ledger = get_ledger()
        with active.replaced(MemoryRecorder()):
            with pytest.raises(ConfigurationError):
                get_ledger()
            configure(ledger_url=url)
            inside = get_ledger()
            assert inside is not ledger
        assert get_ledger() is ledger

    def test_the_configured_ledger_that_cannot_be_opened_leaves_everything_as_it_was(
        self, url, tmp_path
    ):
        configure(ledger_url=url)
        before = get_recorder(), get_ledger()
        with pytest.raises(ConfigurationError):
            configure(ledger_url=f"sqlite:///{tmp_path}")
        assert (get_recorder(), get_ledger()) == before

    def test_the_configured_ledger_has_its_other_settings(self, url):
        configure(ledger_url=url, ledger_flush_interval=0.5, ledger_retention_days=7)
        ledger = get_ledger()
        assert (ledger._writer._interval, ledger._retention_seconds) == (0.5, 7 * 86_400)

    def test_the_configured_ledger_is_written_when_the_program_ends(self, url):
        program = """
            import sys
            from agentmetrics import configure, track_call
            configure(ledger_url=sys.argv[1])
            with track_call("openai", "gpt-4o") as call:
                call.record_usage(10, 5)
            abandoned = track_call("openai", "gpt-4o").__enter__()
            del abandoned
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), url],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        with Ledger(url) as ledger:
            assert ledger.summary("daily").total.calls == 2
