"""DynamoDB's expressions, looked at once per text.

MiniStack tokenizes an expression and checks its grammar anew for each of a transaction's hundred writes, twice: half of what a conditional
write costs it. Both depend on the text alone.
"""

from __future__ import annotations

from functools import lru_cache

from ministack.services import dynamodb as service

#: expressions of a product are few
_TEXTS = 1024


def install() -> None:
    """Put the mends in place."""
    service._condition_syntax_error = lru_cache(_TEXTS)(service._condition_syntax_error)
    service._tokenize = lru_cache(_TEXTS)(service._tokenize)
