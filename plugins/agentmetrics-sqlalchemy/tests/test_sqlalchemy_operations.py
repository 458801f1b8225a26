"""The operation of a statement is one of a closed list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmetrics_sqlalchemy import OPERATIONS
from agentmetrics_sqlalchemy.operations import operation_of


@pytest.mark.parametrize(
    ("statement", "operation"),
    [
        ("SELECT 1", "select"),
        ("select 1", "select"),
        ("SELECT", "select"),
        ("INSERT INTO t VALUES (1)", "insert"),
        ("REPLACE INTO t VALUES (1)", "insert"),
        ("update t set a = 1", "update"),
        ("DELETE FROM t", "delete"),
        ("MERGE INTO t USING s ON true", "merge"),
        ("VALUES (1), (2)", "select"),
        ("CALL tidy(1)", "call"),
        ("CREATE TABLE t (a int)", "ddl"),
        ("TRUNCATE t", "ddl"),
        ("BEGIN", "transaction"),
        ("SAVEPOINT sa_savepoint_1", "transaction"),
        ("PRAGMA journal_mode", "other"),
        ("EXPLAIN ANALYZE SELECT 1", "other"),
        ("SELECTION", "other"),
        ("", "other"),
        ("42", "other"),
    ],
)
def test_the_operation_is_the_word_that_the_statement_begins_with(
    statement: str, operation: str
) -> None:
    assert operation_of(statement) == operation


@pytest.mark.parametrize(
    "before",
    ["  ", "\n\t", "(", "((", ";", "-- a note\n", "/* a */ /* b */", "/*+ hint */(", "# note\n"],
)
def test_blanks_comments_and_parentheses_before_it_are_passed_over(before: str) -> None:
    assert operation_of(f"{before}select 1") == "select"
    assert operation_of(f"{before}UPDATE t SET a = 1") == "update"


@pytest.mark.parametrize(
    ("statement", "operation"),
    [
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "insert"),
        ("with a as (insert into t values (1) returning id) select * from a", "select"),
        ("WITH a AS (SELECT 1), b AS (DELETE FROM t RETURNING 1) UPDATE t SET x = 1", "update"),
        ("WITH RECURSIVE a(n) AS (VALUES (1) UNION SELECT n + 1 FROM a) DELETE FROM t", "delete"),
        ("/* x */ WITH a AS MATERIALIZED (SELECT ')') SELECT 1", "select"),
        ("WITH a AS (SELECT $$)$$) INSERT INTO t SELECT 1", "insert"),
        ("WITH a AS (SELECT $q$ ) $q$) INSERT INTO t SELECT 1", "insert"),
        ("WITH a AS (SELECT '(' /* ) */ -- )\n) MERGE INTO t USING a ON true", "merge"),
        ('WITH "insert" AS (SELECT 1) SELECT * FROM "insert"', "select"),
        ("WITH [delete] AS (SELECT 1) SELECT 1", "select"),
        ("WITH merge AS (SELECT 1), replace AS (SELECT 2) DELETE FROM t", "delete"),
        ("WITH a AS (SELECT 'it''s (')\nSELECT 1", "select"),
        ("WITH a AS (SELECT 1", "other"),
        ("WITH", "other"),
    ],
)
def test_of_a_with_it_is_what_follows_the_tables(statement: str, operation: str) -> None:
    assert operation_of(statement) == operation


def test_what_a_driver_takes_instead_of_text_is_other() -> None:
    assert operation_of(object()) == "other"
    assert operation_of(None) == "other"
    assert operation_of(b"SELECT 1") == "other"


_PIECES = st.sampled_from(
    ["select ", "with ", "a as ", "(", ")", "'", '"', "`", "[", "/*", "*/", "--", "\n", "$$", "$a$"]
)


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)))
def test_whatever_the_text_it_is_one_of_the_list(statement: str) -> None:
    assert operation_of(statement) in OPERATIONS


@pytest.mark.parametrize(
    "piece", ["/*", "'", "(", "$a$", "/**/", " ", "--\n", "a,", '"', "[", "*/"]
)
@pytest.mark.parametrize("begin", ["", "WITH "])
def test_a_text_is_read_once_however_long(piece: str, begin: str) -> None:
    """It takes a fraction of a second; read over and over it would take minutes."""
    assert operation_of(begin + piece * (300_000 // len(piece))) == "other"
