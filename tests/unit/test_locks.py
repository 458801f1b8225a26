"""What is done while a lock of ours is held: no I/O, unless it is here with its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import agentmetrics

PACKAGE = Path(agentmetrics.__file__).parent
PLUGINS = PACKAGE.parent / "plugins"

LOCK = re.compile(
    r"(\.|^)(_?lock|_making|_changing|_sharing|_starting|_sending|_growing|_folding|_writing"
    r"|_ending|_asking|_using|_kicking|_beginning|_flushing|_step|_alone\(\)|update\(\)|_turn\(\))$"
)
"""What a lock is called where it is entered; a test below sees to that."""
WAITING = {
    *("send", "sendall", "sendto", "sendmsg", "recv", "connect", "create_connection", "urlopen"),
    *("execute", "begin", "commit", "create_engine", "run", "check_output", "Popen", "sleep"),
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "rename", "mkdir"),
    *("stat", "fsync", "fdatasync", "utime", "glob", "iterdir", "getaddrinfo", "lockf"),
    *("start", "join", "wait", "result", "print"),
}
"""Methods and functions that ask the system, another process, or another thread for something."""
MAY = {
    ("budget/budgets/first_question.py", "question.run"): "asked once, and for so long only",
    ("budget/budgets/notices.py", "self._thread.start"): "once in a process",
    ("budget/notify/courier.py", "thread.start"): "once in a process",
    ("budget/budgets/state.py", "state.begin"): "a period begins, in memory",
    ("budget/ledger/reservations.py", "connection.execute"): (
        "its one connection, which has a deadline for each answer, as waiting for the lock has"
    ),
}
TESTS = "testing/"


def locked() -> Iterator[tuple[str, ast.With]]:
    """Every block that a lock is held in, with its module."""
    for package in (PACKAGE, *PLUGINS.glob("*/agentmetrics_*")):
        for path in package.rglob("*.py"):
            relative = path.relative_to(package)
            name = str(relative if package == PACKAGE else package.name / relative)
            if name.startswith(TESTS):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.With) and any(
                    LOCK.search(ast.unparse(item.context_expr)) for item in node.items
                ):
                    yield name, node


def called_in(block: ast.With) -> Iterator[str]:
    """What is called in a block, by the text of the code."""
    for statement in block.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func)


def test_nothing_is_waited_for_while_a_lock_is_held() -> None:
    found = {
        (name, called)
        for name, block in locked()
        for called in called_in(block)
        if called.rpartition(".")[2] in WAITING
    }
    assert found == MAY.keys()


def test_what_is_logged_while_a_lock_is_held_is_said_afterwards() -> None:
    """``QuietLogger`` sees to that for every lock of the registry; others log nothing."""
    found = {
        (name, called)
        for name, block in locked()
        for called in called_in(block)
        if called.startswith("logger.") and "later()" not in ast.unparse(block.items[0])
    }
    assert found == set()


def test_a_lock_is_called_what_this_module_takes_for_one() -> None:
    made = set()
    for package in (PACKAGE, *PLUGINS.glob("*/agentmetrics_*")):
        for path in package.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Assign) and re.search(
                    r"(held_lock|renewed_lock|ForkSafeLock)\(", ast.unparse(node.value)
                ):
                    made |= {ast.unparse(target) for target in node.targets}
    names = {name for target in made for name in target.strip("()").split(", ")}
    others = {"cell.cell_contents"}  # prometheus-client's, made re-entrant
    assert {name for name in names if not LOCK.search(name)} == others
