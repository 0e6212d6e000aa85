"""Either system in a brown-out, in which half the calls fail, and then away, under load: nothing is lost, nothing is buried, nobody is needed."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.e2e.load import Load
from tests.e2e.world import World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.long]

#: seconds until everything is caught up, after the end of an outage
CATCH_UP = 120


def salesforce_fails(world: World, faults: ExitStack, *, rate: float) -> None:
    faults.enter_context(world.org.fault("unavailable" if rate == 1 else "error", pattern="/services/", rate=rate))


def oms_fails(world: World, faults: ExitStack, *, rate: float) -> None:
    faults.enter_context(world.oms.fault(mode="down") if rate == 1 else world.oms.fault(mode="error_rate", rate=rate))


@pytest.mark.parametrize(
    ("brown_out", "away"),
    [
        pytest.param(20, 60, marks=pytest.mark.timeout(420), id="a minute"),
        pytest.param(120, 600, marks=[pytest.mark.soak, pytest.mark.timeout(3600)], id="ten minutes"),
    ],
)
@pytest.mark.parametrize("fails", [salesforce_fails, oms_fails], ids=["salesforce", "oms"])
def test_an_outage_needs_nobody(world: World, fails: object, brown_out: int, away: int) -> None:
    assert callable(fails)
    load = Load(world)
    load.prepare()
    with load.running():
        for seconds, rate in ((brown_out, 0.5), (away, 1)):
            with ExitStack() as faults:
                fails(world, faults, rate=rate)
                time.sleep(seconds)
        ended = time.monotonic()
        time.sleep(5)  # people go on working while it catches up
    until(load.lost, lambda found: not found, seconds=CATCH_UP - (time.monotonic() - ended), every=1)
    caught_up = time.monotonic() - ended
    world.quiet(seconds=90)
    assert load.lost() == {}
    assert world.buried() == {}
    print(
        f"caught up {caught_up:.0f} s after the end; {len(load.conditions)} rows, {load.refused} changes refused by the system that was away"
    )
