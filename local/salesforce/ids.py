"""Salesforce record ids: 15 case-sensitive characters, 3 more of checksum; key prefix, pod, sequence.

`001` + pod + 10 base-62 digits + checksum. The checksum encodes which of the 15 characters are capitals, five at a time, so that
the 18-character form survives systems that ignore case.
"""

from __future__ import annotations

import re
import string

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECK = string.ascii_uppercase + "012345"
_SHAPE = re.compile(r"[0-9a-zA-Z]{15}(?:[0-9a-zA-Z]{3})?\Z")
POD = "Om"


class MalformedId(ValueError):
    """Not an id: wrong length, wrong characters or a wrong checksum."""


def checksum(fifteen: str) -> str:
    """The three characters that follow a 15-character id."""
    out = ""
    for start in (0, 5, 10):
        bits = 0
        for i in range(5):
            if "A" <= fifteen[start + i] <= "Z":
                bits |= 1 << i
        out += _CHECK[bits]
    return out


def base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def make_id(prefix: str, number: int) -> str:
    """The `number`th id of an object; ascending numbers give ascending ids."""
    fifteen = prefix + POD + base62(number, 10)
    return fifteen + checksum(fifteen)


def id_range(prefix: str, first: int, count: int) -> list[str]:
    """`count` consecutive ids, cheaply: all but the last two digits are shared by 3,844 neighbours."""
    out: list[str] = []
    number, end = first, first + count
    while number < end:
        block, offset = divmod(number, 3844)
        stem = prefix + POD + base62(block, 8)
        check = checksum(stem + "00")[:2]
        upto = min(3844, offset + end - number)
        for i in range(offset, upto):
            fifteen = stem + _DIGITS[i // 62] + _DIGITS[i % 62]
            out.append(fifteen + check + _tail(fifteen))
        number = block * 3844 + upto
    return out


def _tail(fifteen: str) -> str:
    bits = 0
    for i in range(5):
        if "A" <= fifteen[10 + i] <= "Z":
            bits |= 1 << i
    return _CHECK[bits]


def normalise(value: str) -> str:
    """An id as it is stored: 18 characters. Raises MalformedId."""
    if not _SHAPE.match(value):
        raise MalformedId(value)
    fifteen = value[:15]
    check = checksum(fifteen)
    if len(value) == 18 and value[15:] != check:
        raise MalformedId(value)
    return fifteen + check


def looks_like_id(value: str) -> bool:
    return bool(_SHAPE.match(value))
