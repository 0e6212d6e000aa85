"""Step Functions: a function that fails while its task waits for a token fails the task; MiniStack would wait on, for a week if need be.

Source: developer guide, "Wait for a Callback with Task Token": the task is scheduled, and waits, once the call succeeded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ministack.services import stepfunctions as service


def install() -> None:
    """Put the mend in place."""
    service._call_lambda = functools.partial(_call, service._call_lambda)


def _call(invoke: Callable[[str, Any], Any], function: str, event: Any) -> Any:
    """Call it; if it fails, whoever waits for a token that it was told fails too. A task without a token sees the error itself."""
    try:
        return invoke(function, event)
    except service._ExecutionError as fault:
        for told in event.values() if isinstance(event, dict) else ():
            waiting = service._task_tokens.get(told) if isinstance(told, str) else None
            if waiting is not None:
                waiting["error"] = {"Error": fault.error, "Cause": fault.cause}
                waiting["event"].set()
        raise
