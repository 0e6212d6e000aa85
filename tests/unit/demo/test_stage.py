"""Observing: a sight in time is a fact with its seconds, one that does not come is a broken promise, and a system that is away shows nothing."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from local.demo.command import Demo
from local.demo.journal import Journal, PromiseBroken
from local.demo.show import Show, summary
from local.demo.stage import Stage
from local.demo.story import STORY, Step, daytime_zone
from local.demo.systems import Refused, Systems
from local.demo.traffic import Sent, Traffic

EMPTY = Systems(Path("nowhere"), {})


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def stage(out: io.StringIO) -> Stage:
    return Stage(EMPTY, Journal(), Show(Console(file=out, width=90)))


def test_a_system_that_is_away_shows_nothing_until_it_is_back(stage: Stage) -> None:
    sights = iter([Refused(503, ""), Refused(0, ""), "there"])

    def look() -> str:
        sight = next(sights)
        if isinstance(sight, Refused):
            raise sight
        return str(sight)

    assert stage.until("it", look, every=0) == "there"


def test_a_refusal_is_not_waited_out(stage: Stage) -> None:
    def look() -> str:
        raise Refused(422, "no")

    with pytest.raises(Refused):
        stage.until("it", look)


def test_what_does_not_come_is_a_broken_promise(stage: Stage) -> None:
    with pytest.raises(PromiseBroken, match="the parcel: not within 0 s"):
        stage.until("the parcel", lambda: 0, seconds=0)


def test_a_broken_promise_is_told_and_the_demo_goes_on(stage: Stage, out: io.StringIO, tmp_path: Path) -> None:
    demo = Demo(tmp_path, "", quick=True, show=stage.show)
    demo.journal = stage.journal

    def breaks(_: Stage) -> None:
        raise PromiseBroken("it never came")

    def refused(_: Stage) -> None:
        raise Refused(422, "unknown column")

    demo.perform(stage, "one", "One", breaks)
    demo.perform(stage, "two", "Two", refused)
    demo.perform(stage, "three", "Three", lambda stage: stage.fact("seen", 1.0, "oms_to_salesforce"))
    summary(stage.show.console, stage.journal)
    assert stage.journal.broken == ["One: it never came", "Two: refused: 422: unknown column"]
    assert [step.facts[0].text for step in stage.journal.steps if step.facts] == ["seen"]
    assert "✗ One: it never came" in out.getvalue()


def test_a_step_without_what_it_needs_is_not_tried(stage: Stage) -> None:
    with pytest.raises(PromiseBroken, match="left no order"):
        Step("pays", "She pays", lambda _: pytest.fail("tried"), ("order",)).perform(stage)


def test_steps_need_only_what_a_story_can_have(stage: Stage) -> None:
    assert all(hasattr(stage.story, name) for step in STORY for name in step.needs)
    assert len({step.name for step in STORY}) == len(STORY)


@pytest.mark.parametrize("hour", range(24))
def test_there_is_a_zone_where_it_is_day(hour: int) -> None:
    from zoneinfo import ZoneInfo

    for month in (1, 7):
        now = datetime(2026, month, 15, hour, 30, tzinfo=UTC)
        assert 8 <= now.astimezone(ZoneInfo(daytime_zone(now))).hour < 20


def test_a_later_edit_stands_for_those_before_it() -> None:
    traffic = Traffic(EMPTY, Journal())
    traffic.waiting["oms_to_salesforce", "p"] = [Sent(1, 0, True), Sent(4, 0, True), Sent(9, 0, True)]
    traffic.seen("oms_to_salesforce", "p", "Robin 5")
    assert traffic.outstanding(outage=True) == 1
    assert len(traffic.journal.lags) == 2
    traffic.seen("oms_to_salesforce", "p", None)
    traffic.seen("oms_to_salesforce", "p", "Robin")
    assert traffic.outstanding(outage=True) == 1
    traffic.seen("oms_to_salesforce", "p", "Robin 9")
    assert traffic.outstanding(outage=False) == 0
