"""The tests themselves: each asserts something, and those that are named elsewhere are there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAYS_SO = {"raises", "warns", "fail", "AssertionError"}


def functions(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
    """Each function with its place, as pytest writes it: ``tests/x.py::TestX::test_x``."""
    for inside in ast.iter_child_nodes(node):
        if isinstance(inside, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{place}::{inside.name}", inside
        elif isinstance(inside, ast.ClassDef):
            yield from functions(inside, f"{place}::{inside.name}")
        else:
            yield from functions(inside, place)


FUNCTIONS = {
    place: function
    for path in sorted((ROOT / "tests").rglob("*.py"))
    for place, function in functions(
        ast.parse(path.read_text("utf-8")), path.relative_to(ROOT).as_posix()
    )
}
TESTS = {place for place in FUNCTIONS if place.rpartition("::")[2].startswith("test_")}


def called(function: ast.AST, of: tuple[str, ...]) -> set[str]:
    """The functions that it calls by their names, and the methods of these objects."""
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                names.add(node.func.id)
            elif isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in of:
                names.add(node.func.attr)
    return names


def asserts(function: ast.AST) -> bool:
    """By itself: a statement, what pytest or a mock has for it, or an error that says so."""
    return any(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.Attribute) and node.attr.startswith("assert_"))
        for node in ast.walk(function)
    ) or bool(called(function, of=("pytest",)) & SAYS_SO)


def test_every_test_asserts_something() -> None:
    helpers = {
        place.rpartition("::")[2]
        for place, function in FUNCTIONS.items()
        if place not in TESTS and asserts(function)
    }
    silent = {
        place
        for place in TESTS
        if not asserts(FUNCTIONS[place]) and not called(FUNCTIONS[place], of=("self",)) & helpers
    }
    assert silent == set()


@pytest.mark.parametrize("group", ["integration", "conformance"])
def test_every_test_that_is_left_out_on_the_oldest_langchain_is_there(group: str) -> None:
    lines = (ROOT / "tests" / group / "oldest.txt").read_text("utf-8").split("\n")
    named = {line.removeprefix("--deselect=").partition("[")[0] for line in lines if line}
    assert named
    assert named <= TESTS
