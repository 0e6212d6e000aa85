"""The outage: what was made while Salesforce was away is waited for, and what is lost or buried is a broken promise."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from local.demo import outage
from local.demo.journal import Journal, PromiseBroken
from local.demo.show import Show
from local.demo.stage import Stage
from local.demo.systems import Systems
from local.demo.traffic import Traffic


@dataclass
class Graveyard(Systems):
    """Systems with so many dead letters."""

    dead: int = 0

    def buried(self) -> int:
        return self.dead


def made(dead: int = 0) -> tuple[Stage, Traffic]:
    """A stage on which two patients registered while Salesforce was away."""
    journal, systems = Journal(), Graveyard(Path("nowhere"), {}, dead)
    stage, traffic = Stage(systems, journal, Show(Console(file=io.StringIO()))), Traffic(systems, journal)
    stage.begin("back", "Salesforce is back")
    traffic.outage = True
    traffic.expect("one")
    traffic.expect("two")
    journal.outage = (0.0, 0.0)
    journal.summary["outage"] = {"seconds": 30.0}
    return stage, traffic


def test_all_has_arrived_when_the_last_one_was_seen() -> None:
    stage, traffic = made()
    traffic.arrived("one")
    assert traffic.outstanding(outage=True) == 1
    traffic.arrived("two")
    outage.comes_back(stage, traffic)
    told = stage.journal.summary["outage"]
    assert (told["lost"], told["dlq"], told["changes"]) == (0, 0, 2)
    assert stage.journal.caught_up == pytest.approx(max(lag.at + lag.seconds for lag in stage.journal.lags), abs=0.01)
    assert stage.journal.broken == []
    assert len(stage.journal.seconds("oms_to_salesforce", outage=True)) == 2


def test_what_does_not_arrive_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "CATCH_UP", 0)
    stage, traffic = made(dead=3)
    traffic.arrived("two")
    outage.comes_back(stage, traffic)
    assert stage.journal.summary["outage"]["lost"] == 1
    assert len(stage.journal.broken) == 2
    assert "1 of 2 changes" in stage.journal.broken[0]
    assert "3 messages are in dead-letter queues" in stage.journal.broken[1]


def test_an_outage_that_was_not_cannot_end() -> None:
    stage, traffic = made()
    stage.journal.outage = None
    with pytest.raises(PromiseBroken):
        outage.comes_back(stage, traffic)
