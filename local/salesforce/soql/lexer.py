"""Splits SOQL text into tokens: words, strings, numbers, dates, operators."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from local.salesforce.soql.errors import SoqlError, error_at, malformed

_TOKEN = re.compile(
    r"""
    (?P<space>[\s\u00a0]+)
  | (?P<datetime>\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:?\d{2}))
  | (?P<date>\d{4}-\d{2}-\d{2}(?![\w.]))
  | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
  | (?P<currency>[A-Za-z]{3}-?\d+(?:\.\d+)?(?![\w]))
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<operator>!=|<>|<=|>=|=|<|>|\(|\)|,|\.|:)
    """,
    re.VERBOSE,
)

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\", "N": "\n", "R": "\r", "T": "\t"}


class Kind(Enum):
    """What a token is."""

    WORD = "word"
    STRING = "string"
    NUMBER = "number"
    DATE = "date"
    DATETIME = "datetime"
    CURRENCY = "currency"
    OPERATOR = "operator"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its source `text`, its place, and a string literal's `value`.

    In a string that is matched by LIKE an escaped `%` or `_` keeps its backslash in `value`.
    """

    kind: Kind
    text: str
    offset: int
    value: str = ""

    @property
    def upper(self) -> str:
        return self.text.upper()


def tokens(query: str) -> list[Token]:
    """All tokens, an END at the end. Raises SoqlError for characters that SOQL doesn't know."""
    found: list[Token] = []
    at = 0
    while at < len(query):
        if query[at] == "'":
            token = _string(query, at)
            at += len(token.text)
            found.append(token)
            continue
        match = _TOKEN.match(query, at)
        if match is None:
            raise _unknown_character(query, at)
        kind = match.lastgroup or ""
        if kind != "space":
            found.append(Token(Kind(kind), match.group(), at))
        at = match.end()
    found.append(Token(Kind.END, "<EOF>", len(query)))
    return found


def _unknown_character(query: str, at: int) -> SoqlError:
    row_start = query.rfind("\n", 0, at) + 1
    return malformed(f"line {query.count(chr(10), 0, at) + 1}:{at - row_start} unexpected token: '{query[at]}'")


def _string(query: str, start: int) -> Token:
    """A quoted string from its opening quote on."""
    out: list[str] = []
    at = start + 1
    while at < len(query):
        char = query[at]
        if char == "'":
            return Token(Kind.STRING, query[start : at + 1], start, "".join(out))
        if char != "\\":
            out.append(char)
            at += 1
            continue
        text, at = _escape(query, at)
        out.append(text)
    row_start = query.rfind("\n", 0, start) + 1
    raise malformed(f"line {query.count(chr(10), 0, start) + 1}:{len(query) - row_start} mismatched character '<EOF>' expecting '''")


def _escape(query: str, at: int) -> tuple[str, int]:
    """The text of the escape at `at` and where it ends."""
    char = query[at + 1 : at + 2]
    if char in ("%", "_"):
        return "\\" + char, at + 2
    if char in ("u", "U"):
        digits = query[at + 2 : at + 6]
        if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            return chr(int(digits, 16)), at + 6
    elif char and char in _ESCAPES:
        # A literal backslash is kept doubled, so that LIKE can tell it from an escape; `plain` undoes both.
        return "\\\\" if char == "\\" else _ESCAPES[char], at + 2
    raise error_at(query, at, "MALFORMED_QUERY", f"Illegal character sequence '\\{char}' in string literal")


def plain(value: str) -> str:
    """A string literal's text outside LIKE: `\\%` is `%`, `\\\\` is a backslash."""
    return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) if "\\" in value else value
