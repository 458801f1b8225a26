"""TOML with line numbers, which the parser reports only for syntax errors."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_WHERE = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
_TWICE = re.compile(r"Cannot declare|Cannot overwrite|Duplicate")

Path = tuple[str, ...]


class TomlError(ValueError):
    """What is wrong with a document: one sentence that begins with the line."""


class Document:
    """A TOML document: its ``values``, and for sentences about them, where they stand.

    Raises ``TomlError``.
    """

    def __init__(self, text: str) -> None:
        try:
            self.values: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise TomlError(_sentence(str(error), text.splitlines())) from None
        self._lines: dict[Path, int] = {}
        for path, line in _stated(text):
            self._lines.setdefault(path, line)

    def mistake(self, path: Sequence[object], sentence: str) -> TomlError:
        """An error about the value at this path, or at the nearest one above it."""
        keys = tuple(map(str, path))
        for length in range(len(keys), 0, -1):
            if keys[:length] in self._lines:
                return TomlError(f"line {self._lines[keys[:length]]}: {sentence}")
        return TomlError(sentence)


def read_document(path: FilePath) -> Document:
    """The document in a file.

    Raises ``ValueError``, with one sentence, when it cannot be read or is not TOML.
    """
    try:
        return Document(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None


def _sentence(said: str, lines: Sequence[str]) -> str:
    where = _WHERE.search(said)
    number = int(where["line"]) if where and where["line"] else len(lines)
    what = _WHERE.sub("", said)
    if _TWICE.match(what):
        what = f"{lines[number - 1].partition('=')[0].strip()} is defined twice"
    return f"line {number}: {what[0].lower()}{what[1:]}"


def _stated(text: str) -> Iterator[tuple[Path, int]]:
    """The path of every table and value, with its line.

    Each line is read as a document of its own. What goes on over several lines has its first;
    a line inside a text of several lines may be taken for a value, and then points too low.
    """
    table: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        said = _line(line)
        if line.lstrip().startswith("["):
            table = _innermost(said)
            for length in range(1, len(table) + 1):
                yield table[:length], number
        else:
            for path in _paths(said):
                yield table + path, number


def _line(line: str) -> dict[str, Any]:
    for candidate in (line, f"{line.partition('=')[0]} = 0"):
        try:
            said: dict[str, Any] = tomllib.loads(candidate)
            return said
        except tomllib.TOMLDecodeError:
            pass
    return {}


def _innermost(header: Mapping[str, Any]) -> Path:
    path: Path = ()
    while isinstance(header, Mapping) and header:
        (key,) = header
        path, header = (*path, key), header[key]
    return path


def _paths(values: Mapping[str, Any]) -> Iterator[Path]:
    for key, value in values.items():
        yield (key,)
        if isinstance(value, Mapping):
            for path in _paths(value):
                yield (key, *path)
