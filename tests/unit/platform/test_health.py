"""GET /health asks everything and tells what it found, whatever fails."""

from __future__ import annotations

import time

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
    def slow() -> None:
        time.sleep(0.2)

    begun = time.perf_counter()
    assert check(a=slow, b=slow, c=slow, d=slow)().status == "ok"
    assert time.perf_counter() - begun < 0.6
