"""A secret that is planted wherever a URL may be given is in nothing that anybody is shown."""

from __future__ import annotations

import io
import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from agentmetrics import configure
from agentmetrics.backends.pushgateway import Pushgateway
from agentmetrics.backends.statsd import StatsDRecorder
from agentmetrics.budget.ledger.engine import checked_url
from agentmetrics.budget.ledger.url import without_password
from agentmetrics.budget.notify.destination import Destination
from agentmetrics.budget.notify.post import post
from agentmetrics.cli.app import app
from agentmetrics.config.loading import load_settings

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture(scope="module")
def no_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AGENTMETRICS_", "STATSD_", "PROMETHEUS_MULTIPROC_DIR")):
                patch.delenv(name)
        yield


CANARY = "Zq7Kx9secretW"
odd = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("@:/?#&=%\n\r\t '\"\\[]{}\x1b\u202e\u200b "),
    max_size=6,
)
secrets = st.builds(lambda before, after: before + CANARY + after, odd, odd)
"""A password with anything around it; that in the middle is looked for."""

PLACES = {
    "as it should be": "{scheme}://joe:{quoted}@{host}{path}",
    "without escapes": "{scheme}://joe:{secret}@{host}{path}",
    "without a user": "{scheme}://:{secret}@{host}{path}",
    "without a scheme": "joe:{secret}@{host}{path}",
    "without a scheme, with its slashes": "//joe:{secret}@{host}{path}",
    "with one slash": "{scheme}:/joe:{secret}@{host}{path}",
    "with three slashes": "{scheme}:///joe:{secret}@{host}{path}",
    "with a line break behind it": "{scheme}://joe:{secret}@{host}{path}\n",
    "with the port of a word": "{scheme}://joe:{secret}@{host}:port{path}",
    "without a host": "{scheme}://joe:{quoted}",
    "with a slash in the user": "{scheme}://jo/e:{secret}@{host}{path}",
    "in the query": "{scheme}://joe@{host}{path}?password={secret}",
    "in the query by another name": "{scheme}://joe@{host}{path}?x=1&sslpassword={secret}",
    "as keywords of libpq": "host={host} user=joe password={secret} dbname=spend",
    "alone": "{secret}",
}
SCHEMES = ("postgresql", "postgres", "mysql", "http", "https", "udp", "POSTGRESQL", "redis+tls")
urls = st.builds(
    lambda place, scheme, secret: place.format(
        scheme=scheme, secret=secret, quoted=quote(secret, safe=""), host="127.0.0.1", path="/db"
    ),
    st.sampled_from(sorted(PLACES.values())),
    st.sampled_from(SCHEMES),
    secrets,
)


@contextmanager
def heard() -> Iterator[list[str]]:
    """All that is printed, warned of or logged at DEBUG meanwhile."""
    texts: list[str] = []
    stream, handler = io.StringIO(), logging.StreamHandler(io.StringIO())
    root = logging.getLogger()
    before, root.level = root.level, logging.DEBUG
    root.addHandler(handler)
    try:
        with redirect_stdout(stream), redirect_stderr(stream):
            yield texts
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        texts += [stream.getvalue(), handler.stream.getvalue()]


def chained(error: BaseException | None) -> str:
    """An exception's texts, with those of what it came from, shown or not."""
    if error is None:
        return ""
    own = [str(error), repr(error), *traceback.format_exception(error)]
    return "\n".join([*own, chained(error.__cause__), chained(error.__context__)])


def attempt(what) -> str:
    """All that anybody can see of an attempt."""
    said = ""
    with heard() as texts:
        try:
            made = what()
            said = f"{made!r} {made}"
        except Exception as error:
            said = chained(error)
    return "\n".join([said, *texts])


@given(urls)
@settings(deadline=None)
def test_no_url_is_shown_with_its_secret(url):
    assert CANARY not in without_password(url)


@given(urls)
@settings(deadline=None, max_examples=15)
def test_no_error_of_a_url_has_its_secret(url):
    assume(any(mark in url for mark in ("@", "=", "://")))  # else it may be the name of a host
    for make in (  # what they make is not shown
        lambda: checked_url(url) is None,
        lambda: Pushgateway(url, "job") is None,
        lambda: StatsDRecorder(url) is None,
        lambda: Destination.parse(url) is None,
        lambda: Destination.parse(f"slack:{url}") is None,
        lambda: load_settings(ledger_url=url, pushgateway_url=url, statsd_host=url) is None,
        lambda: load_settings(ledger_url=url.encode(), statsd_port="none", max_series=url) is None,
    ):
        assert CANARY not in attempt(make)


SOME = [
    place.format(
        scheme="postgresql", secret=secret, quoted=quote(secret, safe=""), host="127.0.0.1:1",
        path="/db",
    )
    for secret in (CANARY, f"a@{CANARY}/?#\u202e", f"1\n{CANARY}")
    for place in PLACES.values()
]  # fmt: skip


@pytest.mark.parametrize(
    "variable",
    [
        "AGENTMETRICS_LEDGER_URL",
        "AGENTMETRICS_PUSHGATEWAY_URL",
        "AGENTMETRICS_STATSD_HOST",
        "STATSD_HOST",
    ],
)
@pytest.mark.parametrize("form", ["table", "json"])
def test_check_shows_no_secret_of_any_url(monkeypatch, tmp_path, variable, form):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENTMETRICS_BACKEND", "prometheus,statsd")
    urls = SOME[:: 3 if variable.startswith("AGENTMETRICS") else 9]
    for url in urls:
        monkeypatch.setenv(variable, url)
        with heard() as texts:
            done = CliRunner().invoke(app, ["check", *(["--json"] if form == "json" else [])])
        said = "\n".join([done.output, chained(done.exception), *texts])
        assert "AGENTMETRICS_" in said
        assert CANARY not in said, (url, said)


@pytest.mark.parametrize("url", SOME[::4])
def test_no_url_of_a_ledger_is_in_what_configuring_and_reporting_say(monkeypatch, tmp_path, url):
    monkeypatch.chdir(tmp_path)
    assert CANARY not in attempt(lambda: configure(ledger_url=url))
    done = CliRunner().invoke(app, ["cost", "--url", url])
    assert CANARY not in done.output + chained(done.exception)


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:1/services/{CANARY}",
        f"http://name.invalid/{CANARY}",
        f"https://joe:{CANARY}@127.0.0.1:1/",
        f"http://127.0.0.1:1/{CANARY}\n",
        f"ftp://127.0.0.1/{CANARY}",
        f"http://127.0.0.1:{CANARY}/",
        CANARY,
    ],
)
def test_no_url_of_a_webhook_is_in_what_is_said_of_it(monkeypatch, tmp_path, url):
    monkeypatch.setenv("HOOK", url)
    destination = Destination("webhook", "HOOK")
    said = attempt(lambda: post(destination.url(), b"{}"))
    assert CANARY not in said
    budgets = tmp_path / "budgets.toml"
    for notify in ("webhook:HOOK", url, f"webhook:{url}"):
        budgets.write_text(
            f"[[budget]]\nname = 'team'\nlimit_usd = 1\nperiod = 'daily'\nnotify = [{notify!r}]\n"
        )
        monkeypatch.setenv("AGENTMETRICS_BUDGETS_FILE", str(budgets))
        for options in (["check"], ["check", "--json", "--notify"]):
            with heard() as texts:
                done = CliRunner().invoke(app, options)
            said = "\n".join([done.output, chained(done.exception), *texts])
            assert "budgets" in said
            assert CANARY not in said
