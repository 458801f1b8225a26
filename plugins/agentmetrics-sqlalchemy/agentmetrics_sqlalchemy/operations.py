"""The operation of a statement: one of a closed list, whatever the text."""

from __future__ import annotations

import re
from typing import Final

CONNECT: Final = "connect"
"""A connection was asked for and none could be had: no statement is known, and none was sent."""
TRANSACTION: Final = "transaction"
OTHER: Final = "other"

_WORDS_OF: Final[dict[str, str]] = {
    "select": "SELECT VALUES TABLE",
    "insert": "INSERT REPLACE UPSERT",
    "update": "UPDATE",
    "delete": "DELETE",
    "merge": "MERGE",
    "call": "CALL EXEC EXECUTE DO",
    "ddl": "CREATE ALTER DROP TRUNCATE RENAME COMMENT GRANT REVOKE REINDEX",
    TRANSACTION: "BEGIN START COMMIT END ROLLBACK ABORT SAVEPOINT RELEASE",
}
_OPERATION_OF: Final = {word: name for name, words in _WORDS_OF.items() for word in words.split()}
_AT_ONCE: Final = {f"{word} ": name for word, name in _OPERATION_OF.items() if len(word) == 6}
"""By how SQLAlchemy begins what it writes itself: the four that matter have six letters."""
OPERATIONS: Final = (*_WORDS_OF, OTHER, CONNECT)

_MAIN: Final = ("select", "insert", "update", "delete", "merge")
"""What may follow the tables of a ``WITH``."""

_FLAGS: Final = re.ASCII | re.DOTALL
_WORD: Final = re.compile(r"[A-Za-z_]\w*", _FLAGS)
# Each piece ends at the end of the text if nothing else ends it, so no text is read twice.
_COMMENT: Final = r"--[^\n]*|/\*.*?(?:\*/|\Z)"
_QUOTED: Final = (
    r"'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z)|`[^`]*(?:`|\Z)|\[[^\]]*(?:\]|\Z)"
    r"|(?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?:(?P=tag)|\Z)"
)
_LEADING: Final = re.compile(rf"\s+|{_COMMENT}|#[^\n]*|[(;]", _FLAGS)
_OUTSIDE: Final = re.compile(rf"{_COMMENT}|{_QUOTED}|(?P<token>[(),]|[A-Za-z_]\w*)", _FLAGS)
_INSIDE: Final = re.compile(rf"{_COMMENT}|{_QUOTED}|(?P<token>[()])", _FLAGS)


def operation_of(statement: object) -> str:
    """The operation of a statement as the driver gets it: the word that it begins with.

    Comments and parentheses before it are passed over, and of a ``WITH`` it is what follows the
    tables: ``insert`` for ``WITH … INSERT``. A text of several statements is the first one. What
    the driver takes instead of text is ``other``.
    """
    if not isinstance(statement, str):
        return OTHER
    return _AT_ONCE.get(statement[:7]) or _of_text(statement)


def _of_text(statement: str) -> str:
    position = 0
    while found := _LEADING.match(statement, position):
        position = found.end()
    word = _WORD.match(statement, position)
    if word is None:
        return OTHER
    first = word[0].upper()
    return _after_with(statement, word.end()) if first == "WITH" else _operation(first)


def _operation(word: str) -> str:
    return _OPERATION_OF.get(word, OTHER)


def _after_with(statement: str, position: int) -> str:
    """The operation that the tables of a ``WITH`` are for; a table may be called like one."""
    depth, before = 0, "WITH"
    while found := (_INSIDE if depth else _OUTSIDE).search(statement, position):
        position = found.end()
        token = found["token"]
        if token is None:  # a quoted name comes between, as any other
            before = ""
        elif token in "()":
            depth += 1 if token == "(" else -1
            before = token
        else:
            word = token.upper()
            named = before in ("WITH", "RECURSIVE", ",")
            if not named and _operation(word) in _MAIN:
                return _operation(word)
            before = "" if named and word != "RECURSIVE" else word
    return OTHER
