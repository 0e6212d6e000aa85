"""SOQL errors in Salesforce's words: an error code and, where a place is known, the snippet with a caret under it.

The snippet rule was read off recorded answers: 30 characters each side of the place, widened to whole words
(words end at white space and commas), one line of the query only.
"""

_REACH = 30
_WORD_ENDS = frozenset(" \t\r\n\f,")

WSDL_HINT = "Please reference your WSDL or the describe call for the appropriate names."


class SoqlError(Exception):
    """A query Salesforce refuses with HTTP 400: `code` is its errorCode, `message` the whole text of the answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def malformed(message: str) -> SoqlError:
    """An error without a place in the query."""
    return SoqlError("MALFORMED_QUERY", message)


def error_at(query: str, offset: int, code: str, text: str) -> SoqlError:
    """An error with a place: snippet, caret, row and column (both from 1), text."""
    offset = max(0, min(offset, len(query)))
    row_start = query.rfind("\n", 0, offset) + 1
    row_end = query.find("\n", offset)
    row_end = len(query) if row_end < 0 else row_end
    start = max(row_start, offset - _REACH)
    while start > row_start and query[start - 1] not in _WORD_ENDS:
        start -= 1
    end = min(row_end, offset + _REACH)
    while end < row_end and query[end] not in _WORD_ENDS:
        end += 1
    row = query.count("\n", 0, offset) + 1
    place = f"ERROR at Row:{row}:Column:{offset - row_start + 1}"
    return SoqlError(code, f"\n{query[start:end]}\n{' ' * (offset - start)}^\n{place}\n{text}")


def unexpected(query: str, offset: int, token: str) -> SoqlError:
    """The parser met a token that the grammar doesn't allow there."""
    return error_at(query, offset, "MALFORMED_QUERY", f"unexpected token: '{token}'")
