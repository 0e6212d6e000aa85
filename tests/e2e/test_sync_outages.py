"""Both systems in a brown-out, in which half the calls fail, then each of them away, under load: nothing is lost, nothing is buried, nobody is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest

from tests.e2e.load import Load
from tests.e2e.world import World
from tests.polling import until

pytestmark = pytest.mark.e2e

type Weather = Callable[[World], AbstractContextManager[None]]

#: seconds until everything is caught up, after the end of an outage
CATCH_UP = 120


def salesforce_fails_half(world: World) -> AbstractContextManager[None]:
    return world.org.fault("error", pattern="/services/", rate=0.5)


def salesforce_away(world: World) -> AbstractContextManager[None]:
    return world.org.fault("unavailable", pattern="/services/")


def oms_fails_half(world: World) -> AbstractContextManager[None]:
    return world.oms.fault(mode="error_rate", rate=0.5)


def oms_away(world: World) -> AbstractContextManager[None]:
    return world.oms.fault(mode="down")


@pytest.fixture(scope="module")
def company(world: World) -> Load:
    load = Load(world)
    load.prepare()
    return load


def outage(world: World, load: Load, seconds: float, *weather: Weather) -> None:
    """People at work on both sides while the weather lasts, and for a while after its end."""
    changes, refused = load.changes, load.refused
    with load.running():
        with ExitStack() as faults:
            for fails in weather:
                faults.enter_context(fails(world))
            time.sleep(seconds)
        ended = time.monotonic()
        time.sleep(5)
    until(load.lost, lambda found: not found, seconds=CATCH_UP - (time.monotonic() - ended), every=1)
    print(
        f"caught up {time.monotonic() - ended:.0f} s after the end; {load.changes - changes} changes, {load.refused - refused} refused by who was away"
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "weather",
    [
        pytest.param((salesforce_fails_half, oms_fails_half), id="both half"),
        pytest.param((salesforce_away,), id="salesforce away"),
        pytest.param((oms_away,), id="oms away"),
    ],
)
def test_an_outage_of_a_minute_needs_nobody(world: World, company: Load, weather: tuple[Weather, ...]) -> None:
    outage(world, company, 60, *weather)


def windows(world: World) -> dict[str, int]:
    """Seconds that the live queues collect for a batch."""
    functions, found = world.stack.aws.client("lambda"), {}
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        for queue in ("MirrorQueue", "SyncQueue"):
            if f"-{queue}-" in mapping["EventSourceArn"]:
                found[queue] = mapping["MaximumBatchingWindowInSeconds"]
    return found


def test_an_org_short_of_requests_is_asked_less_often(world: World) -> None:
    """What an answer said is acted upon within a minute; once requests are free again, everything is as before."""
    state, note = (
        world.stack.aws.client("dynamodb"),
        {"TableName": world.stack.outputs["StateTableName"], "Key": {"pk": {"S": "budget/salesforce"}}},
    )
    requests = world.org.admin("GET", "limits")["DailyApiRequests"]
    maximum, usual = requests["Max"], requests["Max"] - requests["Remaining"]
    world.org.admin("POST", "limits", {"used": maximum * 95 // 100})
    try:
        world.account(world.patient())
        until(lambda: int(state.get_item(**note).get("Item", {"used": {"N": "0"}})["used"]["N"]) > maximum * 0.9)
        world.invoke("Breakers")
        assert windows(world) == {"MirrorQueue": 300, "SyncQueue": 300}
    finally:
        world.org.admin("POST", "limits", {"used": usual})
        state.delete_item(**note)  # rather than wait for ten minutes until it is too old to be believed
        until(lambda: world.invoke("Breakers") and windows(world), lambda found: found == {"MirrorQueue": 1, "SyncQueue": 1})
    world.account(world.patient())


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("weather", [salesforce_fails_half, oms_fails_half, salesforce_away, oms_away])
def test_an_outage_of_ten_minutes_needs_nobody(world: World, company: Load, weather: Weather) -> None:
    outage(world, company, 600, weather)


@pytest.mark.soak
def test_nothing_is_lost_or_buried_by_long_ones(world: World, company: Load) -> None:
    nothing_is_left(world, company)


def test_nothing_is_lost_or_buried(world: World, company: Load) -> None:
    nothing_is_left(world, company)


def nothing_is_left(world: World, load: Load) -> None:
    world.quiet(seconds=90)
    assert load.lost() == {}
    assert world.buried() == {}
