"""Every wait of ours has a deadline of its own: one without is here, with the reason why it may."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import agentmetrics

PACKAGE = Path(agentmetrics.__file__).parent
PLUGINS = PACKAGE.parent / "plugins"

WITHOUT = {
    ("backends/delivery.py", "self._sock.recv(1)"): "its socket has a timeout, set just before",
    ("backends/delivery.py", "self._sock.recv(1024)"): "its socket does not block here",
    ("backends/delivery.py", "lookup.result()"): "it is done",
    ("budget/budgets/notices.py", "waiting.get()"): "a thread of its own, for which nobody waits",
    ("budget/notify/courier.py", "waiting.get()"): "a thread of its own, waited for so long only",
    (
        "exposition/threaded.py",
        "self._thread.join()",
    ): "it looks twice a second, and answers nobody",
    ("recording/deadline.py", "self._begun.wait()"): "the thread that others wait for so long only",
    ("recording/ends/children.py", "thread.join()"): "as multiprocessing itself does after it",
    ("recording/ends/work.py", "running.acquire()"): "nobody else knows this lock yet",
}
PROGRAMS = ("cli/", "testing/")
"""Programs of their own, whose user may interrupt them, and tests."""
WAITS = {"acquire", "wait", "join", "result", "communicate", "recv", "accept"}
SAYING = {"timeout", "blocking", "block"}


def waits_without_deadline() -> Iterator[tuple[str, str]]:
    """The module and the text of every call that may wait for ever."""
    for package in (PACKAGE, *PLUGINS.glob("*/agentmetrics_*")):
        for path in package.rglob("*.py"):
            relative = path.relative_to(package)
            name = str(relative if package == PACKAGE else package.name / relative)
            if name.startswith(PROGRAMS):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and _may_wait(node):
                    yield name, ast.unparse(node)


def _may_wait(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    method = call.func.attr
    if method == "get":  # of a queue; a context variable's does not wait
        return not call.args and not call.keywords and "waiting" in ast.unparse(call.func.value)
    if method not in WAITS or any(keyword.arg in SAYING for keyword in call.keywords):
        return False
    return method == "recv" or not call.args


def test_every_wait_has_a_deadline_or_a_reason() -> None:
    assert set(waits_without_deadline()) == WITHOUT.keys()


def test_the_ledger_enters_no_lock_for_which_it_would_wait_for_ever() -> None:
    # Who holds one may be interrupted by a handler that wants what the one who waits has.
    entered = {
        (path.name, ast.unparse(item.context_expr))
        for path in (PACKAGE / "budget" / "ledger").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.context_expr, ast.Attribute)
    }
    # Whoever makes a file holds this one, and waits for nobody meanwhile.
    assert entered == {("spool.py", "self._growing")}


def test_every_socket_of_ours_has_a_timeout_as_it_is_made() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), ast.unparse(node))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1]
        in {"urlopen", "create_connection", "HTTPConnection"}
        and not any(keyword.arg == "timeout" for keyword in node.keywords)
    }
    assert found == set()


def test_every_program_that_is_started_has_a_deadline() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), ast.unparse(node.func))
        for path in PACKAGE.rglob("*.py")
        if not str(path.relative_to(PACKAGE)).startswith(PROGRAMS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).startswith(("subprocess.", "os.system", "os.popen", "os.wait"))
        and not any(keyword.arg == "timeout" for keyword in node.keywords)
    }
    assert found == set()


def test_a_database_is_opened_in_one_place_which_gives_it_its_deadlines() -> None:
    opening = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).split(".")[-1] in {"create_engine", "create_async_engine"}
        )
        or (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"sqlite3.connect", "psycopg.connect"}
        )
    }
    assert opening == {"budget/ledger/engine.py"}
    text = ast.unparse(ast.parse((PACKAGE / "budget/ledger/engine.py").read_text()))
    for deadline in ("'timeout'", "'connect_timeout'", "'tcp_user_timeout'"):
        assert deadline in text
