"""GET /health asks everything and tells what it found, whatever fails."""

from __future__ import annotations

import threading

from omsync.platform.errors import Retryable
from omsync.platform.health import CheckHealth


def fine() -> None:
    """Answers."""


def down() -> None:
    raise Retryable("ConnectionError", code="unreachable")


def check(**probes: object) -> CheckHealth:
    return CheckHealth("1.2.3", "0123456789abcdef", "local", probes)  # type: ignore[arg-type]


def test_everything_reachable_is_ok() -> None:
    report = check(oms=fine, org=fine)()
    assert report.status == "ok"
    told = report.as_json()
    assert (told["version"], told["build"], told["stage"]) == ("1.2.3", "0123456789ab", "local")
    assert {name: entry["reachable"] for name, entry in told["checks"].items()} == {"oms": True, "org": True}


def test_one_thing_down_is_degraded_and_says_why() -> None:
    told = check(oms=down, org=fine)().as_json()
    assert told["status"] == "degraded"
    assert told["checks"]["oms"]["reason"] == "unreachable: ConnectionError"
    assert told["checks"]["org"]["reachable"] is True


def test_probes_run_side_by_side() -> None:
    together = threading.Barrier(4, timeout=10)

    def meet() -> None:
        together.wait()

    assert check(a=meet, b=meet, c=meet, d=meet)().status == "ok"


def test_a_probe_that_never_answers_is_not_waited_for() -> None:
    end = threading.Event()

    def hang() -> None:
        end.wait(60)

    told = CheckHealth("1", "b", "local", {"dns": hang, "oms": fine}, patience=0.2)().as_json()
    end.set()
    assert told["checks"]["dns"] == {"reachable": False, "ms": 200, "reason": "unreachable: no answer in time"}
    assert told["checks"]["oms"]["reachable"] is True
