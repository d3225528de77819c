"""Where something stands in a file, for messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from promptmill.errors import InputError


@dataclass(frozen=True, slots=True)
class Place:
    """A query in its file.

    line: of the file, where the query's text begins (from 1). flat: the whole text stands on that line, as a quoted
    string with \\n in it.
    """

    file: str
    query: str
    line: int = 1
    flat: bool = False

    def at(self, line: int) -> str:
        """How to name line `line` of the query's text (from 1)."""
        return f"{self.file}, line {self.line if self.flat else self.line + line - 1}: query {self.query}"

    def error(self, line: int, what: str) -> InputError:
        return InputError(f"{self.at(line)}: {what}")

    @property
    def whole(self) -> str:
        return f"{self.file}: query {self.query}"


@contextmanager
def said_of(where: str) -> Iterator[None]:
    """Put `where` before the message of an InputError that does not know of it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
